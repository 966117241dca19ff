"""Where snakemake runs: what its Slurm executor lacks.

The executor (2.8.0) waits for ever in three cases: a job that Slurm has forgotten, a look that Slurm did not
answer (it then drops its jobs from the list and never looks again), and a job that sacct calls
`CANCELLED by 0`. And it says of a failed job no more than its state. Here every wait is bounded, and a failed
job is one line: the deployment, Slurm's state, the sweep's last word, and the path of its log. A job that
asks for 0 MB gets `--mem=0`, which is all memory of its nodes; the executor leaves a 0 out.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FORGOTTEN_AFTER_S = 60.0
"""A job that Slurm does not know for so long is gone; a new one may take seconds to show up."""
SILENT_AFTER_S = 3600.0
"""A Slurm that does not answer for so long is given up: a restart takes less."""
FULL_BELOW = 1_000_000
"""A disk with fewer bytes free is full."""
FAILED = "FAILED: "
"""How the last line of a sweep that could not go on begins, in its log."""

ended: list[str] = []
"""One line for each job that failed in this call."""


class Waits:
    """What is known of jobs that Slurm does not speak of."""

    def __init__(self) -> None:
        self.states: Mapping[str, str] | None = None
        self.of_controller = False
        """Whether the states are the controller's word (squeue); the database (sacct) may be behind."""
        self._missing_since: dict[tuple[str, bool], float] = {}

    def verdict(self, job: str, now: float) -> str | None:
        """Why a job that was neither reported nor kept is given up; None while it is waited for."""
        known = self.states is not None and job in self.states
        denied = self.states is not None and not known and self.of_controller
        self._missing_since.pop((job, not denied), None)
        if known:
            self._missing_since.pop((job, denied), None)
            return None
        waited = now - self._missing_since.setdefault((job, denied), now)
        if denied:
            return "Slurm does not know this job any more" if waited > FORGOTTEN_AFTER_S else None
        return "Slurm does not tell of this job" if waited > SILENT_AFTER_S else None


def mend_executor() -> None:
    """Bound the executor's waits and have it tell what happened; once a process."""
    import snakemake_executor_plugin_slurm as plugin

    executor: Any = plugin.Executor
    if hasattr(executor, "mended"):
        return
    executor.mended = True
    waits = Waits()
    submit = plugin.get_submit_command
    ask, look = plugin.query_job_status, executor.check_active_jobs
    report_submission, cancel_jobs = executor.report_job_submission, executor.cancel_jobs
    report_success, report_error = executor.report_job_success, executor.report_job_error
    running: dict[str, Any] = {}
    settled: set[str] = set()

    def submit_command(job: Any, *rest: Any, **named: Any) -> str:
        words: str = submit(job, *rest, **named)
        return f"{words} --mem=0" if job.resources.get("mem_mb") == 0 else words

    async def query(command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
        states, seconds = await ask(command, logger)
        waits.of_controller = command.startswith("squeue")
        # sacct says `CANCELLED by 0`, which the executor compares with `CANCELLED`.
        waits.states = None if states is None else {job: state.split()[0] for job, state in states.items()}
        return (None if waits.states is None else dict(waits.states)), seconds

    async def check(self: Any, active_jobs: Sequence[Any]) -> AsyncIterator[Any]:
        waits.states = None
        async for _ in look(self, active_jobs):
            pass  # what it keeps is every job that was not reported, or none at all
        # Its own pause grows to 180 s, and its exit takes as long.
        settings = self.workflow.executor_settings
        self.next_seconds_between_status_checks = settings.init_seconds_before_status_checks
        now = time.monotonic()
        for job in active_jobs:
            if job.external_jobid in settled:
                continue
            why = waits.verdict(job.external_jobid, now)
            if why is None:
                yield job
            elif all(Path(str(file)).exists() for file in job.job.output):
                self.report_job_success(job)
            else:
                self.report_job_error(job, msg=f"SLURM-job '{job.external_jobid}': {why}. ")

    def submission(self: Any, job: Any, **rest: Any) -> None:
        running[job.external_jobid] = job
        report_submission(self, job, **rest)

    def cancel(self: Any, active_jobs: Sequence[Any]) -> None:
        # During a look the executor's own list is empty: a Ctrl-C would leave every job behind.
        everyone = {**{job.external_jobid: job for job in active_jobs}, **running}
        for number, job in everyone.items():
            ended.append(f"{title_of(job)}: job {number} CANCELLED by this call's end; log {log_of(job)}")
        cancel_jobs(self, list(everyone.values()))

    def settle(job: Any) -> None:
        running.pop(job.external_jobid, None)
        settled.add(job.external_jobid)

    def success(self: Any, job: Any) -> None:
        settle(job)
        report_success(self, job)

    def error(self: Any, job: Any, msg: str | None = None, **rest: Any) -> None:
        settle(job)
        state = (waits.states or {}).get(job.external_jobid, "gone")
        ended.append(line_of(title_of(job), job.external_jobid, state, log_of(job)))
        report_error(self, job, msg=msg, **rest)

    plugin.get_submit_command = submit_command
    plugin.query_job_status = query
    executor.check_active_jobs = check
    executor.report_job_submission = submission
    executor.cancel_jobs = cancel
    executor.report_job_success = success
    executor.report_job_error = error


def title_of(job: Any) -> str:
    """What every message calls the deployment of a job: all its wildcards but the experiment."""
    return "/".join([*job.job.wildcards][1:])


def log_of(job: Any) -> Path:
    """Log of the sweep of a job."""
    return Path(str(job.job.log[0]))


def line_of(title: str, job: str, state: str, log: Path) -> str:
    """What happened to a deployment, in one line."""
    word = last_word(log)
    return f"{title}: job {job} {state}, {word}" + ("" if "; log " in word else f"; log {log}")


def last_word(log: Path) -> str:
    """How a sweep ended, by its own log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "before its sweep began"
    if not lines:
        return "before its sweep began"
    _, failed, why = lines[-1].partition(FAILED)
    if failed:
        return why
    if shutil.disk_usage(log.parent).free < FULL_BELOW:
        return "no disk space is left"  # so it could not say so itself
    return f"without a word after: {lines[-1]}"
