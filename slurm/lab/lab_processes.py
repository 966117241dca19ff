"""The lab's processes: they outlive us, are known again by pid and start time, and end for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "ANARCHY_SLURM_LAB"
"""Environment variable of every daemon; its value is the lab's folder. Finds those whose record is lost."""
RECORD_TIMEOUT_S = 10.0
END_TIMEOUT_S = 10.0
# The shell records itself before it becomes the daemon, so that no kill of ours can come between start and
# record. Its start time stays the same through exec.
LAUNCHER = 'read -r stat <"/proc/$$/stat" && echo "$stat" >"$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for another: a pid that is used again has another start time."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it runs (a zombie does not)."""
        found = _stat_of(self.pid)
        return found is not None and found[0] == self

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return  # ended between the look and the signal


def start(record: Path, argv: Sequence[str], *, log: Path, env: Mapping[str, str]) -> Process:
    """Start a daemon in a session of its own; `record` then holds its line of /proc/PID/stat."""
    record.unlink(missing_ok=True)
    with log.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", LAUNCHER, "sh", str(record), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**env},
            check=True,
        )
    deadline = time.monotonic() + RECORD_TIMEOUT_S
    while (process := read_record(record)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{argv[0]} did not start within {RECORD_TIMEOUT_S:.0f} s")
        time.sleep(0.01)
    return process


def read_record(record: Path) -> Process | None:
    """Process that a record names, alive or not; None when there is none (yet)."""
    try:
        parsed = _parse_stat(record.read_text())
    except FileNotFoundError:
        return None
    return parsed[0] if parsed else None


def children(process: Process) -> list[Process]:
    """Direct children that run."""
    return [found[0] for found in _all_stats() if found[1] == process.pid]


def marked(folder: Path) -> list[Process]:
    """Every process that carries the mark of the lab in `folder`, whether or not it is recorded."""
    wanted = f"{MARK}={folder}".encode()
    found = []
    for process, _, _ in _all_stats():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if wanted in environment:
            found.append(process)
    return found


def named(names: frozenset[str]) -> list[Process]:
    """Every process whose program has one of these names."""
    return [process for process, _, name in _all_stats() if name in names]


def end(processes: Sequence[Process], number: signal.Signals, timeout_s: float = END_TIMEOUT_S) -> None:
    """Send the signal, wait, and kill what is left; returns when all are gone."""
    for patience_s, sent in ((timeout_s, number), (END_TIMEOUT_S, signal.SIGKILL)):
        for process in processes:
            process.kill(sent)
        deadline = time.monotonic() + patience_s
        while any(process.alive for process in processes) and time.monotonic() < deadline:
            time.sleep(0.02)
    left = [process.pid for process in processes if process.alive]
    if left:
        raise TimeoutError(f"processes {left} do not end")


def _all_stats() -> list[tuple[Process, int, str]]:
    """Every running process of this host, with its parent's pid and its program's name."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [found for pid in pids if (found := _stat_of(pid)) is not None]


def _stat_of(pid: int) -> tuple[Process, int, str] | None:
    try:
        return _parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def _parse_stat(line: str) -> tuple[Process, int, str] | None:
    """Process, parent and name from a line of /proc/PID/stat; None for a zombie or half a line."""
    head, closing, tail = line.rpartition(")")  # the name stands in parentheses and may hold anything
    fields = tail.split()
    if not closing or len(fields) < 20 or fields[0] in "ZX":
        return None
    pid, _, name = head.partition(" (")
    return Process(int(pid), int(fields[19])), int(fields[1]), name
