"""Tables of policies in stages, and of ratios between policies."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from anarchy.designs.stages.switched import compared
from anarchy.designs.tables import Maker
from anarchy.ground.words import MISSING, counted, whole
from anarchy.tables import System
from anarchy.tables.conditions import TITLES, ratio_interval, stage_table, stage_words


def ratio_table(system: System) -> pd.DataFrame:
    """One row a workload, pair of policies, stage and quantity: the ratio, and whether policies differ."""
    ratios = system.frames["ratios"].reset_index(drop=True)
    return ratios.assign(policies=compared(ratios, system.rows))


def ratio_words(table: pd.DataFrame) -> pd.DataFrame:
    """`ratio_table` for people: one row a pair of policies and stage, a column a quantity.

    Above 1 the policy under test has less of the quantity than what it is held against.
    """
    keys = [
        "workload",
        "routing_set",
        "policy",
        "against_set",
        "against",
        "stage_index",
        "stage",
        "concurrency",
    ]
    rows: list[dict[str, Any]] = []
    for key, group in table.groupby(keys, sort=False):
        found = dict(zip(keys, key, strict=True))
        by_name = {str(row["quantity"]): row for row in group.to_dict("records")}
        row = {"workload": found["workload"]} if table["workload"].nunique() > 1 else {}
        row |= {
            "against / policy": f"{found['against']} ({found['against_set']}) / "
            f"{found['policy']} ({found['routing_set']})",
            "stage": found["stage"],
            "C": whole(found["concurrency"]),
        }
        for name, title in TITLES.items():
            there = by_name.get(name)
            row[title] = MISSING if there is None else ratio_interval(there)
        row["policies"] = ", ".join(dict.fromkeys(group["policies"]))
        row["paired"] = "yes" if group["paired"].astype(bool).all() else "no"
        row["counted"] = counted(group)[0] if group["valid"].astype(bool).any() else counted(group)[-1]
        rows.append(row)
    return pd.DataFrame(rows)


TABLES: Final[dict[str, Maker]] = {"": (stage_table, stage_words), "ratios": (ratio_table, ratio_words)}
"""Name of a table -> what makes it, and what puts it in words."""
