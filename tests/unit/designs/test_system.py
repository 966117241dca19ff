"""`anarchy system` on a run with sealed cells: what is written for each design, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from anarchy.config import Choices, Experiment, KvPolicy
from anarchy.config.files import load_study
from anarchy.designs.registry import design_of
from anarchy.designs.system import estimate_system
from anarchy.engines.profiles import load_profile
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG, PROFILES, Layout, cell_directory
from anarchy.plan.launches import Stack
from anarchy.plan.resolve import resolve
from anarchy.plan.workbench import Workbench
from anarchy.trace.reader import CellTrace, read_cell
from tests.helpers.frames import at
from tests.helpers.knee_samples import recorded_knee
from tests.helpers.made_up_run import seal_everything

SYSTEM = ("trial", "llama-3.1-70b", "1p2d")
TIMING = {"warmup_s": 1.0, "measure_s": 5.0, "measure_max_s": 5.0}
STATIC = {"name": "static", "title": "static", "tau": 0.0, "omega": 1.0}
OTHER = {"name": "other", "title": "other", "tau": 0.7, "omega": 1.0}
LOADS = [{"name": "below", "knee_times": 0.5}, {"name": "at", "knee_times": 1.5}]
STAGES = [{**load, "settle_s": 1.0, "seconds": 10.0} for load in LOADS]


def workbench(folder: Path, *, launches: int = 1, **tier: Any) -> Workbench:
    """A run of one experiment with two policies on one deployment."""
    timing = {"deadline_s": 60.0} if "stages" in tier else TIMING
    study = load_study(CONFIG)
    policies = {one["name"]: KvPolicy(**one) for one in (STATIC, OTHER)}
    experiment = Experiment(
        name="trial",
        id="T",
        title="trial",
        design="ladder" if "concurrency" in tier else "stages" if "stages" in tier else "pareto",
        systems=({"model": SYSTEM[1], "topology": SYSTEM[2]},),
        routing={"both": {"policies": list(policies)}},
        reference="static",
        knee_from="equilibrium",
        tiers={"quick": {"launches": launches, "workloads": ["unique"], "timing": timing, **tier}},
    )
    study = study.model_copy(
        update={
            "experiments": study.experiments | {"trial": experiment},
            "policies": study.policies | policies,
        }
    )
    choices = Choices(tier="quick", experiments=("trial",), seed=5, knees="recorded")
    profiles = {
        name: load_profile(PROFILES / name) for name in {model.profile for model in study.models.values()}
    }
    knee = recorded_knee(profiles["llama-3.1-70b-tp4"].digest, value=64, interval=(60.0, 70.0))
    stack = Stack("ai-dynamo 1.5.1")
    run = resolve(study, choices, profiles, lambda *_: stack, [knee])
    bench = Workbench(run, profiles, Layout(folder), lambda *_: stack)
    seal_everything(bench)
    return bench


@pytest.mark.parametrize(
    ("design", "tier", "main"),
    [("stages", {"stages": STAGES}, "stages"), ("pareto", {"loads": LOADS, "repeats": 2}, "pairs")],
)
def test_every_file_of_a_design_is_written(
    tmp_path: Path, design: str, tier: dict[str, Any], main: str
) -> None:
    bench = workbench(tmp_path / "r", **tier)
    estimate = estimate_system(bench, *SYSTEM, replicates=100)
    folder = tmp_path / "estimates"
    estimate.write(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(design_of(design).files)
    rows = pd.read_parquet(folder / f"{main}.parquet")
    assert rows["valid"].all()
    assert (rows["poa_hat"] > 0).all()
    assert set(rows["concurrency"]) == {32, 96}
    assert (rows["engine"] == "simulated").all()
    system = json.loads((folder / "system.json").read_text())
    assert design_of(design).part("document").DOCUMENT.model_validate(system)
    assert system["knee"] == 64
    assert system["routing"]["both"]["reference"] == "static"
    attempts = pd.read_parquet(folder / "attempts.parquet")
    assert attempts["counted"].all()
    again = estimate_system(bench, *SYSTEM, replicates=100, processes=2)
    for name, table in estimate.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name], obj=name)


def test_a_cell_that_is_gone_gives_a_row_that_says_so(tmp_path: Path) -> None:
    bench = workbench(tmp_path, stages=STAGES)
    (deployment,) = bench.plans
    gone = next(cell for cell in deployment.cells if cell.policy.name == "other")
    shutil.rmtree(cell_directory(bench.folder(deployment), gone.name))
    stages = estimate_system(bench, *SYSTEM, replicates=100).tables["stages"].set_index("policy")
    assert at(stages, "static", "valid").all()
    assert set(at(stages, "other", "reasons")) == {"not measured"}


def test_nothing_left_of_a_system_is_told_and_no_crash(tmp_path: Path) -> None:
    bench = workbench(tmp_path / "r", loads=LOADS)
    (deployment,) = bench.plans
    shutil.rmtree(bench.folder(deployment) / "cells")
    estimate = estimate_system(bench, *SYSTEM, replicates=100)
    estimate.write(tmp_path / "estimates")
    assert not estimate.tables["pairs"]["valid"].any()
    assert set(estimate.tables["pairs"]["reasons"]) == {"not measured"}


def test_a_deployment_that_is_not_complete_is_refused(tmp_path: Path) -> None:
    bench = workbench(tmp_path, loads=LOADS)
    bench.layout.summary(*bench.deployments[0].key).unlink()
    with pytest.raises(UserError, match="not complete"):
        estimate_system(bench, *SYSTEM)


def test_a_grid_under_several_policies_is_refused(tmp_path: Path) -> None:
    bench = workbench(tmp_path, concurrency=(8, 16))
    with pytest.raises(UserError, match="no ladder"):
        estimate_system(bench, *SYSTEM)


def test_a_cell_of_another_stack_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = workbench(tmp_path, loads=LOADS)

    def of_another(directory: Path) -> CellTrace:
        trace = read_cell(directory)
        papers = trace.manifest.model_copy(update={"versions": {"ai-dynamo": "0.9.0"}})
        return replace(trace, manifest=papers)

    monkeypatch.setattr("anarchy.estimate.deployments.read_cell", of_another)
    with pytest.raises(UserError, match=r"measured with Dynamo 0\.9\.0, and planned with 1\.5\.1") as caught:
        estimate_system(bench, *SYSTEM)
    assert "key 'stack'" in str(caught.value.remedy)


def test_a_trace_that_was_edited_is_refused(tmp_path: Path) -> None:
    bench = workbench(tmp_path, loads=LOADS)
    (trace, *_) = bench.folder(bench.deployments[0]).glob("cells/*/trace.parquet")
    trace.write_bytes(trace.read_bytes() + b"x")
    with pytest.raises(UserError, match="seal"):
        estimate_system(bench, *SYSTEM)
