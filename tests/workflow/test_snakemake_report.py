"""`snakemake --report` holds every figure and table; `--lint` finds nothing but what is by choice."""

from __future__ import annotations

import html
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from anarchy.plan.workbench import open_run
from anarchy.report.rst import captions
from anarchy.workflow.lint import BY_CHOICE, findings
from anarchy.workflow.rules import Workflow
from tests.helpers.places import PROJECT
from tests.helpers.warm import run_python
from tests.workflow.commands import snakemake_words

CHOICES = ("tier=live", "knees=recorded")


EMPTY = "<svg xmlns='http://www.w3.org/2000/svg'/>"
QUOTES = str.maketrans("‘’“”", "''\"\"")


def made(results: Path) -> list[Path]:
    """Everything that a run of tier live makes."""
    run = Workflow(open_run({"results": str(results), "knees": "recorded", "tier": "live"}))
    overview = run.layout.figures("equilibrium") / "overview_poa"
    files = [*run.measured, *run.rendered, run.layout.report]
    files += [run.layout.claims.with_suffix(suffix) for suffix in (".csv", ".json", ".md")]
    forest = run.layout.figures("claims") / "forest"
    for stem in (overview, forest):
        files += [stem.with_suffix(suffix) for suffix in (".pdf", ".png", ".svg", ".narrow.svg")]
    files += [run.layout.root / "tables" / name for name in ("summary.csv", "summary.tex", "forest.csv")]
    for experiment, model, topology in run.bench.systems():
        folder = run.layout.estimates(experiment, model, topology)
        files += [folder / name for name in run.design(experiment).files]
    return files


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a run makes, in name only: a report embeds any file."""
    folder = tmp_path_factory.mktemp("results")
    for file in made(folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "<svg xmlns='http://www.w3.org/2000/svg'/>" if file.suffix == ".svg" else "a,b\n1,2\n"
        )
    return folder


@pytest.fixture(scope="module")
def embedded(results: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Path of each file in the report -> what the report says of it."""
    file = tmp_path_factory.mktemp("report") / "report.zip"
    done = run_python(*snakemake_words(results, *CHOICES, options=("--report", str(file))), timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(file) as archive:
        (page,) = (name for name in archive.namelist() if name.endswith("report.html"))
        text = archive.read(page).decode()
    shown: dict[str, dict[str, Any]] = assigned(text, "results")
    for category, systems in assigned(text, "categories").items():
        for path in (path for paths in systems.values() for path in paths):
            shown[path]["category"] = category
    return {str(Path(path).relative_to(results)): one for path, one in shown.items()}


def assigned(text: str, name: str) -> Any:
    """What the report's script sets a variable to."""
    match = re.search(rf"var {name} = (\{{.*)", text)
    assert match is not None
    return json.JSONDecoder().raw_decode(match[1])[0]


def words(text: str) -> str:
    """A text without markup, quotes made equal and white space left out."""
    return "".join(html.unescape(re.sub(r"<[^>]*>", "", text)).translate(QUOTES).split())


def test_every_figure_is_in_with_its_caption_and_category(embedded: dict[str, dict[str, Any]]) -> None:
    run = Workflow(open_run({"knees": "recorded", "tier": "live"}))
    expected = {}
    for experiment, model, topology in run.bench.systems():
        design = run.design(experiment)
        for name in design.figures:
            file = f"live/figures/{experiment}/{model}_{topology}_{name}.svg"
            expected[file] = (f"{design.id}, {design.title}", name, words(design.figures[name]))
    figures = {
        path: (one["category"], one["labels"]["figure"], words(one["caption"]))
        for path, one in embedded.items()
        if path.endswith(".svg") and "overview" not in path and "forest" not in path
    }
    assert figures == expected


def test_tables_overview_and_claims_are_in(embedded: dict[str, dict[str, Any]]) -> None:
    others = {path for path, one in embedded.items() if one["caption"] and one["category"]}
    assert others == set(embedded)
    assert "live/figures/equilibrium/overview_poa.svg" in others
    assert {"live/tables/summary.csv", "live/claims.csv", "live/tables/forest.csv"} <= others
    assert "live/figures/claims/forest.svg" in others
    assert {path for path in others if path.startswith("live/tables/adaptive")} == {
        f"live/tables/adaptive/llama-3.1-70b_1p2d{tail}.csv" for tail in ("", "_ratios")
    }


def test_captions_are_those_of_the_report() -> None:
    """`make schemas` writes them again."""
    folder = PROJECT / "workflow" / "report"
    written = {str(file.relative_to(folder)): file.read_text() for file in folder.glob("*/*.rst")}
    assert written == dict(captions())


def test_lint_finds_nothing_but_what_is_by_choice() -> None:
    done = run_python("-m", "snakemake", "--lint", timeout=120)
    assert all(title in done.stdout + done.stderr for title in BY_CHOICE)
    assert list(findings(done.stdout + done.stderr)) == []
    assert list(findings("Lints for rule knee (line 5, knee.smk):\n    * No log directive defined:\n")) == [
        "rule knee (line 5, knee.smk): No log directive defined"
    ]


def test_paths_of_the_rules_are_those_of_the_package(results: Path) -> None:
    """Every file that the package expects is made by a rule, and no rule makes another."""
    done = run_python(*snakemake_words(results, *CHOICES, options=("--detailed-summary",)), timeout=200)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t")[0] for line in done.stdout.splitlines() if line.startswith(str(results))]
    assert set(lines) == {str(file) for file in made(results)}
