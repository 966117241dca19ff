"""Does a routing policy take effect? Known loads on the workers, the router's choices against theory.

Dynamo's KV router draws the worker of a request from a softmax over costs that are first scaled to [0, 1]
(lower is better): `p_j ~ exp(-(c_j - min c) / ((max c - min c) tau))`; equal costs give equal chances and
tau = 0 the cheapest worker, ties at random (lib/kv-router/src/scheduling/selector of ai-dynamo/dynamo). The
decode cost is the number of KV blocks in use on the worker, the request's own included. omega does not
enter it: after the prefill stage the built-in router sets the overlap weight of the decode choice to zero,
so omega is recorded here and not tested.

Whether blocks that active requests share count once differs from version to version of Dynamo, and on that
hangs whether requests of one template crowd on one worker: it is tested apart (`reuse`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, chdtrc  # scipy.stats takes a second to load, and every sweep loads this

from anarchy.engines.dynamo import DYNAMO_1_5_1, Dynamo
from anarchy.engines.spec import HOLD_TOKENS, RoutingPolicy, Worker
from anarchy.serving.frontend_api import Address, Connection, active_decode_blocks
from anarchy.serving.health import UnhealthyError, random_prompt, wait_until
from anarchy.serving.holding import IN_FLIGHT, EndedEarlyError, UnderTest
from anarchy.serving.reuse import ReuseCheck, check_reuse

ALPHA = 1e-4
"""A policy fails when its choices are less likely than this under the predicted distribution."""
DRAWS = 400
"""Choices asked of the router without sending the request (about 1 ms each)."""
DISPATCHED = 32
"""Requests really sent, unpinned."""
LOAD_STEP_BLOCKS = 16
"""Load between one decode worker and the next, in KV blocks: twice what the requests in flight can add."""
MIN_EXPECTED = 5.0
"""Smallest expected count for which the chi-squared approximation is used."""
AWAITED_DRAWS, AWAITED_ALPHA = 200, 0.01
"""Choices that tell whether a frontend knows the loads, where its metrics do not tell them."""
HOLD_S = 1.5
"""Wall seconds that the test of one frontend is given where requests that hold load end by themselves."""
TRIES = 4
"""Of holding load for long enough, and until every frontend has heard of it."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PolicyCheck:
    """What one policy's frontend chose, against the prediction; workers in the order of the decode workers.

    `costs` are in KV blocks. `drawn` counts choices asked of the router, `dispatched` requests really sent;
    `p_value` and `p_value_dispatched` are theirs under `predicted`; `p_value_contrast` is that of `drawn`
    under the contrast's tau and has to be small too, or the test could not have failed.
    """

    policy: str
    tau: float
    omega: float
    contrast_tau: float
    costs: tuple[float, ...]
    predicted: tuple[float, ...]
    drawn: tuple[int, ...]
    dispatched: tuple[int, ...]
    p_value: float
    p_value_dispatched: float
    p_value_contrast: float

    @property
    def ok(self) -> bool:
        """Whether the policy takes effect."""
        return min(self.p_value, self.p_value_dispatched) >= ALPHA and self.p_value_contrast < ALPHA


@dataclass(frozen=True)
class SelfTest:
    """The self-test of one deployment. Contrast frontends are checked like policies, and listed apart.

    `tested` is False with one decode worker, where there is nothing to choose; `reason` then says so.
    """

    checks: tuple[PolicyCheck, ...]
    contrasts: tuple[PolicyCheck, ...]
    tested: bool
    reason: str
    omega: str
    seconds: float
    reuse: ReuseCheck | None = None
    """Whether a repeated template counts once, and whether it should."""

    @property
    def ok(self) -> bool:
        """Whether every policy takes effect (True where nothing can be tested)."""
        counted = self.reuse is None or self.reuse.ok
        return counted and all(check.ok for check in (*self.checks, *self.contrasts))


OMEGA_NOTE = "recorded, not tested: inert on the decode choice of the built-in router"


def choice_probabilities(costs: Sequence[float], tau: float) -> Array:
    """Chance of each worker to be chosen, given the workers' costs and the router's temperature.

    tau = 0 shares the chance among the cheapest workers; equal costs give equal chances.
    """
    cost = np.asarray(costs, dtype=np.float64)
    if cost.ndim != 1 or cost.size == 0 or not np.all(np.isfinite(cost)):
        raise ValueError(f"costs must be a non-empty row of finite numbers, not {costs!r}")
    if not tau >= 0:
        raise ValueError(f"tau must not be negative, not {tau}")
    low, high = float(cost.min()), float(cost.max())
    if low == high:
        return np.full(cost.size, 1.0 / cost.size)
    weight = (cost == low).astype(np.float64) if tau == 0 else np.exp(-(cost - low) / ((high - low) * tau))
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def fit_p_value(observed: Sequence[int], probabilities: Sequence[float]) -> float:
    """Chance of counts at least as odd as `observed` under `probabilities`: chi-squared, exact tails.

    Workers with an expected count under 5 are pooled and tested with the binomial upper tail, so that a
    worker with no chance at all must have no count at all; the others by chi-squared among themselves; the
    smaller of the two p-values is doubled (Bonferroni). Where all expect so few, they are put together, by
    their chances alone, until each group expects 5.
    """
    counts = np.asarray(observed, dtype=np.float64)
    chance = np.asarray(probabilities, dtype=np.float64)
    total = float(counts.sum())
    rare = chance * total < MIN_EXPECTED
    p_values = []
    if rare.all():
        if counts[chance == 0.0].any():
            return 0.0
        counts, chance = _grouped(counts, chance, total)
        rare = np.zeros(counts.size, dtype=np.bool_)
    if rare.any():
        # The chance of the pool may exceed 1 by rounding.
        pool = min(1.0, float(chance[rare].sum()))
        least = int(counts[rare].sum())
        p_values.append(float(bdtrc(least - 1, int(total), pool)) if least else 1.0)
    common = ~rare
    seen = float(counts[common].sum())
    if common.sum() > 1 and seen > 0:
        expected = chance[common] / chance[common].sum() * seen
        odd = float(((counts[common] - expected) ** 2 / expected).sum())
        p_values.append(float(chdtrc(common.sum() - 1, odd)))
    return min(1.0, len(p_values) * min(p_values)) if p_values else 1.0


def _grouped(counts: Array, chance: Array, total: float) -> tuple[Array, Array]:
    """Counts and chances of groups that expect `MIN_EXPECTED` each: the likeliest workers first."""
    groups: list[tuple[float, float]] = []
    seen = held = 0.0
    for place in np.argsort(-chance, kind="stable"):
        seen, held = seen + float(counts[place]), held + float(chance[place])
        if held * total >= MIN_EXPECTED:
            groups.append((seen, held))
            seen = held = 0.0
    if groups:  # what is left joins the last
        groups[-1] = (groups[-1][0] + seen, groups[-1][1] + held)
    return np.array([one[0] for one in groups]), np.array([one[1] for one in groups])


def contrast_tau(tau: float) -> float:
    """Temperature that a policy is told apart from: 1 for argmin policies, 0 for all others."""
    return 1.0 if tau == 0 else 0.0


def contrast_policies(policies: Sequence[RoutingPolicy]) -> tuple[RoutingPolicy, ...]:
    """The short-lived frontends that the self-test needs beside the policies' own: one a tau at most."""
    served = {policy.tau for policy in policies}
    wanted = dict.fromkeys(contrast_tau(policy.tau) for policy in policies)
    return tuple(RoutingPolicy(f"contrast-tau-{tau:g}", tau, 1.0) for tau in wanted if tau not in served)


def routing_self_test(
    frontends: Mapping[str, Address],
    model: str,
    workers: Sequence[Worker],
    policies: Sequence[RoutingPolicy],
    contrasts: Sequence[RoutingPolicy],
    *,
    dynamo: Dynamo = DYNAMO_1_5_1,
    shares: bool = False,
    block_size: int,
    hold_tokens: int = HOLD_TOKENS,
    answer_s: float = 10.0,
    seed: int,
    check: Callable[[], None],
    expected_tau: Mapping[str, float] | None = None,
) -> SelfTest:
    """Load the decode workers unequally, then compare every frontend's choices with the softmax.

    `frontends` holds policies and contrasts by name; a request that holds load asks for `hold_tokens` tokens
    and is cancelled when the test ends, or for as many as it takes where `dynamo` does not forget cancelled
    ones; any other may take `answer_s`. `shares`: whether a repeated template is to count once;
    `expected_tau` replaces the tau that a policy is tested against (to see the test fail). Leaves no request
    behind. Raises `UnhealthyError` when the frontends do not agree on the loads within half of `answer_s`.
    """
    started = time.monotonic()
    decode = [worker for worker in workers if worker.role == "decode"]
    if len(decode) < 2:
        return SelfTest((), (), False, "one decode worker: nothing to choose", OMEGA_NOTE, 0.0)
    under = UnderTest(
        frontends=frontends,
        model=model,
        decode=decode,
        dynamo=dynamo,
        block_size=block_size,
        hold_tokens=hold_tokens,
        answer_s=answer_s,
        check=check,
    )
    rng = random.Random(seed)
    asked = [
        (policy, (expected_tau or {}).get(policy.name, policy.tau)) for policy in (*policies, *contrasts)
    ]
    ranks = rng.sample(range(len(decode)), len(decode))
    checks = _checks(under, asked, [rank * LOAD_STEP_BLOCKS for rank in ranks], rng)
    cold = next(policy.name for policy in (*policies, *contrasts) if policy.tau == 0)
    reuse = check_reuse(under, cold, shares, rng)
    _await_idle(under, asked, rng)
    own = len(policies)
    return SelfTest(
        tuple(checks[:own]), tuple(checks[own:]), True, "", OMEGA_NOTE, time.monotonic() - started, reuse
    )


def _checks(
    under: UnderTest,
    asked: Sequence[tuple[RoutingPolicy, float]],
    loads: Sequence[int],
    rng: random.Random,
) -> list[PolicyCheck]:
    """Test every policy against its tau, under these loads in blocks on the decode workers."""
    seconds = HOLD_S * (1 + len(asked))
    tokens = under.tokens_for(seconds, rng)
    for left in reversed(range(TRIES)):
        requests = [
            (worker, random_prompt(rng, load * under.block_size))
            for worker, load in zip(under.decode, loads, strict=True)
            if load
        ]
        try:
            with under.held(asked[0][0].name, requests, tokens, seconds) as held:
                if not _know_loads(under, asked, loads, rng) and left:
                    continue  # a frontend that was not ready when they were sent never hears of them
                checks = []
                for policy, tau in asked:
                    checks.append(_check(under, policy, tau, loads, rng))
                    held.check()
                return checks
        except EndedEarlyError:
            tokens, seconds = 2 * tokens, 2 * seconds
        _await_idle(under, asked, rng)
    raise UnhealthyError(
        f"requests that hold load for the routing self-test ended before it, {TRIES} times: the machine is "
        "too busy"
    )


def _check(
    under: UnderTest, policy: RoutingPolicy, tau: float, loads: Sequence[int], rng: random.Random
) -> PolicyCheck:
    costs = _costs(policy, loads)
    drawn = under.draw(policy.name, DRAWS, rng)
    # Where active requests weigh, those in flight would outweigh a step of load.
    in_flight = 1 if policy.decode_active_request_weight else IN_FLIGHT
    dispatched = under.dispatch(policy.name, DISPATCHED, rng, in_flight)
    if under.dynamo.tells_loads:
        # The requests that hold the load outlast this, or it was no test.
        _await_loads(under, policy.name, loads)
    return _judge(policy, tau, costs, drawn, dispatched)


def _costs(policy: RoutingPolicy, loads: Sequence[int]) -> tuple[float, ...]:
    """Cost of each worker, KV blocks: one request holds its load, and the one to be placed has a block."""
    weight = policy.decode_active_request_weight
    return tuple(load + 1.0 + weight * (1 + (load > 0)) for load in loads)


def _judge(
    policy: RoutingPolicy,
    tau: float,
    costs: tuple[float, ...],
    drawn: tuple[int, ...],
    dispatched: tuple[int, ...],
) -> PolicyCheck:
    predicted = choice_probabilities(costs, tau)
    other = contrast_tau(tau)
    return PolicyCheck(
        policy=policy.name,
        tau=tau,
        omega=policy.omega,
        contrast_tau=other,
        costs=costs,
        predicted=tuple(predicted.tolist()),
        drawn=drawn,
        dispatched=dispatched,
        p_value=fit_p_value(drawn, predicted.tolist()),
        p_value_dispatched=fit_p_value(dispatched, predicted.tolist()),
        p_value_contrast=fit_p_value(drawn, choice_probabilities(costs, other).tolist()),
    )


def _know_loads(
    under: UnderTest, asked: Sequence[tuple[RoutingPolicy, float]], loads: Sequence[int], rng: random.Random
) -> bool:
    """Wait until every frontend's router believes these loads: own bookings, and its peers' by replica sync.

    Where its metrics tell what it believes, one that does not learn them raises `UnhealthyError`; else its
    choices tell, and False is returned where they do not come to fit.
    """
    if under.dynamo.tells_loads:
        for policy, _ in asked:
            _await_loads(under, policy.name, loads)
        return True
    return all(_choices_fit(under, policy, tau, loads, rng) for policy, tau in asked)


def _choices_fit(
    under: UnderTest, policy: RoutingPolicy, tau: float, loads: Sequence[int], rng: random.Random
) -> bool:
    predicted = choice_probabilities(_costs(policy, loads), tau).tolist()
    patient_until = time.monotonic() + under.answer_s / 5
    while True:
        under.check()
        drawn = under.draw(policy.name, AWAITED_DRAWS, rng)
        if fit_p_value(drawn, predicted) >= AWAITED_ALPHA:
            return True
        if time.monotonic() > patient_until:
            return False


def _await_idle(under: UnderTest, asked: Sequence[tuple[RoutingPolicy, float]], rng: random.Random) -> None:
    """Wait until no frontend believes in any load; raises `UnhealthyError` where one goes on doing so."""
    if not _know_loads(under, asked, [0] * len(under.decode), rng):
        raise UnhealthyError("a frontend goes on believing in load that the routing self-test has ended")


def _await_loads(under: UnderTest, name: str, loads: Sequence[int]) -> None:
    believed = {worker.instance_id: float(load) for worker, load in zip(under.decode, loads, strict=True)}

    def poll() -> bool | None:
        with Connection(under.frontends[name]) as connection:
            seen = active_decode_blocks(connection.metrics())
        return True if all(seen.get(worker, 0.0) == load for worker, load in believed.items()) else None

    what = f"waiting for the frontend of {name} to learn the workers' loads (replica sync)"
    wait_until(what, poll, time.monotonic() + under.answer_s / 2, under.check)
