"""The frontends of a deployment: one for each setting of the router that a request may be routed by."""

from __future__ import annotations

from collections.abc import Sequence

from anarchy.config import AdaptivePolicy, KvPolicy, Policy
from anarchy.control.detector import PARAMETERS, Regime
from anarchy.engines.spec import RoutingPolicy

Setting = tuple[float, float, float]
"""tau, omega, and the weight of active requests."""

PINNED = "pinned"
"""The frontend of a deployment whose policies all pin their requests; its own choice is never asked."""


def frontends(policies: Sequence[Policy]) -> tuple[RoutingPolicy, ...]:
    """Every frontend that these policies need, each setting once, in the order of the policies.

    Policies with one setting share the frontend of the first of them: a frontend keeps nothing of a request
    that has ended, and cells are measured one after the other.
    """
    made: dict[Setting, RoutingPolicy] = {}
    for name, setting in _wanted(policies):
        made.setdefault(setting, RoutingPolicy(name, *setting))
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
    if isinstance(policy, KvPolicy):
        setting = _setting(policy)
    elif regime is None:
        raise ValueError(f"the frontend of {policy.name} depends on the regime")
    else:
        setting = (*PARAMETERS[regime], 0.0)
    return next(
        frontend.name
        for frontend in served
        if (frontend.tau, frontend.omega, frontend.decode_active_request_weight) == setting
    )


def _setting(policy: KvPolicy) -> Setting:
    return (policy.tau, policy.omega, policy.decode_active_request_weight)


def _wanted(policies: Sequence[Policy]) -> list[tuple[str, Setting]]:
    """Name and setting of every frontend asked for; fixed ones first, so that regimes share theirs."""
    builtin = [policy for policy in policies if policy.way == "builtin"]
    fixed = [(policy.name, _setting(policy)) for policy in builtin if isinstance(policy, KvPolicy)]
    regimes: list[tuple[str, Setting]] = [
        (f"{policy.name}-{regime.word}", (*PARAMETERS[regime], 0.0))
        for policy in builtin
        if isinstance(policy, AdaptivePolicy)
        for regime in Regime
    ]
    return [*fixed, *regimes]
