"""Facts that may be unknown: each is a value, or null with the reason, and never an exception."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Fact = dict[str, Any]
"""`{"value": ...}`, or `{"value": None, "reason": "..."}`."""
ProbeFunction = Callable[[], Any]

REASON_LENGTH = 300
"""Characters of a reason that are kept: tools that fail can be talkative."""


class ProbeError(Exception):
    """Something that cannot be read; its text is the reason that is recorded."""


def known(value: Any) -> Fact:
    """A fact that was read."""
    return {"value": value}


def unknown(reason: str) -> Fact:
    """A fact that could not be read, and why."""
    return {"value": None, "reason": " ".join(reason.split())[:REASON_LENGTH]}


def ask(function: ProbeFunction) -> Fact:
    """Run one probe; whatever it raises becomes the reason."""
    try:
        return known(function())
    except ProbeError as error:
        return unknown(str(error))
    except Exception as error:  # noqa: BLE001  a probe never breaks a run, and the reason is recorded
        return unknown(f"{type(error).__name__}: {error}")


def ask_all(probes: Mapping[str, ProbeFunction], timeout_s: float) -> dict[str, Fact]:
    """Run probes side by side; one that takes longer than `timeout_s` is left behind with that reason.

    A probe that hangs in the kernel (a dead network file system, a GPU that fell off the bus) cannot be
    killed: its thread is a daemon and ends with the process.
    """
    facts: dict[str, Fact] = {}

    def answer(name: str, function: ProbeFunction) -> None:
        facts[name] = ask(function)

    deadline = time.monotonic() + timeout_s
    threads = [
        threading.Thread(target=answer, args=item, name=f"probe-{item[0]}", daemon=True)
        for item in probes.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    found = dict(facts)  # a late answer must not change what is returned
    return {name: found.get(name, unknown(f"no answer within {timeout_s:g} s")) for name in probes}


def run_tool(command: Sequence[str], timeout_s: float, *, cwd: Path | None = None) -> str:
    """Standard output of a command; raises `ProbeError` when it is missing, fails or takes too long.

    It runs in a session of its own, so that what it started is ended with it.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise ProbeError(f"{command[0]}: {error.strerror or error}") from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end_session(process)
        raise ProbeError(f"{command[0]}: no answer within {timeout_s:g} s") from None
    if process.returncode != 0:
        told = errors.strip() or output.strip()
        raise ProbeError(f"{command[0]} ended with status {process.returncode}: {told}")
    return output


def _end_session(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)  # one that sleeps in the kernel does not even die of SIGKILL
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def read_text(path: Path) -> str:
    """A small file without surrounding white space; raises `ProbeError` with the system's reason."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    except OSError as error:
        raise ProbeError(f"{path}: {error.strerror or error}") from error


def read_or_none(path: Path) -> str | None:
    """The same, None where a device does not tell: one attribute of many, whose absence says it all."""
    try:
        return read_text(path) or None
    except ProbeError:
        return None


def read_number(path: Path) -> int | None:
    """A whole number that is not negative, None where a device does not tell (the kernel says -1)."""
    text = read_or_none(path)
    return int(text) if text is not None and text.isdigit() else None
