"""Whether a ratio compares two policies, or one with itself because its controller had not switched."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from anarchy.control.detector import PARAMETERS, Regime

DIFFER: Final = "differ"
SAME: Final = "same policy: noise"
UNKNOWN: Final = "not known whether it switched"

BELOW: Final = PARAMETERS[Regime.BELOW]


def compared(ratios: pd.DataFrame, stages: pd.DataFrame) -> pd.Series[str]:
    """What each row of ratios.parquet compares: `DIFFER`, `SAME` or `UNKNOWN`, beside its index.

    `stages`: stages.parquet of the same workloads. One policy stands on both sides where the policy under
    test is adaptive, has routed every request so far in the regime `below`, and that regime sets what the
    other side, the reference of the same router, keeps. A switch in an earlier stage
    counts: its queues are still there.
    """
    left_below = _left_below(stages)
    policies = {
        (row["workload"], row["routing_set"], row["policy"]): row
        for row in stages.drop_duplicates(["workload", "routing_set", "policy"]).to_dict("records")
    }
    words = []
    for row in ratios.to_dict("records"):
        other = policies[row["workload"], row["against_set"], row["against"]]
        # The reference keeps the router's other settings; another policy with its pair may not.
        as_below = other["reference"] and (other["tau"], other["omega"]) == tuple(BELOW)
        mine = (row["workload"], row["routing_set"], row["policy"])
        if policies[mine]["kind"] == "adaptive" and as_below and row["way"] == row["against_way"]:
            words.append(left_below[*mine, row["stage_index"]])
        else:
            words.append(DIFFER)
    return pd.Series(words, index=ratios.index, dtype=str)


def _left_below(stages: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """Of each adaptive policy and stage: whether any request so far was routed outside the regime `below`."""
    adaptive = stages[stages["kind"] == "adaptive"].sort_values("stage_index")
    found = {}
    for key, mine in adaptive.groupby(["workload", "routing_set", "policy"], sort=False):
        outside = mine["share_transition"] + mine["share_saturated"]
        for index, moved, unknown in zip(
            mine["stage_index"], (outside > 0).cummax(), outside.isna().cummax(), strict=True
        ):
            found[*key, index] = DIFFER if moved else UNKNOWN if unknown else SAME
    return found
