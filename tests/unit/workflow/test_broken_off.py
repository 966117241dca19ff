"""A run of which a notebook failed still ends with a report, which says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.plan.workbench import open_run
from anarchy.workflow.rules import Workflow
from tests.helpers.synthetic_estimates import write_results

CHOICES = {"tier": "quick", "experiments": "equilibrium", "models": "nemotron-4-340b"}


def test_the_report_shows_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = write_results(tmp_path, grid=(8, 64))
    run = Workflow(open_run({**CHOICES, "results": str(tmp_path)}))
    run.print_failure(["the.log"])
    said = capsys.readouterr().err
    assert "all of it in the.log\n  remedy: mend it" in said
    assert f"report: {layout.report}" in said
    page = layout.report.read_text(encoding="utf-8")
    assert "was not drawn: its notebook did not run to its end" in page
    assert 'id="C1"' in page, "claims are judged by the estimates that there are"
    assert not layout.claims.with_suffix(".json").exists(), "the rule is to judge again"


def test_the_figure_of_all_claims_shows_the_verdicts_beside_it(tmp_path: Path) -> None:
    """Not those of a claims.json that an earlier call left."""
    layout = write_results(tmp_path, grid=(8, 64))
    layout.claims.with_suffix(".json").write_text("[]", encoding="utf-8")
    Workflow(open_run({**CHOICES, "results": str(tmp_path)})).print_failure(["the.log"])
    rows = (layout.root / "tables" / "forest.csv").read_text(encoding="utf-8").splitlines()
    assert any(row.startswith("C3,") for row in rows[1:]), rows


def test_nothing_is_reported_where_nothing_was_estimated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Workflow(open_run({**CHOICES, "results": str(tmp_path)}))
    run.print_failure(["the.log"])
    assert "report:" not in capsys.readouterr().err
    assert not run.layout.report.exists()


def test_nothing_is_reported_anew_where_every_figure_is_there(tmp_path: Path) -> None:
    """Then it was the report itself, or a measurement, that failed."""
    layout = write_results(tmp_path, grid=(8, 64))
    run = Workflow(open_run({**CHOICES, "results": str(tmp_path)}))
    for path in run.undrawn:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run.print_failure(["the.log"])
    assert not layout.report.exists()
