"""What every figure must hold: text that can be read, inside the figure, and apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from anarchy.figures import style


def words(figure: Figure) -> str:
    """Everything that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def plain(figure: Figure) -> str:
    """The same on one line."""
    return words(figure).replace("\n", " ").replace("\xa0", " ")


def assert_legible(figure: Figure, width: float) -> None:
    """Every text is large enough, lies inside the figure, and labels, ticks and legends do not overlap."""
    figure.draw_without_rendering()
    assert figure.get_figwidth() == width
    ticks = [label for axes in figure.axes for label in shown_ticks(axes)]
    every = [label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    hidden = set(every) - set(ticks)
    for text in (text for text in figure.findobj(Text) if isinstance(text, Text) and text not in hidden):
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent()
            assert float(text.get_fontsize()) >= style.TEXT
            inside = figure.bbox.padded(1)
            assert inside.x0 <= box.x0 < box.x1 <= inside.x1, text.get_text()
            assert inside.y0 <= box.y0 < box.y1 <= inside.y1, text.get_text()
    label = next(text for text in figure.texts if text.get_gid() == style.STAMP_ID)
    legends = [entry.get_window_extent() for entry in figure.legends]
    assert not overlap([label.get_window_extent(), *legends])
    titles = [axes.title for axes in figure.axes] + [left_title(axes) for axes in figure.axes]
    for axes in figure.axes:
        assert not overlap([axes.get_tightbbox(), *legends])
        assert not overlap([text.get_window_extent() for text in axes.texts])
        assert not overlap([tick.get_window_extent() for tick in shown_ticks(axes)])
    assert not overlap([title.get_window_extent() for title in titles if title.get_text()])


def shown_ticks(axes: Axes) -> list[Text]:
    """Tick labels within the limits: the others exist and are not drawn."""
    return [
        tick.label1
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if tick.label1.get_text()
        and tick.label1.get_visible()
        and min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    ]


def overlap(boxes: list[Any]) -> bool:
    """Whether any two of them do."""
    return any(
        a.padded(-0.5).overlaps(b.padded(-0.5)) for place, a in enumerate(boxes) for b in boxes[:place]
    )


def left_title(axes: Axes) -> Text:
    """The title at the left edge, which has no public name."""
    title = getattr(axes, "_left_title")  # noqa: B009
    assert isinstance(title, Text)
    return title


def x_of(line: Line2D) -> npt.NDArray[np.float64]:
    """Where the points of a line lie along x."""
    return np.asarray(line.get_xdata(), dtype=np.float64)


def error_bars(axes: Axes) -> list[Any]:
    """Every group of points with intervals; each has its line first in `lines`."""
    return [group for group in axes.containers if isinstance(group, ErrorbarContainer)]


def bars(axes: Axes) -> list[BarContainer]:
    """Every group of bars."""
    return [group for group in axes.containers if isinstance(group, BarContainer)]
