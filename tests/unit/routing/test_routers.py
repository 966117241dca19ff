"""Routers with a selector that does as it is told: who is asked, what is freed, and what is written down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from anarchy.config import AnyPolicy, Policy
from anarchy.config.files import validate
from anarchy.control.detector import PARAMETERS, Regime
from anarchy.ground.errors import UserError
from anarchy.load.router import Labels, Route, Router
from anarchy.load.workload import Request
from anarchy.routing.routers import AdaptiveRouter, PinnedRouter, Selection
from anarchy.routing.selector import Choice, Selector
from anarchy.trace.decisions import DecisionLog, read_decisions

PREFILL, DECODE = (11,), (21, 22, 23)
PROMPT = Request(prompt=tuple(range(32)), output_tokens=4, template=-1)
DONE: Any = SimpleNamespace(status="ok")
FAILED: Any = SimpleNamespace(status="http_500")
T = TypeVar("T")
Build = Callable[..., PinnedRouter]


class ObedientSelector(Selector):
    """Chooses the next of `script`, and remembers what it was asked and told."""

    def __init__(
        self, script: Sequence[int] = (), fault: Exception | None = None, delay: float = 0.0
    ) -> None:
        super().__init__([])
        self.script, self.fault, self.delay = list(script), fault, delay
        self.calls: list[tuple[Any, ...]] = []
        self.reserved: Counter[tuple[str, str]] = Counter()

    async def open(self, path: Path) -> None:
        self.calls.append(("open", path.name))

    async def close(self) -> None:
        self.calls.append(("close",))

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
        said = () if assume_kv_reuse is None else (assume_kv_reuse,)
        self.calls.append(("choose", pool, key, tau, omega, *said))
        await asyncio.sleep(self.delay)
        if self.fault is not None:
            raise self.fault
        self.reserved[pool, key] += 1
        return Choice(
            self.script.pop(0) if self.script else 0, (8.0, 9.0, 7.0), (0.0, 0.5, 1.0), (1.0, 2.0, 3.0)
        )

    def prefilled(self, pool: str, key: str) -> None:
        self.calls.append(("prefilled", pool, key))

    def freed(self, pool: str, key: str) -> None:
        self.calls.append(("freed", pool, key))
        self.reserved[pool, key] -= 1

    def stored(self, pool: str, worker: int, prompt: Sequence[int]) -> None:
        self.calls.append(("stored", pool, worker, len(prompt)))


def policy(kind: str, **more: float) -> Policy:
    document = {"name": kind.replace("_", "-"), "title": kind, "kind": kind, "way": "pinned", **more}
    return validate(document, AnyPolicy, where="test")


KV = policy("kv", tau=0.7, omega=0.3)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A router of a policy, with a log in a folder of the test's own."""

    def make(
        kind: Policy,
        selector: ObedientSelector | None = None,
        prefill: tuple[int, ...] = PREFILL,
        **more: Any,
    ) -> PinnedRouter:
        return PinnedRouter(
            kind,
            prefill,
            DECODE,
            selection=None if selector is None else Selection(selector, Path("selector.sock")),
            decisions=DecisionLog(tmp_path),
            seed=7,
            **more,
        )

    return make


def run(router: Router, body: Callable[[], Awaitable[T]]) -> T:
    """Open the router, run a coroutine with it, and close it whatever happens."""

    async def whole() -> T:
        try:
            await router.open()
            return await body()
        finally:
            await router.close()

    return asyncio.run(whole())


def decisions(tmp_path: Path) -> list[dict[str, Any]]:
    log = DecisionLog(tmp_path)
    log.close()
    rows: list[dict[str, Any]] = read_decisions(log.seal()).to_pylist()
    return rows


def test_a_request_goes_where_dynamo_says_and_is_let_go(build: Build, tmp_path: Path) -> None:
    selector = ObedientSelector([2])
    router = build(KV, selector, frontend=1)

    async def body() -> Route:
        route = await router.route("a", PROMPT, 1.5)
        router.first_token("a")
        router.ended("a", DONE)
        return route

    route = run(router, body)
    assert (route.prefill_id, route.decode_id, route.frontend) == (11, 23, 1)
    assert (route.labels.policy, route.labels.tau, route.labels.omega, route.labels.regime) == (
        "kv",
        0.7,
        0.3,
        "",
    )
    assert selector.calls == [
        ("open", "selector.sock"),
        ("choose", "decode", "a", 0.7, 0.3),
        ("prefilled", "decode", "a"),
        ("freed", "decode", "a"),
        ("close",),
    ]
    (row,) = decisions(tmp_path)
    assert (row["t"], row["prefill_worker"], row["decode_worker"]) == (1.5, 0, 2)
    assert (row["tau"], row["omega"], row["way"], row["regime"]) == (0.7, 0.3, "pinned", "")
    assert (row["costs"], row["overlaps"]) == ([8.0, 9.0, 7.0], [0.0, 0.5, 1.0])
    assert (row["loads"], row["in_flight"], row["prefill_costs"]) == ([1.0, 2.0, 3.0], [0, 0, 0], None)
    assert row["wall_us"] > 0


def test_a_request_that_failed_is_freed_and_leaves_no_prompt(build: Build) -> None:
    selector = ObedientSelector([1, 1])
    router = build(KV, selector, prefill=(11, 12))

    async def body() -> None:
        await router.route("a", PROMPT, 0.0)
        router.ended("a", FAILED)

    run(router, body)
    assert not any(call[0] in ("prefilled", "stored") for call in selector.calls)
    assert set(selector.reserved.values()) == {0}


def test_both_pools_are_asked_where_there_is_a_choice(build: Build, tmp_path: Path) -> None:
    selector = ObedientSelector([1, 2])
    router = build(KV, selector, prefill=(11, 12))

    async def body() -> tuple[Route, bool]:
        route = await router.route("a", PROMPT, 0.0)
        router.first_token("a")
        freed_early = ("freed", "prefill", "a") in selector.calls
        router.ended("a", DONE)
        return route, freed_early

    route, freed_early = run(router, body)
    assert (route.prefill_id, route.decode_id) == (12, 23)
    assert freed_early
    assert set(selector.reserved.values()) == {0}
    assert decisions(tmp_path)[0]["prefill_costs"] == [8.0, 9.0, 7.0]


def test_a_choice_cancelled_between_the_pools_is_freed(build: Build) -> None:
    selector = ObedientSelector()
    router = build(KV, selector, prefill=(11, 12))

    async def body() -> None:
        task = asyncio.create_task(router.route("a", PROMPT, 0.0))
        while selector.reserved["prefill", "a"] == 0:
            await asyncio.sleep(0)
        selector.delay = 600.0
        while not any(call[:2] == ("choose", "decode") for call in selector.calls):
            await asyncio.sleep(0)
        assert selector.reserved["prefill", "a"] == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(router, body)
    assert selector.reserved["prefill", "a"] == 0


def test_a_selector_that_fails_ends_the_request_with_its_words(build: Build) -> None:
    router = build(KV, ObedientSelector(fault=UserError("the selector has gone", remedy="see its log")))

    async def body() -> None:
        await router.route("a", PROMPT, 0.0)

    with pytest.raises(UserError, match="has gone"):
        run(router, body)


def test_dynamos_policies_need_a_selector(build: Build) -> None:
    with pytest.raises(ValueError, match="needs a selector"):
        build(KV)


def test_an_adaptive_policy_follows_the_regime(build: Build, tmp_path: Path) -> None:
    selector = ObedientSelector()
    router = build(policy("adaptive"), selector)

    async def body() -> list[Labels]:
        labels = []
        for name, regime in (("a", None), ("b", Regime.SATURATED), ("c", Regime.BELOW)):
            if regime is not None:
                router.set_regime(regime)
            labels.append((await router.route(name, PROMPT, 0.0)).labels)
        return labels

    labels = run(router, body)
    assert [label.regime for label in labels] == ["below", "saturated", "below"]
    assert [call[3:] for call in selector.calls if call[0] == "choose"] == [
        PARAMETERS[Regime.BELOW],
        PARAMETERS[Regime.SATURATED],
        PARAMETERS[Regime.BELOW],
    ]
    assert [row["regime"] for row in decisions(tmp_path)] == ["below", "saturated", "below"]


def test_the_built_in_adaptive_router_chooses_the_regimes_frontend() -> None:
    router = AdaptiveRouter("adaptive", {Regime.BELOW: 0, Regime.TRANSITION: 2, Regime.SATURATED: 1})

    async def body() -> list[Route]:
        routes = []
        for regime in Regime:
            router.set_regime(regime)
            routes.append(await router.route("a", PROMPT, 0.0))
        return routes

    routes = run(router, body)
    assert [route.frontend for route in routes] == [0, 2, 1]
    assert [(route.labels.tau, route.labels.omega) for route in routes] == list(PARAMETERS.values())
    assert all(route.decode_id is None for route in routes)


@pytest.mark.parametrize("kind", ["round_robin", "random", "least_loaded", "power_of_two", "batched_optimal"])
def test_baselines_need_no_selector_and_give_all_back(build: Build, tmp_path: Path, kind: str) -> None:
    router = build(policy(kind, **({"batch_s": 0.001} if kind == "batched_optimal" else {})))

    async def body() -> tuple[list[Route], list[int]]:
        names = [f"{i}" for i in range(30)]
        routes = await asyncio.gather(*(router.route(name, PROMPT, 0.0) for name in names))
        in_flight = list(router._pools["decode"].in_flight)
        for name in names:
            router.first_token(name)
            router.ended(name, DONE)
        return routes, in_flight

    routes, in_flight = run(router, body)
    assert sum(in_flight) == 30
    assert router._pools["decode"].in_flight == [0, 0, 0]
    assert router._pools["prefill"].in_flight == [0]
    assert {route.decode_id for route in routes} <= set(DECODE)
    assert (routes[0].labels.tau, routes[0].labels.omega) == (None, None)
    if kind in ("round_robin", "least_loaded", "batched_optimal"):
        assert in_flight == [10, 10, 10]
    row = decisions(tmp_path)[0]
    assert row["tau"] is None
    assert row["costs"] is None


def test_a_baseline_asks_and_tells_the_selector_nothing(build: Build) -> None:
    selector = ObedientSelector()
    router = build(policy("round_robin"), selector)

    async def body() -> None:
        await router.route("a", PROMPT, 0.0)
        router.first_token("a")
        router.ended("a", DONE)

    run(router, body)
    assert selector.calls == []


def test_a_batch_waits_its_time_and_no_longer(build: Build) -> None:
    router = build(policy("batched_optimal", batch_s=0.02), dilation=2.0)

    async def body() -> tuple[float, list[Route]]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        first = asyncio.create_task(router.route("a", PROMPT, 0.0))
        await asyncio.sleep(0.03)
        second = asyncio.create_task(router.route("b", PROMPT, 0.0))
        routes = await asyncio.gather(first, second)
        return loop.time() - started, list(routes)

    seconds, routes = run(router, body)
    assert 0.035 <= seconds < 30.0
    assert routes[0].decode_id != routes[1].decode_id


def test_a_request_that_is_cancelled_takes_no_slot_of_its_batch(build: Build) -> None:
    router = build(policy("batched_optimal", batch_s=0.02))

    async def body() -> None:
        tasks = [asyncio.create_task(router.route(name, PROMPT, 0.0)) for name in ("a", "b", "c", "d")]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(router, body)
    assert router._pools["decode"].in_flight == [1, 1, 1]


def test_closing_gives_up_a_batch_that_is_being_collected(build: Build) -> None:
    router = build(policy("batched_optimal", batch_s=30.0))
    due: list[asyncio.TimerHandle] = []

    async def body() -> None:
        task = asyncio.create_task(router.route("a", PROMPT, 0.0))
        await asyncio.sleep(0)
        task.cancel()
        assert router._batch is not None
        assert router._batch._due is not None
        due.append(router._batch._due)

    run(router, body)
    assert [timer.cancelled() for timer in due] == [True]


def test_one_seed_gives_one_series(tmp_path: Path) -> None:
    def series(folder: Path) -> list[int | None]:
        router = PinnedRouter(
            policy("random"), PREFILL, DECODE, selection=None, decisions=DecisionLog(folder), seed=3
        )

        async def body() -> list[int | None]:
            return [(await router.route(f"{i}", PROMPT, 0.0)).decode_id for i in range(50)]

        return run(router, body)

    assert series(tmp_path / "a") == series(tmp_path / "b")


def test_a_policy_that_looks_at_prompts_keeps_them_together_and_lets_go(build: Build, tmp_path: Path) -> None:
    router = build(policy("sticky_until_saturated"), prefill=(11, 12))

    async def body() -> list[Route]:
        routes = [await router.route(f"a{turn}", PROMPT, float(turn)) for turn in range(6)]
        router.first_token("a0")
        for turn in range(6):  # five of them never got a first token
            router.ended(f"a{turn}", FAILED if turn else DONE)
        return routes

    routes = run(router, body)
    assert len({(route.prefill_id, route.decode_id) for route in routes}) == 1
    for row in decisions(tmp_path):
        assert (row["tau"], row["costs"], row["way"]) == (None, None, "pinned")
