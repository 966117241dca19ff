"""What the fault tests share: a run in the background, hands for the fault, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from anarchy.trace.reader import read_cell
from lab import HERE, NODES, PROJECT, Lab

MODEL = "nemotron-4-340b"
TITLE = f"{MODEL}/1p2d/static/1"
"""The one deployment of the run, as every message calls it: 1 prefill and 2 decode workers on three nodes."""
CELLS = 6  # tier smoke
SITE = HERE / "site.yaml"
POLL = ("--anarchy-init-seconds-before-status-checks", "5", "--seconds-between-status-checks", "1")
"""Looks at the job after 5 s, then 11, 21, 31 s later, and so on."""
PATIENCE_S = 900.0
"""After this something hangs; a busy machine alone takes a fraction of it."""


@dataclass
class Run:
    """One folder of results and the calls of snakemake that fill it."""

    lab: Lab
    results: Path
    logs: Path
    calls: list[Call] = field(default_factory=list)

    def start(self) -> Call:
        """Call snakemake in the background, in a process group of its own as a terminal would."""
        log = self.logs / f"call-{len(self.calls) + 1}.log"
        choices = [f"site={SITE}", "tier=smoke", "experiments=equilibrium", f"models={MODEL}"]
        choices += [f"results={self.results}"]
        argv = [
            sys.executable,
            "-m",
            "snakemake",
            "--profile",
            "slurm",
            "--config",
            *choices,
            *POLL,
            "measure",
        ]
        with log.open("w") as output:
            process = subprocess.Popen(
                argv,
                cwd=PROJECT,
                env=self.lab.env(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell without job control starts what it puts in the background deaf to Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        call = Call(self, process, log)
        self.calls.append(call)
        return call

    @property
    def folder(self) -> Path:
        """The deployment's folder."""
        return self.results / "smoke" / "raw" / "equilibrium" / TITLE

    @property
    def sweep_log(self) -> Path:
        return self.folder / "logs" / "sweep.log"

    def sealed(self) -> dict[str, str]:
        """Digest of every sealed cell's manifest, by the cell's name."""
        manifests = self.folder.glob("cells/*/manifest.json")
        return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in manifests}

    def valid(self) -> dict[str, str]:
        """Those of the sealed cells that passed their gates; on a busy machine one may not."""
        return {name: digest for name, digest in self.sealed().items() if _gates(self.folder, name)["valid"]}

    def running(self) -> list[str]:
        """Cells with rows and no manifest: running now, or cut off."""
        rows = self.folder.glob("cells/*/requests.jsonl")
        return [path.parent.name for path in rows if not (path.parent / "manifest.json").exists()]

    def jobs(self) -> list[str]:
        """Numbers of the jobs of every call that Slurm still has."""
        known = {job for call in self.calls for job in call.jobs()}
        return [job for job in self.lab.query("squeue", "-h", "-o", "%A").split() if job in known]

    def processes(self) -> list[psutil.Process]:
        """Every process that works for this run, on any node.

        Its command line names the results, or its environment a job of ours.
        """
        marks = {("SLURM_JOB_ID", job) for call in self.calls for job in call.jobs()}
        return [process for process in psutil.process_iter() if _belongs(process, str(self.results), marks)]

    def find(self, *words: str) -> psutil.Process:
        """The one process of this run whose command line holds these words; srun is no answer."""
        found = []
        for process in self.processes():
            try:
                argv = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if all(word in argv for word in words) and Path(argv[0]).name not in ("srun", "sh"):
                found.append(process)
        assert len(found) == 1, f"{words}: {[process.cmdline() for process in found]}"
        return found[0]

    def decode_worker(self) -> psutil.Process:
        """A decode worker on node03."""
        (pid,) = {
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if _environment(path).get("SLURMD_NODENAME") == "node03" and _is_worker(path.parent)
        }
        return psutil.Process(pid)

    def assert_nothing_left(self) -> None:
        """No job of ours is with Slurm, and no process on any node."""
        until(lambda: not self.jobs(), PATIENCE_S, lambda: f"jobs {self.jobs()} to end")
        until(
            lambda: not self.processes(),
            PATIENCE_S,
            lambda: f"processes to end: {described(self.processes())}",
        )

    def complete(self, kept: Mapping[str, str]) -> str:
        """Call once more; the run completes, and the valid cells of before were not measured again."""
        call = self.start()
        assert call.wait(PATIENCE_S) == 0, call.output()
        self.assert_complete(kept)
        self.assert_nothing_left()
        return call.output()

    def assert_complete(self, kept: Mapping[str, str]) -> None:
        """Every cell is sealed and whole, and what is summarised as valid is valid."""
        after = self.sealed()
        assert len(after) == CELLS
        assert not self.running()
        assert not list(self.folder.glob("anarchy-*")), "scratch folders are removed"
        assert {name: after.get(name) for name in kept} == dict(kept), "valid cells are not measured again"
        summary = json.loads((self.folder / "deployment.json").read_text())
        counted = {name for name, cell in summary["cells"].items() if cell["valid"]}
        assert counted == set(self.valid()), "no invalid cell is counted"
        for name in after:
            assert_whole(self.folder / "cells" / name)


@dataclass
class Call:
    """One call of snakemake."""

    run: Run
    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        """Everything that the user has read."""
        return self.log.read_text(errors="replace")

    def jobs(self) -> list[str]:
        """Numbers of the jobs that it submitted."""
        return re.findall(r"submitted with SLURM jobid (\d+)", self.output())

    def job(self) -> str:
        (number,) = self.jobs()
        return number

    def under_way(self) -> dict[str, str]:
        """Wait until a cell is sealed and another one runs; return the valid ones with their digests.

        On a busy machine there may be none: whether a cell is valid is the machine's doing, not the fault's.
        """
        run = self.run

        def middle() -> bool:
            assert self.process.poll() is None, self.output()
            return bool(run.sealed()) and bool(run.running())

        until(middle, PATIENCE_S, lambda: f"a sealed cell and a running one\n{self.output()}")
        return run.valid()

    def wait(self, timeout_s: float) -> int:
        """Exit status; a call that does not end is ended, job and all, and fails the test."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"did not end within {timeout_s:.0f} s\n{self.output()}") from None

    def end(self) -> None:
        """End this call and its jobs, by whatever it takes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for job in self.jobs():
            subprocess.run(["scancel", job], env=self.run.lab.env(), capture_output=True, check=False)

    def told(self) -> str:
        """The line that says what happened to the deployment, with the path of a log that exists."""
        lines = [line for line in self.output().splitlines() if line.startswith(TITLE) and _log_in(line)]
        assert lines, f"no line names {TITLE} and its log:\n{self.output()}"
        return lines[-1]


def assert_whole(cell: Path) -> None:
    """A sealed trace matches its seal."""
    read_cell(cell)  # raises UserError where it does not


def until(condition: Callable[[], Any], timeout_s: float, what: Callable[[], str]) -> None:
    """Wait for a condition; `what` says what was waited for, looked up only then."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"waited {timeout_s:.0f} s for {what()}"
        time.sleep(0.1)


def described(processes: list[psutil.Process]) -> list[str]:
    """Pid and command line of each, for people."""
    found = []
    for process in processes:
        try:
            found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        except psutil.NoSuchProcess:
            continue
    return found


def kill(process: psutil.Process) -> None:
    """End a process of ours at once."""
    process.send_signal(signal.SIGKILL)


@contextmanager
def small_disk(lab: Lab, folder: Path, megabytes: int) -> Iterator[None]:
    """A folder of its own size that all nodes see; they look at mounts only when they start."""
    folder.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "anarchy-fault", str(folder)], check=True)
    try:
        start_nodes_again(lab)
        yield
    finally:
        start_nodes_again(lab)
        subprocess.run(["umount", str(folder)], check=True)
        start_nodes_again(lab)


def start_nodes_again(lab: Lab) -> None:
    for name in NODES:
        lab.kill_node(name)
        lab.restore_node(name, wait=False)
    lab.wait_nodes()


def forget_jobs(lab: Lab) -> None:
    """Start the controller again without the jobs that it knew, as after MinJobAge."""
    lab.stop_controller()
    for name in ("job_state", "job_state.old"):
        (lab.folder / "state" / name).unlink(missing_ok=True)
    lab.start_controller()
    lab.wait_nodes()


def _gates(folder: Path, cell: str) -> Any:
    return json.loads((folder / "cells" / cell / "manifest.json").read_text())["gates"]


def _belongs(process: psutil.Process, results: str, marks: set[tuple[str, str]]) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if any(results in word for word in process.cmdline()):
            return True
        return bool(marks & set(process.environ().items()))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _environment(path: Path) -> dict[str, str]:
    try:
        words = path.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.partition("=")[::2] for word in words)


def _is_worker(folder: Path) -> bool:
    try:
        return b"dynamo.mocker" in (folder / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _log_in(line: str) -> bool:
    return any(
        Path(word.rstrip(".,;:)")).is_file() for word in line.split() if "/" in word and ".log" in word
    )
