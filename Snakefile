# The index of the workflow: configuration, what belongs to what, and the targets.
#
#   snakemake                                        tier quick, every model, simulated engines
#   snakemake --config tier=full                     the full grid, three launches
#   snakemake --config models=llama-3.1-70b          one model; the other's results stay as they are
#   snakemake -n                                     what would run
#
# Profile with the defaults: profiles/default.

from snakemake.utils import min_version, validate

from anarchy.workflow import DEPLOYMENT, ESTIMATE_FILES, SYSTEM, open_workflow

min_version("9.0")


configfile: "workflow/config/run.yaml"


RUN = open_workflow(config)
config = RUN.config
validate(config, "workflow/schemas/run.schema.json")
for block, schema in RUN.study_blocks():
    validate(block, schema)


wildcard_constraints:
    experiment="[a-z0-9.-]+",
    model="[a-z0-9.-]+",
    topology="[a-z0-9.-]+",
    routing="[a-z0-9.-]+",
    trial="[0-9]+",


localrules:
    all,
    measure,
    # Minutes on one core: not worth a job on a cluster's GPU nodes.
    estimate,
    claims,
    notebook,
    report,


rule all:
    default_target: True
    input:
        RUN.layout.report,
        RUN.layout.claims.with_suffix(".md"),


rule measure:
    input:
        [RUN.layout.summary(*deployment.key) for deployment in RUN.deployments],


include: "workflow/rules/sweep.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/render.smk"


onsuccess:
    RUN.print_summary()


onerror:
    RUN.print_failure(log)
