"""A ladder told again as if its grid ended sooner, and the setting that it was measured under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.ladder import LadderEstimate, deepest_of, ended_at, plateau_of, rises_of
from anarchy.stats.knee import Regime

Row = dict[str, Any]


def setting_row(cell: MeasuredCell) -> Row:
    """What a sample varies, of any cell of a ladder."""
    workload = cell.workload
    return {
        "synchrony": workload.synchrony,
        "output_tokens": workload.output_tokens,
        "input_tokens": workload.input_tokens,
        "shared_tokens": workload.input_tokens - workload.unique_tail_tokens if workload.templates else 0,
        "max_num_batched_tokens": cell.limits.max_num_batched_tokens,
    }


def depth_rows(found: LadderEstimate, depths: Sequence[int], n_workers: int) -> list[Row]:
    """A row a depth, the whole grid last: knee, plateau and how far PoA-hat rises from it."""
    whole = max((row["concurrency"] for row in found.rows), default=0)
    return [_row(ended_at(found, C, n_workers), C) for C in sorted({*depths, whole}) if 0 < C <= whole]


def _row(found: LadderEstimate, depth: int) -> Row:
    knee, plateau, deepest, rises = found.knee, plateau_of(found), deepest_of(found.rows), rises_of(found)
    row: Row = {"deepest_c": depth}
    if knee.exists:
        row |= {"knee": knee.knee, "knee_lo": knee.lo, "knee_hi": knee.hi}
        row |= {"first_post_knee": knee.first_post_knee, "slope_before": knee.slope_before}
    if plateau is not None:
        row |= {"plateau": plateau["poa_hat"], "plateau_lo": plateau["lo"], "plateau_hi": plateau["hi"]}
    # A deepest cell that does not count leaves the depth unknown, and not that of a cell before it.
    if deepest is not None and deepest["concurrency"] == depth:
        row |= {"deepest": deepest["poa_hat"], "deepest_lo": deepest["lo"], "deepest_hi": deepest["hi"]}
        if rises:
            row |= {"rise": rises[-1]["value"], "rise_lo": rises[-1]["lo"], "rise_hi": rises[-1]["hi"]}
    lain_in = {one["regime"] for one in found.rows}
    return {**row, "regimes": ", ".join(name for name in get_args(Regime) if name in lain_in)}
