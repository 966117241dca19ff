"""The frontends of a deployment: one for each pair (tau, omega) that a request may be routed by."""

from __future__ import annotations

from collections.abc import Sequence

from anarchy.config import Policy
from anarchy.control.detector import PARAMETERS, Regime
from anarchy.engines.spec import RoutingPolicy

PINNED = "pinned"
"""The frontend of a deployment whose policies all pin their requests; its own choice is never asked."""


def frontends(policies: Sequence[Policy]) -> tuple[RoutingPolicy, ...]:
    """Every frontend that these policies need, each pair (tau, omega) once, in the order of the policies.

    Policies with one pair share the frontend of the first of them: a frontend keeps nothing of a request that
    has ended, and cells are measured one after the other.
    """
    made: dict[tuple[float, float], RoutingPolicy] = {}
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
    if policy.kind != "adaptive":
        pair = _pair(policy)
    elif regime is None:
        raise ValueError(f"the frontend of {policy.name} depends on the regime")
    else:
        pair = PARAMETERS[regime]
    return next(frontend.name for frontend in served if (frontend.tau, frontend.omega) == pair)


def _wanted(policies: Sequence[Policy]) -> list[tuple[str, tuple[float, float]]]:
    """Name and pair of every frontend asked for; fixed pairs first, so that regimes share theirs."""
    builtin = [policy for policy in policies if policy.way == "builtin"]
    fixed = [(policy.name, _pair(policy)) for policy in builtin if policy.kind == "kv"]
    regimes = [
        (f"{policy.name}-{regime.word}", (PARAMETERS[regime].tau, PARAMETERS[regime].omega))
        for policy in builtin
        if policy.kind == "adaptive"
        for regime in Regime
    ]
    return [*fixed, *regimes]


def _pair(policy: Policy) -> tuple[float, float]:
    assert policy.tau is not None, "a kv policy has both"
    assert policy.omega is not None, "a kv policy has both"
    return policy.tau, policy.omega
