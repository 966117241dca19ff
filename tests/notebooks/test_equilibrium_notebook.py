"""The notebook runs on somebody's estimates, writes every file, and is stored without outputs or logic."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import papermill
import pytest

from anarchy import figures
from anarchy.layout import PROJECT, Layout

NOTEBOOK = PROJECT / "notebooks" / "equilibrium.ipynb"


@pytest.mark.parametrize(
    ("tier", "model", "topology", "further"),
    [("quick", "nemotron-4-340b", "1p2d", ()), ("full", "llama-3.1-70b", "1p5d", ("_templates",))],
)
def test_notebook_writes_every_figure_and_table(
    results: Path, tmp_path: Path, tier: str, model: str, topology: str, further: tuple[str, ...]
) -> None:
    executed = tmp_path / "executed.ipynb"
    parameters = {"model": model, "topology": topology, "tier": tier, "results": str(results)}
    papermill.execute_notebook(
        str(NOTEBOOK), str(executed), parameters, kernel_name="python3", progress_bar=False
    )
    layout = Layout(results / tier)
    expected = {
        f"{model}_{topology}_{name}{tail}.{suffix}"
        for name in figures.NAMES
        for tail in ("", *further)
        for suffix in ("pdf", "svg", "png")
    }
    written = {path.name: path for path in layout.figures("equilibrium").glob(f"{model}_{topology}_*")}
    assert set(written) == expected
    assert min(path.stat().st_size for path in written.values()) > 5000
    for suffix in ("csv", "tex"):
        assert (layout.tables("equilibrium") / f"{model}_{topology}.{suffix}").stat().st_size > 300
    shown = [
        output
        for cell in nbformat.read(executed, 4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == len(figures.NAMES) * (1 + len(further))


def test_notebook_is_stored_without_outputs_and_without_logic() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert all(not re.search(r"\b(def|for|while|class|if|lambda)\b", cell.source) for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert {line.split(" = ")[0] for line in tagged[0].source.splitlines()} == {
        "model", "topology", "tier", "results",
    }  # fmt: skip
    assert sum(cell.cell_type == "markdown" for cell in notebook.cells) >= 5
