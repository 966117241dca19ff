"""The process that replays: started with the serving environment's Python, asked job after job, ended."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder
from anarchy.ground.surroundings import without_foreign_python
from anarchy.virtual import replay

ANSWER_S: Final = 600.0
"""A replay that takes longer hangs: the longest of the study takes seconds."""
PREFIX: Final = "anarchy-replay-"
"""Of its scratch folder: begins as those that a sweep clears away."""
LACKING: Final = 3
"""Exit status of a library without the function."""
SETUP: Final = (
    "run `make setup`, or name an environment with ai-dynamo-runtime 1.5.1 in ANARCHY_DYNAMO_PYTHON; "
    "for stack 1.6.1 `envs/build dynamo-1.6.1`"
)


class ReplayError(Exception):
    """One replay could not be run; the next one may."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One replay: a trace of sessions (JSON Lines) through two pools of workers.

    `prefill` and `decode` are arguments of the library's engine, `router` those of its KV router; None is
    round robin. `until_s` ends it, model seconds after the first request: those under way then are not told.
    `trace_block_size`: tokens that a number of a block stands for in the trace; None is the engine's block.
    `kv_event_lag_s`: how late the router hears of the workers' caches, model seconds.
    """

    trace: Path
    prefill: Mapping[str, Any]
    decode: Mapping[str, Any]
    router: Mapping[str, Any] | None
    prefill_workers: int
    decode_workers: int
    until_s: float
    trace_block_size: int | None = None
    kv_event_lag_s: float = 0.0


@dataclass(frozen=True)
class Replayed:
    """What came of one replay.

    `columns`: user, turn, times in model ms and workers of each request that was over, shape (requests,).
    `replay_s`: wall seconds of the library, `own_s` of reading its answer.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    replay_s: float
    own_s: float


@dataclass
class Replayer:
    """A process that replays jobs; a crash costs the job that it ran, and the next one starts another."""

    python: Path
    log: Path
    scratch: Path | None = None
    """Where its folder is made; None is the machine's own place for such."""
    _process: subprocess.Popen[str] | None = None
    _said: int = 0
    """Bytes in the log when the process began."""
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=self.scratch)

    @property
    def folder(self) -> Path:
        """A scratch folder of its own, for traces."""
        return Path(self._folder.name)

    def __enter__(self) -> Replayer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._folder.cleanup()

    def run(self, job: Job) -> Replayed:
        """Run a job.

        Raises ReplayError where the library refuses it, crashes or hangs, and UserError where it cannot be
        started at all.
        """
        columns = self.folder / "columns.npz"
        document = {
            "trace": str(job.trace),
            "columns": str(columns),
            "prefill": dict(job.prefill),
            "decode": dict(job.decode),
            "router": None if job.router is None else dict(job.router),
            "prefill_workers": job.prefill_workers,
            "decode_workers": job.decode_workers,
            "until_ms": job.until_s * 1e3,
            "trace_block_size": job.trace_block_size,
            "kv_event_lag_ms": job.kv_event_lag_s * 1e3,
        }
        answer = self._ask(json.dumps(document))
        if "error" in answer:
            raise ReplayError(answer["error"])
        with np.load(columns) as file:
            found = {name: file[name] for name in file.files}
        return Replayed(found, answer["replay_s"], answer["columns_s"])

    def _ask(self, line: str) -> dict[str, Any]:
        process = self._process if self._process is not None else self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_S):
                self._end()
                raise ReplayError(f"no answer within {ANSWER_S:g} s")
        said = process.stdout.readline()
        if not said:
            raise self._died()
        answer: dict[str, Any] = json.loads(said)
        return answer

    def _start(self) -> subprocess.Popen[str]:
        if not self.python.is_file():
            raise UserError("the serving environment is missing", where=self.python, remedy=SETUP)
        make_folder(self.log.parent)
        with disk_errors(self.log), self.log.open("a", encoding="utf-8") as log:
            self._said = log.tell()
            self._process = subprocess.Popen(
                [str(self.python), replay.__file__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=without_foreign_python(os.environ),
            )  # fmt: skip
        return self._process

    def _died(self) -> Exception:
        """What a process that is gone means."""
        assert self._process is not None
        status = self._process.wait()
        self._end()
        said = self.log.read_bytes()[self._said :].decode(
            "utf-8", "replace"
        )  # not what others said before it
        last = said.strip().splitlines()[-1:]
        words = f": {last[0][:300]}" if last else ""
        if status == LACKING or "ModuleNotFoundError" in words:
            return UserError(
                f"the library cannot replay in virtual time{words}", where=self.python, remedy=SETUP
            )
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return ReplayError(f"the library's process ended with {how}{words}")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                # What could not be written to a process that is gone is tried once more here.
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
