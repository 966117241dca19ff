"""Sets of policies that share workloads and policies, and so have to be named to be told apart."""

from __future__ import annotations

import pandas as pd


def several_sets(rows: pd.DataFrame) -> bool:
    """Whether some workload was measured under one policy by several sets."""
    counts = rows.groupby(["workload", "policy"])["routing_set"].nunique()
    return bool((counts > 1).any())


def set_words(table: pd.DataFrame) -> dict[str, list[str]]:
    """The column of a table for people that names the set; none where nothing is told apart by it."""
    return {"set": list(table["routing_set"])} if several_sets(table) else {}
