"""Controllers beside a running cell: each in its own thread, with its log; a fault of one ends the cell."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from anarchy.control.detector import Regime
from anarchy.control.loop import Clock, ControlLoop, LoopSettings
from anarchy.control.observation import Source
from anarchy.ground.errors import UserError
from anarchy.trace.control_log import ControllerLog


@dataclass(frozen=True)
class Watch:
    """One controller: what it sees, how it judges, what it sets, and the file of its log."""

    source: Source
    settings: LoopSettings
    log: Path
    on_switch: Callable[[Regime], None] = lambda _: None
    """Called with the new regime from the controller's thread; must be quick."""


class RunningControllers:
    """Controllers that run from `start` to the end of the `with`.

    `raise_if_failed` raises what ended one of them early (a full disk, a callback's error): call it as often
    as the deployment is looked at, and once after the cell.
    """

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = tuple(watches)
        self._loops: list[ControlLoop] = []
        self._threads: list[threading.Thread] = []
        self._logs: list[ControllerLog] = []
        self._failures: list[BaseException] = []

    @property
    def logs(self) -> tuple[Path, ...]:
        """The files that they write."""
        return tuple(watch.log for watch in self._watches)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            for watch in self._watches:
                watch.log.unlink(missing_ok=True)  # of an attempt that was cut off
                self._logs.append(opened.enter_context(ControllerLog(watch.log)))
            opened.pop_all()
        return self

    def start(self, after_s: float = 0.0) -> None:
        """Start every controller; their clocks begin in so many wall s, and nothing is polled before.

        One that is stopped before then leaves an empty log.
        """
        for watch, log in zip(self._watches, self._logs, strict=True):
            clock = Clock()
            loop = ControlLoop(watch.source, watch.settings, log=log, on_switch=watch.on_switch, clock=clock)
            thread = threading.Thread(
                target=self._run, args=(loop, clock, after_s), name=f"control-{watch.source.name}"
            )
            thread.daemon = True  # a signal that ends the program must not wait for a poll
            self._loops.append(loop)
            self._threads.append(thread)
            thread.start()

    def _run(self, loop: ControlLoop, clock: Clock, after_s: float) -> None:
        try:
            clock.wait(after_s)
            if not clock.stopped:
                loop.run()
        except BaseException as error:  # noqa: BLE001 (whatever it is, the cell's own thread raises it)
            self._failures.append(error)

    def raise_if_failed(self) -> None:
        """Raise the first failure of a controller, if there is one."""
        if self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        """End every controller and close every log; may be called twice.

        Raises UserError where a log could not be written to its end.
        """
        with contextlib.ExitStack() as logs:
            for log in self._logs:
                logs.callback(log.close)
            for loop in self._loops:
                loop.stop()
            for thread in self._threads:
                thread.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except UserError as unwritten:
            if error is None:
                raise
            error.add_note(str(unwritten))  # what ended the cell is what is told
