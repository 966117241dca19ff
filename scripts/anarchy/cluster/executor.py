"""Where snakemake runs: how long a Slurm job is waited for, and what is said of one that ended.

A failed job is one line: the deployment, Slurm's state, the sweep's last word, and the path of its log. The
executor plugin `snakemake_executor_plugin_anarchy` uses both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
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


FAIL_STATES = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "DEADLINE", "ERROR", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "REVOKED", "TIMEOUT"),
    }
)
"""Slurm's states of a job that ended and did not do its work."""
REQUEUED = frozenset({"NODE_FAIL", "PREEMPTED"})
"""Those of them after which Slurm starts the job again, where it may."""
BEFORE = "before its sweep began"


def states_of(answer: Mapping[str, str] | None) -> dict[str, str] | None:
    """State of each job as one word: sacct says `CANCELLED by 0`. None where Slurm did not answer."""
    if answer is None:
        return None
    # UNKNOWN is what Slurm says where it does not say.
    words = {job: state.split()[0].rstrip("+") for job, state in answer.items() if state.strip()}
    return {job: word for job, word in words.items() if word != "UNKNOWN"}


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


class Earlier:
    """What lay where a job writes before it was submitted: an earlier job's, not to be taken for its own."""

    def __init__(self) -> None:
        self._marks: dict[Path, tuple[int, int] | None] = {}

    def note(self, *files: Path) -> None:
        """Remember these files as they are now."""
        self._marks |= {file: _mark(file) for file in files}

    def written(self, file: Path) -> bool:
        """Whether a file is there that was written since it was noted."""
        mark = _mark(file)
        return mark is not None and mark != self._marks.get(file)


def _mark(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written; never compared with a clock, of which each machine has its own."""
    try:
        with file.open("rb") as opened:  # a network file system looks anew at what is opened
            status = os.fstat(opened.fileno())
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def title_of(job: Any) -> str:
    """What every message calls the deployment of a job: all its wildcards but the experiment."""
    return "/".join([*job.job.wildcards][1:])


def log_of(job: Any) -> Path:
    """Log of the sweep of a job."""
    return Path(str(job.job.log[0]))


def line_of(title: str, job: str, state: str, log: Path, *, began: bool) -> str:
    """What happened to a deployment, in one line; ``began``: whether the log is of this job's sweep."""
    word = last_word(log) if began else BEFORE
    return f"{title}: job {job} {state}, {word}" + ("" if "; log " in word else f"; log {log}")


def last_word(log: Path) -> str:
    """How a sweep ended, by its own log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return BEFORE
    if not lines:
        return BEFORE
    _, failed, why = lines[-1].partition(FAILED)
    if failed:
        return why
    if shutil.disk_usage(log.parent).free < FULL_BELOW:
        return "no disk space is left"  # so it could not say so itself
    return f"without a word after: {lines[-1]}"
