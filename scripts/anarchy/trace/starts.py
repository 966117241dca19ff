"""What each start of a deployment's stack took, remembered beside its cells."""

from __future__ import annotations

import contextlib
import datetime
import json
import statistics
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anarchy.ground.bounded import parse_json
from anarchy.ground.files import disk_errors

SITTINGS_FILE = "sittings.jsonl"
"""What each start of a deployment's stack took, a line after each cell; beside deployment.json."""


_NEEDED = {"launched_at", "start_s", "sealed"}


@dataclass
class StackStart:
    """One start of the stack: wall seconds that were and were not spent measuring, and cells sealed."""

    launched_at: str
    plan_hash: str
    start_s: float = 0.0
    cells_s: float = 0.0
    stop_s: float = 0.0
    sealed: int = 0
    gpus: int = 0
    """GPUs held, those of the nodes that no worker uses among them; 0 where engines are simulated here."""
    engine: str = ""
    stack: str = ""
    """The version of Dynamo, where it is not the usual one."""
    commit: str = ""
    """Of the project, with `-dirty` behind it where tracked files differed; empty where nothing tells."""

    @property
    def wall_s(self) -> float:
        """Wall seconds of the whole start."""
        return self.start_s + self.cells_s + self.stop_s


def note_start(folder: Path, start: StackStart) -> None:
    """Append where a start stands; the last line of each start counts, so a kill loses one cell's time."""
    with disk_errors(folder), (folder / SITTINGS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**asdict(start), "wall_s": start.wall_s}) + "\n")


def read_starts(folder: Path, plan_hash: str, kept: Collection[str] = ()) -> list[dict[str, Any]]:
    """Every start of a deployment under this plan, in order; a line that was cut off is left out.

    `kept`: when further starts were launched, those of cells that a change of the plan did not concern.
    """
    starts = (
        one
        for one in _lines(folder / SITTINGS_FILE)
        if one.get("plan_hash") == plan_hash or one["launched_at"] in kept
    )
    return list({start["launched_at"]: start for start in starts}.values())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        with contextlib.suppress(ValueError):  # cut off
            start = parse_json(line.decode("utf-8"))
            if isinstance(start, dict) and start.keys() >= _NEEDED:
                yield start


def recorded_start_s(results: Path, engine: str, model: str, stack: str = "") -> float | None:
    """Median wall seconds of a model's starts on an engine in any tier of these results; None without any.

    `stack`: the version of Dynamo, empty for the usual one.
    """
    starts = []
    for path in results.glob(f"*/raw/*/{model}/*/*/*/{SITTINGS_FILE}"):
        latest = {start["launched_at"]: start for start in _lines(path)}
        starts += [
            one["start_s"]
            for one in latest.values()
            if one["sealed"] and (one.get("engine"), one.get("stack", "")) == (engine, stack)
        ]
    return statistics.median(starts) if starts else None


def utc(wall_clock: float) -> str:
    """A time of the wall clock as ISO 8601, UTC, to milliseconds."""
    return datetime.datetime.fromtimestamp(wall_clock, datetime.UTC).isoformat(timespec="milliseconds")
