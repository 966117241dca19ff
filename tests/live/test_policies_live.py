"""The experiments on routing policies at tier smoke, as a user calls them: sweep, estimate, fault, resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from anarchy.designs.pareto.columns import PAIRS, SPREAD
from anarchy.designs.registry import design_of
from anarchy.estimate.columns import CURVES, DETECTION, LAUNCHES, POLLS, RATIOS, SERIES, STAGES
from anarchy.ground.layout import PROJECT
from anarchy.plan.launches import DeploymentPlan
from anarchy.plan.workbench import open_run
from anarchy.trace.decisions import DECISIONS_FILE, read_decisions
from anarchy.trace.reader import read_manifest

MODEL, TOPOLOGY = "nemotron-4-340b", "1p2d"
DESIGNS = {"saturation": "detection", "adaptive": "stages", "pareto": "pareto"}
COLUMNS = {
    "stages.parquet": STAGES.names,
    "launches.parquet": LAUNCHES.names,
    "ratios.parquet": RATIOS.names,
    "series.parquet": SERIES.names,
    "detection.parquet": DETECTION.names,
    "polls.parquet": POLLS.names,
    "pairs.parquet": PAIRS.names,
    "spread.parquet": SPREAD.names,
    "curves.parquet": CURVES.names,
}
"""Columns of every file but `attempts.parquet`, which has those of the manifests."""

pytestmark = [pytest.mark.live, pytest.mark.nightly, pytest.mark.timeout(3600)]


def command(verb: str, experiment: str, results: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "anarchy.cli.main", verb, experiment, MODEL, TOPOLOGY, *more]
    choices = {
        "tier": "smoke",
        "experiments": experiment,
        "models": MODEL,
        "knees": "recorded",
        "results": str(results),
    }
    return [*words, *(word for key, value in choices.items() for word in (f"--{key}", value))]


def call(*words: Any, seconds: float = 1500.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=PROJECT, capture_output=True, text=True, timeout=seconds)


def deployments(experiment: str) -> tuple[DeploymentPlan, ...]:
    choices = {"tier": "smoke", "experiments": [experiment], "models": [MODEL], "knees": "recorded"}
    return open_run(choices).plans


def raw(results: Path, deployment: DeploymentPlan) -> Path:
    return results.joinpath("smoke", "raw", *map(str, deployment.key))


def holds_what_it_should(folder: Path, deployment: DeploymentPlan) -> None:
    """Every cell is sealed with the companions of its policy, and each of them is whole."""
    for cell in deployment.cells:
        directory = folder / "cells" / cell.name
        manifest = read_manifest(directory)
        assert manifest.plan_hash == cell.plan_hash, cell.name
        assert (manifest.policy, manifest.way) == (cell.policy.name, cell.policy.way)
        assert [stage.name for stage in manifest.stages] == [stage.name for stage in cell.stages]
        requests = pq.read_table(directory / "trace.parquet").to_pylist()
        assert len(requests) > 50, cell.name
        assert {row["policy"] for row in requests} == {cell.policy.name}

        watching = deployment.settings.watching
        logs = {f"controller-{source}.jsonl" for source in watching.sources} if watching else set()
        if cell.policy.kind == "adaptive":
            logs.add("controller.jsonl")
        pinned = {DECISIONS_FILE} if cell.policy.way == "pinned" else set()
        assert set(manifest.companions) == logs | pinned, cell.name
        for log in logs:
            kinds = [json.loads(line)["kind"] for line in (directory / log).read_text().splitlines()]
            assert watching is not None
            assert kinds.count("poll") >= watching.baseline_polls, (cell.name, log)
        if pinned:
            decisions = {
                row["request_id"]: row for row in read_decisions(directory / DECISIONS_FILE).to_pylist()
            }
            # The end of a cell may keep a request that was decided from being sent.
            assert set(decisions) >= {row["request_id"] for row in requests}, cell.name
            served = [row for row in requests if row["status"] == "ok"]
            assert all(
                decisions[row["request_id"]]["decode_worker"] == row["decode_worker"] for row in served
            )
        if cell.policy.kind == "adaptive":
            assert {row["regime"] for row in requests} <= {"below", "transition", "saturated"}
        if cell.policy.kind in ("kv", "adaptive"):
            assert manifest.routing_test["ok"] is True


def valid_cells(results: Path, deployment: DeploymentPlan) -> list[tuple[str, str]]:
    """Routing set and name of each cell that passed its gates."""
    found = []
    for cell in deployment.cells:
        gates = read_manifest(raw(results, deployment) / "cells" / cell.name).gates
        assert gates is not None
        if gates.valid:
            found.append((deployment.routing, cell.name))
    return found


def is_estimated(results: Path, experiment: str) -> None:
    """Every file of the design is there, with every column and a row for all that was planned."""
    folder = results / "smoke" / "estimates" / experiment / f"{MODEL}_{TOPOLOGY}"
    assert {path.name for path in folder.iterdir()} == set(design_of(DESIGNS[experiment]).files)
    tables = {
        name: pq.read_table(folder / name) for name in design_of(DESIGNS[experiment]).files if name in COLUMNS
    }
    for name, table in tables.items():
        assert table.column_names == list(COLUMNS[name]), name
    planned = deployments(experiment)
    if DESIGNS[experiment] != "pareto":
        stages = sum(len(cell.stages) for deployment in planned for cell in deployment.cells)
        assert tables["stages.parquet"].num_rows == stages
        assert tables["detection.parquet"].num_rows > 0
        assert tables["polls.parquet"].num_rows > 0
        # On a busy machine some cell may not be valid, and what is drawn over time leaves it out.
        drawn = {(row["routing_set"], row["cell"]) for row in tables["series.parquet"].to_pylist()}
        assert drawn == {key for deployment in planned for key in valid_cells(results, deployment)}
    else:
        assert tables["pairs.parquet"].num_rows == sum(len(deployment.cells) for deployment in planned)
        assert tables["spread.parquet"].num_rows > 0
    system = json.loads((folder / "system.json").read_text())
    assert (system["experiment"], system["design"]) == (experiment, DESIGNS[experiment])
    assert set(system["routing"]) == {deployment.routing for deployment in planned}


@pytest.mark.parametrize("experiment", list(DESIGNS))
def test_every_set_of_policies_is_measured_and_estimated(tmp_path: Path, experiment: str) -> None:
    for deployment in deployments(experiment):
        started = time.monotonic()
        done = call("sweep", experiment, tmp_path, deployment.routing, "1")
        print(f"{deployment.title}: {len(deployment.cells)} cells, {time.monotonic() - started:.0f} s")
        assert done.returncode == 0, done.stderr
        for way in {policy.way for policy in deployment.policies}:
            assert {"builtin": "built-in", "pinned": "pinned"}[way] + " routing takes effect" in done.stderr
        holds_what_it_should(raw(tmp_path, deployment), deployment)
    done = call("system", experiment, tmp_path)
    assert done.returncode == 0, done.stderr
    is_estimated(tmp_path, experiment)


def logging_to(sweep: int, log: str) -> list[psutil.Process]:
    """Processes below a sweep that write to a log of that name."""
    found = []
    for process in psutil.Process(sweep).children(recursive=True):
        try:
            if any(Path(file.path).name == log for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_policy_whose_frontend_dies_ends_the_sweep_and_the_next_call_completes(tmp_path: Path) -> None:
    (deployment,) = (one for one in deployments("adaptive") if one.routing == "builtin")
    folder = raw(tmp_path, deployment)
    (cell,) = (cell for cell in deployment.cells if cell.policy.kind == "adaptive")
    rows = folder / "cells" / cell.name / "requests.jsonl"
    words = command("sweep", "adaptive", tmp_path, "builtin", "1")
    with (tmp_path / "sweep.log").open("w") as log:
        sweep = subprocess.Popen(words, cwd=PROJECT, stdout=log, stderr=log)
    try:
        ends = time.monotonic() + 120.0
        while not (rows.exists() and rows.stat().st_size > 0):
            assert sweep.poll() is None, (tmp_path / "sweep.log").read_text()
            assert time.monotonic() < ends, "the adaptive cell does not begin"
            time.sleep(0.05)
        victims = logging_to(sweep.pid, "frontend-adaptive-transition.log")
        assert victims, "no frontend of the regime transition"
        left = psutil.Process(sweep.pid).children(recursive=True)
        killed = time.monotonic()
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        status = sweep.wait(120.0)
    finally:
        sweep.kill()
        sweep.wait()
    took = time.monotonic() - killed
    said = (tmp_path / "sweep.log").read_text()
    print(f"ended {took:.1f} s after the kill, status {status}:\n{said}")
    assert status == 1, said
    assert "the deployment failed: process_died frontend-adaptive-transition" in said
    assert "remedy:" in said
    assert "Traceback" not in said
    assert not psutil.wait_procs(left, timeout=60.0)[1], "the deployment is gone with its sweep"
    assert not (folder / "cells" / cell.name / "manifest.json").exists()
    assert not (folder / "deployment.json").exists()
    before = {path: path.read_bytes() for path in folder.glob("cells/*/manifest.json")}

    again = call("sweep", "adaptive", tmp_path, "builtin", "1")
    assert again.returncode == 0, again.stderr
    assert (folder / "deployment.json").exists()
    holds_what_it_should(folder, deployment)
    for path, content in before.items():
        if json.loads(content)["gates"]["valid"]:
            assert path.read_bytes() == content, "a valid sealed cell is not measured again"
