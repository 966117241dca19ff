"""Cells whose users marched in step, in words: in the report, and with every verdict that rests on one."""

from __future__ import annotations

from typing import Final

import pandas as pd

from anarchy.ground.words import number, whole

COLUMNS: Final = ("step_s", "arrivals_dispersion", "completions_dispersion", "in_step")
"""What tables of cells show of it."""
HEADING: Final = "arrivals, var/mean"
MANY: Final = 8
"""So many C are named; of more, the first and the last."""


def marched(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of a table's rows (`estimate.columns.STEP`) whose users marched.

    Only cells that passed their gates are told. A row in step may lack PoA-hat all the same, and not be valid
    for that: where all users march no latency curve can be fitted.
    """
    if "in_step" not in rows:
        return rows.iloc[:0]
    mine: pd.DataFrame = rows[rows["in_step"].eq(True)]
    return mine


def dispersions(table: pd.DataFrame) -> list[str]:
    """Of each row the index of its arrivals, marked where users marched in step."""
    return [
        f"{number(index)}, in step" if marches is True else number(index)
        for index, marches in zip(table["arrivals_dispersion"], table["in_step"], strict=True)
    ]


def step_words(rows: pd.DataFrame) -> str:
    """Which of a table's rows marched, a clause; empty where none did."""
    mine = marched(rows)
    if mine.empty:
        return ""
    users = sorted({int(C) for C in mine["concurrency"]})
    named = ", ".join(map(whole, users))
    if len(users) > MANY:
        named = f"{users[0]} to {users[-1]}, {len(users)} of them"
    policies = (
        list(dict.fromkeys(mine["policy"])) if "policy" in mine and rows["policy"].nunique() > 1 else []
    )
    under = f" under {', '.join(map(str, policies))}" if policies else ""
    largest = number(mine["arrivals_dispersion"].max())
    return (
        f"users marched in step at C = {named}{under}: the variance of arrivals in a prefill step is up to "
        f"{largest} times their mean, by chance it is 1"
    )
