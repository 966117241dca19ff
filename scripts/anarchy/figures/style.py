"""How every figure looks and what it must say: sizes, colours, the engine's label, and saving.

A figure leaves this package through `save`, which writes the engine, the time dilation, the tier and the
kind of interval on it. Colours are those of Okabe and Ito, told apart by colour-blind readers, and every
series also has a marker and a line style of its own, so that a grey print can be read.
"""

from __future__ import annotations

import functools
import gc
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from anarchy.ground.errors import UserError
from anarchy.ground.files import write_whole
from anarchy.ground.layout import FIGURE_SUFFIXES, NARROW
from anarchy.tables import engine_words

SINGLE: Final = 3.35
"""Width of one column in print, inches."""
DOUBLE: Final = 7.0
"""Width of two columns in print, inches."""
TEXT: Final = 8.0
"""Smallest text, points."""

BLACK: Final = "#000000"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
GREY: Final = "#6b6b6b"

COLOURS: Final = LinearSegmentedColormap.from_list(
    "concurrency", colormaps["viridis"](np.linspace(0.93, 0.0, 256)), N=64
)
"""Perceptually uniform, also for colour-blind readers, darker with C; the lightest end is left out."""

SERIES: Final = (
    (BLUE, "o", "-"),
    (VERMILLION, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", ":"),
    (ORANGE, "v", "-"),
    (SKY, "P", "--"),
)
"""Colour, marker and line style of the first, second, ... series of a figure."""

REGIME_TINT: Final = {"artifact": "#e4e4e4", "plateau": "#e3f1fb", "growth": "#fdeadd"}
"""Background of each regime; each is also named in words."""

RC: Final[Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": TEXT,
    "axes.titlesize": TEXT + 0.5,
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "figure.titlesize": TEXT + 0.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "errorbar.capsize": 2.0,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "anarchy",
    "path.simplify": True,
}
"""Settings under which figures are drawn and saved: embedded fonts, nothing random in the files."""

POSITION_DIGITS: Final = 9
"""Of a position as a part of the figure's size: 1e-9 of seven inches is a two-millionth of a point."""
STAMP_ID: Final = "engine-label"
_PAD = 0.05
_LINE = 1.3

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def _without_collector() -> Iterator[None]:
    """Figures and fonts are many small objects: to search them for garbage takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the settings of this project, and of nothing else."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(), _without_collector():
            mpl.rcdefaults()
            mpl.rcParams.update(RC)
            return draw(*args, **kwargs)

    return wrapped


class Rounded(ConstrainedLayoutEngine):
    """Matplotlib's layout, its noise rounded away.

    Its solver (kiwisolver) adds up in the order of addresses in memory, so that positions of the same figure
    differ by 1e-15 from call to call. An SVG names clips by a digest of their positions, to the last bit.
    """

    def execute(self, fig: Figure) -> None:
        """Lay the axes of a figure out; their positions are multiples of 1e-9 of its size."""
        if not fig.axes:  # Matplotlib warns of a figure with nothing to lay out, such as one of no claim
            return
        super().execute(fig)
        for axes in fig.axes:
            kept = axes.get_in_layout()  # setting a position takes axes out of the layout
            axes.set_position(np.round(axes.get_position(original=True).bounds, POSITION_DIGITS))
            axes.set_in_layout(kept)


class LaidOut(Figure):
    """A figure whose layout is computed once before it is written, without drawing it twice."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw it; in Matplotlib's pass before a file is written, which draws nothing, only lay it out."""
        engine = self.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine) and self.canvas.is_saving():
            engine.execute(self)
        else:
            super().draw(renderer)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that no global state knows; ``height`` in inches, without legend and label."""
    figure = LaidOut(figsize=(width, height), layout=Rounded())
    FigureCanvasAgg(figure)
    return figure


def engine_label(cells: pd.DataFrame) -> str:
    """What the numbers of a figure come from, in one line, told by the rows themselves.

    Needs the columns engine, dilation, tier, interval_kind and n_launches; raises UserError where they do
    not say the engine.
    """
    engines = sorted({str(engine) for engine in cells["engine"].dropna()} - {""})
    if not engines:
        raise UserError(
            "the rows of this figure do not say which engine they come from",
            where="column engine",
            remedy="fill the column `engine` with the engine's label, or make the estimates again",
        )
    dilations = [float(factor) for factor in cells["dilation"].dropna()]
    return engine_words(engines, dilations, list(cells["tier"].dropna()), interval_kinds(cells))


def interval_kinds(cells: pd.DataFrame) -> list[str]:
    """Every kind of interval among the rows, in words: ``within-run``, ``across 3 launches``."""
    counted = cells[cells["valid"].astype(bool)]
    kinds = set(counted["interval_kind"].dropna())
    words = sorted(kinds - {"across-launches"})
    if "across-launches" in kinds:
        launches = counted.loc[counted["interval_kind"] == "across-launches", "n_launches"]
        fewest, most = int(launches.min()), int(launches.max())
        words.append(f"across {fewest if fewest == most else f'{fewest} to {most}'} launches")
    return words


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float = TEXT) -> float:
    """Width of a line of text in the figures' font, inches."""
    if not text.strip():
        return 0.0
    path = TextPath((0, 0), text, size=size)
    # Glyphs of the font turn at their own points: no curve has to be solved for its extremes, which is slow.
    drawn = path.vertices[path.codes != path.CLOSEPOLY, 0]
    return float(np.ptp(drawn)) / 72


def wrap(parts: Sequence[str], width: float, separator: str = ", ", size: float = TEXT) -> str:
    """Join parts into lines no wider than ``width`` inches, breaking between parts where it can."""
    lines: list[str] = []
    for part in parts:
        if lines and text_width(lines[-1] + separator + part, size) <= width:
            lines[-1] += separator + part
        else:
            if lines:
                lines[-1] += separator.rstrip()
            lines.append(part)
    return "\n".join(lines)


@styled
def stamp(figure: Figure, cells: pd.DataFrame) -> Figure:
    """Write the engine's label under a figure, below its legend; the axes keep their size.

    A figure that has a label keeps it: whoever drew it knows which rows it shows.
    """
    words = engine_label(cells).split(", ")
    if any(text.get_gid() == STAMP_ID for text in figure.texts):
        return figure
    text = figure.text(
        0.5, 0, wrap(words, figure.get_figwidth() - 2 * _PAD), ha="center", va="bottom", color=GREY,
        fontstyle="italic", linespacing=_LINE, gid=STAMP_ID,
    )  # fmt: skip
    text.set_in_layout(False)
    label = (text.get_text().count("\n") + 1) * TEXT * _LINE / 72 + 2 * _PAD
    legend = 0.0
    for entry in figure.legends:
        entry.set_in_layout(False)
        legend = max(legend, entry.get_window_extent().height / figure.dpi + _PAD)
    content = figure.get_figheight()
    height = content + label + legend
    figure.set_figheight(height)
    text.set_position((0.5, _PAD / height))
    for entry in figure.legends:
        entry.set_loc("lower center")
        entry.set_bbox_to_anchor((0, label / height, 1, legend / height), transform=figure.transFigure)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 1 - content / height, 1, content / height))
    return figure


@styled
def render(figure: Figure, suffix: str, cells: pd.DataFrame) -> bytes:
    """A labelled figure as the bytes of a PDF, SVG or PNG (200 dpi): the same bytes for the same data."""
    stamp(figure, cells)
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=200, metadata=metadata[suffix])
    return buffer.getvalue()


def save(figure: Figure, stem: Path, cells: pd.DataFrame, small: Figure | None = None) -> list[Path]:
    """Write ``<stem>.pdf``, ``.svg`` and ``.png``, each whole or not at all; returns the paths.

    ``cells`` are the rows that the figure shows: the label is made from them where it has none yet.
    ``small``: the same figure for a narrow screen, ``<stem>.narrow.svg``.
    """
    drawn = {suffix: (figure, suffix) for suffix in FIGURE_SUFFIXES}
    if small is not None:
        drawn[NARROW] = (small, "svg")
    paths = []
    for suffix, (one, kind) in drawn.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_whole(path, render(one, kind, cells))
        paths.append(path)
    return paths


def log_concurrency(axes: Axes, rows: pd.DataFrame, sparse: bool = False) -> None:
    """Logarithmic C with ticks at powers of two (of four where there is little room) and at the deepest C."""
    axes.set_xscale("log")
    if not rows.empty:
        low, high = float(rows["concurrency"].min()), float(rows["concurrency"].max())
        axes.set_xlim(low / 1.25, high * 1.25)
        axes.xaxis.set_major_locator(FixedLocator(concurrency_ticks(low, high, sparse)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("concurrency C" if sparse else "concurrency C (requests in flight)")


def concurrency_ticks(low: float, high: float, sparse: bool = False) -> list[float]:
    """Powers of two (of four where there is little room) from ``low`` on, and ``high``."""
    step = 2 if sparse and high / low > 32 else 1
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    apart = high / (2.6 if sparse else 1.6)
    return [*(2.0**power for power in list(powers)[::step] if 2.0**power < apart), high]


def log_values(
    axes: Axes,
    good: pd.DataFrame,
    columns: Sequence[str],
    include: float | None = None,
    factor: float = 1.0,
    headroom: float = 0.14,
    to_tick: bool = False,
) -> None:
    """Logarithmic values with room above for words and below for marks, ticks written out.

    ``to_tick``: the axis goes on to the first tick above all values.
    """
    values = good[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float).ravel() * factor
    values = values[np.isfinite(values) & (values > 0)]
    if include is not None:
        values = np.append(values, include)
    axes.set_yscale("log")
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 10.0)
    decades = max(math.log10(high / low), 0.3)
    steps = (1.0, 2.0, 5.0) if decades < 2.6 else (1.0,)
    top = high * 10 ** (headroom * decades)
    if to_tick:
        decade = 10.0 ** math.floor(math.log10(high))
        top = max(top, 1.02 * min(step * decade for step in (*steps, 10.0) if step * decade >= high))
    axes.set_ylim(low / 10 ** (0.14 * decades), top)
    log_ticks(axes.yaxis, steps)


def log_ticks(axis: Axis, steps: Sequence[float] = (1.0, 2.0, 5.0)) -> None:
    """Ticks of a logarithmic axis at these steps of each decade, written out."""
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, panels: Sequence[Axes], columns: int = 1) -> None:
    """One legend under all panels, each label once, in as many columns as there is room for.

    Curves come first, then bars, lines and marks, and areas last.
    """
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    ranks = (ErrorbarContainer, BarContainer, Line2D)
    order = sorted(entries, key=lambda label: [not isinstance(entries[label], kind) for kind in ranks])
    for ncols in range(columns, 0, -1):
        legend = figure.legend(
            [entries[label] for label in order], order, loc="lower center", ncols=ncols, handlelength=2.0,
            labelspacing=0.3, borderaxespad=0, borderpad=0.1, columnspacing=1.2,
        )  # fmt: skip
        if ncols == 1 or legend.get_window_extent().width < figure.bbox.width:
            return
        legend.remove()
