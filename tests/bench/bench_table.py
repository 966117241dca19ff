"""What a benchmark measured: its numbers beside their targets as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = ("numpy", "scipy", "arch", "pyarrow")
COLUMNS = ("measured", "ours", "peer", "compared", "min-max", "target", "")
WIDTH = 120
"""Columns of text where the output is no terminal."""


@dataclass(frozen=True)
class Measure:
    """One quantity over all repeats, and what the median should be; without a target it is only told.

    `ours` is in `unit`, as is `peer` where there is one. Then `compared`, in `scale`, is judged, repeat by
    repeat, else `ours`. `exact` marks a target that holds for every size of the problem, so that a quick
    run is judged by it too.
    """

    part: str
    what: str
    unit: str
    ours: tuple[float, ...]
    peer: tuple[float, ...] = ()
    compared: tuple[float, ...] = ()
    peer_name: str = ""
    scale: str = "x"
    at_most: float | None = None
    at_least: float | None = None
    exact: bool = False
    digits: int = 3

    @property
    def judged(self) -> tuple[float, ...]:
        """What the target is for."""
        return self.compared or self.ours or self.peer

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.at_most is None and self.at_least is None:
            return None
        value = statistics.median(self.judged)
        if self.at_most is not None:
            return value <= self.at_most
        assert self.at_least is not None
        return value >= self.at_least

    def cells(self, quick: bool) -> tuple[str, ...]:
        """The texts of its row, under COLUMNS."""
        spread = f"{number(min(self.judged))}-{number(max(self.judged))}" if len(self.judged) > 1 else ""
        verdict = {None: "", True: "ok", False: "missed"}[self.met]
        return (
            f"{self.what}, {self.unit}" if self.unit else self.what,
            self._median(self.ours),
            f"{self.peer_name} {self._median(self.peer)}".strip(),
            f"{number(statistics.median(self.compared))} {self.scale}" if self.compared else "",
            spread,
            self._target(),
            verdict if self.exact or not quick else "",
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, for a program to read."""
        medians = {
            name: statistics.median(samples) if samples else None
            for name, samples in (("ours", self.ours), ("peer", self.peer), ("compared", self.compared))
        }
        return {**asdict(self), "median": medians, "met": self.met}

    def _median(self, samples: Sequence[float]) -> str:
        return number(statistics.median(samples), self.digits) if samples else ""

    def _target(self) -> str:
        if self.at_most is not None:
            return f"<= {number(self.at_most)}"
        return "" if self.at_least is None else f">= {number(self.at_least)}"


def missed(measures: Sequence[Measure], quick: bool) -> list[Measure]:
    """The measures that miss their target; of a quick run only the exact ones are judged."""
    return [m for m in measures if m.met is False and (m.exact or not quick)]


def print_table(measures: Sequence[Measure], title: str, quick: bool) -> None:
    """Print the table, a section for each part."""
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("measured", "") else "right")
    for place, measure in enumerate(measures, start=1):
        ends = place == len(measures) or measures[place].part != measure.part
        table.add_row(*measure.cells(quick), end_section=ends)
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)


def markdown(measures: Sequence[Measure], machine: dict[str, Any], title: str, quick: bool) -> str:
    """The same table in Markdown, with the machine above it."""
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    place = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, {packages}; {machine['date']}, load average at the start "
        f"{machine['load_average']}."
    )
    rows = ["| " + " | ".join(measure.cells(quick)) + " |" for measure in measures]
    head = ["| " + " | ".join(COLUMNS) + " |", "|---|---:|---:|---:|---:|---:|---|"]
    return "\n".join([f"{title}.", "", place, "", *head, *rows])


def write_json(path: Path, measures: Sequence[Measure], machine: dict[str, Any], **settings: Any) -> None:
    """Write everything that was measured, each repeat of it, and on what."""
    document = {"machine": machine, **settings, "measures": [measure.to_dict() for measure in measures]}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Where and when this runs."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def number(value: float, digits: int = 3) -> str:
    """A number as a person reads it."""
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return f"{value:.0e}"
