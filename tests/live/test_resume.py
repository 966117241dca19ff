"""A run that is killed in the middle loses the running cell and no more, and leaves no process behind."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from anarchy.gates.registry import machine_gates
from anarchy.ground.layout import CONFIG
from anarchy.plan import workbench
from anarchy.telemetry.alias import Anonymiser
from anarchy.telemetry.leaks import find_leaks
from tests.helpers.places import PROJECT

MODEL = "nemotron-4-340b"
OTHER = "llama-3.1-70b"
GRID = {MODEL: [32, 64, 128], OTHER: [64]}
"""Thinner than tier smoke's: one cell sealed, one cut off, one not begun; of the other model any."""
CELLS = len(GRID[MODEL])
TIMING = {"warmup_s": 0.2, "measure_s": 0.5, "min_windows": 30, "measure_max_s": 1.0, "deadline_s": 20}
OUTPUT_TOKENS = 16
TOKEN = "hunter2-of-this-test"
ENVIRONMENT = {**os.environ, "HF_TOKEN": TOKEN, "NGC_API_KEY": TOKEN}

pytestmark = pytest.mark.live


def frozen(folder: Path, results: Path, model: str, topology: str) -> Path:
    """The run of one system, frozen: fewer and shorter cells than the configuration has in any tier.

    What it starts knows nothing but the frozen run.
    """
    config = folder / model
    shutil.copytree(CONFIG, config)
    with edited(config / "experiments" / "equilibrium.yaml") as experiment:
        experiment["tiers"]["smoke"] |= {"concurrency": GRID[model], "timing": TIMING}
    with edited(config / "workloads" / "unique.yaml") as workload:
        workload["output_tokens"] = OUTPUT_TOKENS
    choices = {"tier": "smoke", "experiments": ["equilibrium"], "models": [model], "topologies": [topology]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "CONFIG", config)
        return workbench.open_run({**choices, "results": str(results)}).freeze()


@contextmanager
def edited(file: Path) -> Iterator[dict[str, Any]]:
    """The content of a YAML file, written back as it was left."""
    content = yaml.safe_load(file.read_text())
    yield content
    file.write_text(yaml.safe_dump(content))


def command(run: Path) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--config", f"run={run}"]


def ran_through(run: Path) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on a frozen run to its end."""
    done = subprocess.run(
        command(run), cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done


def sealed(results: Path) -> dict[str, str]:
    """Digest of every sealed cell's manifest, by the cell's name."""
    manifests = results.glob("smoke/raw/equilibrium/*/*/*/*/cells/*/manifest.json")
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in manifests}


def manifests(results: Path) -> dict[str, dict[str, Any]]:
    """Manifest of every sealed cell, by the cell's name."""
    found = results.glob("smoke/raw/equilibrium/*/*/*/*/cells/*/manifest.json")
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def is_closed(manifest: dict[str, Any]) -> bool:
    """Whether a sealed cell stands; one that failed because the machine was busy is measured again."""
    gates = manifest["gates"]
    return gates["valid"] or not set(gates["reasons"]) <= machine_gates()


def mine(results: Path) -> list[psutil.Process]:
    """Every process that works for this run: its command line or its log folder names the results."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(str(results) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def wait_for(condition: object, what: str, seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if callable(condition) and condition():
            return
        time.sleep(0.1)
    pytest.fail(f"waited {seconds} s for {what}")


def interrupted(results: Path) -> list[Path]:
    """Cells with rows and no manifest: running now, or cut off."""
    rows = results.glob("smoke/raw/equilibrium/*/*/*/*/cells/*/requests.jsonl")
    return [path.parent for path in rows if not (path.parent / "manifest.json").exists()]


def test_kill_9_in_the_middle_then_run_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    results, configs = tmp_path / "results", tmp_path_factory.mktemp("configs")
    run = frozen(configs, results, MODEL, "1p2d")
    with (tmp_path / "first.log").open("w") as log:
        first = subprocess.Popen(
            command(run), cwd=PROJECT, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )
    children: list[psutil.Process] = []

    def running_past_the_first_cell() -> bool:
        assert first.poll() is None, (tmp_path / "first.log").read_text()
        return bool(sealed(results)) and bool(interrupted(results))

    try:
        wait_for(running_past_the_first_cell, "a sealed cell and a running one")
        children = psutil.Process(first.pid).children(recursive=True)
        before = sealed(results)
        closed = {name for name, manifest in manifests(results).items() if is_closed(manifest)}
        cut_off = interrupted(results)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert len(children) > 4, "the sweep and its deployment were running"
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert not mine(results)
    assert not [
        name for name in sealed(results) if sealed(results)[name] != before.get(name, sealed(results)[name])
    ]
    assert 0 < len(before) < CELLS
    assert len(cut_off) == 1

    unlocked = subprocess.run(
        [sys.executable, "-m", "anarchy.cli.main", "unlock"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "removed the lock" in unlocked.stdout, unlocked.stderr
    again = ran_through(run)
    after = sealed(results)
    assert len(after) == CELLS
    kept = {name: digest for name, digest in after.items() if name in closed}
    assert kept == {name: before[name] for name in closed}, "sealed cells that stand are not measured again"
    assert cut_off[0].name in after
    system = json.loads((results / f"smoke/estimates/equilibrium/{MODEL}_1p2d/system.json").read_text())
    assert [deployment["sittings"] for deployment in system["deployments"]] == [2]
    # On a busy machine no cell of the first start may stand; then all are of the second.
    starts = {manifest["launched_at"] for manifest in manifests(results).values()}
    assert len(starts) == (2 if closed else 1)
    told = any("2 starts of the stack" in deviation for deviation in system["deviations"])
    assert told == (len(starts) == 2)
    assert (results / "smoke/report.html").is_file()
    assert str(results / "smoke/report.html") in again.stdout + again.stderr

    tells_no_secret_and_no_name(tmp_path, again.stdout + again.stderr)
    nothing_more_to_do(results, run, after)
    measures_again_what_is_not_finished(results, run)
    refuses_damaged_traces(results, run)


def tells_no_secret_and_no_name(folder: Path, said: str) -> None:
    """Logs, traces, telemetry, notebooks and report of a run that had a token in its environment."""
    (folder / "second.log").write_text(said)
    host, home = socket.gethostname(), str(Path.home())
    names = Anonymiser({host: "node01"}, users={getpass.getuser()}, homes={home}, secrets={TOKEN})
    found = find_leaks(folder, names)
    assert [(str(leak.path), leak.place, leak.clean) for leak in found] == []
    (folder / "second.log").write_text(f"{TOKEN}\n{host}\n")
    assert len(find_leaks(folder, names)) == 2, "the search finds what it looks for"


def measures_again_what_is_not_finished(results: Path, run: Path) -> None:
    """Estimates and figures stand, but a sweep that was to measure again failed: that is no finished run."""
    (summary,) = results.glob("smoke/raw/equilibrium/*/*/*/*/deployment.json")
    aside = summary.rename(summary.with_suffix(".aside"))
    planned = subprocess.run([*command(run), "-n"], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert re.search(r"^sweep +1$", planned.stdout + planned.stderr, re.MULTILINE), planned.stdout
    aside.rename(summary)


def nothing_more_to_do(results: Path, run: Path, after: dict[str, str]) -> None:
    """A third call measures and draws nothing."""
    third = subprocess.run(command(run), cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert third.returncode == 0
    assert "Nothing to be done" in third.stdout + third.stderr
    assert sealed(results) == after


def refuses_damaged_traces(results: Path, run: Path) -> None:
    """An edited, a truncated and a deleted trace: each named, status 2, and the others are not touched."""
    traces = sorted(results.glob("smoke/raw/equilibrium/*/*/*/*/cells/*/trace.parquet"))
    whole = traces[0].read_bytes()
    middle = len(whole) // 2
    damages = {
        "truncated or edited": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "does not match its seal": whole[:middle],
        "there is no trace": None,
    }
    system = results / f"smoke/estimates/equilibrium/{MODEL}_1p2d/system.json"
    before = system.read_bytes()
    for what, content in damages.items():
        if content is None:
            traces[0].unlink()
        else:
            traces[0].write_bytes(content)
        estimate = [sys.executable, "-m", "anarchy.cli.main", "system", "equilibrium", MODEL, "1p2d"]
        done = subprocess.run(
            [*estimate, "--run", str(run)], cwd=PROJECT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2, done.stderr
        assert what in done.stderr
        assert str(traces[0].relative_to(results)) in done.stderr
        assert "remedy:" in done.stderr
        assert "Traceback" not in done.stderr
        assert system.read_bytes() == before, "an estimate is not rewritten from bad data"
    traces[0].write_bytes(whole)


@pytest.mark.nightly
def test_a_run_of_one_model_leaves_the_other_alone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It touches no file of the model that was run before, and the report shows both."""
    results, configs = tmp_path / "results", tmp_path_factory.mktemp("configs")
    ran_through(frozen(configs, results, MODEL, "1p2d"))

    def files() -> dict[Path, str]:
        mine = (
            path for path in results.rglob("*") if path.is_file() and MODEL in str(path.relative_to(results))
        )
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in mine}

    before = files()
    ran_through(frozen(configs, results, OTHER, "1p5d"))
    assert len(before) > 20
    assert files() == before
    report = (results / "smoke/report.html").read_text()
    assert "Nemotron-4-340B 1P/2D" in report
    assert "not part of this run" in report
    assert "Llama-3.1-70B 1P/5D" in report
