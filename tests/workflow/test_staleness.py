"""What an edit makes stale: exactly the jobs that Snakemake would run again, in a copy of the project."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT
from tests.helpers.shared import made_once
from tests.helpers.warm import run_python

PARTS = ("Snakefile", "envs", "notebooks", "profiles", "scripts", "workflow")
SYSTEMS = {
    "equilibrium": ["nemotron-4-340b/1p2d", "llama-3.1-70b/1p2d", "llama-3.1-70b/1p5d"],
    "saturation": ["nemotron-4-340b/1p2d"],
    "adaptive": ["llama-3.1-70b/1p2d"],
    "pareto": ["nemotron-4-340b/1p2d"],
}
"""What tier live measures."""
ALL = tuple(SYSTEMS)
WIDE = "equilibrium/llama-3.1-70b/1p5d"
"""The one system with the topology 1p5d."""
JUDGED, REPORTED = "judging the published claims", "writing the report"
MESSAGE = re.compile(r"^Job \d+: (.+)$", re.MULTILINE)

RECORDED = ("knees=recorded", "tier=live")
"""Without the step that turns E1's estimate, here an empty file, into the knee."""

FINISHED = """
from pathlib import Path
from anarchy.plan.workbench import open_run
from anarchy.workflow.rules import Workflow

run = Workflow(open_run({"knees": "recorded", "tier": "live"}))
overview = run.layout.figures("equilibrium") / "overview_poa"
files = [*run.measured, *run.rendered, run.layout.report]
forest = run.layout.figures("claims") / "forest"
for stem in (overview, forest):
    files += [stem.with_suffix(suffix) for suffix in (".pdf", ".png", ".svg", ".narrow.svg")]
files += [run.layout.root / "tables" / name for name in ("summary.csv", "summary.tex", "forest.csv")]
files += [run.layout.claims.with_suffix(suffix) for suffix in (".csv", ".json", ".md")]
for experiment, model, topology in run.bench.systems():
    folder = run.layout.estimates(experiment, model, topology)
    files += [folder / name for name in run.design(experiment).files]
for file in files:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
"""
"""An empty file for everything that a run makes."""

NIGHTLY = pytest.mark.nightly
"""What repeats, for another step, a case that runs each time: a dry run takes seconds."""

Edit = Callable[[str, Callable[[str], str]], None]
"""Change a file, named from the project, by a function of its text."""


def systems(experiments: Iterable[str]) -> list[str]:
    return [f"{name}/{system}" for name in experiments for system in SYSTEMS[name]]


def drawn(*experiments: str) -> set[str]:
    """Figures and tables of these experiments are stale, and so is the report."""
    return {f"drawing {system}" for system in systems(experiments)} | {REPORTED}


def estimated(*experiments: str, system: str | None = None) -> set[str]:
    """Estimates of these experiments, or of one system, are stale, and everything that is made of them."""
    named = systems(experiments) if system is None else [system]
    return {f"{what} {one}" for what in ("estimating", "drawing") for one in named} | {JUDGED, REPORTED}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which tier live was run, as far as Snakemake can see."""
    copy = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(made_once(tmp_path_factory, "project-after-a-run", copy_and_run), copy)
    assert stale(copy) == set()
    return copy


def copy_and_run(copy: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", "sample")
    for part in (*PARTS, "data"):
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=skipped)
        else:
            shutil.copy(source, copy / part)
    called(copy, "-c", FINISHED)
    # Its last step reads the empty estimates, and fails; what was recorded of the jobs is all that is needed.
    called(copy, "-m", "snakemake", "--touch", "--forceall", "--config", *RECORDED, check=False)


def called(project: Path, *words: str, check: bool = True) -> str:
    env = {**os.environ, "PYTHONPATH": str(project / "scripts")}
    done = run_python(*words, cwd=project, env=env, timeout=120)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout + done.stderr


def stale(project: Path, *config: str) -> set[str]:
    """Every job that a dry run would do, in the words of its rule."""
    told = called(project, "-m", "snakemake", "-n", "--config", *RECORDED, *config)
    jobs = set(MESSAGE.findall(told))
    assert jobs or "Nothing to be done" in told, told
    assert "missing provenance" not in told, told
    return jobs


@pytest.fixture
def edit(project: Path) -> Iterator[Edit]:
    """Change a file of the copy; the test's end undoes it, with the file's time."""
    before: dict[Path, tuple[str, os.stat_result]] = {}

    def change(name: str, how: Callable[[str], str]) -> None:
        file = project / name
        text = file.read_text(encoding="utf-8")
        before.setdefault(file, (text, file.stat()))
        assert how(text) != text
        file.write_text(how(text), encoding="utf-8")

    yield change
    for file, (text, status) in before.items():
        file.write_text(text, encoding="utf-8")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def place_of(project: Path, function: str) -> tuple[str, int, str]:
    """File of the one function of this name, and first line and indentation of its body."""
    found = []
    for file in sorted((project / "scripts" / "anarchy").rglob("*.py")):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == function:
                first = statement.body[1] if ast.get_docstring(statement) else statement.body[0]
                found.append((str(file.relative_to(project)), first.lineno, " " * first.col_offset))
    (place,) = found
    return place


def line_before(number: int, line: str) -> Callable[[str], str]:
    """Put a line in front of the one of this number."""

    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        return "".join([*lines[: number - 1], line + "\n", *lines[number - 1 :]])

    return change


@pytest.mark.parametrize(
    ("function", "jobs"),
    [
        ("estimate_ladder", estimated("equilibrium")),
        pytest.param("estimate_stages", estimated("saturation", "adaptive"), marks=NIGHTLY),
        pytest.param("load_condition", estimated("pareto"), marks=NIGHTLY),
        ("estimate_condition", estimated("saturation", "adaptive", "pareto")),
        pytest.param("window_costs", estimated(*ALL), marks=NIGHTLY),
        ("poa_of_pairs", drawn("pareto")),
        pytest.param("detectors_over_time", drawn("saturation"), marks=NIGHTLY),
        pytest.param("equilibrium_words", drawn("equilibrium"), marks=NIGHTLY),
        pytest.param("load_system", drawn(*ALL), marks=NIGHTLY),
        ("judge", {JUDGED, REPORTED}),
        pytest.param("terminal_summary", set(), marks=NIGHTLY),
        ("data_uri", {REPORTED}),
        ("run_client", set()),
        pytest.param("sweep", set(), marks=NIGHTLY),
    ],
)
def test_an_edited_function_makes_stale_what_runs_it(
    project: Path, edit: Edit, function: str, jobs: set[str]
) -> None:
    file, number, indent = place_of(project, function)
    edit(file, line_before(number, f"{indent}_edited = None"))
    assert stale(project) == jobs


def test_comments_docstrings_and_times_make_nothing_stale(project: Path, edit: Edit) -> None:
    for function in ("estimate_ladder", "window_costs", "judge", "poa_of_pairs"):
        file, number, indent = place_of(project, function)
        edit(file, line_before(number, f"{indent}# A comment."))
    edit("scripts/anarchy/ground/layout.py", lambda text: text.replace('"""', '"""Another text. ', 1))
    edit("scripts/anarchy/report/page.html.j2", lambda text: "{# A comment. #}" + text)
    edit("data/paper/claims.yaml", lambda text: "# A comment.\n" + text)
    edit("envs/driver.lock", lambda text: "# A comment.\n" + text)
    edit("workflow/config/experiments/pareto.yaml", lambda text: "# A comment.\n" + text)
    edit("notebooks/pareto.ipynb", with_output)
    (project / "notebooks" / "adaptive.ipynb").touch()
    assert stale(project) == set()


def with_output(text: str) -> str:
    """The notebook as it is after somebody ran it by hand."""
    notebook = json.loads(text)
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": ["seen\n"]}]
    cell["execution_count"] = 7
    cell["metadata"]["collapsed"] = True
    notebook["metadata"]["language_info"]["version"] = "3.14.0"
    return json.dumps(notebook)


@pytest.mark.parametrize(
    ("file", "old", "new", "jobs"),
    [
        ("scripts/anarchy/report/page.html.j2", "<body", "<body class='wide'", {REPORTED}),
        pytest.param(
            "notebooks/pareto.ipynb", "## Every pair", "## Each pair", drawn("pareto"), marks=NIGHTLY
        ),
        ("data/paper/claims.yaml", "three regimes on every system", "three regimes", {JUDGED, REPORTED}),
        pytest.param("envs/driver.lock", "==", "==1", estimated(*ALL), marks=NIGHTLY),
        pytest.param(
            "workflow/config/experiments/pareto.yaml",
            "title: ",
            "title: Again, ",
            estimated("pareto"),
            marks=NIGHTLY,
        ),
        ("workflow/config/knees.yaml", "run: E1 at", "run: E1 of", estimated("saturation", "pareto")),
        pytest.param(
            "workflow/config/topologies/1p5d.yaml",
            "title: ",
            "title: Again, ",
            estimated(system=WIDE),
            marks=NIGHTLY,
        ),
    ],
)
def test_edited_data_makes_stale_what_reads_it(
    project: Path, edit: Edit, file: str, old: str, new: str, jobs: set[str]
) -> None:
    edit(file, lambda text: text.replace(old, new, 1))
    assert stale(project) == jobs


def test_a_call_for_a_part_keeps_the_estimates_and_figures(project: Path) -> None:
    """What it judges and reports is another set of systems."""
    assert stale(project, "models=llama-3.1-70b") == {JUDGED, REPORTED}


def test_another_seed_is_another_measurement(project: Path) -> None:
    jobs = stale(project, "seed=7")
    assert {job for job in jobs if not job.startswith("measuring")} == estimated(*ALL)
    assert any(job.startswith("measuring") for job in jobs)
