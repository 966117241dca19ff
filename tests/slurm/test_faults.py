"""Faults in the middle of a run on the lab: each is told, costs the running cell at most, leaves nothing.

Every test runs a deployment over three nodes with the real Dynamo, waits until one cell is sealed and another
runs, and injects its fault.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab import PROJECT, Lab
from tests.slurm.fault_tools import PATIENCE_S, Call, Run, forget_jobs, kill, small_disk, until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(3600)]


@pytest.fixture
def run(lab: Lab, tmp_path: Path) -> Iterator[Run]:
    with running(Run(lab, tmp_path / "results", tmp_path)) as started:
        yield started


@contextlib.contextmanager
def running(run: Run) -> Iterator[Run]:
    """A run whose calls and jobs end with the test, whatever it found."""
    try:
        yield run
    finally:
        run.lab.start()
        for call in run.calls:
            call.end()
        until(lambda: not run.jobs(), 60, lambda: f"jobs {run.jobs()} to end")
        for process in run.processes():
            kill(process)


def assert_failed_and_completes(call: Call, kept: Mapping[str, str], *what: str) -> None:
    """The call ended by itself with status 1, left nothing, and the next one completes the run.

    And the user has read one line with these words and the path of the log.
    """
    assert call.wait(PATIENCE_S) == 1, call.output()
    call.run.assert_nothing_left()
    line = call.told()  # now: the next call may compress the log that it names
    print(line)
    call.run.complete(kept)
    for words in what:
        assert re.search(words, line), line
    assert "Traceback" not in call.output()


@pytest.mark.nightly
def test_a_decode_worker_dies(run: Run) -> None:
    call = run.start()
    kept = call.under_way()
    kill(run.decode_worker())
    assert_failed_and_completes(call, kept, r"decode-\d")


@pytest.mark.nightly
def test_the_job_is_cancelled(run: Run) -> None:
    call = run.start()
    kept = call.under_way()
    run.lab.query("scancel", call.job())
    assert_failed_and_completes(call, kept, f"job {call.job()}", "CANCELLED")


@pytest.mark.nightly
@pytest.mark.parametrize("node", ["node03", "node01"])
def test_a_node_loses_power(run: Run, node: str) -> None:
    """A node with a worker, and the one that everything else runs on."""
    call = run.start()
    kept = call.under_way()
    run.lab.kill_node(node)
    assert call.wait(PATIENCE_S) == 1, call.output()
    run.lab.restore_node(node)
    assert_failed_and_completes(call, kept, r"NODE_FAIL|decode-\d")


@pytest.mark.nightly
def test_the_driver_is_killed(run: Run) -> None:
    """Its job goes on; the next call takes over what it measures, and leaves no job behind."""
    call = run.start()
    kept = call.under_way()
    call.process.kill()
    call.process.wait()
    unlocked = anarchy("unlock")
    assert "removed the lock" in unlocked.stdout, unlocked.stderr
    assert run.jobs() == call.jobs(), "an orphan measures on: its cells are as good as any"
    before = run.valid()
    run.complete({**kept, **before})


@pytest.mark.nightly
def test_ctrl_c_ends_the_job(run: Run) -> None:
    call = run.start()
    kept = call.under_way()
    os.killpg(call.process.pid, signal.SIGINT)
    assert call.wait(60) == 1, call.output()
    run.assert_nothing_left()
    assert "Terminating processes on user request" in call.output()
    assert f"job {call.job()} CANCELLED" in call.told()
    assert "Traceback" not in call.output()
    run.complete(kept)


@pytest.mark.nightly
def test_sigterm_lets_the_job_finish(run: Run) -> None:
    """What a shutdown sends: no further job is submitted, the running one is waited for and counts."""
    call = run.start()
    kept = call.under_way()
    call.process.terminate()
    assert call.wait(PATIENCE_S) == 1, "what comes after the measurements was not made"
    assert "Will exit after finishing currently running jobs" in call.output()
    assert "Traceback" not in call.output()
    run.assert_nothing_left()
    run.assert_complete(kept)
    run.complete(run.valid())


@pytest.mark.nightly
def test_the_only_prefill_worker_dies(run: Run) -> None:
    call = run.start()
    kept = call.under_way()
    kill(run.find("dynamo.mocker", "prefill"))
    assert_failed_and_completes(call, kept, r"(process_died|lost) prefill-0")


@pytest.mark.nightly
def test_etcd_dies(run: Run) -> None:
    call = run.start()
    kept = call.under_way()
    kill(run.find("etcd"))
    assert_failed_and_completes(call, kept, "process_died etcd")


@pytest.mark.nightly
def test_the_frontend_dies(run: Run) -> None:
    call = run.start()
    kept = call.under_way()
    kill(run.find("dynamo.frontend"))
    assert_failed_and_completes(call, kept, "process_died frontend-static")


@pytest.mark.nightly
def test_the_client_is_killed(run: Run) -> None:
    """The sweep itself, which holds the load client."""
    call = run.start()
    kept = call.under_way()
    kill(run.find("anarchy.cli.main", "sweep"))
    assert_failed_and_completes(call, kept, f"job {call.job()}")


@pytest.mark.nightly
def test_the_job_hits_its_time_limit(run: Run) -> None:
    """Slurm ends it at the limit; the shortest is a minute, and the sweep is held so that it takes longer."""
    call = run.start()
    kept = call.under_way()
    run.lab.query("scontrol", "update", f"JobId={call.job()}", "TimeLimit=1")
    run.find("anarchy.cli.main", "sweep").suspend()
    assert_failed_and_completes(call, kept, f"job {call.job()}", "TIMEOUT")


@pytest.mark.nightly
def test_the_controller_is_away_for_a_minute(run: Run) -> None:
    """The job never notices, and the driver asks again until it is answered."""
    call = run.start()
    kept = call.under_way()
    run.lab.stop_controller()
    time.sleep(60)
    run.lab.start_controller()
    assert call.wait(PATIENCE_S) == 0, call.output()
    run.assert_nothing_left()
    run.assert_complete(kept)


@pytest.mark.nightly
def test_a_job_that_is_gone_is_not_waited_for(run: Run) -> None:
    """The controller comes back without its memory: Slurm knows nothing of the job any more."""
    call = run.start()
    kept = call.under_way()
    run.lab.query("scancel", call.job())
    until(lambda: not run.jobs(), 30, lambda: "the job to end")
    forget_jobs(run.lab)
    assert_failed_and_completes(call, kept, f"job {call.job()}")


@pytest.mark.nightly
def test_the_shared_folder_fills_up(lab: Lab, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(lab, disk, megabytes=400), running(Run(lab, disk / "results", tmp_path)) as run:
        call = run.start()
        kept = call.under_way()
        filler = disk / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65536))
        assert call.wait(PATIENCE_S) == 1, call.output()
        filler.unlink()
        assert_failed_and_completes(call, kept, "no disk space is left|No space left")


def anarchy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "anarchy.cli.main", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
