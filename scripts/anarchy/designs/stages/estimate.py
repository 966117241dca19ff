"""Policies in stages, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anarchy.designs.stages.tier import StagesTier
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.grouping import Found
from anarchy.estimate.staged import estimate_stages


def estimate(cells: Sequence[MeasuredCell], tier: StagesTier, method: Method, head: dict[str, Any]) -> Found:
    """Every table and fact of a system measured in stages; `head` labels all rows."""
    return estimate_stages(cells, tier.stages, method, head, watched=tier.watch)
