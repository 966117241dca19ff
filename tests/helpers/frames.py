"""Rows and cells of a table by their labels, of the one kind that they are."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd


def row(table: pd.DataFrame, label: Any) -> pd.Series[Any]:
    """The one row of this label."""
    found = table.loc[label]
    assert isinstance(found, pd.Series)
    return found


def at(table: pd.DataFrame, label: Any, column: Hashable) -> Any:
    """What stands in a column of the row, or the rows, of this label."""
    rows = table.loc[label]
    return rows[column]
