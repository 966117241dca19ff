"""What one policy has over another in each stage: ratios with both sides resampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from anarchy.config import AdaptivePolicy
from anarchy.estimate.columns import QUANTITIES
from anarchy.estimate.conditions import Estimate
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.performance import bounded
from anarchy.stats.intervals import quotient

Row = dict[str, Any]

COMPARED: Final = (*QUANTITIES, "load_range")


class Compared(Protocol):
    """One policy of a set with the estimates of its stages."""

    @property
    def head(self) -> MeasuredCell:
        """A cell that speaks for it."""

    @property
    def estimates(self) -> Sequence[Estimate]:
        """Its stages, in the order of time."""


def ratio_rows(policies: Sequence[Compared]) -> list[Row]:
    """Rows of ratios.parquet: every policy under test against every other that is not under test.

    Under test are the adaptive policies; where there is none, all but the references of their sets.
    """
    tested = [one for one in policies if isinstance(one.head.policy, AdaptivePolicy)]
    tested = tested or [one for one in policies if not one.head.reference]
    others = [one for one in policies if all(one is not other for other in tested)]
    return [
        row
        for one in tested
        for against in others
        for index in range(len(one.estimates))
        for row in _stage_ratios(one, against, index)
    ]


def _stage_ratios(one: Compared, against: Compared, index: int) -> list[Row]:
    mine, other = one.estimates[index], against.estimates[index]
    stage = one.head.stages[index]
    paired = _same_launches(one, against, index)
    same_set = one.head.routing == against.head.routing
    label = {
        "routing_set": one.head.routing,
        "policy": one.head.policy.name,
        "policy_title": one.head.policy.title,
        "way": one.head.policy.way,
        "against_set": against.head.routing,
        "against": against.head.policy.name,
        "against_title": against.head.policy.title,
        "against_way": against.head.policy.way,
        "against_kind": against.head.policy.kind,
        "against_reference": same_set and against.head.reference,
        "stage": stage.name,
        "stage_index": index,
        "concurrency": stage.concurrency,
        "paired": paired,
        "valid": bool(mine.row["valid"] and other.row["valid"]),
        "reasons": ", ".join(
            f"{side.head.policy.name}: {of.row['reasons']}"
            for side, of in ((one, mine), (against, other))
            if of.row["reasons"]
        ),
    }
    rows = []
    for quantity in COMPARED:
        ratio = quotient(other.draws[quantity], mine.draws[quantity], paired=paired)
        rows.append(
            {
                **label,
                "quantity": quantity,
                **bounded("ratio", ratio),
                "interval_kind": ratio.kind,
                "n_launches": ratio.n_launches,
            }
        )
    return rows


def _same_launches(one: Compared, against: Compared, index: int) -> bool:
    """Whether two policies were measured on the same launches of one deployment."""
    sides = _launches(one.estimates[index]), _launches(against.estimates[index])
    return one.head.routing == against.head.routing and sides[0] == sides[1]


def _launches(estimate: Estimate) -> list[int]:
    """The launches behind an estimate."""
    return [row["launch"] for row in estimate.launches if row["valid"]]
