# The index of the workflow: configuration, what belongs to what, and the targets.
#
#   snakemake                                        tier quick, every experiment and model, simulated engines
#   snakemake --config tier=full                     the full grid, three launches
#   snakemake --config models=llama-3.1-70b          one model; the other's results stay as they are
#   snakemake --config experiments=adaptive          one experiment, and E1 of its systems, whose knees it loads
#   snakemake --config run=results/quick/runs/X.json a run that was frozen, again
#   snakemake -n                                     what would run
#
# Profile with the defaults: profiles/default.

import sys
from pathlib import Path

from snakemake.utils import min_version, validate

# The package is this project's, whatever PYTHONPATH names; and what the caller's shell, notebook server or
# allocation set reaches no job and no notebook. A job of Slurm keeps what Slurm told it.
sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))
from anarchy.ground.surroundings import keep_out

keep_out(in_job=not workflow.is_main_process)

from anarchy.workflow.rules import check_run_file, open_workflow

min_version("9.27")


# First by the package: its messages name the file and the key, and it reads within bounds.
check_run_file()


configfile: "workflow/config/run.yaml"


RUN = open_workflow(config, workflow)
config = RUN.config
validate(config, "workflow/schemas/run.schema.json")
for block, schema in RUN.study_blocks():
    # Every default is filled in; Snakemake's own filling fails on an object that may be null.
    validate(block, schema, set_default=False)


# Every path of the rules begins with one of these; anarchy.ground.layout computes the same paths.
pathvars:
    results=RUN.results,
    logs=f"{RUN.results}/logs",
    benchmarks=f"{RUN.results}/benchmarks",


# What rules call: `anarchy` on the frozen run, and `notebook`; each becomes Snakemake's own child, so it notices when
# Snakemake dies.
shell.prefix(RUN.shell_functions)


report: "workflow/report/workflow.rst"


wildcard_constraints:
    experiment="[a-z0-9.-]+",
    model="[a-z0-9.-]+",
    topology="[a-z0-9.-]+",
    policy_set="[a-z0-9.-]+",
    launch="[0-9]+",


localrules:
    all,
    measure,
    # Minutes on one core, as are estimates and notebooks: not worth a job on a cluster's GPU nodes.
    knee,
    claims,
    report,


rule all:
    default_target: True
    input:
        "<results>/report.html",
        "<results>/claims.md",
        # Else Snakemake takes estimates for finished whose deployment was to be measured again and failed.
        RUN.measured,


rule measure:
    input:
        RUN.measured,


include: "workflow/rules/knee.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/render.smk"


onstart:
    RUN.freeze()


onsuccess:
    RUN.print_summary()


onerror:
    RUN.print_failure(log)
