"""From E1's estimate to the loads of E3, through Snakemake, with sweeps that make their cells up."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.places import PROJECT
from tests.helpers.warm import run_python
from tests.workflow.commands import snakemake_command, snakemake_words

MADE_UP = Path(__file__).parent / "made_up"
SYSTEM = "nemotron-4-340b_1p2d"
CHOICES = ("tier=smoke", "experiments=adaptive", "sets=builtin")
ESTIMATES = ("equilibrium", "adaptive")

Made = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python whose sweeps make their cells up."""
    command = [sys.executable, str(MADE_UP / "make_python.py"), str(tmp_path_factory.mktemp("python"))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def made(results: Path, python: str) -> Made:
    """Run Snakemake on this folder of results; sweeps make their cells up."""

    def run(
        *config: str, targets: tuple[str, ...] = (), options: tuple[str, ...] = (), **changes: str
    ) -> subprocess.CompletedProcess[str]:
        paths = [str(results / "smoke" / target) for target in targets]
        words = snakemake_words(results, *(config or CHOICES), options=(*options, *paths))
        return run_python(*words, env={**environment(), **changes}, timeout=500, starts=python)

    return run


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def estimate_of(experiment: str) -> str:
    return f"estimates/{experiment}/{SYSTEM}/system.json"


E3 = (estimate_of("adaptive"),)
LOADS = f"knees/{SYSTEM}/loads.json"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def plans(results: Path, experiment: str) -> dict[str, Any]:
    """What the sweeps of an experiment sealed before their first cells, by deployment."""
    return {
        "/".join(path.parts[-4:-1]): read(path)
        for path in (results / "smoke" / "raw" / experiment).glob("*/*/*/*/plan.json")
    }


def measured(results: Path) -> dict[str, int]:
    """Seal of every cell, by its place: another one was measured again."""
    raw = results / "smoke" / "raw"
    return {
        str(path.relative_to(raw)): path.stat().st_mtime_ns
        for path in raw.glob("*/*/*/*/*/cells/*/manifest.json")
    }


def jobs(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Rules of the jobs that ran, or would."""
    table = re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, flags=re.MULTILINE)
    return sorted({rule for rule in table if rule not in ("total", "all")})


def test_e1_tells_the_knee_and_e3_loads_multiples_of_it(made: Made, results: Path) -> None:
    """Cut off after E1 and resumed; an output deleted in the middle; E1 estimated again; another knee."""
    assert made(targets=(estimate_of("equilibrium"),)).returncode == 0
    e1 = measured(results)
    done = made(targets=E3)
    assert done.returncode == 0, done.stderr
    assert {name: seal for name, seal in measured(results).items() if name in e1} == e1
    loads = read(results / "smoke" / LOADS)
    assert list(loads) == ["knee"], "nothing but the knee: else an equal estimate would measure E3 again"
    knee = loads["knee"]
    assert 40 < knee < 130
    origin = read(results / "smoke" / "knees" / SYSTEM / "provenance.json")
    assert origin["interval"][0] <= origin["value"] <= origin["interval"][1]
    run = read(results / "smoke" / "run.json")["run"]
    assert (origin["engine"], origin["workload"], origin["run"]) == ("mocker", "unique", run)

    (plan,) = plans(results, "adaptive").values()
    below, past, recovery = plan["cells"]["unique-staged_static"]["concurrency"]
    assert (below, recovery) == (round(0.4 * knee), round(0.2 * knee))
    assert past in (128, 256), "the load past the knee lies on E1's grid, which both experiments measure"
    assert (plan["run"], plan["knee"]["value"]) == (run, knee)
    assert plan["knee"]["origin"]["run"] == run
    system = read(results / "smoke" / E3[0])
    assert (system["knee"], system["knee_from"]["run"]) == (knee, run)

    seals = measured(results)
    assert jobs(made(targets=E3, options=("-n",))) == []

    # As if it had been deleted before E3 was through: its cells are sealed, and nothing after them is made.
    shutil.rmtree(results / "smoke" / "estimates" / "adaptive")
    for gone in (results / "smoke" / LOADS, *(results / "smoke").glob("raw/adaptive/**/deployment.json")):
        gone.unlink()
    assert made(targets=E3).returncode == 0
    assert read(results / "smoke" / LOADS) == loads
    assert measured(results) == seals, "the same knee again measures nothing again"

    shutil.rmtree(results / "smoke" / "estimates" / "equilibrium")
    assert made(targets=E3).returncode == 0
    assert measured(results) == seals

    (results / "smoke" / LOADS).write_text(json.dumps({"knee": 55}))
    assert made(targets=E3).returncode == 0
    after = measured(results)
    assert {name for name in seals if seals[name] != after[name]} == seals.keys() - e1.keys()
    (plan,) = plans(results, "adaptive").values()
    assert plan["cells"]["unique-staged_static"]["concurrency"][0] == 22


@pytest.mark.nightly
def test_no_knee_ends_well_and_says_so(made: Made, results: Path) -> None:
    done = made(MADE_UP_FLAT="1")
    assert done.returncode == 0, done.stdout + done.stderr
    loads = read(results / "smoke" / LOADS)
    assert loads["knee"] is None
    assert loads["reason"]
    (summary,) = (results / "smoke" / "raw" / "adaptive").glob("*/*/*/*/deployment.json")
    assert read(summary)["no_knee"] == loads["reason"]
    assert not list(summary.parent.glob("cells/*"))
    verdicts = {one["id"]: one for one in read(results / "smoke" / "claims.json")}
    assert verdicts["C8"]["verdict"] != "reproduced"
    told = [one["knee"] for one in verdicts.values() if one["knee"]]
    assert told
    assert all("E1 found no knee" in words for words in told)
    assert "E1 found no knee" in (results / "smoke" / "report.html").read_text()
    assert jobs(made(options=("-n",), MADE_UP_FLAT="1")) == []


@pytest.mark.nightly
def test_an_e1_that_failed_because_of_the_machine_tells_no_knee(made: Made, results: Path) -> None:
    done = made(targets=E3, MADE_UP_FAILS="client_bound")
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "cells failed because of the machine: C = 64 (client_bound)" in told
    assert "remedy: have the machine to yourself and run again after" in told
    assert not (results / "smoke" / LOADS).exists()
    command = re.search(r"`rm (.+?)`", told)
    assert command
    for file in command[1].split():
        Path(file).unlink()
    again = made(targets=E3)
    assert again.returncode == 0, again.stderr
    assert read(results / "smoke" / LOADS)["knee"]


@pytest.mark.nightly
def test_two_runs_in_one_folder_leave_each_other_alone(made: Made, results: Path, anarchy: Made) -> None:
    """Another seed is another run: its file does not touch the first, which a job may still wait for."""
    assert made(targets=(estimate_of("equilibrium"),)).returncode == 0
    first = results / "smoke" / "runs" / (read(results / "smoke" / "run.json")["run"] + ".json")
    text = first.read_text()
    other = made("tier=smoke", "experiments=equilibrium", "models=llama-3.1-70b", "topologies=1p2d", "seed=7",
                 targets=("estimates/equilibrium/llama-3.1-70b_1p2d/system.json",))  # fmt: skip
    assert other.returncode == 0, other.stderr
    assert read(results / "smoke" / "run.json")["run"] != first.stem
    assert first.read_text() == text
    frozen = made(f"run={first}", targets=E3)
    assert frozen.returncode == 0, frozen.stderr
    assert read(results / "smoke" / "run.json")["run"] == first.stem
    (plan,) = plans(results, "adaptive").values()
    assert plan["run"] == first.stem

    # By hand, past Snakemake: E1 on disk is of another plan than the run that asks for its knee.
    words = ("--tier", "smoke", "--experiments", "adaptive", "--results", str(results), "--seed", "7")
    refused(anarchy("knee", "nemotron-4-340b", "1p2d", *words), "E1 was measured under another plan")
    refused(
        made(f"run={first}", "seed=3", options=("-n",)),
        "a frozen run is as it is, but --config asks for another seed",
    )
    # As results were before runs told their knees.
    for sealed in (results / "smoke" / "raw" / "adaptive").rglob("plan.json"):
        sealed.unlink()
    before = made(targets=E3)
    refused(before, "1 deployments were measured before runs told their knees", "knees=recorded")

    first.write_text(text.replace('"seed": 20260611', '"seed": 20260612', 1))
    refused(made(f"run={first}", targets=E3), f"{first.name}: was edited: its content has the digest")


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One message, a remedy, and status 2."""
    assert done.returncode == 2, done.stdout + done.stderr
    for word in (*words, "remedy:"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.nightly
def test_two_calls_at_once_on_the_same_results(
    results: Path, tmp_path: Path, made: Made, python: str
) -> None:
    """The second is refused, and takes nothing from the first."""
    go = tmp_path / "go"
    first = subprocess.Popen(
        snakemake_command(results, *CHOICES, options=(str(results / "smoke" / E3[0]),), python=python),
        cwd=PROJECT,
        env={**environment(), "MADE_UP_WAITS": str(go)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        latest = results / "smoke" / "run.json"
        until(lambda: latest.exists() or first.poll() is not None)
        run = read(latest)["run"]
        second = made(*CHOICES, "seed=7", targets=E3)
        assert second.returncode != 0
        assert "cannot be locked" in second.stdout + second.stderr
        assert "--unlock" in second.stdout + second.stderr
        assert read(latest)["run"] == run
    finally:
        go.touch()
        told, _ = first.communicate(timeout=300)
    assert first.returncode == 0, told
    assert {plan["run"] for plan in plans(results, "adaptive").values()} == {run}


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.1)
