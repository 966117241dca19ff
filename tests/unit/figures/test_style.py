"""What every figure has in common, whoever draws it."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from anarchy.figures import style

LABEL = {"engine": "simulated", "dilation": 1.0, "tier": "quick", "interval_kind": "within-run"}
CELLS = pd.DataFrame([{**LABEL, "n_launches": 1, "valid": True}])


@style.styled
def two_panels() -> Figure:
    figure = style.new_figure(style.SINGLE, 2.0)
    for place, axes in enumerate(figure.subplots(1, 2, width_ratios=(1, 3)), start=1):
        axes.plot([0, place], [0, 1000 * place])
        axes.set_ylabel("milliseconds")
    return figure


def test_the_same_figure_gives_the_same_bytes_whatever_the_layout_adds_up_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = ("pdf", "svg", "png")
    before = [style.render(two_panels(), kind, CELLS) for kind in kinds]
    lay_out = ConstrainedLayoutEngine.execute

    def otherwise(engine: ConstrainedLayoutEngine, figure: Figure) -> None:
        lay_out(engine, figure)
        for axes in figure.axes:
            left, bottom, width, height = axes.get_position(original=True).bounds
            axes.set_position((left * (1 + 4e-16), bottom, width * (1 - 8e-16), height))
            axes.set_in_layout(True)

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", otherwise)
    assert [style.render(two_panels(), kind, CELLS) for kind in kinds] == before


def test_axes_stay_in_the_layout_of_the_next_file() -> None:
    figure = two_panels()
    style.render(figure, "svg", CELLS)
    assert all(axes.get_in_layout() for axes in figure.axes)


@pytest.mark.filterwarnings("error")
def test_a_figure_with_nothing_to_lay_out_is_written_without_a_warning() -> None:
    assert style.render(style.new_figure(style.SINGLE, 1.0), "svg", CELLS)
