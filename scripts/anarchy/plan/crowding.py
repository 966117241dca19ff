"""Loads that the workers of a deployment do not run at once: no fault, for a limit may be what is studied."""

from __future__ import annotations

from collections.abc import Sequence

from anarchy.plan.launches import DeploymentPlan


def beyond_limits(plans: Sequence[DeploymentPlan]) -> list[str]:
    """A warning for each set of a system whose decode workers run fewer requests at once than its C."""
    found: dict[tuple[str, ...], str] = {}
    for plan in plans:
        each = plan.limits.decode_max_num_seqs
        deepest = max((cell.concurrency for cell in plan.measurable), default=0)
        if each is None or deepest <= each * plan.pool:
            continue
        name = plan.key[:4]
        found.setdefault(
            name,
            f"warning: {'/'.join(name)}: C = {deepest}, and its decode workers run {plan.pool} x {each} = "
            f"{each * plan.pool} requests at once (decode_max_num_seqs): the others wait there",
        )
    return list(found.values())
