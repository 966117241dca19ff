"""The frontends of a deployment: one for each pair (tau, omega) that a request may be routed by."""

from __future__ import annotations

from collections.abc import Sequence

from anarchy.config import AdaptivePolicy, KvPolicy, Policy
from anarchy.control.detector import PARAMETERS, Regime, RouterParameters
from anarchy.engines.spec import RoutingPolicy

PINNED = "pinned"
"""The frontend of a deployment whose policies all pin their requests; its own choice is never asked."""


def frontends(policies: Sequence[Policy]) -> tuple[RoutingPolicy, ...]:
    """Every frontend that these policies need, each pair (tau, omega) once, in the order of the policies.

    Policies with one pair share the frontend of the first of them: a frontend keeps nothing of a request that
    has ended, and cells are measured one after the other.
    """
    made: dict[RouterParameters, RoutingPolicy] = {}
    for name, pair in _wanted(policies):
        made.setdefault(pair, RoutingPolicy(name, *pair))
    if not made:
        return (RoutingPolicy(PINNED, 0.0, 1.0),)
    return tuple(made.values())


def frontend_of(policies: Sequence[Policy], policy: Policy, regime: Regime | None = None) -> str:
    """Name of the frontend that a policy's requests are sent to; of an adaptive builtin one in that regime.

    `policies` are those of the whole deployment. Raises ValueError for an adaptive builtin policy without a
    regime.
    """
    served = frontends(policies)
    if policy.way == "pinned":
        return served[0].name
    if policy.pair is not None:
        pair = policy.pair
    elif regime is None:
        raise ValueError(f"the frontend of {policy.name} depends on the regime")
    else:
        pair = PARAMETERS[regime]
    return next(frontend.name for frontend in served if (frontend.tau, frontend.omega) == pair)


def _wanted(policies: Sequence[Policy]) -> list[tuple[str, RouterParameters]]:
    """Name and pair of every frontend asked for; fixed pairs first, so that regimes share theirs."""
    builtin = [policy for policy in policies if policy.way == "builtin"]
    fixed = [(policy.name, policy.pair) for policy in builtin if isinstance(policy, KvPolicy)]
    regimes = [
        (f"{policy.name}-{regime.word}", PARAMETERS[regime])
        for policy in builtin
        if isinstance(policy, AdaptivePolicy)
        for regime in Regime
    ]
    return [*fixed, *regimes]
