"""Executor plugin of Snakemake: the Slurm executor, with every wait bounded (`executor: anarchy`).

The Slurm executor (2.8.0) waits for ever in three cases: a job that Slurm has forgotten, a look that Slurm
did not answer (it then drops its jobs and never looks again), and a job that sacct calls `CANCELLED by 0`. It
guesses an account with a command that always fails, and says so in every run; Slurm knows a user's default
account itself. A job that asks for 0 MB gets `--mem=0`, which is all memory of its nodes; the executor leaves
a 0 out. What it does beside this, above all how a job is submitted, stays.

Snakemake imports every plugin before it reads the Snakefile, which is what keeps foreign modules on
PYTHONPATH out. So the package `anarchy` is imported only when an executor is made.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as slurm
from snakemake_executor_plugin_slurm.job_status_query import (
    get_min_job_age,
    is_query_tool_available,
    query_job_status,
    query_job_status_sacct,
    query_job_status_squeue,
)
from snakemake_interface_common.exceptions import WorkflowError

common_settings = slurm.common_settings
LOOKS_KEPT = 3
"""Slurm must know an ended job for so many looks, or it is asked by way of its accounting."""


@dataclass
class ExecutorSettings(slurm.ExecutorSettings):  # type: ignore[misc]  # the plugin has no types
    """Those of the Slurm executor, as `--anarchy-...`."""


class Executor(slurm.Executor):  # type: ignore[misc]
    """The Slurm executor; a failed job is told in one line, `anarchy.cluster.executor.ended`."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        from anarchy.cluster.executor import Earlier, Waits

        # First: the base class starts the thread that looks after jobs.
        self._waits, self._earlier = Waits(), Earlier()
        self._running: dict[str, Any] = {}
        super().__init__(workflow, logger)

    def get_account_arg(self, job: Any) -> Iterator[str]:
        """The account that the site names; else none, which is the user's default account."""
        if job.resources.get("slurm_account"):
            yield from super().get_account_arg(job)
        else:
            yield ""

    def get_partition_arg(self, job: Any) -> str:
        """The partition, and all memory of the nodes where a job asks for 0 MB."""
        words: str = super().get_partition_arg(job)
        return f"{words} --mem=0" if job.resources.get("mem_mb") == 0 else words

    async def check_active_jobs(self, active_jobs: Sequence[Any]) -> AsyncIterator[Any]:
        """Report what ended, and yield every job that is to be waited for."""
        settings = self.workflow.executor_settings
        # The pause stays the first one; the Slurm executor's own grows to 180 s.
        self.next_seconds_between_status_checks = settings.init_seconds_before_status_checks
        if not active_jobs:
            return
        async with self.status_rate_limiter:
            await self._look()
        now = time.monotonic()
        for job in active_jobs:
            if not self._settled(job, now, requeue=bool(settings.requeue)):
                yield job

    async def _look(self) -> None:
        """Ask Slurm for the states of this run's jobs."""
        from anarchy.cluster.executor import states_of

        command = self._status_command()
        ask = query_job_status_squeue if command == "squeue" else query_job_status_sacct
        answer, _ = await query_job_status(ask(self.run_uuid), self.logger)
        self._waits.states = states_of(answer)
        self._waits.of_controller = command == "squeue"

    def _status_command(self) -> str:
        """The command that the settings name, where it can tell how a job ended; else the other one."""
        command: str = self.get_status_command()
        accounting = is_query_tool_available("sacct")
        age = get_min_job_age()
        pause = self.workflow.executor_settings.init_seconds_before_status_checks
        if command == "squeue" and accounting and (age is None or 0 < age < LOOKS_KEPT * pause):
            return "sacct"
        return command if command == "squeue" or accounting else "squeue"

    def _settled(self, job: Any, now: float, *, requeue: bool) -> bool:
        """Report a job that ended or that is waited for no longer, and say whether it was one."""
        from anarchy.cluster.executor import FAIL_STATES, REQUEUED

        number = job.external_jobid
        reason = self._waits.verdict(number, now)
        state = (self._waits.states or {}).get(number, "")
        if reason is not None:
            if all(self._earlier.written(Path(str(file))) for file in job.job.output):
                self.report_job_success(job)
            else:
                self._give_up(job)
                self.report_job_error(job, msg=f"SLURM-job '{number}': {reason}. ")
            return True
        if state == "COMPLETED":
            self.report_job_success(job)
            self._remove_log(job)
            return True
        if state in FAIL_STATES and not (requeue and state in REQUEUED):
            logs = [str(log) for log in _logs(job)]
            self.report_job_error(job, msg=f"SLURM-job '{number}' ended as {state}. ", aux_logs=logs)
            return True
        return False

    def _give_up(self, job: Any) -> None:
        """Cancel a job that is not waited for any more: it may run still."""
        with contextlib.suppress(WorkflowError, OSError):  # Slurm may not know it, or not answer
            super().cancel_jobs([job])

    def _remove_log(self, job: Any) -> None:
        if self.workflow.executor_settings.keep_successful_logs:
            return
        for log in _logs(job):
            with contextlib.suppress(OSError):  # a log that stays does no harm
                log.unlink(missing_ok=True)

    def run_job_pre(self, job: Any) -> None:
        """Remember what earlier jobs left where this one writes, before it is submitted."""
        self._earlier.note(*(Path(str(file)) for file in (*job.output, *job.log)))
        super().run_job_pre(job)

    def report_job_submission(self, job_info: Any, *rest: Any, **named: Any) -> None:
        """Know it as running: during a look the base class's own list is empty."""
        self._running[job_info.external_jobid] = job_info
        super().report_job_submission(job_info, *rest, **named)

    def report_job_success(self, job_info: Any) -> None:
        """It has ended, well."""
        self._running.pop(job_info.external_jobid, None)
        super().report_job_success(job_info)

    def report_job_error(self, job_info: Any, msg: str | None = None, **named: Any) -> None:
        """It has ended; what happened is one line, for the end of the call."""
        from anarchy.cluster.executor import ended, line_of, log_of, title_of

        self._running.pop(job_info.external_jobid, None)
        number = job_info.external_jobid
        state = (self._waits.states or {}).get(number, "gone")
        log = log_of(job_info)
        ended.append(line_of(title_of(job_info), number, state, log, began=self._earlier.written(log)))
        super().report_job_error(job_info, msg=msg, **named)

    def cancel_jobs(self, active_jobs: Sequence[Any]) -> None:
        """Cancel every job of this call, also where a Ctrl-C comes during a look."""
        from anarchy.cluster.executor import ended, log_of, title_of

        everyone = {**{job.external_jobid: job for job in active_jobs}, **self._running}
        for number, job in everyone.items():
            ended.append(f"{title_of(job)}: job {number} CANCELLED by this call's end; log {log_of(job)}")
        super().cancel_jobs(list(everyone.values()))


def _logs(job: Any) -> list[Path]:
    """Log of the job itself, as Slurm wrote it; none of a job that was never submitted."""
    log = (job.aux or {}).get("slurm_logfile")
    return [] if log is None else [Path(log)]
