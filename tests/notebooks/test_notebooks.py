"""Every notebook runs on somebody's estimates, writes every file, and is stored without outputs or logic."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

from anarchy.designs.design import Design
from anarchy.designs.registry import designs
from anarchy.ground.layout import PROJECT, Layout
from anarchy.workflow.notebooks import execute
from tests.helpers.experiments import experiment_of

NOTEBOOKS = {design.notebook: design for design in designs()}


def path_of(design: Design) -> Path:
    return PROJECT / "notebooks" / f"{design.notebook}.ipynb"


@pytest.mark.parametrize(
    ("experiment", "tier", "model", "topology", "further"),
    [
        ("equilibrium", "quick", "nemotron-4-340b", "1p2d", ()),
        pytest.param(
            "equilibrium", "full", "llama-3.1-70b", "1p5d", ("_templates",), marks=pytest.mark.nightly
        ),
        ("saturation", "quick", "llama-3.1-70b", "1p2d", ()),
        ("adaptive", "quick", "llama-3.1-70b", "1p2d", ()),
        ("pareto", "quick", "llama-3.1-70b", "1p2d", ()),
        ("engines", "quick", "llama-3.1-70b", "1p2d", ("_templates",)),
        ("step", "quick", "llama-3.1-70b", "1p2d", ()),
        ("split", "quick", "llama-3.1-70b", "1p5d", ()),
        ("cache", "quick", "llama-3.1-70b", "3p3d", ()),
    ],
)
def test_notebook_writes_every_figure_and_table(
    results: Path,
    tmp_path: Path,
    experiment: str,
    tier: str,
    model: str,
    topology: str,
    further: tuple[str, ...],
) -> None:
    executed, design = tmp_path / "executed.ipynb", NOTEBOOKS[{"step": "why"}.get(experiment, experiment)]
    parameters = {
        "experiment": experiment,
        "model": model,
        "topology": topology,
        "tier": tier,
        "results": str(results),
    }
    execute(path_of(design), executed, parameters)
    layout, stem = Layout(results / tier), f"{model}_{topology}"
    expected = {
        f"{stem}_{name}{tail}.{suffix}"
        for name in design.figures
        for tail in ("", *further)
        for suffix in ("pdf", "svg", "png", "narrow.svg")
    }
    written = {path.name: path for path in layout.figures(experiment).glob(f"{stem}_*")}
    assert set(written) == expected
    assert min(path.stat().st_size for path in written.values()) > 5000
    tables = {path.name: path for path in layout.tables(experiment).glob(f"{stem}*")}
    assert set(tables) == {
        f"{stem}{'_' * bool(name)}{name}.{suffix}" for name in design.tables for suffix in ("csv", "tex")
    }
    assert min(path.stat().st_size for path in tables.values()) > 300
    shown = [
        output
        for cell in nbformat.read(executed, 4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == len(design.figures) * (1 + len(further))


@pytest.mark.parametrize("design", designs(), ids=lambda design: design.notebook)
def test_notebook_is_stored_without_outputs_and_without_logic(design: Design) -> None:
    notebook = nbformat.read(path_of(design), 4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert all(not re.search(r"\b(def|for|while|class|if|lambda)\b", cell.source) for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert [line.split(" = ")[0] for line in tagged[0].source.splitlines()] == [
        "experiment", "model", "topology", "tier", "results",
    ]  # fmt: skip
    assert f'experiment = "{experiment_of(design)}"' in tagged[0].source
    assert sum(cell.cell_type == "markdown" for cell in notebook.cells) >= 5


@pytest.mark.parametrize("design", designs(), ids=lambda design: design.notebook)
def test_a_cell_is_one_call_and_each_figure_and_table_has_its_own(design: Design) -> None:
    notebook = nbformat.read(path_of(design), 4)
    calls = [cell.source for cell in notebook.cells if cell.cell_type == "code"][2:]  # parameters, the system
    assert all(len(ast.parse(call).body) == 1 for call in calls)
    figures = re.findall(r'^sheet\.figure\("(\w+)", \w+\.\w+\)$', "\n".join(calls), re.MULTILINE)
    tables = re.findall(r'^sheet\.table\((?:"(\w+)")?\)$', "\n".join(calls), re.MULTILINE)
    assert figures == list(design.figures)
    assert sorted(tables) == sorted(design.tables)


def test_every_notebook_belongs_to_a_design() -> None:
    stored = {path.stem for path in (PROJECT / "notebooks").glob("*.ipynb")}
    assert stored == set(NOTEBOOKS)


@pytest.mark.parametrize("name", ["adaptive", "pareto"])
def test_prose_says_where_omega_cannot_act_and_why(name: str) -> None:
    notebook = nbformat.read(path_of(NOTEBOOKS[name]), 4)
    prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "omega cannot act" in prose
    assert "one prefill worker" in prose
    assert "sets the overlap weight to 0" in prose
