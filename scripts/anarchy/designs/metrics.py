"""What of a table of estimates can be compared: the key of its rows, and metrics with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from anarchy.estimate.columns import QUANTITIES
from anarchy.games.requests import FloatArray

ALL: Final = "all"
"""Stands for every metric."""

BOUNDS: Final = ("", "_lo", "_hi")
"""After a column's name: its value and the ends of its 95 % interval."""


@dataclass(frozen=True, eq=False)
class Scale:
    """How a metric of two runs is held against each other."""

    name: str
    """Head of its column."""
    title: str
    to: Callable[[FloatArray], FloatArray]
    """On what scale the runs are subtracted."""
    back: Callable[[FloatArray], FloatArray]
    positive: bool
    """Whether only numbers above 0 have a place on it."""


def _same(values: FloatArray) -> FloatArray:
    return values


RATIO: Final = Scale("ratio", "ratio, second run over first", np.log, np.exp, positive=True)
DIFFERENCE: Final = Scale("difference", "second run less first", _same, _same, positive=False)
"""For what can be zero or negative."""


@dataclass(frozen=True, eq=False)
class Metric:
    """One number with an interval; ``quantity``: of the rows alone whose column `quantity` says this."""

    name: str
    column: str
    scale: Scale = RATIO
    unit: str = ""
    """Of a difference."""
    quantity: str = ""


@dataclass(frozen=True, eq=False)
class Source:
    """One file of a system's estimates (`estimate.columns`)."""

    file: str
    rows: str
    """What a row is, in the plural."""
    key: tuple[str, ...]
    """Columns that tell its rows apart, beside the experiment and a metric's quantity."""
    metrics: tuple[Metric, ...]
    basis: str = ""
    """What its intervals rest on; without it each row's `interval_kind` says it."""

    @property
    def columns(self) -> list[str]:
        """Every column that a comparison needs."""
        kind = [] if self.basis else ["interval_kind"]
        wide = [metric.column + bound for metric in self.metrics for bound in BOUNDS]
        long = ["quantity"] if any(metric.quantity for metric in self.metrics) else []
        labels = ["engine", "dilation", "tier", "n_launches", "valid"]
        return list(dict.fromkeys([*self.key, *labels, *kind, *long, *wide]))


def named(*names: str) -> tuple[Metric, ...]:
    """Metrics whose column has their own name, on the scale of ratios."""
    return tuple(Metric(name, name) for name in names)


def by_quantity(column: str) -> tuple[Metric, ...]:
    """A metric for each quantity of a long file: `ratio_poa_hat` of column `ratio`."""
    return tuple(Metric(f"{column}_{q}", column, quantity=q) for q in (*QUANTITIES, "load_range"))


SYSTEM: Final = ("model", "topology")
"""Columns that tell systems apart."""
CONDITION: Final = (
    *named(*QUANTITIES, "dynamics", "freezing", "ttft_mean", "poa_hat_cv"),
    Metric("load_range", "load_range", DIFFERENCE, "requests"),
    Metric("load_sd", "load_sd", DIFFERENCE, "requests"),
)
"""Of a stage and of a pair; `routing` is PoA-cal again."""
