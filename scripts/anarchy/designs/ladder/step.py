"""Arrivals over time beside TTFT: of the cell whose users marched most in step, and of one that did not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.figures import style
from anarchy.figures.parts import name_not_counted, rows_of, write_title
from anarchy.figures.style import BLUE, DOUBLE, GREY, VERMILLION, styled
from anarchy.tables import System, number

MS = 1e3


@styled
def arrivals_over_time(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Requests sent in each prefill step, and below them their TTFT, over a few rounds of the users."""
    rows, _ = rows_of(system.cells, workload)
    bins = system.frames["arrivals"]
    bins = bins[bins["workload"] == workload]
    cells = [cell for _, cell in bins.groupby("concurrency", sort=False)]
    wide = width >= DOUBLE
    figure = style.new_figure(width, 3.0 if wide or len(cells) < 2 else 5.2)
    count = max(1, len(cells))
    shape, ratios = ((2, count), [1, 1]) if wide else ((2 * count, 1), [1, 1] * count)
    panels = figure.subplots(*shape, squeeze=False, gridspec_kw={"height_ratios": ratios})
    columns = [panels[:, place] if wide else panels[2 * place : 2 * place + 2, 0] for place in range(count)]
    for (above, below), cell in zip(columns, cells, strict=False):
        _arrivals(above, cell)
        _waits(below, cell)
    if not cells:
        columns[0][0].plot([], [], linestyle="", label="no trace tells how requests came")
    first = columns[0][0]
    first.plot([], [], color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), label="mean of a prefill step")
    name_not_counted(first, rows, width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(np.ravel(panels)), columns=3 if wide else 1)
    # No interval is drawn here, so the label names none.
    return style.stamp(figure, rows.assign(interval_kind=None))


def _arrivals(axes: Axes, cell: pd.DataFrame) -> None:
    """Requests sent in each bin, and their mean."""
    head = cell.iloc[0]
    label = "requests sent" if axes.get_subplotspec().is_first_col() else None  # type: ignore[union-attr]
    width = float(head["seconds"])
    axes.bar(cell["t"], cell["n_sent"], width=width, align="edge", color=BLUE, linewidth=0, label=label)
    axes.axhline(float(cell["n_sent"].mean()), color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), zorder=3)
    axes.set_ylim(0, 1.1 * max(1.0, float(cell["n_sent"].max())))
    verdict = "in step" if head["in_step"] else "not in step"
    index = number(head["arrivals_dispersion"])
    axes.set_title(f"C = {int(head['concurrency'])}, {verdict}: var/mean {index}", loc="left")
    axes.set_ylabel("sent")
    axes.tick_params(labelbottom=False)
    axes.set_xlim(0, float(cell["t"].max()) + width)


def _waits(axes: Axes, cell: pd.DataFrame) -> None:
    """TTFT of the requests of each bin: the mean and the longest."""
    middle = cell["t"] + cell["seconds"] / 2
    axes.vlines(middle, MS * cell["ttft_mean"], MS * cell["ttft_max"], color=VERMILLION, linewidth=0.6)
    axes.plot(
        middle, MS * cell["ttft_mean"], ".", markersize=2.5, color=VERMILLION, label="TTFT, mean to longest"
    )
    axes.set_ylim(0, 1.1 * MS * max(1e-3, float(cell["ttft_max"].max())))
    axes.set_xlim(0, float(cell["t"].max() + cell["seconds"].iloc[0]))
    axes.set_ylabel("TTFT, ms")
    axes.set_xlabel("model time, s")
