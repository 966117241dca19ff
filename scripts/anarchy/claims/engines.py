"""Which engine a verdict rests on, in words: who decided, and what its numbers cannot say."""

from __future__ import annotations

from anarchy.claims.model import System
from anarchy.engines.devices import (
    PAPERS_DEVICE,
    common_label,
    is_live,
    is_simulated,
    is_virtual,
    labels_in,
)


def measured_by(system: System, way: str = "") -> str:
    """Label of the engine behind one way to route of a system, or behind all of it.

    Sets of policies may be measured by engines of their own; where nothing tells, it is the system's label.
    """
    sets = {
        name
        for name, routing in (system.get("routing") or {}).items()
        if any(policy["way"] == way for policy in routing["policies"])
    }
    labels = [
        one["engine"]
        for one in system.get("deployments") or ()
        if one.get("engine") and one.get("routing_set") in sets
    ]
    return common_label(labels) if labels else str(system["engine"])


def decided(label: str) -> str:
    """Which engine decided, as a clause of a verdict's reason."""
    ways = ["in virtual time"] if is_virtual(label) else []
    live = [one for one in labels_in(label) if is_live(one)]
    if any(is_simulated(one) for one in live):
        ways.append("by the live stack with mock engines")
    ways += [f"by the live stack on {one}" for one in live if not is_simulated(one)]
    return f"decided {' and '.join(ways)}"


def remark(label: str) -> str:
    """What numbers of this engine say nothing of; empty for the hardware that the claims are about."""
    if is_simulated(label):
        return "by simulated engines, which follow predicted times: no measurement of the hardware"
    if label != PAPERS_DEVICE:
        return f"by {label}: no measurement of the hardware that the claim is about"
    return ""
