"""Every claim that has a number in one figure: measured over published, on one logarithmic axis.

A level of PoA-hat hangs on a constant of the cost model, so that it cannot be compared with a published one:
its growth, in which the constant cancels, stands beside it, and the level itself is drawn hollow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from anarchy.claims.growth import GROWTH
from anarchy.claims.model import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from anarchy.claims.scoreboard import headline
from anarchy.figures import style
from anarchy.figures.parts import log_range
from anarchy.figures.style import BLACK, DOUBLE, GREEN, GREY, SERIES, VERMILLION, styled

COLOURS: Final = {REPRODUCED: GREEN, NOT_REPRODUCED: VERMILLION, INCONCLUSIVE: GREY}
"""Colour of a system's own verdict."""
PUBLISHED: Final = "#cfe3f3"
FAR: Final = 100.0
"""How far from the published value the axis reaches at most, to either side; beyond it stands an arrow."""
READING: Final = (
    "Every claim with a number: measured over published, on one logarithmic axis. The bar is "
    "the published range, a thin one a published point or margin; markers are systems with their intervals, "
    "green where a system speaks for the claim, orange against it, grey where it is open. Hollow: a level of "
    "PoA-hat, which a constant of the cost model moves; the growth beside it is free of that."
)


def forest_rows(verdicts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a claim, quantity and system that has a measured and a published number.

    Columns: ids, label, system, verdict, level (whether it cannot be compared), measured and published with
    their ends, and the same over the published value: `ratio`, `ratio_lo`, `ratio_hi`, `from`, `to`.
    """
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for claim in dict.fromkeys(verdict["id"] for verdict in verdicts):
        for verdict in headline([one for one in verdicts if one["id"] == claim]):
            parts = verdict.get("parts") or ()
            scaled = any(part["quantity"] == GROWTH for part in parts)
            for part in parts:
                growth = part["quantity"] == GROWTH
                if part["measured"] is None or not part.get("published") or (part["aside"] and not growth):
                    continue
                key = (part["system"], part["quantity"], verdict["engine"], "" if growth else claim)
                if key in rows:
                    rows[key]["ids"] += f", {claim}"
                else:
                    rows[key] = {
                        "ids": claim,
                        "level": scaled and not growth,
                        **_row(part, verdict["engine"]),
                    }
    return pd.DataFrame(list(rows.values()))


def _row(part: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """One measured value over the published one: the middle of its range, or its margin."""
    low, high = part["published"]
    anchor = math.sqrt(low * high) if low > 0 else high
    ends = {"ratio": part["measured"], "ratio_lo": part["lo"], "ratio_hi": part["hi"]}
    return {
        "quantity": part["quantity"],
        "label": part["quantity"].split(" (")[0].removesuffix(", noise taken out, %"),
        "system": part["system"],
        "engine": engine,
        "verdict": part["verdict"],
        **{name: part[name] for name in ("measured", "lo", "hi")},
        "published_lo": low,
        "published_hi": high,
        **{name: math.nan if value is None else value / anchor for name, value in ends.items()},
        "from": low / anchor,
        "to": high / anchor,
    }


@styled
def forest(rows: pd.DataFrame, label: pd.DataFrame, width: float = DOUBLE) -> Figure:
    """The rows of `forest_rows`, a line a claim and quantity; `label`: rows that tell the engine."""
    if rows.empty:
        figure = style.new_figure(width, 0.6)
        figure.text(0.5, 0.5, "no claim with a number was measured", ha="center", va="center")
        return style.stamp(figure, label)
    names = list(dict.fromkeys(zip(rows["ids"], rows["label"], rows["level"], strict=True)))
    room = 0.36 * width if width >= DOUBLE else 0.42 * width
    words = [style.wrap(f"{ids} {name}".split(" "), room, " ") for ids, name, _ in names]
    heights = [max(2.0, text.count("\n") + 1.6) for text in words]
    at = np.cumsum([0.0, *((a + b) / 2 for a, b in pairwise(heights))])
    figure = style.new_figure(width, 0.5 + 0.135 * sum(heights))
    axes = figure.subplots()
    systems = list(dict.fromkeys(rows["system"]))
    ends = rows[["ratio", "ratio_lo", "ratio_hi", "from", "to"]].to_numpy(dtype=float)
    log_range(axes, np.clip(ends[ends > 0], 1 / FAR, FAR), 1.0, "x")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,)))
    for place, key in enumerate(names):
        mine = rows[(rows["ids"] == key[0]) & (rows["label"] == key[1])]
        _published(axes, at[place], heights[place], mine.iloc[0])
        step = 0.62 * heights[place] / max(len(mine), 3)
        for slot, row in enumerate(mine.to_dict("records")):
            offset = step * (slot - (len(mine) - 1) / 2)
            _measured(axes, at[place] + offset, row, systems.index(row["system"]))
    axes.axvline(1.0, color=BLACK, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=1)
    axes.set_yticks(at, words)
    axes.set_ylim(at[-1] + heights[-1] / 2, -heights[0] / 2)
    axes.tick_params(axis="y", length=0)
    for place in range(len(at) - 1):
        axes.axhline(at[place] + heights[place] / 2, color="#ececec", linewidth=0.6, zorder=0)
    axes.set_xlabel(
        "measured over published (1 = as published)" if width >= DOUBLE else "measured over published"
    )
    _legend(figure, axes, systems, columns=3 if width >= DOUBLE else 1)
    return style.stamp(figure, label)


def _published(axes: Axes, y: float, height: float, row: pd.Series[Any]) -> None:
    """The published range as a bar, a point or a margin as a thin one."""
    low, high = max(float(row["from"]), axes.get_xlim()[0]), float(row["to"])
    if row["from"] == row["to"]:
        low, high = low / 1.03, high * 1.03
    axes.barh(y, high - low, 0.8 * height, left=low, color=PUBLISHED, linewidth=0, zorder=1)


def _measured(axes: Axes, y: float, row: Mapping[str, Any], system: int) -> None:
    """One system's value with its interval; what leaves the axis ends at its edge as an arrow."""
    low, high = axes.get_xlim()
    colour, marker = COLOURS.get(row["verdict"], GREY), SERIES[system % len(SERIES)][1]
    ends = np.clip(np.nan_to_num([row["ratio_lo"], row["ratio_hi"]], nan=row["ratio"]), low, high)
    axes.plot(ends, [y, y], color=colour, linewidth=1.1, zorder=3)
    value = float(np.clip(row["ratio"], low, high))
    inside = low < row["ratio"] < high
    axes.plot(
        [value], [y], marker=marker if inside else "<" if row["ratio"] <= low else ">", color=colour,
        markerfacecolor="white" if row["level"] else colour, markersize=4.5, linestyle="", zorder=4,
        clip_on=False,
    )  # fmt: skip


def _legend(figure: Figure, axes: Axes, systems: Sequence[str], columns: int) -> None:
    """What each marker is."""
    for place, name in enumerate(systems):
        marker = SERIES[place % len(SERIES)][1]
        axes.plot([], [], marker=marker, color=BLACK, linestyle="", markersize=4.5, label=name)
    axes.plot([], [], marker="o", color=BLACK, markerfacecolor="white", linestyle="", markersize=4.5,
              label="level, which cannot be compared")  # fmt: skip
    axes.fill_between([], [], [], color=PUBLISHED, linewidth=0, label="published")
    style.legend(figure, [axes], columns=columns)
