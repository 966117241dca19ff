"""The executor plugin without a cluster: what it reports, and what it goes on waiting for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm as slurm
from snakemake_interface_common.exceptions import WorkflowError

import snakemake_executor_plugin_anarchy as plugin
from anarchy.cluster import executor
from anarchy.cluster.executor import FORGOTTEN_AFTER_S, SILENT_AFTER_S, states_of


class Limiter(contextlib.AbstractAsyncContextManager[None]):
    async def __aexit__(self, *_: object) -> None:
        return None


class Bench:
    """An executor of ours over a Slurm that answers what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.answer: dict[str, str] | None = {}
        self.now = 0.0
        self.commands: list[str] = []
        self.folder = folder
        self.reported: dict[str, str] = {}
        self.cancelled: list[str] = []
        settings = SimpleNamespace(
            init_seconds_before_status_checks=40,
            requeue=False,
            keep_successful_logs=True,
            status_command="squeue",
        )
        own = object.__new__(plugin.Executor)
        own._waits, own._earlier = executor.Waits(), executor.Earlier()
        own._running, own.run_uuid = {}, "run"
        own.workflow = SimpleNamespace(executor_settings=settings)
        own.logger = logging.getLogger(__name__)
        self.executor, self.settings = own, settings
        monkeypatch.setattr(plugin.Executor, "status_rate_limiter", Limiter(), raising=False)
        monkeypatch.setattr(slurm.Executor, "run_job_pre", lambda *_: None)
        monkeypatch.setattr(slurm.Executor, "cancel_jobs", lambda _, jobs: self._cancel(jobs))
        monkeypatch.setattr(slurm.Executor, "report_job_success", self._success)
        monkeypatch.setattr(slurm.Executor, "report_job_error", self._error)
        monkeypatch.setattr(plugin, "query_job_status", self._query)
        monkeypatch.setattr(plugin, "get_min_job_age", lambda: 300)
        monkeypatch.setattr(plugin, "is_query_tool_available", lambda _: True)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    async def _query(self, command: str, _: object) -> tuple[dict[str, str] | None, float | None]:
        self.commands.append(command.split()[0])
        return self.answer, None if self.answer is None else 0.1

    def _success(self, job: Any) -> None:
        self.reported[job.external_jobid] = "success"

    def _error(self, job: Any, msg: str | None = None, **_: object) -> None:
        self.reported[job.external_jobid] = str(msg)

    def _cancel(self, jobs: Any) -> None:
        self.cancelled += [job.external_jobid for job in jobs]
        raise WorkflowError("Invalid job id specified")

    def job(self, number: str = "7") -> Any:
        wildcards = {"experiment": "e", "model": "m", "topology": "1p2d"}
        described = SimpleNamespace(
            wildcards=list(wildcards.values()),
            log=[self.folder / "sweep.log"],
            output=[self.folder / "deployment.json"],
        )
        return SimpleNamespace(external_jobid=number, aux={}, job=described)

    def look(self, *jobs: Any) -> list[str]:
        """Numbers of the jobs that are still waited for after a look at all of them."""

        async def kept() -> list[str]:
            return [job.external_jobid async for job in self.executor.check_active_jobs(jobs)]

        return asyncio.run(kept())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    executor.ended.clear()
    yield Bench(monkeypatch, tmp_path)
    executor.ended.clear()


def test_what_runs_is_waited_for_and_what_ended_is_told(bench: Bench) -> None:
    one, two, three = (bench.job(number) for number in "123")
    bench.answer = {"1": "RUNNING", "2": "COMPLETED", "3": "TIMEOUT"}
    assert bench.look(one, two, three) == ["1"]
    assert bench.reported["2"] == "success"
    assert "TIMEOUT" in bench.reported["3"]
    assert executor.ended == ["m/1p2d: job 3 TIMEOUT, before its sweep began; log " + str(three.job.log[0])]


def test_a_cancelled_job_that_accounting_tells_with_its_user_has_ended(bench: Bench) -> None:
    bench.answer = {"7": "CANCELLED by 0"}
    assert bench.look(bench.job()) == []
    assert "CANCELLED" in bench.reported["7"]
    assert states_of({"1": "CANCELLED+", "2": "UNKNOWN", "3": ""}) == {"1": "CANCELLED"}


def test_a_look_without_an_answer_drops_no_job(bench: Bench) -> None:
    job = bench.job()
    bench.answer = None
    assert bench.look(job) == ["7"]
    bench.now = SILENT_AFTER_S
    assert bench.look(job) == ["7"]
    bench.now = SILENT_AFTER_S + 1
    assert bench.look(job) == []
    assert "does not tell of this job" in bench.reported["7"]
    assert bench.cancelled == ["7"], "it may run still"


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("written", [False, True])
def test_a_job_that_slurm_forgot_is_judged_by_its_own_output(
    bench: Bench, *, earlier: bool, written: bool
) -> None:
    job = bench.job()
    output = job.job.output[0]
    if earlier:
        output.write_text('{"of": "an earlier plan"}')
    bench.executor.run_job_pre(job.job)
    assert bench.look(job) == ["7"], "a new job takes seconds to show up"
    if written:
        output.write_text("{}")
    bench.now = FORGOTTEN_AFTER_S + 1
    assert bench.look(job) == []
    assert (bench.reported["7"] == "success") is written
    assert written or "does not know this job any more" in bench.reported["7"]
    assert bench.cancelled == ([] if written else ["7"])


def test_the_log_of_an_earlier_job_is_not_quoted(bench: Bench) -> None:
    for number, own in (("1", ""), ("2", "[10:00:00] FAILED: a worker died\n")):
        job = bench.job(number)
        (log,) = job.job.log
        log.write_text("[09:00:00] FAILED: the knee changed\n")
        bench.executor.run_job_pre(job.job)
        if own:
            log.write_text(own)
        bench.answer = {number: "FAILED"}
        bench.look(job)
    first, second = executor.ended
    assert "job 1 FAILED, before its sweep began; log" in first
    assert "job 2 FAILED, a worker died; log" in second


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED"])
def test_a_job_that_slurm_took_off_its_nodes_is_waited_for_where_it_starts_again(
    bench: Bench, state: str
) -> None:
    bench.answer = {"7": state}
    bench.settings.requeue = True
    assert bench.look(bench.job()) == ["7"]
    bench.settings.requeue = False
    assert bench.look(bench.job()) == []
    assert state in bench.reported["7"]


def test_accounting_is_asked_where_the_controller_forgets_too_soon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.answer = {"7": "RUNNING"}
    bench.look(bench.job())
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 60)
    bench.look(bench.job())
    monkeypatch.setattr(plugin, "is_query_tool_available", lambda _: False)
    bench.look(bench.job())
    monkeypatch.setattr(plugin, "is_query_tool_available", lambda _: True)
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 0)  # it forgets none
    bench.look(bench.job())
    assert bench.commands == ["squeue", "sacct", "squeue", "squeue"]


def test_no_account_is_guessed(bench: Bench) -> None:
    job = SimpleNamespace(resources={"slurm_partition": "p"})
    assert list(bench.executor.get_account_arg(job)) == [""]


def test_a_call_that_ends_cancels_also_what_a_look_holds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(
        slurm.Executor,
        "cancel_jobs",
        lambda _, jobs: cancelled.extend(job.external_jobid for job in jobs),
    )
    monkeypatch.setattr(slurm.Executor, "report_job_submission", lambda *_: None)
    bench.executor.report_job_submission(bench.job("7"))
    bench.executor.cancel_jobs([])
    assert cancelled == ["7"]
    assert "CANCELLED by this call's end" in executor.ended[0]


def test_snakemake_loads_the_plugin_without_the_package(tmp_path: Path) -> None:
    """It does so before the Snakefile has taken foreign modules off the path."""
    (tmp_path / "anarchy.py").write_text("raise SystemExit('a foreign module was imported')")
    path = os.pathsep.join((str(tmp_path), str(Path(plugin.__file__).parents[1])))
    command = [sys.executable, "-c", "import snakemake_executor_plugin_anarchy"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
