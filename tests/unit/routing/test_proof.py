"""The proof of pinned routing passes a selector that follows the law, and no other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anarchy.config import AnyPolicy, Policy
from anarchy.config.files import validate
from anarchy.ground.errors import UserError
from anarchy.routing import proof
from anarchy.routing.proof import PinnedProof
from anarchy.routing.selector import Choice, SelectorPool
from anarchy.serving.health import UnhealthyError
from anarchy.serving.selftest import ALPHA, choice_probabilities

Hear = Callable[[float, float], tuple[float, float]]
HearReuse = Callable[[bool | None], bool]


class LawfulSelector:
    """Chooses by Dynamo's law; `hear` makes of (tau, omega) what it listens to, `shares` of the reuse."""

    BLOCK = 16

    def __init__(
        self,
        pools: Sequence[SelectorPool],
        *,
        hear: Hear = lambda tau, omega: (tau, omega),
        shares: HearReuse = lambda asked: asked is not False,
        indexes: bool = True,
        off: float = 0.0,
    ) -> None:
        (pool,) = pools
        self.workers = len(pool.events)
        self.hear, self.shares, self.indexes, self.off = hear, shares, indexes, off
        self.rng = random.Random(1)
        self.booked: dict[str, tuple[int, int, object]] = {}
        self.pending: dict[str, bool] = {}
        self.held: dict[tuple[int, ...], int] = {}
        self.forgotten = False

    async def open(self, _: object) -> None:
        pass

    async def close(self) -> None:
        assert not self.booked, "a reservation was left"
        assert self.forgotten

    async def forget(self, _: object) -> None:
        self.forgotten = True

    async def choose(
        self,
        pool: str,
        key: str,
        prompt: Sequence[int],
        tau: float,
        omega: float,
        *,
        assume_kv_reuse: bool | None = None,
        reserve: bool = True,
    ) -> Choice:
        blocks = len(prompt) // self.BLOCK
        held = self.held.get(tuple(prompt)) if self.indexes else None
        # Blocks that requests share are one thing, and each request's own another.
        thing: object = tuple(prompt) if self.shares(assume_kv_reuse) else object()
        things: list[dict[object, int]] = [{} for _ in range(self.workers)]
        pending = [0.0] * self.workers
        for name, (worker, size, what) in self.booked.items():
            things[worker][what] = size
            pending[worker] += size if name in self.pending else 0.0
        loads = [float(sum(own.values())) for own in things]

        def costs(omega: float) -> list[float]:
            return [
                omega * (pending[worker] + (0 if worker == held else blocks))
                + sum({**things[worker], thing: blocks}.values())
                for worker in range(self.workers)
            ]

        real_tau, real_omega = self.hear(tau, omega)
        chances = choice_probabilities(costs(real_omega), real_tau)
        worker = self.rng.choices(range(self.workers), chances.tolist())[0]
        if reserve:
            self.booked[key] = (worker, blocks, thing)
            self.pending[key] = True
        overlaps = tuple(1.0 if worker == held else 0.0 for worker in range(self.workers))
        return Choice(worker, tuple(cost + self.off for cost in costs(omega)), overlaps, tuple(loads))

    def prefilled(self, pool: str, key: str) -> None:
        self.pending.pop(key)

    def freed(self, pool: str, key: str) -> None:
        self.booked.pop(key)
        self.pending.pop(key, None)

    def stored(self, pool: str, worker: int, prompt: Sequence[int]) -> None:
        self.held[tuple(prompt)] = worker


def pinned(
    kind: str = "kv",
    tau: float | None = None,
    omega: float | None = None,
    way: str = "pinned",
    assume_kv_reuse: bool | None = None,
) -> Policy:
    document = {"name": kind.replace("_", "-"), "title": kind, "kind": kind, "way": way}
    pair = {} if tau is None else {"tau": tau, "omega": omega}
    reuse = {} if assume_kv_reuse is None else {"assume_kv_reuse": assume_kv_reuse}
    return validate(document | pair | reuse, AnyPolicy, where="test")


GRID = [pinned(tau=tau, omega=omega) for tau in (0.0, 0.3, 0.7, 1.0) for omega in (0.0, 0.3, 0.7, 1.0)]


def prove(
    monkeypatch: pytest.MonkeyPatch, policies: Sequence[Policy], workers: int = 2, **selector: Any
) -> PinnedProof:
    monkeypatch.setattr(proof, "Selector", lambda pools: LawfulSelector(pools, **selector))
    return proof.prove_pinned(Path("selector.sock"), policies, workers=workers, block_size=16, seed=5)


@pytest.mark.parametrize("workers", [2, 5])
def test_a_router_that_follows_the_law_passes(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    result = prove(monkeypatch, [*GRID, pinned("adaptive")], workers)
    assert result.ok, result.checks
    assert len(result.checks) == 16 + 1  # the grid has the pairs of the two lower regimes
    told = result.routing_test()
    assert told["ok"] is True
    assert told["p_value"] >= ALPHA
    assert told["omega"] == "tested"
    assert all(check["ok"] for check in told["checks"])


@pytest.mark.parametrize("workers", [2, 5])
def test_a_router_that_ignores_what_it_is_told_fails_even_with_its_own_defaults(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    result = prove(monkeypatch, [pinned(tau=0.0, omega=1.0)], workers, hear=lambda *_: (0.0, 1.0))
    assert [(check.tau, check.omega, check.ok) for check in result.checks] == [(0, 1, True), (1, 0, False)]
    assert result.checks[1].policy == "contrast"
    assert not result.ok
    assert result.routing_test()["ok"] is False


@pytest.mark.parametrize("pair", [(0.0, 0.3), (0.3, 0.0), (0.7, 1.0), (1.0, 0.7), (0.8, 0.1), (0.0, 0.0)])
@pytest.mark.parametrize("workers", [2, 5])
def test_tau_and_omega_are_each_missed(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[float, float], workers: int
) -> None:
    policies = [pinned(tau=pair[0], omega=pair[1])]
    other_tau, other_omega = proof.contrast(*pair)
    assert prove(monkeypatch, policies, workers).ok
    assert not prove(monkeypatch, policies, workers, hear=lambda tau, omega: (other_tau, omega)).ok
    assert not prove(monkeypatch, policies, workers, hear=lambda tau, omega: (tau, other_omega)).ok


@pytest.mark.parametrize("defaults", [(0.0, 1.0), (1.0, 0.0), (0.3, 1.0), (0.7, 0.3), (1.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("workers", [2, 5])
def test_nothing_that_ignores_what_it_is_told_passes(
    monkeypatch: pytest.MonkeyPatch, defaults: tuple[float, float], workers: int
) -> None:
    """Not even with policies that are its defaults and close to them."""
    policies = [pinned(tau=defaults[0], omega=defaults[1]), pinned(tau=0.3, omega=1.0)]
    assert not prove(monkeypatch, policies, workers, hear=lambda *_: defaults).ok


BOTH = [pinned(tau=0.0, omega=1.0, assume_kv_reuse=asked) for asked in (True, False)]


@pytest.mark.parametrize("workers", [2, 5])
def test_each_way_to_count_a_template_is_proven(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    proof = prove(monkeypatch, [*BOTH, pinned("adaptive")], workers)
    assert proof.ok, proof
    assert [(one.expected, one.counts_once) for one in proof.reuse] == [
        (True, True),
        (False, False),
        (True, True),
    ]
    assert [one["expected"] for one in proof.routing_test()["reuse"]] == [True, False, True]


@pytest.mark.parametrize(("ignores", "missed"), [(lambda _: True, False), (lambda _: False, True)])
def test_a_selector_that_counts_otherwise_than_asked_is_found_out(
    monkeypatch: pytest.MonkeyPatch, ignores: HearReuse, missed: bool
) -> None:
    proof = prove(monkeypatch, BOTH, shares=ignores)
    assert all(check.ok for check in proof.checks), "tau and omega take effect"
    assert [one.expected for one in proof.reuse if not one.ok] == [missed]
    assert not proof.ok
    assert proof.routing_test()["ok"] is False


def test_routers_that_are_made_not_to_share_are_proven_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "Selector", lambda pools: LawfulSelector(pools, shares=lambda _: False))
    made = proof.prove_pinned(Path("s"), GRID[:1], workers=3, block_size=16, seed=5, assume_kv_reuse=False)
    assert made.ok, made
    assert [one.expected for one in made.reuse] == [False]


@pytest.mark.parametrize("pair", [(2.0, 1.0), (5.0, 0.5), (0.05, 0.01), (0.5, 4.0)])
@pytest.mark.parametrize("workers", [2, 5])
def test_wide_values_can_be_proven_too(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[float, float], workers: int
) -> None:
    assert prove(monkeypatch, [pinned(tau=pair[0], omega=pair[1])], workers).ok


@pytest.mark.parametrize(("pair", "what"), [((0.7, 0.001), "omega is 0.001"), ((9.0, 1.0), "tau is 9")])
def test_values_that_no_proof_can_tell_apart_are_refused(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[float, float], what: str
) -> None:
    with pytest.raises(UserError, match=what):
        prove(monkeypatch, [pinned(tau=pair[0], omega=pair[1])])


def test_costs_that_are_not_the_laws_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not prove(monkeypatch, GRID[:1], off=0.5).ok


def test_a_router_without_an_index_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "SETTLE_S", 0.02)
    monkeypatch.setattr(LawfulSelector, "close", lambda self: _nothing())
    with pytest.raises(UnhealthyError, match="did not index"):
        prove(monkeypatch, GRID[:1], indexes=False)


async def _nothing() -> None:
    return None


def test_what_leaves_no_choice_is_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prove(monkeypatch, [pinned("least_loaded")]).routing_test() == {
        "reason": "no policy leaves the choice to Dynamo"
    }
    assert prove(monkeypatch, [pinned(tau=0.0, omega=1.0, way="builtin")]).tested is False
    assert prove(monkeypatch, GRID, workers=1).routing_test() == {
        "reason": "one decode worker: nothing to choose"
    }


@pytest.mark.parametrize("workers", [2, 3, 5, 8])
@pytest.mark.parametrize("omega", [0.05, 0.1, 0.3, 1.0, 5.0])
def test_the_stored_prompt_turns_the_order_round(workers: int, omega: float) -> None:
    loads = [proof.STEP_BLOCKS * rank for rank in range(workers)]
    blocks = proof.stored_blocks(omega, workers)
    costs = proof.predicted_costs(loads, blocks, workers - 1, omega)
    without = proof.predicted_costs(loads, blocks, workers - 1, 0.0)
    assert int(np.argmin(costs)) == workers - 1
    assert int(np.argmax(without)) == workers - 1
