"""Two runs' estimates, row by row: which rows both have, how far these differ, and how far they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from anarchy.compare.sources import sources, sources_of
from anarchy.designs.loading import design_in, remake
from anarchy.designs.metrics import ALL, BOUNDS, Metric, Source
from anarchy.games.requests import FloatArray
from anarchy.ground.errors import UserError
from anarchy.ground.layout import Layout

ROUNDING: Final = 1e-12
"""What rounding alone makes of equal numbers: intervals without width would differ by it."""


@dataclass(frozen=True)
class Run:
    """One run's estimates: every file of `sources` that it has, its systems in one table."""

    folder: Path
    tables: Mapping[tuple[str, Source], pd.DataFrame]
    """By experiment and source: what one file's name means differs between designs."""

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments that have estimates."""
        return sorted({experiment for experiment, _ in self.tables})


@dataclass(frozen=True, eq=False)
class Comparison:
    """One metric of one experiment in two runs."""

    experiment: str
    source: Source
    metric: Metric
    rows: pd.DataFrame
    """What both runs have: the key; `value`, `lo`, `hi`, `n_launches` and `kind` of each run with `_first`
    and `_second` after them; `change` from the first to the second with `change_lo` and `change_hi`;
    `size`, |change| on the metric's scale; and `agrees`."""
    only: int
    """Rows that count in one run only."""
    neither: int
    """Rows that were planned and count in neither."""

    @property
    def n_agree(self) -> int:
        """Rows whose interval of the change holds none."""
        return int(self.rows["agrees"].sum())


def load_run(folder: Path) -> Run:
    """What can be compared of a results folder such as `results/quick`.

    Raises UserError when there are no estimates, and for a file that cannot be read or lacks columns.
    """
    found: dict[tuple[str, Source], list[pd.DataFrame]] = {}
    for system in Layout(folder).estimated():
        for source in sources_of(design_in(system)[0]):
            path = system / source.file
            table = _read(path, source) if path.exists() else pd.DataFrame()
            if not table.empty:
                found.setdefault((system.parent.name, source), []).append(table)
    if not found:
        raise UserError(
            "holds no estimates",
            where=folder,
            remedy="name the folder of one tier, such as results/quick, of a run that has estimates",
        )
    return Run(folder, {key: pd.concat(tables, ignore_index=True) for key, tables in found.items()})


def _read(path: Path, source: Source) -> pd.DataFrame:
    remedy = remake(path.parent)
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=path, remedy=remedy) from None
    lacking = [name for name in source.columns if name not in table]
    if lacking:
        raise UserError(f"lacks the columns {', '.join(lacking)}", where=path, remedy=remedy)
    return table[source.columns]


def compare_runs(
    first: Run, second: Run, metric: str = "poa_hat", experiment: str | None = None
) -> list[Comparison]:
    """A metric (`all`: every one) of every experiment that both runs have, or of one.

    A metric of which neither run has a number is left out. Raises UserError for an unknown metric, for an
    experiment that a run lacks, and when the runs share nothing that counts.
    """
    named = [(source, one) for source in sources() for one in source.metrics if metric in (ALL, one.name)]
    if not named:
        known = dict.fromkeys(one.name for source in sources() for one in source.metrics)
        raise UserError(
            f"{metric!r} is no metric with an interval",
            where="--metric",
            remedy=f"one of {', '.join([ALL, *known])}",
        )
    shared = [name for name in first.experiments if name in second.experiments]
    if not shared or (experiment is not None and experiment not in shared):
        what = "the two runs share no experiment" if experiment is None else f"not in both runs: {experiment}"
        have = "; ".join(f"{run.folder} has {', '.join(run.experiments)}" for run in (first, second))
        raise UserError(
            what, where="--experiment" if experiment else "compare", remedy=f"compare what both have: {have}"
        )
    found = [
        compare(first.tables[name, source], second.tables[name, source], source, one, name)
        for name in (shared if experiment is None else [experiment])
        for source, one in named
        if (name, source) in first.tables and (name, source) in second.tables
    ]
    found = [one for one in found if len(one.rows) or one.only]
    if all(one.rows.empty for one in found):
        raise UserError(
            f"the two runs share nothing valid that has {'a metric' if metric == ALL else metric}",
            where="compare",
            remedy="compare runs of the same experiment, tier and models; --metric all shows all they share",
        )
    return found


def compare(
    first: pd.DataFrame, second: pd.DataFrame, source: Source, metric: Metric, experiment: str = ""
) -> Comparison:
    """The rows of a file that both runs count, with the change from first to second and its 95 % interval.

    The runs are independent, so the interval of the change follows from those of its parts on the metric's
    scale, logarithms for a ratio (MOVER: Zou and Donner, Statistics in Medicine 27, 2008, section 2).
    """
    key, scale = list(source.key), metric.scale
    tables = [_of_quantity(table, metric) for table in (first, second)]
    one, other = (_counted(table, source, metric) for table in tables)
    both = one.merge(other, on=key, suffixes=("_first", "_second"), validate="one_to_one")
    value1, low1, high1 = _scaled(both, metric, "_first")
    value2, low2, high2 = _scaled(both, metric, "_second")
    change = value2 - value1
    low = change - np.hypot(value2 - low2, high1 - value1)
    high = change + np.hypot(high2 - value2, value1 - low1)
    rows = both.assign(
        change=scale.back(change),
        change_lo=scale.back(low),
        change_hi=scale.back(high),
        size=np.abs(change),
        agrees=(low <= ROUNDING) & (high >= -ROUNDING),
    )
    planned = len(pd.concat([table[key] for table in tables]).drop_duplicates())
    only = len(one) + len(other) - 2 * len(both)
    return Comparison(experiment, source, metric, rows, only, planned - len(both) - only)


def _of_quantity(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    return table[table["quantity"] == metric.quantity] if metric.quantity else table


def _counted(table: pd.DataFrame, source: Source, metric: Metric) -> pd.DataFrame:
    """The valid rows whose number and interval have a place on the metric's scale."""
    numbers = {
        f"value{bound}": pd.to_numeric(table[metric.column + bound], errors="coerce").astype(float)
        for bound in BOUNDS
    }
    kind = table.get("interval_kind", source.basis)
    rows = table[list(source.key)].assign(**numbers, n_launches=table["n_launches"], kind=kind)
    values = rows[list(numbers)].to_numpy()
    fits = np.isfinite(values) & ((values > 0.0) | (not metric.scale.positive))
    counted: pd.DataFrame = rows[table["valid"].to_numpy(bool) & fits.all(axis=1)]
    return counted


def _scaled(rows: pd.DataFrame, metric: Metric, run: str) -> list[FloatArray]:
    """Value and ends of the interval of one run."""
    return [metric.scale.to(rows[f"value{bound}{run}"].to_numpy(float)) for bound in BOUNDS]
