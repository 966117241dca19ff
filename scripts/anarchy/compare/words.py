"""What is said of a comparison in words: how much differs, what is left out, what the intervals hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from anarchy.compare.matching import Comparison, Run
from anarchy.designs.metrics import Metric
from anarchy.ground.words import MISSING, number
from anarchy.tables import engine_words

CHANCE: Final = 0.05
"""Share of 95 % intervals that miss the truth."""

_ACROSS: Final = "across-launches"
_LAUNCHES: Final = ("n_launches_first", "n_launches_second")
_INSIDE: Final = "hold the noise inside a run, not what differs from launch to launch"


def origins(found: Sequence[Comparison], first: Run, second: Run) -> list[str]:
    """Where the numbers of each run come from, and which experiments the other lacks."""
    shown = dict.fromkeys((one.experiment, one.source) for one in found)
    lines = []
    for name, run, other in (("first", first, second), ("second", second, first)):
        labels = pd.concat([run.tables[key][["engine", "dilation", "tier"]] for key in shown])
        engines, dilations, tiers = (labels[column].dropna().tolist() for column in labels)
        words = engine_words(engines, dilations, tiers, kinds=())
        alone = [experiment for experiment in run.experiments if experiment not in other.experiments]
        only = f"; in this run only: {', '.join(alone)}" if alone else ""
        lines.append(f"{name}: {run.folder}: {words}{only}")
    return lines


def verdict(one: Comparison, place: str) -> list[str]:
    """How many rows agree and by how much all differ; ``place``: which differs most."""
    n = len(one.rows)
    by_chance = f"{CHANCE * n:.1f} would differ by chance if both runs had one truth"
    largest = extent(one, "max") + (f" ({place})" if place and one.rows["size"].max() > 0.0 else "")
    return [
        f"{one.metric.name}: {one.n_agree} of {n} {one.source.rows} agree; {by_chance}.",
        f"Median |change| {extent(one, 'median')}, largest {largest}.",
    ]


def extent(one: Comparison, statistic: str) -> str:
    """Median or largest (`max`) |change|: in per cent of a ratio, in the unit of a difference."""
    if one.rows.empty:
        return MISSING
    size = float(one.rows["size"].agg(statistic))
    if one.metric.scale.positive:
        return f"{number(100.0 * float(np.expm1(size)))} %"
    return f"{rounded(size)} {one.metric.unit}"


def change(row: Mapping[Any, Any], metric: Metric) -> tuple[str, str]:
    """The change of one row, and its interval."""
    values = [row[name] for name in ("change", "change_lo", "change_hi")]
    texts = [f"{value:.3f}" if metric.scale.positive else rounded(value) for value in values]
    return texts[0], f"[{texts[1]}, {texts[2]}]"


def rounded(value: float) -> str:
    """Three digits of any number; curvatures are tiny."""
    return number(value) if value == 0.0 or abs(value) >= 0.1 else f"{value:#.3g}"


def left_out(one: Comparison) -> list[str]:
    """Rows that are not compared, where there are any."""
    counts = ((one.only, "one run only"), (one.neither, "neither"))
    parts = [f"{_counted(count, one)} valid in {where}" for count, where in counts if count]
    return [f"Left out: {', '.join(parts)} (valid: counted there, and with an interval)."] if parts else []


def without_width(one: Comparison) -> list[str]:
    """Rows that a run gives an interval without width, where there are any."""
    rows = one.rows
    flat = [rows[f"value_lo_{run}"] == rows[f"value_hi_{run}"] for run in ("first", "second")]
    count = int((flat[0] | flat[1]).sum())
    what = "a run's interval has no width, which says that too few samples varied"
    return [f"In {_counted(count, one)} {what}."] if count else []


def basis(found: Sequence[Comparison]) -> str:
    """What the intervals of one file hold and what they do not, by the launches behind them."""
    rows = pd.concat([one.rows[["kind_first", "kind_second", *_LAUNCHES]] for one in found])
    launches = f"Launches: {' and '.join(_span(rows[name]) for name in _LAUNCHES)}."
    if found[0].source.basis:
        return f"{launches} Intervals are {found[0].source.basis}."
    across = int(((rows["kind_first"] == _ACROSS) & (rows["kind_second"] == _ACROSS)).sum())
    if across == len(rows):
        return f"{launches} Intervals are across launches: they hold what differs from launch to launch."
    if across:
        most = f"{across} of {len(rows)} intervals are across launches in both runs"
        return f"{launches} {most}, the others {_INSIDE}."
    return f"{launches} Intervals {_INSIDE}: more may differ than by chance."


def _counted(count: int, one: Comparison) -> str:
    return f"{count} {one.source.rows if count != 1 else one.source.rows.removesuffix('s')}"


def _span(values: pd.Series[Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
