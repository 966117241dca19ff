"""Tables of both engines: every cell side by side, and every difference with its tolerance."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from anarchy.config.objectives import RATES
from anarchy.designs.engines.agreement import COMPARED
from anarchy.designs.tables import Maker
from anarchy.ground.words import (
    MISSING,
    counted,
    intervals,
    is_missing,
    milliseconds,
    number,
    whole,
)
from anarchy.tables import HEADINGS as SHARED_HEADINGS
from anarchy.tables import TITLES as SHARED_TITLES
from anarchy.tables import System
from anarchy.tables.step import COLUMNS as STEP
from anarchy.tables.step import HEADING, dispersions

NOT_TOLD: Final = "too noisy to tell"
_RATES: Final = {"within_ttft": "within TTFT", "within_itl": "within ITL", "goodput": "within both"}
TITLES: Final = {**SHARED_TITLES, "window_range": "load range", **_RATES}
"""What each quantity is called."""
HEADINGS: Final = {
    **SHARED_HEADINGS,
    "window_range": ("load range", 1.0),
    **{name: (f"{title}, requests/s", 1.0) for name, title in _RATES.items()},
}
"""Heading of each quantity, and the factor into the unit that it names."""


def side_table(system: System) -> pd.DataFrame:
    """One row a workload, set of policies and C; latencies in ms, `engine` is the engine's name."""
    rows = system.rows
    table = rows[["workload", "routing_set"]].copy()
    table["engine"] = rows["engine_name"]
    table["concurrency"] = rows["concurrency"]
    for name in system.info["tolerances"]:
        milliseconds(table, rows, name)
    plain = [
        *("n_windows", "n_requests", "n_launches", "interval_kind"),
        *(*STEP, "valid", "reasons", "dilation"),
    ]
    table[plain] = rows[plain]
    return table


def side_words(table: pd.DataFrame) -> pd.DataFrame:
    """`side_table` for people: numbers with their intervals as text, units in the headings."""
    words = _head(table)
    words["engine"] = _engines(table["routing_set"], table["engine"])
    for name in (*COMPARED, *(rate for rate in RATES if rate in table)):
        heading, factor = HEADINGS[name]
        words[heading] = intervals(table, f"{name}_ms" if factor != 1.0 else name)
    words[HEADING] = dispersions(table)
    words["windows"] = list(map(whole, table["n_windows"]))
    words["counted"] = counted(table)
    return pd.DataFrame(words)


def difference_table(system: System) -> pd.DataFrame:
    """One row a workload, C and quantity, as it was estimated; `engine` names both engines."""
    rows = system.frames["differences"]
    table = rows[["workload", "concurrency", "quantity"]].copy()
    table["engine"] = rows["live_engine"] + ", " + rows["virtual_engine"]
    columns = [
        *("live", "virtual", "difference", "difference_lo", "difference_hi", "tolerance", "within"),
        *("interval_kind", "n_launches", "valid", "reasons"),
    ]
    table[columns] = rows[columns]
    return table


def difference_words(table: pd.DataFrame) -> pd.DataFrame:
    """`difference_table` for people."""
    words = _head(table)
    words["quantity"] = [HEADINGS[name][0] for name in table["quantity"]]
    factors = [HEADINGS[name][1] for name in table["quantity"]]
    for side in ("live", "virtual"):
        words[side] = [
            MISSING if is_missing(value) else number(value * factor)
            for value, factor in zip(table[side], factors, strict=True)
        ]
    bounds = (table[f"difference{end}"].astype(float) for end in ("", "_lo", "_hi"))
    words["virtual over live less 1, %"] = [_difference(*row) for row in zip(*bounds, strict=True)]
    words["tolerance, %"] = [percents(share) for share in table["tolerance"].astype(float)]
    words["within"] = [
        f"not compared: {why}" if not valid else NOT_TOLD if is_missing(within) else "yes" if within else "no"
        for within, valid, why in zip(table["within"], table["valid"], table["reasons"], strict=True)
    ]
    return pd.DataFrame(words)


def _difference(value: float, lo: float, hi: float) -> str:
    """A difference with its interval."""
    if is_missing(value) or is_missing(lo) or is_missing(hi):
        return percents(value, "+")
    return f"{percents(value, '+')} [{percents(lo, '+')}, {percents(hi, '+')}]"


def percents(share: Any, sign: str = "") -> str:
    """A share in percent to one decimal, with the sign ``+`` on demand: all columns of it line up."""
    return MISSING if is_missing(share) else f"{100.0 * float(share):{sign}.1f}"


def _head(table: pd.DataFrame) -> dict[str, Any]:
    """Workload, where there are several, and C."""
    words: dict[str, Any] = {}
    if table["workload"].nunique() > 1:
        words["workload"] = list(table["workload"])
    words["C"] = list(map(whole, table["concurrency"]))
    return words


def _engines(sets: pd.Series[Any], names: pd.Series[Any]) -> list[str]:
    """Each engine by the set that it measured."""
    return [engine_of_set(routing, name) for routing, name in zip(sets, names, strict=True)]


def engine_of_set(routing: str, name: str) -> str:
    """`live: mocker`, and `virtual` alone where the engine is called as its set is."""
    return routing if name in (routing, "") else f"{routing}: {name}"


TABLES: Final[dict[str, Maker]] = {
    "": (side_table, side_words),
    "differences": (difference_table, difference_words),
}
"""Name of a table -> what makes it, and what puts it in words."""
