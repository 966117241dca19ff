"""The guardian, with small processes in place of a serving stack: nothing survives, however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from anarchy.ground.errors import UserError
from anarchy.serving.supervisor import ProcessDiedError, Supervisor

# Ignores SIGTERM and leaves a grandchild in a session of its own, whose parent is gone.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    if os.fork():
        os._exit(0)
    os.setsid()
open(sys.argv[1] + str(os.getpid()), "w").close()
time.sleep(600)
"""

PARENT = """
import signal, sys, time
from pathlib import Path
from anarchy.serving.supervisor import Supervisor
folder, way = Path(sys.argv[1]), sys.argv[2]
supervisor = Supervisor(grace_s=0.3)
def start():
    for name in ("a", "b"):
        supervisor.start(name, [sys.executable, "-c", sys.argv[3], str(folder / "pid-")], env={},
                         log_path=folder / f"{name}.log", cwd=folder)
    while len(list(folder.glob("pid-*"))) < 4:
        time.sleep(0.01)
    print(supervisor.guardian_pid, flush=True)
try:
    start()
    if way == "exception":
        raise RuntimeError("on purpose")
    if way != "normal":
        while not supervisor.exits():
            time.sleep(0.02)
finally:
    supervisor.stop()
"""


def gone(pids: list[int]) -> bool:
    """Whether all of them end; left alone they would stay for ten minutes."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("way", ["normal", "exception", "SIGINT", "SIGTERM", "SIGKILL", "guardian"])
def test_nothing_survives(way: str, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), way, STUBBORN],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        guardian = int(parent.stdout.readline())
        pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
        if way == "guardian":
            os.kill(guardian, signal.SIGKILL)
        elif way.startswith("SIG"):
            parent.send_signal(signal.Signals[way])
        parent.wait(timeout=60)
    try:
        assert len(pids) == 4
        assert gone([guardian, *pids])
    finally:
        for pid in pids:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def supervisor():  # type: ignore[no-untyped-def]
    made = Supervisor(grace_s=0.5)
    yield made
    made.stop()


def start(supervisor: Supervisor, name: str, code: str, folder: Path) -> int:
    command = [sys.executable, "-c", code]
    return supervisor.start(name, command, env={"WORD": "here"}, log_path=folder / f"{name}.log", cwd=folder)


def wait_for_exit(supervisor: Supervisor, name: str) -> None:
    deadline = time.monotonic() + 60
    while not any(ended.name == name for ended in supervisor.exits()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_death_is_told_with_the_end_of_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import os; print('word', os.environ['WORD'], flush=True); os._exit(3)"
    start(supervisor, "worker", code, tmp_path)
    wait_for_exit(supervisor, "worker")
    (ended,) = supervisor.exits()
    assert (ended.returncode, ended.log_tail.strip()) == (3, "word here")
    assert "worker" in str(ended)
    assert "status 3" in str(ended)


def test_a_kill_is_told_by_its_signal(supervisor: Supervisor, tmp_path: Path) -> None:
    pid = start(supervisor, "worker", "import time; time.sleep(600)", tmp_path)
    os.kill(pid, signal.SIGKILL)
    wait_for_exit(supervisor, "worker")
    assert "killed by SIGKILL" in str(supervisor.exits()[0])


def test_one_process_can_be_ended_alone(supervisor: Supervisor, tmp_path: Path) -> None:
    first = start(supervisor, "first", "import time; time.sleep(600)", tmp_path)
    ignore = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
    )
    start(supervisor, "stubborn", ignore, tmp_path)
    while "on" not in (tmp_path / "stubborn.log").read_text():
        time.sleep(0.01)
    supervisor.end("stubborn")
    assert [ended.name for ended in supervisor.exits()] == ["stubborn"]
    assert psutil.pid_exists(first)


def test_a_program_that_does_not_exist_is_the_users_to_mend(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot start ghost"):
        supervisor.start("ghost", ["/no/such/program"], env={}, log_path=tmp_path / "g.log", cwd=tmp_path)


def test_a_lost_guardian_is_noticed_and_refuses_more(supervisor: Supervisor, tmp_path: Path) -> None:
    pid = start(supervisor, "worker", "import time; time.sleep(600)", tmp_path)
    os.kill(supervisor.guardian_pid, signal.SIGKILL)
    wait_for_exit(supervisor, "guardian")
    (lost,) = [one for one in supervisor.exits() if one.name == "guardian"]
    assert str(lost).strip().endswith("killed by SIGKILL"), "names a log that nobody writes"
    assert gone([pid])
    with pytest.raises(ProcessDiedError, match=r"guardian.*SIGKILL"):
        start(supervisor, "another", "pass", tmp_path)
    with pytest.raises(ProcessDiedError, match=r"guardian.*SIGKILL"):
        supervisor.end("worker")


@pytest.mark.parametrize(("order", "status"), [(None, 0), (b"nonsense\n", 1)], ids=["unread", "nonsense"])
def test_the_guardian_removes_the_scratch_folder(order: bytes | None, status: int, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = {"do": "start", "name": "a", "argv": ["sleep", "600"], "env": dict(os.environ), "cwd": "/"}
    ours, theirs = socket.socketpair()
    with theirs:
        words = [sys.executable, "-m", "anarchy.serving.guardian", str(theirs.fileno()), "0.5", str(scratch)]
        guardian = subprocess.Popen(words, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
    with ours:
        ours.sendall(json.dumps({**command, "log": str(tmp_path / "a.log")}).encode() + b"\n")
        # Closing with this event unread resets the guardian's end instead of ending it.
        event = json.loads(ours.recv(4096, socket.MSG_PEEK))
        if order is not None:
            ours.sendall(order)
            guardian.wait(timeout=60)
    assert guardian.wait(timeout=60) == status
    assert not scratch.exists()
    assert gone([event["pid"]])


def test_stop_is_idempotent_and_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    supervisor = Supervisor(grace_s=300.0)
    start(supervisor, "worker", "import time; time.sleep(600)", tmp_path)
    began = time.monotonic()
    supervisor.stop()
    supervisor.stop()
    assert time.monotonic() - began < 60
    assert json.dumps([ended.name for ended in supervisor.exits()]) == "[]"
