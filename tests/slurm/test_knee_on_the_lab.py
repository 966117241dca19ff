"""E1 and E3 of one system through Slurm in one call: killed between them, resumed, another run in the queue.

Sweeps make their cells up here (`tests/workflow/made_up`), so that this is about jobs, frozen runs and knees,
and not about how busy the machine is; `make lab-reproduce EXPERIMENTS=adaptive TIER=smoke` does it with real
ones.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.helpers.places import PROJECT
from tests.slurm.fault_tools import POLL, SITE

pytestmark = [pytest.mark.slurm, pytest.mark.nightly, pytest.mark.timeout(3600)]

MADE_UP = PROJECT / "tests" / "workflow" / "made_up"
PATIENCE_S = 900.0
SYSTEM = "nemotron-4-340b_1p2d"


def start(python: str, env: dict[str, str], log: Path, *choices: str) -> subprocess.Popen[str]:
    """Call snakemake in the background, in a process group of its own."""
    options = ["--profile", "slurm", *POLL, "--config", f"site={SITE}", "tier=smoke", *choices]
    with log.open("w") as output:
        return subprocess.Popen(
            [python, "-m", "snakemake", "measure", *options],
            cwd=PROJECT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True,
            start_new_session=True,
        )  # fmt: skip


def until(what: str, condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(0.2)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def seals(results: Path, experiment: str) -> dict[str, int]:
    found = (results / "smoke" / "raw" / experiment).rglob("cells/*/manifest.json")
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_e1_and_e3_through_slurm_cut_off_between_them(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    go = tmp_path / "go"
    make = [sys.executable, str(MADE_UP / "make_python.py"), str(tmp_path / "python")]
    python = subprocess.run(make, check=True, capture_output=True, text=True).stdout.strip()
    env = {**env, "MADE_UP_WAITS": str(go)}
    results, other = tmp_path / "results", tmp_path / "other"
    choices = ("experiments=adaptive", f"results={results}")
    first = start(python, env, tmp_path / "first.log", *choices)
    second = None
    try:
        until("the job of E1", lambda: lab.query("squeue", "-h", "-o", "%A").split())
        run = read(results / "smoke" / "run.json")["run"]
        frozen = results / "smoke" / "runs" / f"{run}.json"
        text = frozen.read_text()
        second = start(
            python, env, tmp_path / "second.log",
            "experiments=equilibrium", "models=nemotron-4-340b", "seed=7", f"results={other}",
        )  # fmt: skip
        until("both jobs in the queue", lambda: len(lab.query("squeue", "-h", "-o", "%A").split()) == 2)
        go.touch()
        knee = results / "smoke" / "knees" / SYSTEM / "loads.json"
        until("the knee", knee.exists)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert second.wait(timeout=PATIENCE_S) == 0, (tmp_path / "second.log").read_text()
    finally:
        for call in filter(None, (first, second)):
            if call.poll() is None:
                os.killpg(call.pid, signal.SIGKILL)
                call.wait()
    until("an empty queue", lambda: not lab.query("squeue", "-h").strip())
    e1, told = seals(results, "equilibrium"), read(knee)
    assert e1
    unlock = [sys.executable, "-m", "anarchy.cli.main", "unlock"]
    subprocess.run(unlock, cwd=PROJECT, env=env, check=True, timeout=60)

    again = start(python, env, tmp_path / "again.log", *choices)
    assert again.wait(timeout=PATIENCE_S) == 0, (tmp_path / "again.log").read_text()
    assert seals(results, "equilibrium") == e1, "E1 is not measured again"
    assert read(knee) == told
    assert frozen.read_text() == text, "the second run left the first as it was frozen"
    sealed = [read(path) for path in (results / "smoke" / "raw" / "adaptive").rglob("plan.json")]
    assert len(sealed) == 2, "builtin and pinned"
    for plan in sealed:
        assert plan["run"] == run
        assert plan["knee"]["value"] == told["knee"]
        assert plan["knee"]["origin"]["run"] == run
    assert read(other / "smoke" / "run.json")["run"] != run
