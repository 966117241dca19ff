"""The deployment's side of the guardian: start processes, hear of their ends, end them all."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from anarchy.engines.engine import GRACE_S
from anarchy.ground.errors import UserError

ANSWER_TIMEOUT_S = 10.0
LOG_TAIL_LINES = 12
MARK = "ANARCHY_SUPERVISOR"
"""Environment variable by which every process of a supervisor is known as its own."""

NO_LOG: Final = Path(os.devnull)
"""Of the guardian, which writes none."""


@dataclass(frozen=True)
class ProcessExit:
    """A process of the deployment that ended although nobody asked it to.

    `returncode` is negative for a signal, as in `subprocess`.
    """

    name: str
    pid: int
    returncode: int
    log_path: Path
    log_tail: str

    def __str__(self) -> str:
        how = (
            f"killed by {signal.Signals(-self.returncode).name}"
            if self.returncode < 0
            else f"exited with status {self.returncode}"
        )
        log = "" if self.log_path == NO_LOG else f"; log {self.log_path}"
        return f"{self.name} (pid {self.pid}) {how}{log}\n{self.log_tail}"


class ProcessDiedError(RuntimeError):
    """A process of the deployment died; `exits` says which, and how."""

    def __init__(self, exits: Sequence[ProcessExit]) -> None:
        self.exits = tuple(exits)
        super().__init__("\n".join(str(gone) for gone in self.exits))


class Supervisor:
    """Owns one guardian process; everything started through it ends with it, with the parent, or on `stop`.

    `scratch` are folders that the guardian removes when all have ended, also where the parent cannot. Not for
    several threads at once; after a fork the child must not use it.
    """

    def __init__(self, *, grace_s: float = GRACE_S, scratch: Sequence[Path] = ()) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._guardian = subprocess.Popen(
                [
                    *(sys.executable, "-m", "anarchy.serving.guardian"),
                    *(str(theirs.fileno()), str(grace_s), *map(str, scratch)),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is for the parent, which then stops us
            )
        self._control = ours
        self._mark = uuid.uuid4().hex
        self._grace_s = grace_s
        self._buffer = b""
        self._pids: dict[str, int] = {}
        self._logs: dict[str, Path] = {}
        self._exits: list[ProcessExit] = []
        self._closed = False

    @property
    def guardian_pid(self) -> int:
        """Process id of the guardian."""
        return self._guardian.pid

    @property
    def pids(self) -> Mapping[str, int]:
        """Process id of every process started, by its name."""
        return dict(self._pids)

    def start(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str], log_path: Path, cwd: Path
    ) -> int:
        """Start one process and return its process id.

        Its standard output and error are appended to `log_path`. Raises `UserError` when the program cannot
        be started.
        """
        self._logs[name] = log_path
        command = {
            "do": "start",
            "name": name,
            "argv": list(argv),
            "env": {**env, MARK: self._mark},
            "log": str(log_path),
            "cwd": str(cwd),
        }
        self._order(command)
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while name not in self._pids:
            self._pump(max(0.0, deadline - time.monotonic()))
            if self._exits and self._exits[-1].name == "guardian":
                raise ProcessDiedError(self._exits)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guardian did not start {name} within {ANSWER_TIMEOUT_S} s")
        return self._pids[name]

    def exits(self) -> tuple[ProcessExit, ...]:
        """Every unexpected end so far, the guardian's own included; returns at once (about 10 us)."""
        if not self._closed:
            self._pump(0.0)
        return tuple(self._exits)

    def end(self, name: str) -> None:
        """End one process and return when it is gone (SIGTERM, then SIGKILL); it joins `exits`."""
        for number, patience_s in ((signal.SIGTERM, self._grace_s), (signal.SIGKILL, ANSWER_TIMEOUT_S)):
            self._order({"do": "signal", "name": name, "signal": int(number)})
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                if self._closed or any(gone.name == name for gone in self._exits):
                    return
                self._pump(0.05)
        raise TimeoutError(f"{name} did not end")

    def stop(self) -> None:
        """End every process and the guardian; return when the last one is gone. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._control.close()  # the guardian takes the closed socket for the order to end everything
        try:
            self._guardian.wait(timeout=self._grace_s + ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        if self._guardian.returncode != 0:
            self._kill_marked()

    def _order(self, command: Mapping[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(command).encode() + b"\n")
        except OSError:
            self._lose_guardian()
            raise ProcessDiedError(self._exits) from None

    def _pump(self, timeout_s: float) -> None:
        """Take what the guardian has told, waiting at most `timeout_s` seconds for the first word."""
        while select.select([self._control], [], [], timeout_s)[0]:
            try:
                data = self._control.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self._lose_guardian()
                return
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))
            timeout_s = 0.0

    def _hear(self, event: dict[str, Any]) -> None:
        name = event.get("name", "")
        match event["event"]:
            case "started":
                self._pids[name] = event["pid"]
            case "refused":
                raise UserError(
                    f"cannot start {name}: {event['why']}",
                    where=self._logs[name],
                    remedy="check that the serving environment is complete (`anarchy doctor`)",
                )
            case "exit":
                self._record(name, event["pid"], event["returncode"])

    def _record(self, name: str, pid: int, returncode: int) -> None:
        log_path = self._logs.get(name, NO_LOG)
        tail = tail_lines(log_path, LOG_TAIL_LINES)
        self._exits.append(ProcessExit(name, pid, returncode, log_path, tail))

    def _lose_guardian(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._control.close()
        self._guardian.wait()
        self._kill_marked()
        self._record("guardian", self._guardian.pid, self._guardian.returncode)

    def _kill_marked(self) -> None:
        """Kill what a lost guardian cannot: every process that carries our mark in its environment.

        The kernel ended the guardian's own children with it; this finds what those had started.
        """
        while marked := [process for process in psutil.process_iter() if self._is_marked(process)]:
            for process in marked:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.02)

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False  # ended meanwhile, or somebody else's


def tail_lines(path: Path, count: int) -> str:
    """Last `count` lines of a text file, each indented by two blanks; empty when there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line[:400]}" for line in lines[-count:])
