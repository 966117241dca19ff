"""Two runs of one study side by side: by how much each cell differs, and what their intervals allow."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from anarchy.errors import UserError

KEY: Final = ["experiment", "model", "topology", "policy", "workload", "concurrency"]
METRICS: Final = ("poa_hat", "poa_cal", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps")
"""Columns of cells.parquet that have an interval."""


def load_cells(folder: Path) -> pd.DataFrame:
    """Every estimated cell under a results folder such as `results/quick`.

    Raises UserError when there is none.
    """
    files = sorted(folder.glob("estimates/*/*/cells.parquet"))
    if not files:
        raise UserError(
            "holds no estimates",
            where=folder,
            remedy="name the folder of one tier, such as results/quick, of a run that has estimates",
        )
    return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)


def compare(first: pd.DataFrame, second: pd.DataFrame, metric: str = "poa_hat") -> pd.DataFrame:
    """Cells that both runs count, with the ratio second / first of a metric and its 95 % interval.

    The runs are independent, so the interval of the ratio follows from those of its parts on the log scale
    (MOVER: Zou and Donner, Statistics in Medicine 27, 2008, section 2). `agrees` is whether it holds 1.
    Raises UserError for a metric that has no interval, and when the runs share no cell.
    """
    if metric not in METRICS:
        raise UserError(
            f"{metric!r} is no metric with an interval",
            where="--metric",
            remedy=f"one of {', '.join(METRICS)}",
        )
    columns = [metric, f"{metric}_lo", f"{metric}_hi"]
    one, other = (cells.loc[cells["valid"], [*KEY, *columns]].dropna() for cells in (first, second))
    both = one.merge(
        other,
        on=KEY,
        suffixes=("_first", "_second"),
    )
    if both.empty:
        raise UserError(
            "the two runs share no valid cell",
            where="compare",
            remedy="compare runs of the same experiment, tier and models",
        )
    value1, low1, high1 = (np.log(both[f"{column}_first"].to_numpy(float)) for column in columns)
    value2, low2, high2 = (np.log(both[f"{column}_second"].to_numpy(float)) for column in columns)
    ratio = value2 - value1
    low = ratio - np.hypot(value2 - low2, high1 - value1)
    high = ratio + np.hypot(high2 - value2, value1 - low1)
    return both.assign(
        ratio=np.exp(ratio), ratio_lo=np.exp(low), ratio_hi=np.exp(high), agrees=(low <= 0) & (high >= 0)
    ).sort_values(KEY, ignore_index=True)


def render(cells: pd.DataFrame, metric: str) -> str:
    """The comparison as a table for a terminal, and what it comes to in three lines."""
    table = Table(title=f"{metric}: second run over first, 95 %")
    for name in ("system", "workload", "C", "first", "second", "ratio", "interval", ""):
        table.add_column(name, justify="left" if name in {"system", "workload", ""} else "right")
    for row in cells.itertuples():
        table.add_row(
            f"{row.model}/{row.topology}/{row.policy}",
            str(row.workload),
            str(row.concurrency),
            f"{getattr(row, metric + '_first'):.3g}",
            f"{getattr(row, metric + '_second'):.3g}",
            f"{row.ratio:.3f}",
            f"[{row.ratio_lo:.3f}, {row.ratio_hi:.3f}]",
            "" if row.agrees else "differs",
        )
    console = Console(width=110)
    with console.capture() as caught:
        console.print(table)
    differ = int((~cells["agrees"]).sum())
    size = np.abs(np.log(cells["ratio"].to_numpy(float)))
    worst = cells.loc[int(np.argmax(size))]
    return caught.get() + (
        f"{len(cells) - differ} of {len(cells)} cells agree; of as many runs of one truth "
        f"{0.05 * len(cells):.1f} would differ by chance.\n"
        f"Median difference {100 * np.expm1(np.median(size)):.1f} %, "
        f"largest {100 * np.expm1(size.max()):.1f} % "
        f"({worst['model']}/{worst['topology']} at C = {worst['concurrency']}).\n"
        "Intervals of one launch hold the noise inside a run, not what differs from launch to launch.\n"
    )
