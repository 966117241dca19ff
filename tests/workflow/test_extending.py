"""docs/extending.md, followed literally: its files in a copy of the project, and what they are for, run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT
from tests.helpers.warm import run_python

PAGE = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\w+ (\S+)( \(appended\))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = (
    "Snakefile",
    "pyproject.toml",
    "scripts",
    "workflow",
    "notebooks",
    "envs",
    "profiles",
    "tests/helpers",
)
COPIED = (*NEEDED, "tests/__init__.py", "data/paper", "data/profiles", "slurm")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every file of the page in it; the parts that were there are untouched."""
    root = tmp_path_factory.mktemp("project")
    for name in COPIED:
        source, target = PROJECT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) > 10
    for name, appended, text in blocks:
        file = root / name
        assert file.exists() == bool(appended), f"{name}: a part is a file of its own"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as written:
            written.write(text)
    run(root, "-m", "anarchy.cli.schemas", "workflow/schemas")
    run(root, "-m", "anarchy.report.rst", "workflow/report")
    return root


def run(root: Path, *arguments: str) -> str:
    """What a program says that runs in the copy; it must succeed."""
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{root / 'scripts'}:{root}", "HOME": str(root)}
    done = run_python(*arguments, cwd=root, env=env, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


MEASURE = """
from pathlib import Path
from anarchy.compare import sources
from anarchy.designs.loading import load_systems
from anarchy.designs.system import estimate_system
from anarchy.designs.sheet import Sheet
from anarchy.designs.steady import figures, tables
from anarchy.plan.workbench import open_run
from anarchy.report.findings import findings
from tests.helpers.made_up_run import seal_everything

bench = open_run({"experiments": "steady", "results": "results"})
seal_everything(bench)
(system,) = bench.systems()
estimate_system(bench, *system, replicates=100).write(bench.layout.estimates(*system))
(read,) = load_systems(bench.layout)
sheet = Sheet(bench.layout, read, tables.TABLES)
assert len(sheet.figure("poa", figures.poa_of_workload).images) == 1
assert "PoA-hat" in sheet.table()
assert "steady.parquet" in {source.file for source in sources()}
print(*findings(read))
"""


def test_a_design_is_planned_estimated_shown_and_compared(extended: Path) -> None:
    assert "unique-c0048" in run(
        extended, "-m", "anarchy.cli.main", "plan", "--cost", "--experiments", "steady"
    )
    assert re.search(r"Llama-3.1-70B 1P/2D, unique prompts: PoA-hat [\d.]+ \[", run(extended, "-c", MEASURE))


def test_a_design_has_its_rules(extended: Path) -> None:
    command = ("-m", "snakemake", "-n", "--cores", "2", "--config", "experiments=steady")
    said = run(extended, *command)
    assert "estimate_steady" in said
    assert "notebook_steady" in said


WORKLOAD = """
from anarchy.config.files import load_study
from anarchy.ground.layout import CONFIG
print(load_study(CONFIG).workloads["chat"].think_s)
"""


def test_a_workload_is_read_with_its_words(extended: Path) -> None:
    assert run(extended, "-c", WORKLOAD).split() == ["2.0"]


ENGINE = """
from pathlib import Path
from anarchy.engines.registry import engine_of, served_by
from anarchy.measure.sweep import specify
from anarchy.plan.workbench import open_run
bench = open_run({"experiments": "equilibrium", "engine": "small", "results": "other"})
plan = bench.plans[0]
spec = specify(bench, plan, Path("logs"))
command = served_by("small").command(spec, "decode", Path("model"), ())
print(plan.engine, engine_of("small").label(None), command[command.index("--num-gpu-blocks-override") + 1])
"""


def test_an_engine_is_chosen_and_commands_its_workers(extended: Path) -> None:
    assert run(extended, "-c", ENGINE).split() == ["small", "simulated", "32768"]


GATE = """
from anarchy.gates.registry import gates
from anarchy.gates.verdict import evaluate_public
from tests.helpers.condition_samples import constant, trace_of
table = constant(16, 1, n=200)
told = [evaluate_public(trace_of(table.assign(output_tokens=n)), "decode").reasons for n in (1, 64)]
print("few_tokens" in gates(), ["few_tokens" in reasons for reasons in told])
"""


def test_a_gate_is_asked(extended: Path) -> None:
    assert run(extended, "-c", GATE).strip() == "True [True, False]"


POLICY = """
import random
from anarchy.config.files import load_study
from anarchy.ground.layout import CONFIG
policy = load_study(CONFIG).policies["most-loaded"]
print(policy.kind, policy.choose([0, 3, 1], 0, random.Random(0)))
"""


def test_a_policy_is_read_and_chooses(extended: Path) -> None:
    assert run(extended, "-c", POLICY).split() == ["most_loaded", "1"]


CLAIM = """
from anarchy import claims
from anarchy.designs.loading import load_systems
from pathlib import Path
from tests.helpers.synthetic_estimates import write_results
layout = write_results(Path("made-up"))
verdicts = claims.judge(claims.load(), [system.document for system in load_systems(layout)])
print(*(verdict.verdict for verdict in verdicts if verdict.id == "C14"))
"""


def test_a_claim_is_judged(extended: Path) -> None:
    assert run(extended, "-c", CLAIM).strip() in {"reproduced", "not reproduced", "inconclusive"}
