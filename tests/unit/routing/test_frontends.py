"""The frontends of a set of policies: each pair (tau, omega) once, and every policy finds its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anarchy.config import Grid, Policy, RoutingSet
from anarchy.config.files import load_study
from anarchy.control.detector import PARAMETERS, Regime
from anarchy.engines.spec import RoutingPolicy
from anarchy.ground.layout import CONFIG
from anarchy.routing.frontends import PINNED, frontend_of, frontends

KNOWN = load_study(CONFIG).policies


def policies(*names: str) -> list[Policy]:
    return [KNOWN[name] for name in names]


def test_a_static_policy_has_a_frontend_of_its_name() -> None:
    served = policies("static")
    assert frontends(served) == (RoutingPolicy("static", 0.0, 1.0),)
    assert frontend_of(served, served[0]) == "static"


def test_a_regime_shares_the_frontend_of_its_pair() -> None:
    served = policies("adaptive", "static")
    assert [frontend.name for frontend in frontends(served)] == [
        "static",
        "adaptive-transition",
        "adaptive-saturated",
    ]
    assert [frontend_of(served, served[0], regime) for regime in Regime] == [
        "static",
        "adaptive-transition",
        "adaptive-saturated",
    ]


def test_an_adaptive_policy_alone_has_a_frontend_for_each_regime() -> None:
    served = policies("adaptive")
    assert [(one.tau, one.omega) for one in frontends(served)] == [PARAMETERS[regime] for regime in Regime]
    assert frontend_of(served, served[0], Regime.BELOW) == "adaptive-below"


def test_two_adaptive_policies_share_all() -> None:
    served = policies("static", "adaptive", "adaptive-client")
    assert len(frontends(served)) == 3
    for regime in Regime:
        assert frontend_of(served, served[1], regime) == frontend_of(served, served[2], regime)


def test_pinned_policies_need_one_frontend_whatever_their_number() -> None:
    served = policies("pinned-static", "pinned-adaptive", "random", "batched-optimal")
    assert frontends(served) == (RoutingPolicy(PINNED, 0.0, 1.0),)
    assert {frontend_of(served, policy, regime) for policy in served for regime in (None, *Regime)} == {
        PINNED
    }


def test_an_adaptive_policy_has_no_frontend_without_a_regime() -> None:
    served = policies("static", "adaptive")
    with pytest.raises(ValueError, match="depends on the regime"):
        frontend_of(served, served[1])


def test_the_sixteen_pairs_have_a_frontend_each() -> None:
    grid = Grid(tau=(0.0, 0.3, 0.7, 1.0), omega=(0.0, 0.3, 0.7, 1.0), way="builtin").policies()
    assert [frontend.name for frontend in frontends(grid)] == [policy.name for policy in grid]


levels = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.7, 0.8, 1.0, 2.5]), min_size=1, max_size=4, unique=True)


@settings(deadline=None)
@given(levels, levels, st.lists(st.sampled_from(["static", "adaptive", "adaptive-client"]), unique=True))
def test_every_policy_is_served_by_its_own_pair(
    tau: list[float], omega: list[float], names: list[str]
) -> None:
    grid = Grid(tau=tuple(tau), omega=tuple(omega), way="builtin")
    served = RoutingSet(policies=tuple(names), grid=grid).resolve(KNOWN)
    made = {frontend.name: (frontend.tau, frontend.omega) for frontend in frontends(served)}
    assert len(made) == len(set(made.values())) == len(frontends(served))
    for policy in served:
        if policy.pair is not None:
            assert made[frontend_of(served, policy)] == policy.pair
        else:
            for regime in Regime:
                assert made[frontend_of(served, policy, regime)] == PARAMETERS[regime]


def test_a_weight_of_active_requests_is_a_frontend_of_its_own() -> None:
    served = policies("static", "static-active-requests", "adaptive")
    assert RoutingPolicy("static-active-requests", 0.0, 1.0, 8.0) in frontends(served)
    assert frontend_of(served, served[0]) == frontend_of(served, served[2], Regime.BELOW) == "static"
    assert frontend_of(served, served[1]) == "static-active-requests"
