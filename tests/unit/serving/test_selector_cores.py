"""What the selector asks of the `KvPushRouter` of Dynamo 0.9.0, with a router that writes down its calls."""

from __future__ import annotations

import asyncio
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest

from anarchy.serving import selector_service
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
        if name.endswith("/stuck"):
            raise RuntimeError("the scheduler is busy")


class FakeRuntime:
    """Its endpoint's id tells workers apart."""

    ended: ClassVar[list[int]] = []

    most: ClassVar[list[int]] = []
    """How many there can be, where it is one number."""

    def __init__(self, loop: object, store: str, plane: str) -> None:
        assert (store, plane) == ("file", "tcp")
        if len(FakeRouter.known) in self.most:
            raise RuntimeError("no runtime more")
        self.id = 100 + len(FakeRouter.known) + len(self.ended)
        FakeRouter.known.append(self.id)

    def namespace(self, name: str) -> Any:
        endpoint = types.SimpleNamespace(
            connection_id=lambda: self.id, serve_endpoint=lambda *_, **__: asyncio.sleep(3600)
        )
        component = types.SimpleNamespace(endpoint=lambda _: endpoint)
        return types.SimpleNamespace(component=lambda model: component)

    def shutdown(self) -> None:
        self.ended.append(self.id)
        FakeRouter.known.remove(self.id)


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
    for what in (FakeRouter.made, FakeRouter.calls, FakeRouter.known, FakeRuntime.ended, FakeRuntime.most):
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


def converse(core: Core, *told: dict[str, Any], end: bool = False) -> list[dict[str, Any] | None]:
    async def whole() -> list[dict[str, Any] | None]:
        selections = Selections(core)
        answers = [await selections.answer(1, one) for one in told]
        if end:
            await selections.end(1)
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


def error_of(answer: dict[str, Any] | None) -> str:
    assert answer is not None
    return str(answer.get("error", ""))


def test_a_pool_whose_events_are_not_indexed_is_never_taken_as_known(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that says hello again would route on an index that hears nothing."""
    monkeypatch.setattr(selector_service, "INDEX_S", 0.0)
    monkeypatch.setattr(FakePublisher, "publish_stored", lambda *_: None)
    first, second, chosen = converse(core, hello(), hello(), choose())
    assert "did not index a KV event of decode-0" in error_of(first)
    assert "did not index a KV event of decode-0" in error_of(second)
    assert "KeyError" in error_of(chosen)
    assert FakeRuntime.ended == [100, 101, 102, 103], "workers are taken back, those of each hello"


def test_a_pool_that_is_registered_in_part_is_taken_back_and_the_next_hello_works(core: Core) -> None:
    FakeRuntime.most.append(1)
    assert "no runtime more" in error_of(*converse(core, hello()))
    assert FakeRuntime.ended == [100]
    FakeRuntime.most.clear()
    _, chosen = converse(core, hello(), choose())
    assert chosen is not None
    assert chosen["worker"] == 1


def test_one_reservation_that_cannot_be_freed_keeps_no_other_booked(
    core: Core, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [choose(key=key) for key in ("a", "stuck", "b")]
    converse(core, hello(), *told, end=True)
    freed = [call[1] for call in FakeRouter.calls if call[0] == "free"]
    assert freed == ["1/decode/a", "1/decode/stuck", "1/decode/b"]
    error = capsys.readouterr().err
    assert "reservation 1/decode/stuck could not be freed: RuntimeError: the scheduler is busy" in error


def test_what_is_reserved_of_a_pool_goes_with_it(core: Core, capsys: pytest.CaptureFixture[str]) -> None:
    """The routing test forgets its pool while a request is booked, and hangs up."""
    forget = {"op": "forget", "i": 3, "pool": "decode"}
    _, _, forgotten, _, again = converse(core, hello(), choose(), forget, hello(), choose(), end=True)
    assert forgotten == {"i": 3}
    assert error_of(again) == "", "the same key of the new pool is free"
    assert [call[1] for call in FakeRouter.calls if call[0] == "free"] == ["1/decode/a"]
    assert capsys.readouterr().err == ""


class FakeService:
    """Dynamo 1.5.1's service with room for some workers."""

    room: ClassVar[int] = 1
    there: ClassVar[list[int]] = []

    def __init__(self, indexer_threads: int) -> None:
        self.there.clear()

    async def upsert_worker(self, record: dict[str, Any]) -> dict[str, Any]:
        if len(self.there) >= self.room:
            raise RuntimeError("no room")
        self.there.append(record["worker_id"])
        return {"lifecycle": "schedulable"}

    async def delete_worker(self, number: int) -> None:
        if number not in self.there:
            raise RuntimeError(f"worker {number} not found")
        self.there.remove(number)

    def shutdown(self) -> None:
        """Nothing runs."""


def test_the_selection_service_keeps_no_worker_of_a_pool_that_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dynamo = types.ModuleType("dynamo._core")
    dynamo.__dict__["SelectionService"] = FakeService
    for name, module in {"dynamo": types.ModuleType("dynamo"), "dynamo._core": dynamo}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "msgspec", types.ModuleType("msgspec"))
    monkeypatch.setitem(sys.modules, "selection_core", types.ModuleType("put back at the end"))
    core = selector_service.load_core("selection_core", tmp_path / "s", None)

    async def whole() -> dict[str, Any] | None:
        answer = await Selections(core).answer(1, hello())
        assert not list(tmp_path.iterdir()), "sockets of events are gone"
        core.close()
        return answer

    assert "no room" in error_of(asyncio.run(whole()))
    assert FakeService.there == []
    assert capsys.readouterr().err == ""


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
