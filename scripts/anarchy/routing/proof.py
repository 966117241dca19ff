"""Does a pinned policy take effect? Dynamo's draws in the selector against theory, tau and omega both.

Synthetic workers are put into the selector that the deployment will ask, with loads that we know: worker of
rank r has r * STEP_BLOCKS blocks in use. A prompt of b blocks is stored on the most loaded one. Then the law
(lib/kv-router/src/scheduling/selector of ai-dynamo/dynamo) leaves nothing open:

    cost_j = omega (b - b [j holds the prompt]) + r_j STEP_BLOCKS + b
    p = softmax(-scaled cost / tau), costs scaled to [0, 1]

b is so large that the stored prompt makes the most loaded worker the cheapest one. So omega = 0 and omega > 0
prefer opposite workers, and tau tells how strictly. Each pair (tau, omega) of the policies has to be drawn as
predicted, and not as predicted under another tau or another omega. Two pairs are drawn in any case: a router
that ignores what it is told would pass where its defaults are the policies' own values, or near them.

Whether a repeated template counts once is proven for each `assume_kv_reuse` that a policy has: `HELD`
requests of one template are booked on a worker and one prompt twice as long on another, and the next prompt
says it.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from anarchy.config import AdaptivePolicy, CostPolicy, Policy
from anarchy.control.detector import PARAMETERS
from anarchy.ground.errors import UserError
from anarchy.routing.selector import Choice, Selector, SelectorPool
from anarchy.serving.health import UnhealthyError
from anarchy.serving.reuse import DRAWS as REUSE_DRAWS
from anarchy.serving.reuse import HELD, TEMPLATE_BLOCKS, ReuseCheck
from anarchy.serving.selftest import ALPHA, choice_probabilities, fit_p_value

POOL: Final = "proof"
STEP_BLOCKS: Final = 2
DRAWS: Final = 400
"""Choices asked for without booking them (about 0.4 ms each); tau^2 times as many where tau is above 1."""
BOOKED: Final = 32
"""Choices booked and freed, as requests are."""
SHARP_TAU: Final = 0.5
"""Below it the contrast of tau is 1, from it on 0: so the two always differ enough to be told apart."""
MOST_TAU: Final = 5.0
"""A larger tau makes all workers so nearly alike that only tens of thousands of draws could tell omega."""
LEAST_OMEGA: Final = 0.01
"""A smaller omega that is not 0 would need prompts of tens of thousands of tokens to be told from 0."""
CONTRASTS: Final = ((0.0, 1.0), (1.0, 0.0))
"""Drawn in any case: nothing that ignores tau or omega draws both as predicted."""
AT_ONCE: Final = 50
SETTLE_S: Final = 5.0


@dataclass(frozen=True)
class PairCheck:
    """What the selector drew for one (tau, omega), against the prediction; workers in the selector's order.

    `p_value` is that of the choices drawn, `p_value_dispatched` that of the choices booked; the p-values of
    the contrasts are those of `drawn` under `contrast_tau` and under `contrast_omega`, and have to be small.
    `costs` are predicted, in KV blocks; `costs_off` is the largest difference of the selector's from them.
    """

    policy: str
    tau: float
    omega: float
    contrast_tau: float
    contrast_omega: float
    costs: tuple[float, ...]
    costs_off: float
    predicted: tuple[float, ...]
    drawn: tuple[int, ...]
    dispatched: tuple[int, ...]
    p_value: float
    p_value_dispatched: float
    p_value_contrast: float
    p_value_contrast_omega: float

    @property
    def ok(self) -> bool:
        """Whether the pair takes effect."""
        return (
            min(self.p_value, self.p_value_dispatched) >= ALPHA
            and max(self.p_value_contrast, self.p_value_contrast_omega) < ALPHA
            and self.costs_off < 1e-6
        )


@dataclass(frozen=True)
class PinnedProof:
    """The proof of one deployment's selector; `tested` is False where nothing is left to Dynamo's choice."""

    checks: tuple[PairCheck, ...]
    tested: bool
    reason: str
    seconds: float
    reuse: tuple[ReuseCheck, ...] = ()
    """One for each way to count a repeated template that a policy has."""

    @property
    def ok(self) -> bool:
        """Whether every pair takes effect, and templates count as asked (True where nothing is tested)."""
        return all(check.ok for check in self.checks) and all(check.ok for check in self.reuse)

    def routing_test(self) -> dict[str, Any]:
        """The proof as plain values, for a manifest."""
        if not self.tested:
            return {"reason": self.reason}
        return {
            "ok": self.ok,
            "p_value": min(min(check.p_value, check.p_value_dispatched) for check in self.checks),
            "omega": "tested",
            "checks": [{**asdict(check), "ok": check.ok} for check in self.checks],
            "reuse": [
                {**asdict(check), "counts_once": check.counts_once, "ok": check.ok} for check in self.reuse
            ],
        }


def prove_pinned(
    socket_path: Path,
    policies: Sequence[Policy],
    *,
    workers: int,
    block_size: int,
    seed: int,
    assume_kv_reuse: bool | None = None,
) -> PinnedProof:
    """Draw every (tau, omega) of the pinned policies from a selector that runs, once more after a failure.

    `workers` is the number of decode workers; `assume_kv_reuse` is what routers are made with. Chance alone
    fails about one proof in a thousand, two in a row one in a million. Raises UserError when the selector has
    gone or a pair cannot be proven, UnhealthyError when the selector does not index.
    """
    pairs = _pairs(policies)
    if not pairs or workers < 2:
        reason = "one decode worker: nothing to choose" if pairs else "no policy leaves the choice to Dynamo"
        return PinnedProof((), False, reason, 0.0)
    started = time.monotonic()
    for attempt in (seed, seed + 1):
        rng = random.Random(attempt)
        pool = SelectorPool.modelled(POOL, workers, block_size, 1 << 20, assume_kv_reuse)
        checks, reuse = asyncio.run(_prove(socket_path, pool, pairs, _ways_to_count(policies), rng))
        proof = PinnedProof(checks, True, "", time.monotonic() - started, reuse)
        if proof.ok:
            break
    return proof


def contrast(tau: float, omega: float) -> tuple[float, float]:
    """The tau and the omega that a pair is told apart from."""
    return (1.0 if tau < SHARP_TAU else 0.0, 1.0 if omega == 0.0 else 0.0)


def stored_blocks(omega: float, workers: int) -> int:
    """Blocks b of the stored prompt: worth twice the load of the most loaded worker."""
    return max(1, math.ceil(2 * STEP_BLOCKS * (workers - 1) / (omega or 1.0)))


def predicted_costs(loads: Sequence[float], blocks: int, holder: int, omega: float) -> tuple[float, ...]:
    """Cost of each worker, KV blocks, where `holder` alone holds the prompt of so many blocks."""
    return tuple(
        omega * (0 if worker == holder else blocks) + load + blocks for worker, load in enumerate(loads)
    )


def _pairs(policies: Iterable[Policy]) -> dict[tuple[float, float], str]:
    """Each (tau, omega) that Dynamo is to follow, with the policy that first has it; and the contrasts."""
    pairs: dict[tuple[float, float], str] = {}
    for policy in policies:
        if policy.way != "pinned":
            continue
        if policy.pair is not None:
            pairs.setdefault(policy.pair, policy.name)
        elif isinstance(policy, AdaptivePolicy):
            for regime, (tau, omega) in PARAMETERS.items():
                pairs.setdefault((tau, omega), f"{policy.name}-{regime.word}")
    for (tau, omega), name in pairs.items():
        _check_range(name, tau, omega)
    if pairs:
        for pair in CONTRASTS:
            pairs.setdefault(pair, "contrast")
    return pairs


def _check_range(policy: str, tau: float, omega: float) -> None:
    where = f"policy {policy}"
    if tau > MOST_TAU:
        raise UserError(
            f"tau is {tau:g}, and no test could prove it",
            where=where,
            remedy=f"set tau to at most {MOST_TAU:g}, or kind to random",
        )
    if 0.0 < omega < LEAST_OMEGA:
        raise UserError(
            f"omega is {omega:g}, and no test could tell it from 0",
            where=where,
            remedy=f"set omega to 0, or to at least {LEAST_OMEGA:g}",
        )


def _ways_to_count(policies: Iterable[Policy]) -> tuple[bool | None, ...]:
    """Every `assume_kv_reuse` of the pinned policies that ask Dynamo, each once."""
    asked = (one.assume_kv_reuse for one in policies if isinstance(one, CostPolicy) and one.way == "pinned")
    return tuple(dict.fromkeys(asked))


async def _prove(
    socket_path: Path,
    pool: SelectorPool,
    pairs: dict[tuple[float, float], str],
    ways: Sequence[bool | None],
    rng: random.Random,
) -> tuple[tuple[PairCheck, ...], tuple[ReuseCheck, ...]]:
    selector, workers, block_size = Selector([pool]), len(pool.events), pool.block_size
    try:
        await selector.open(socket_path)
        loads = await _load(selector, workers, block_size, rng)
        prompts: dict[int, list[int]] = {}
        checks = []
        for (tau, omega), name in pairs.items():
            blocks = stored_blocks(omega, workers)
            if blocks not in prompts:
                prompts[blocks] = _prompt(rng, blocks * block_size)
                await _store(selector, int(np.argmax(loads)), prompts[blocks])
            checks.append(await _check(selector, name, tau, omega, loads, prompts[blocks], blocks))
        for worker in range(1, workers):
            selector.freed(POOL, f"load-{worker}")
        by_itself = pool.assume_kv_reuse is not False  # both selectors share, where nobody says otherwise
        reuse = [
            await _check_reuse(selector, pool, way, by_itself if way is None else way, rng) for way in ways
        ]
        await selector.forget(POOL)
        return tuple(checks), tuple(reuse)
    finally:
        await selector.close()


async def _load(selector: Selector, workers: int, block_size: int, rng: random.Random) -> tuple[float, ...]:
    """Book loads of 0, STEP_BLOCKS, 2 STEP_BLOCKS, ... on the workers, in an order that chance gives.

    The largest goes first, so that the cheapest worker is an empty one each time, whatever the selector
    makes of tau and omega.
    """
    loads = [0.0] * workers
    for rank in range(workers - 1, 0, -1):
        blocks = rank * STEP_BLOCKS
        choice = await selector.choose(POOL, f"load-{rank}", _prompt(rng, blocks * block_size), 0.0, 1.0)
        selector.prefilled(POOL, f"load-{rank}")
        loads[choice.worker] += blocks
    seen = await selector.choose(POOL, "", _prompt(rng, block_size), 0.0, 0.0, reserve=False)
    if list(seen.loads) != loads or len(set(loads)) != workers:
        raise UnhealthyError(f"the selector was given loads of {loads} blocks and tells of {seen.loads}")
    return tuple(loads)


async def _store(selector: Selector, worker: int, prompt: list[int]) -> None:
    """Store a prompt on one worker, and wait until the selector has indexed all of it."""
    selector.stored(POOL, worker, prompt)
    ends = time.monotonic() + SETTLE_S
    while True:
        seen = (await selector.choose(POOL, "", prompt, 0.0, 0.0, reserve=False)).overlaps
        if all(overlap == (1.0 if j == worker else 0.0) for j, overlap in enumerate(seen)):
            return
        if time.monotonic() > ends:
            raise UnhealthyError(f"the selector did not index a prompt on worker {worker}: overlaps {seen}")
        await asyncio.sleep(0.005)


async def _check(
    selector: Selector,
    name: str,
    tau: float,
    omega: float,
    loads: Sequence[float],
    prompt: list[int],
    blocks: int,
) -> PairCheck:
    holder = int(np.argmax(loads))
    costs = predicted_costs(loads, blocks, holder, omega)
    predicted = choice_probabilities(costs, tau)
    drawn: list[Choice] = []
    while len(drawn) < DRAWS * max(1.0, tau) ** 2:
        draws = (selector.choose(POOL, "", prompt, tau, omega, reserve=False) for _ in range(AT_ONCE))
        drawn += await asyncio.gather(*draws)
    booked = []
    for number in range(BOOKED):
        booked.append(await selector.choose(POOL, f"draw-{number}", prompt, tau, omega))
        selector.freed(POOL, f"draw-{number}")
    other_tau, other_omega = contrast(tau, omega)
    under_other_omega = choice_probabilities(predicted_costs(loads, blocks, holder, other_omega), tau)
    counts = _counts(drawn, len(loads))
    return PairCheck(
        policy=name,
        tau=tau,
        omega=omega,
        contrast_tau=other_tau,
        contrast_omega=other_omega,
        costs=costs,
        costs_off=float(np.abs(np.asarray([one.costs for one in (*drawn, *booked)]) - costs).max()),
        predicted=tuple(predicted.tolist()),
        drawn=counts,
        dispatched=_counts(booked, len(loads)),
        p_value=fit_p_value(counts, predicted.tolist()),
        p_value_dispatched=fit_p_value(_counts(booked, len(loads)), predicted.tolist()),
        p_value_contrast=fit_p_value(counts, choice_probabilities(costs, other_tau).tolist()),
        p_value_contrast_omega=fit_p_value(counts, under_other_omega.tolist()),
    )


async def _check_reuse(
    selector: Selector, pool: SelectorPool, way: bool | None, expected: bool, rng: random.Random
) -> ReuseCheck:
    """See where the next prompt goes while a template is booked `HELD` times; leaves nothing booked."""

    async def choose(key: str, blocks: int, prompt: list[int] | None = None) -> int:
        """Worker of a prompt, new if none is given, for the least load; booked where there is a key."""
        tokens = prompt or _prompt(rng, blocks * pool.block_size)
        choice = await selector.choose(POOL, key, tokens, 0.0, 0.0, assume_kv_reuse=way, reserve=bool(key))
        return choice.worker

    # All workers but one are full, so that every request of the template goes to that one.
    full = {f"full-{number}": 2 * HELD * TEMPLATE_BLOCKS for number in range(len(pool.events) - 1)}
    for key, blocks in full.items():
        await choose(key, blocks)
    template = _prompt(rng, TEMPLATE_BLOCKS * pool.block_size)
    templates = [f"template-{number}" for number in range(HELD)]
    first = {await choose(key, TEMPLATE_BLOCKS, template) for key in templates}
    emptied, *kept = full
    selector.freed(POOL, emptied)
    second = await choose("twice", 2 * TEMPLATE_BLOCKS)
    drawn = Counter([await choose("", 1) for _ in range(REUSE_DRAWS)])
    for key in (*templates, *kept, "twice"):
        selector.freed(POOL, key)
    once = sum(drawn[worker] for worker in first) if len(first) == 1 and second not in first else 0
    each = drawn[second] if second not in first else 0
    return ReuseCheck((once, each, REUSE_DRAWS - once - each), expected)


def _counts(choices: Sequence[Choice], workers: int) -> tuple[int, ...]:
    chosen = Counter(choice.worker for choice in choices)
    return tuple(chosen[worker] for worker in range(workers))


def _prompt(rng: random.Random, tokens: int) -> list[int]:
    return [rng.randrange(1, 1 << 20) for _ in range(tokens)]
