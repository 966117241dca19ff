"""PoA-hat as a product: its three factors as bars on a logarithmic axis."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from anarchy.figures import style
from anarchy.figures.style import BLACK

FACTORS: Final = (
    ("routing", "routing (PoA-cal)", style.ORANGE, ""),
    ("freezing", "freezing", style.SKY, "////"),
    ("dynamics", "dynamics", "#d4d4d4", ""),
)
"""The three factors of PoA-hat in the order in which they are stacked."""


def stack_factors(
    axes: Axes, slots: np.ndarray[Any, Any], good: pd.DataFrame
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Stack the factors of PoA-hat of each row at its slot; returns the upper and lower end of each stack."""
    up, down = np.ones(len(good)), np.ones(len(good))
    for column, label, colour, hatch in FACTORS:
        factor = good[column].to_numpy(dtype=float)
        rising = factor >= 1
        start = np.where(rising, up, down)
        end = start * np.nan_to_num(factor, nan=1.0)
        axes.bar(
            slots, end - start, bottom=start, width=0.72, color=colour, hatch=hatch, label=label,
            edgecolor="white", linewidth=0.4, zorder=2,
        )  # fmt: skip
        up, down = np.where(rising, end, up), np.where(rising, down, end)
    axes.axhline(1, color=BLACK, linewidth=0.8, zorder=3)
    return up, down
