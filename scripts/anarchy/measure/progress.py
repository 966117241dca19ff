"""Live progress over all cells of a run: a bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from anarchy.ground.files import disk_errors
from anarchy.load.report import ClientProgress

LINE_EVERY_S: Final = 30.0
"""Without a terminal, a running cell says this often how far it is."""


class SweepProgress:
    """Tells where a sweep stands; the remaining time covers every cell of the run that is not sealed yet."""

    def __init__(
        self,
        title: str,
        cells: int,
        cells_done: int,
        predicted_s: float,
        elsewhere_s: float,
        log: Path | None = None,
    ) -> None:
        """``predicted_s``: wall seconds of this deployment's open cells; ``elsewhere_s``: of all others.

        Every lasting line also goes to the file ``log``.
        """
        self._log = log
        self._title = title
        self._cells = cells
        self._done = cells_done
        self._pending_s = predicted_s
        self._elsewhere_s = elsewhere_s
        self._pace = 1.0
        self._cell = ""
        self._cell_predicted_s = 0.0
        self._cell_started = 0.0
        self._last_line = 0.0
        self._last_said = 0.0
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                # Narrow, and what matters first: a terminal may have 80 columns.
                BarColumn(bar_width=12),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=cells, completed=cells_done, note="")

    def __enter__(self) -> SweepProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print one lasting line."""
        self._last_said = time.monotonic()
        line = f"[{time.strftime('%H:%M:%S')}] {self._title}  {text}"
        if self._log:
            with disk_errors(self._log), self._log.open("a", encoding="utf-8") as log:
                log.write(line + "\n")
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def start_cell(self, cell: str, predicted_s: float) -> None:
        """A cell begins; ``predicted_s`` in wall seconds."""
        self._cell, self._cell_predicted_s = cell, predicted_s
        self._cell_started = self._last_line = time.monotonic()
        self.update(None)

    def update(self, progress: ClientProgress | None) -> None:
        """The running cell has come this far."""
        remaining = self._cell_predicted_s * self._pace if progress is None else progress.remaining_s
        left = clock(remaining + self._rest_s())
        note = f"{self._done}/{self._cells} cells, {left} left in all, {self._cell}"
        if progress is not None:
            note += f" {progress.phase}, {progress.finished} requests"
            if progress.errors:
                note += f", {progress.errors} errors"
        if self._bar:
            self._bar.update(self._task, note=note)
        elif progress is not None and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.say(note)

    def end_cell(self, verdict: str, *, lasting: bool = True) -> None:
        """The running cell is sealed, ``verdict`` says how.

        Without ``lasting`` it is said only if nothing has been said for a while: of many short cells.
        """
        took = time.monotonic() - self._cell_started
        if self._cell_predicted_s > 0:
            self._pace += 0.3 * (took / self._cell_predicted_s - self._pace)
        self._pending_s = max(0.0, self._pending_s - self._cell_predicted_s)
        self._done += 1
        cell, self._cell, self._cell_predicted_s = self._cell, "", 0.0
        if self._bar:
            self._bar.update(self._task, completed=self._done)
        if not lasting and time.monotonic() - self._last_said < LINE_EVERY_S:
            return
        self.say(
            f"{cell}: {verdict} ({took:.0f} s); {self._done}/{self._cells} cells, "
            f"about {clock(self._rest_s())} left in all"
        )

    def again(self, predicted_s: float) -> None:
        """A cell is queued for another attempt."""
        self._cells += 1
        self._pending_s += predicted_s
        if self._bar:
            self._bar.update(self._task, total=self._cells)

    def _rest_s(self) -> float:
        return (max(0.0, self._pending_s - self._cell_predicted_s) + self._elsewhere_s) * self._pace


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes, for people."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d} h"
