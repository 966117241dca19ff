"""What figures over time share: the load that was offered, the borders of stages, and strips of regimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from anarchy.figures import style
from anarchy.figures.parts import REGIMES, Info
from anarchy.figures.style import BLACK, GREY
from anarchy.tables import is_missing, whole


@dataclass(frozen=True)
class Span:
    """One stage of a staged cell as it came, model s from the cell's start."""

    name: str
    concurrency: int
    start: float
    settled: float
    """From then on its requests are measured."""
    end: float


def spans(system: Info) -> list[Span]:
    """The stages of a system in the order of time."""
    times = ("start_s", "settled_s", "end_s")
    return [
        Span(stage["name"], stage["concurrency"], *(stage[time] for time in times))
        for stage in system["stages"]
    ]


def mark_stages(axes: Axes, system: Info) -> None:
    """A thin line where each stage begins, a tint while it settles; the axis spans the stages."""
    stages = spans(system)
    for stage in stages:
        axes.axvline(stage.start, color="#cfcfcf", linewidth=0.8, zorder=0.5)
        axes.axvspan(stage.start, stage.settled, color="#f3f3f3", linewidth=0, zorder=0.3)
    axes.set_xlim(stages[0].start, stages[-1].end)


def offered(axes: Axes, system: Info, width: float, title: str = "") -> None:
    """C over time as steps, and the knee; stages are named where a panel of ``width`` inches has room."""
    stages, knee = spans(system), system.get("knee")
    inches = width / stages[-1].end
    fits = all(style.text_width(one.name) + 0.04 < (one.end - one.start) * inches for one in stages)
    for one in stages if fits else ():
        axes.text(
            (one.start + one.end) / 2, 1.0, one.name, transform=axes.get_xaxis_transform(), ha="center",
            va="bottom", color=GREY,
        )  # fmt: skip
    if title:
        axes.set_title(title, loc="left", pad=16.0 if fits else 4.0)
    borders = [*(one.start for one in stages), stages[-1].end]
    axes.stairs([one.concurrency for one in stages], borders, color=BLACK, linewidth=1.8, label="offered C")
    top = max(float(one.concurrency) for one in stages)
    if not is_missing(knee):
        axes.axhline(
            float(knee or 0), color=style.PURPLE, linewidth=0.9, linestyle=(0, (4, 2)), zorder=3,
            label=f"knee, C = {whole(knee)}",
        )  # fmt: skip
        top = max(top, float(knee or 0))
    axes.fill_between([], [], [], color="#e6e6e6", linewidth=0, label="settling, not measured")
    axes.set_ylim(0, 1.15 * top)
    axes.set_ylabel("offered C")


def middle(series: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The middle of each bin of a series, model s."""
    return (series["t"] + series["seconds"] / 2).to_numpy(dtype=float)


def strip(
    axes: Axes, start: np.ndarray[Any, Any], end: np.ndarray[Any, Any], regimes: Sequence[str], place: float,
    height: float = 0.4, edge: str = GREY,
) -> None:  # fmt: skip
    """Colour stretches of time by their regime, one framed row of bars around ``place``."""
    if not len(start):
        return
    changes = [k for k, told in enumerate(regimes) if k == 0 or told != regimes[k - 1]]
    for first, after in zip(changes, [*changes[1:], len(regimes)], strict=True):
        if regimes[first] in REGIMES:
            axes.bar(
                start[first], height, width=end[after - 1] - start[first], bottom=place - height / 2,
                align="edge", color=REGIMES[regimes[first]], linewidth=0, zorder=3,
            )  # fmt: skip
    axes.plot(
        [start.min(), end.max(), end.max(), start.min(), start.min()],
        place + height / 2 * np.array([-1, -1, 1, 1, -1]), color=edge, zorder=3.5,
        linewidth=0.6 if edge == GREY else 1.4,
    )  # fmt: skip


def name_regimes(axes: Axes) -> None:
    """An entry of the legend for each colour of a strip."""
    for regime, colour in REGIMES.items():
        axes.fill_between([], [], [], color=colour, linewidth=0, label=f"regime {regime}")


def name_launch(axes: Axes, series: pd.DataFrame) -> None:
    """An entry of the legend that says which launch is drawn, where there are several."""
    count = series["launch"].nunique()
    if count > 1:
        axes.plot([], [], linestyle="", label=f"the first of {count} launches")
