"""The recorded traces in data/sample: whole, and still of the plan that they are shown for."""

from __future__ import annotations

import pytest

from anarchy.ground.layout import PROJECT
from anarchy.plan.launches import DeploymentPlan
from anarchy.plan.workbench import open_run
from anarchy.trace.reader import read_cell

SAMPLE = PROJECT / "data" / "sample"


def planned(tier: str, seed: int | None = None) -> dict[tuple[str, ...], DeploymentPlan]:
    run = open_run({"tier": tier, "experiments": ["all"], "seed": seed, "knees": "recorded"})
    return {tuple(map(str, deployment.key)): deployment for deployment in run.plans}


@pytest.mark.parametrize(
    ("run", "tier", "seed"),
    [("live", "live", None), ("live-repeats", "live-repeats", None), ("seed-1", "live", 1)],
)
def test_recorded_cells_are_whole_and_of_the_plan_as_it_is(run: str, tier: str, seed: int | None) -> None:
    plans, raw = planned(tier, seed), SAMPLE / run / "raw"
    recorded = [path.parent for path in sorted(raw.glob("*/*/*/*/*/deployment.json"))]
    assert recorded
    for folder in recorded:
        deployment = plans[folder.relative_to(raw).parts]
        hashes = {cell.name: cell.plan_hash for cell in deployment.cells}
        for directory in (folder / "cells").iterdir():
            manifest = read_cell(directory).manifest  # raises where it does not match its seal
            assert hashes[directory.name] == manifest.plan_hash, directory
            assert manifest.engine == "mocker"
        assert {path.name for path in (folder / "cells").iterdir()} == set(hashes), folder


def test_all_of_tier_quick_is_recorded() -> None:
    """`make redraw` measures nothing."""
    raw = SAMPLE / "live" / "raw"
    assert {folder.parent.relative_to(raw).parts for folder in raw.glob("*/*/*/*/*/deployment.json")} == set(
        planned("live")
    )
