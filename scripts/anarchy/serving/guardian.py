"""A small process that owns all others of a deployment, and ends them whatever happens to its parent.

Started by `anarchy.serving.supervisor`, with one end of a socket pair as its only argument. It reads
commands and writes events, one JSON object a line:

- commands: `{"do": "start", "name", "argv", "env", "log", "cwd"}`, `{"do": "signal", "name", "signal"}`;
  closing the socket is the order to end everything;
- events: `{"event": "started", "name", "pid"}`, `{"event": "refused", "name", "why"}`,
  `{"event": "exit", "name", "pid", "returncode"}`.

Why a process of its own: a parent that is killed with `kill -9` runs no clean-up code, but the kernel
closes its sockets. Three nets, one below the other:

1. the control socket closes or the parent's pid changes: every descendant gets SIGTERM, and SIGKILL after a
   grace;
2. it is a child subreaper, so a grandchild that loses its parent becomes its child and is found in the same
   sweep;
3. each child asks the kernel for SIGKILL when the guardian dies (`PR_SET_PDEATHSIG`), so even `kill -9` of
   the guardian leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.5
"""Longest time between two looks at whether the parent lives; the closed socket usually tells at once."""

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}, {value}): {os.strerror(errno)}")


class Guardian:
    """The guardian's state: its socket to the parent and the processes that it started."""

    def __init__(self, control: socket.socket, grace_s: float) -> None:
        self._control = control
        self._grace_s = grace_s
        self._parent = os.getppid()
        self._children: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self._buffer = b""
        self._ending = False

    def run(self) -> None:
        """Serve until told to stop, until the parent is gone, or until SIGTERM; then end every descendant."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_ending", True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            while not self._ending:
                ready, _, _ = select.select([self._control.fileno(), wake_read], [], [], POLL_S)
                if wake_read in ready:
                    os.read(wake_read, 4096)
                    self._reap_orphans()
                if self._control.fileno() in ready:
                    self._read_commands()
                self._report_exits()
                if os.getppid() != self._parent:
                    self._ending = True
        finally:
            end_descendants(self._grace_s)

    def _read_commands(self) -> None:
        try:
            data = self._control.recv(65536)
        except ConnectionResetError:
            data = b""  # the parent closed its end, or died, before it had read all that we told
        if not data:
            self._ending = True
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["do"] == "signal":
                self._signal_one(command["name"], command["signal"])
            else:
                self._start(command)

    def _start(self, command: dict[str, Any]) -> None:
        name = command["name"]
        me = os.getpid()

        def die_with_guardian() -> None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:  # the guardian died before the kernel knew whom to tell
                os._exit(1)

        try:
            with Path(command["log"]).open("ab") as log:
                process = subprocess.Popen(
                    command["argv"],
                    env=command["env"],
                    cwd=command["cwd"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=die_with_guardian,
                )
        except (OSError, subprocess.SubprocessError) as error:
            self._tell({"event": "refused", "name": name, "why": str(error)})
            return
        self._children[process.pid] = (name, process)
        self._tell({"event": "started", "name": name, "pid": process.pid})

    def _signal_one(self, name: str, number: int) -> None:
        for other, process in self._children.values():
            if other == name:
                process.send_signal(number)

    def _report_exits(self) -> None:
        for pid, (name, process) in list(self._children.items()):
            if process.poll() is not None:
                del self._children[pid]
                self._tell({"event": "exit", "name": name, "pid": pid, "returncode": process.returncode})

    def _reap_orphans(self) -> None:
        """Reap adopted grandchildren only: the exit status of a child belongs to its Popen object."""
        for orphan in psutil.Process().children():
            if orphan.pid not in self._children and not _alive(orphan):
                os.waitpid(orphan.pid, os.WNOHANG)

    def _tell(self, event: dict[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(event).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            self._ending = True  # the parent is gone: nobody to tell, everything to end


def end_descendants(grace_s: float) -> None:
    """End every descendant: SIGTERM, up to `grace_s` seconds of patience, then SIGKILL until none is left."""
    me = psutil.Process()
    patient_until = time.monotonic() + grace_s
    termed: set[int] = set()
    while family := [process for process in me.children(recursive=True) if _alive(process)]:
        for process in family:
            if time.monotonic() >= patient_until:
                _signal(process, signal.SIGKILL)
            elif process.pid not in termed:
                termed.add(process.pid)
                _signal(process, signal.SIGTERM)
        _reap()
        time.sleep(0.02)
    _reap()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def main() -> None:
    """Entry point: `python -m anarchy.serving.guardian <fd of the control socket> <grace in s> <scratch>...`.

    Each `scratch` is a folder to remove at the end.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        Guardian(control, float(sys.argv[2])).run()
    finally:
        for scratch in sys.argv[3:]:
            shutil.rmtree(scratch, ignore_errors=True)  # the parent removes it too, where it can


if __name__ == "__main__":
    main()
