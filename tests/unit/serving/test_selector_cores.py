"""What the selector asks of the `KvPushRouter` of Dynamo 0.9.0, with a router that writes down its calls."""

from __future__ import annotations

import asyncio
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest

from anarchy.serving.push_router_core import Core
from anarchy.serving.selector_service import ModelledCache, Pool, Selections

PROMPT = list(range(32))
VARIABLES = (
    *("DYN_FILE_KV", "DYN_STORE_KV", "DYN_DISCOVERY_BACKEND", "DYN_REQUEST_PLANE", "DYN_EVENT_PLANE"),
    *("DYN_TCP_RPC_HOST", "DYN_SYSTEM_HOST"),
)
OVERRIDE = {"router_temperature": 0.7, "overlap_score_weight": 1.0}


class FakeRouter:
    """Chooses the last worker; its loads grow by what is booked, and its overlaps by what is published."""

    made: ClassVar[list[dict[str, Any]]] = []
    calls: ClassVar[list[tuple[Any, ...]]] = []
    held: ClassVar[dict[int, int]] = {}
    known: ClassVar[list[int]] = []

    def __init__(self, endpoint: str, block_size: int, config: dict[str, Any]) -> None:
        self.made.append({"endpoint": endpoint, "block_size": block_size, **config})

    async def get_potential_loads(self, tokens: list[int]) -> list[dict[str, int]]:
        return [
            {
                "worker_id": worker,
                "potential_prefill_tokens": max(0, len(tokens) - self.held.get(worker, 0)),
                "potential_decode_blocks": len(tokens) // 16,
            }
            for worker in reversed(self.known)
        ]

    async def best_worker(
        self, tokens: list[int], override: dict[str, Any], name: str | None
    ) -> tuple[int, int, int]:
        self.calls.append(("best_worker", override, name))
        return self.known[-1], 0, 0

    async def mark_prefill_complete(self, name: str) -> None:
        self.calls.append(("mark_prefill_complete", name))

    async def free(self, name: str) -> None:
        self.calls.append(("free", name))


class FakeRuntime:
    """Its endpoint's id tells workers apart."""

    ended: ClassVar[list[int]] = []

    def __init__(self, loop: object, store: str, plane: str) -> None:
        assert (store, plane) == ("file", "tcp")
        self.id = 100 + len(FakeRouter.known)
        FakeRouter.known.append(self.id)

    def namespace(self, name: str) -> Any:
        endpoint = types.SimpleNamespace(
            connection_id=lambda: self.id, serve_endpoint=lambda *_, **__: asyncio.sleep(3600)
        )
        component = types.SimpleNamespace(endpoint=lambda _: endpoint)
        return types.SimpleNamespace(component=lambda model: component)

    def shutdown(self) -> None:
        self.ended.append(self.id)


class FakePublisher:
    """Events of one worker."""

    def __init__(self, component: object, worker: int, block_size: int) -> None:
        self.worker = worker

    def publish_stored(
        self,
        number: int,
        tokens: list[int],
        sizes: list[int],
        names: list[int],
        lora: int,
        parent: int | None,
    ) -> None:
        assert all(-(1 << 63) <= name < 1 << 63 for name in names), "64 bits with a sign"
        assert len(sizes) == len(names)
        FakeRouter.held[self.worker] = len(tokens)
        FakeRouter.calls.append(("stored", self.worker, tuple(tokens), parent))

    def publish_removed(self, number: int, names: list[int]) -> None:
        FakeRouter.calls.append(("removed", self.worker, len(names)))


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Core:
    async def register_llm(*_: Any, **__: Any) -> None:
        """The card of a worker."""

    names = types.SimpleNamespace(Tokens="tokens", Chat="chat")
    llm = types.ModuleType("dynamo.llm")
    llm.__dict__.update(
        KvPushRouter=FakeRouter, KvRouterConfig=dict, KvEventPublisher=FakePublisher, ModelInput=names,
        ModelType=names, ModelRuntimeConfig=types.SimpleNamespace, register_llm=register_llm,
    )  # fmt: skip
    runtime = types.ModuleType("dynamo.runtime")
    runtime.__dict__["DistributedRuntime"] = FakeRuntime
    modules = {"dynamo": types.ModuleType("dynamo"), "dynamo.llm": llm, "dynamo.runtime": runtime}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in VARIABLES:
        monkeypatch.setenv(name, "set by the core")
    for what in (FakeRouter.made, FakeRouter.calls, FakeRouter.known, FakeRuntime.ended):
        what.clear()
    FakeRouter.held.clear()
    return Core(tmp_path / "selector.sock", tmp_path)


def hello(reuse: bool | None = None) -> dict[str, Any]:
    pool = {
        "name": "decode",
        "block_size": 16,
        "blocks": 64,
        "events": [None, None],
        "assume_kv_reuse": reuse,
    }
    return {"op": "hello", "i": 1, "pools": [pool]}


def converse(core: Core, *told: dict[str, Any]) -> list[dict[str, Any] | None]:
    async def whole() -> list[dict[str, Any] | None]:
        selections = Selections(core)
        answers = [await selections.answer(1, one) for one in told]
        core.close()
        return answers

    return asyncio.run(whole())


def choose(**more: Any) -> dict[str, Any]:
    asked = {"op": "choose", "i": 2, "pool": "decode", "key": "a", "prompt": PROMPT, "reserve": True}
    return {**asked, "override": OVERRIDE, **more}


def test_a_choice_is_the_routers_with_the_override_of_the_request(core: Core) -> None:
    told = ({"op": "prefilled", "pool": "decode", "key": "a"}, {"op": "freed", "pool": "decode", "key": "a"})
    _, chosen, *rest = converse(core, hello(), choose(), *told)
    assert chosen == {"i": 2, "worker": 1, "costs": [3.0, 3.0], "overlaps": [0.5, 0.5], "loads": [0, 0]}
    assert rest == [None, None]
    name = "1/decode/a"
    booked = [call for call in FakeRouter.calls if call[0] != "stored"]
    assert booked == [("best_worker", OVERRIDE, name), ("mark_prefill_complete", name), ("free", name)]
    assert ("stored", 101, tuple(PROMPT), None) in FakeRouter.calls, "it is in the chosen worker's cache"
    assert FakeRuntime.ended == [100, 101]


@pytest.mark.parametrize(("asked", "made"), [(None, {}), (False, {"router_assume_kv_reuse": False})])
def test_how_shared_blocks_count_is_settled_when_a_router_is_made(
    core: Core, asked: bool | None, made: dict[str, bool]
) -> None:
    converse(core, hello(asked))
    (one,) = FakeRouter.made
    assert {key: value for key, value in one.items() if key not in ("endpoint", "block_size")} == made


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"override": {**OVERRIDE, "assume_kv_reuse": False}}, "would ignore ['assume_kv_reuse']"),
        ({"override": {**OVERRIDE, "router_temperature": float("nan")}}, "tau or omega is nan"),
        ({"override": {**OVERRIDE, "overlap_score_weight": -1.0}}, "tau or omega is -1.0"),
        ({"prompt": []}, "an empty prompt"),
    ],
)
def test_what_would_end_the_scheduler_or_be_ignored_is_refused(
    core: Core, wrong: dict[str, Any], words: str
) -> None:
    _, answer = converse(core, hello(), choose(**wrong))
    assert answer is not None
    assert words in answer["error"]
    assert not any(call[0] == "best_worker" for call in FakeRouter.calls)


def test_a_request_is_booked_once(core: Core) -> None:
    _, _, again = converse(core, hello(), choose(), choose())
    assert again is not None
    assert "a is reserved already" in again["error"]


def test_evicted_blocks_are_published_as_removed(core: Core) -> None:
    async def whole() -> None:
        pool = Pool("decode", 16, 2, (None,), None)
        await core.register(pool)
        cache = ModelledCache(16, 2)
        for start in (0, 1000):
            core.publish(pool, 0, cache.store(range(start, start + 32)))
        await core.forget(pool)

    asyncio.run(whole())
    assert [call[0] for call in FakeRouter.calls] == ["stored", "stored", "removed"]
    assert FakeRouter.calls[-1] == ("removed", 100, 2)
