"""The client of the selector: answers to whom they belong, and a clear error instead of a hang."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from anarchy.ground.errors import UserError
from anarchy.routing.selector import Choice, Selector, SelectorPool
from anarchy.serving.selector_process import SERVICE, service_command

T = TypeVar("T")
Operation = dict[str, Any]
Answer = Callable[[Operation], Operation | None]
POOL = SelectorPool.modelled("decode", 2, 16, 64)


class ScriptedService:
    """Listens where a selector would; `answer` makes of each operation what goes back, or None."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.told: list[Operation] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while line := await reader.readline():
            operation = json.loads(line)
            self.told.append(operation)
            reply = {"i": operation["i"]} if operation["op"] == "hello" else self.answer(operation)
            if reply is not None:
                writer.write(json.dumps(reply).encode() + b"\n")
        writer.close()

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.close()


Body = Callable[[Selector, ScriptedService], Awaitable[T]]


def chosen(operation: Operation, worker: int = 0) -> Operation:
    return {"i": operation["i"], "worker": worker, "costs": [1, 2], "overlaps": [0, 1], "loads": [3, 4]}


def talk(tmp_path: Path, answer: Answer, body: Body[T], **more: float) -> T:
    """Run `body` with a selector that is open to a scripted service."""

    async def whole() -> T:
        service = ScriptedService(answer)
        path = tmp_path / "s"
        async with await asyncio.start_unix_server(service.converse, path):
            selector = Selector([POOL], **more)
            await selector.open(path)
            try:
                return await body(selector, service)
            finally:
                await selector.close()
                service.hang_up()

    return asyncio.run(whole())


def test_a_choice_holds_what_the_service_told(tmp_path: Path) -> None:
    async def body(selector: Selector, service: ScriptedService) -> tuple[Choice, list[Operation]]:
        choice = await selector.choose("decode", "a", (5, 6), 0.7, 0.3)
        return choice, service.told

    choice, told = talk(tmp_path, lambda one: chosen(one, 1), body)
    assert (choice.worker, choice.costs, choice.overlaps, choice.loads) == (1, (1, 2), (0, 1), (3.0, 4.0))
    pool = {"name": "decode", "block_size": 16, "blocks": 64, "events": [None, None]}
    assert told[0]["pools"] == [{**pool, "assume_kv_reuse": None}]
    assert told[1] == {
        "i": 2,
        "op": "choose",
        "pool": "decode",
        "key": "a",
        "prompt": [5, 6],
        "override": {"router_temperature": 0.7, "overlap_score_weight": 0.3},
        "reserve": True,
    }


def test_whether_shared_blocks_count_once_goes_into_the_override(tmp_path: Path) -> None:
    async def body(selector: Selector, service: ScriptedService) -> list[Operation]:
        for said in (True, False):
            await selector.choose("decode", f"{said}", (5, 6), 0.0, 1.0, assume_kv_reuse=said)
        return service.told

    _, *told = talk(tmp_path, chosen, body)
    assert [one["override"]["assume_kv_reuse"] for one in told] == [True, False]


def test_answers_find_those_who_wait_whatever_their_order(tmp_path: Path) -> None:
    held: list[Operation] = []

    def answer(operation: Operation) -> None:
        held.append(operation)

    async def body(selector: Selector, service: ScriptedService) -> list[int]:
        tasks = [asyncio.create_task(selector.choose("decode", f"{i}", (1,), 0.0, 1.0)) for i in range(5)]
        while len(held) < 5:
            await asyncio.sleep(0.001)
        for operation in reversed(held):
            line = json.dumps(chosen(operation, int(operation["key"]))).encode() + b"\n"
            service.writers[0].write(line[:9])
            await asyncio.sleep(0)
            service.writers[0].write(line[9:])
        return [(await task).worker for task in tasks]

    assert talk(tmp_path, answer, body) == [0, 1, 2, 3, 4]


def test_operations_keep_their_order(tmp_path: Path) -> None:
    async def body(selector: Selector, service: ScriptedService) -> list[str]:
        await selector.choose("decode", "a", (1,), 0.0, 1.0)
        selector.prefilled("decode", "a")
        selector.freed("decode", "a")
        selector.stored("decode", 1, (1, 2))
        await selector.choose("decode", "b", (1,), 0.0, 1.0)
        return [operation["op"] for operation in service.told]

    ops = talk(tmp_path, chosen_or_none, body)
    assert ops == ["hello", "choose", "prefilled", "freed", "stored", "choose"]


def chosen_or_none(operation: Operation) -> Operation | None:
    return chosen(operation) if operation["op"] == "choose" else None


def test_a_service_that_goes_away_fails_what_waits_and_what_comes(tmp_path: Path) -> None:
    async def body(selector: Selector, service: ScriptedService) -> None:
        waiting = asyncio.create_task(selector.choose("decode", "a", (1,), 0.0, 1.0))
        while len(service.told) < 2:
            await asyncio.sleep(0.001)
        service.hang_up()
        with pytest.raises(UserError, match="has gone"):
            await waiting
        selector.freed("decode", "a")  # nobody to tell, nothing to free
        with pytest.raises(UserError, match="has gone"):
            await selector.choose("decode", "b", (1,), 0.0, 1.0)

    talk(tmp_path, lambda _: None, body)


def test_a_service_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    async def body(selector: Selector, service: ScriptedService) -> None:
        with pytest.raises(UserError, match="did not answer within"):
            await selector.choose("decode", "a", (1,), 0.0, 1.0)

    talk(tmp_path, lambda _: None, body, answer_s=1.0)


def test_an_operation_that_failed_is_told_with_its_words(tmp_path: Path) -> None:
    async def body(selector: Selector, service: ScriptedService) -> None:
        with pytest.raises(UserError, match="could not do 'choose': no schedulable workers"):
            await selector.choose("decode", "a", (1,), 0.0, 1.0)

    talk(tmp_path, lambda one: {"i": one["i"], "op": one["op"], "error": "no schedulable workers"}, body)


def test_one_that_nobody_waits_for_fails_the_next_choice(tmp_path: Path) -> None:
    def answer(operation: Operation) -> Operation:
        failed = operation["op"] == "freed"
        return {"i": None, "op": "freed", "error": "KeyError: 'a'"} if failed else chosen(operation)

    async def body(selector: Selector, service: ScriptedService) -> None:
        selector.freed("decode", "a")
        while len(service.told) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        with pytest.raises(UserError, match="could not do 'freed'"):
            await selector.choose("decode", "b", (1,), 0.0, 1.0)

    talk(tmp_path, answer, body)


def test_a_choice_that_is_cancelled_is_freed(tmp_path: Path) -> None:
    async def body(selector: Selector, service: ScriptedService) -> Operation:
        task = asyncio.create_task(selector.choose("decode", "a", (1,), 0.0, 1.0))
        while len(service.told) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while len(service.told) < 3:
            await asyncio.sleep(0.001)
        return service.told[-1]

    assert talk(tmp_path, lambda _: None, body) == {"op": "freed", "pool": "decode", "key": "a"}


def test_nobody_listening_is_told(tmp_path: Path) -> None:
    async def body() -> None:
        await Selector([POOL]).open(tmp_path / "none")

    with pytest.raises(UserError, match="does not listen"):
        asyncio.run(body())


def test_asking_before_open_is_a_fault_of_the_program() -> None:
    async def body() -> None:
        await Selector([POOL]).choose("decode", "a", (1,), 0.0, 1.0)

    with pytest.raises(RuntimeError, match="not open"):
        asyncio.run(body())
    asyncio.run(Selector([POOL]).close())


def test_the_command_runs_the_script_alone() -> None:
    command = service_command(Path("/bin/python"), Path("/x/selector.sock"), "selection_core", Path("/model"))
    asked = ("--socket", "/x/selector.sock", "--core", "selection_core", "--model-folder", "/model")
    assert command == ("/bin/python", "-P", str(SERVICE), *asked)
    with pytest.raises(UserError, match="too many"):
        service_command(Path("python"), Path("/" + "x" * 100), "selection_core", Path("/model"))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The service's module, of whose packages this environment need not have all."""
    if importlib.util.find_spec("msgspec") is None:
        monkeypatch.setitem(sys.modules, "msgspec", types.ModuleType("msgspec"))
    spec = importlib.util.spec_from_file_location("selector_service", SERVICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "selector_service", module)
    spec.loader.exec_module(module)
    return module


def test_a_modelled_cache_tells_of_the_blocks_that_are_new(service: types.ModuleType) -> None:
    cache = service.ModelledCache(4, 100)
    (first,) = cache.store(range(10))
    assert (first[0], len(first[1]), first[2], first[3]) == ("BlockStored", 2, None, list(range(8)))
    assert cache.store(range(10)) == []
    (longer,) = cache.store(range(16))
    assert (longer[1][0] not in first[1], longer[2], longer[3]) == (True, first[1][1], list(range(8, 16)))
    (other,) = cache.store([*range(4), 9, 9, 9, 9])
    assert (other[2], other[3]) == (first[1][0], [9, 9, 9, 9])
    assert cache.store([1, 2, 3]) == []  # no full block


def test_a_modelled_cache_evicts_what_was_used_longest_ago_from_its_end(service: types.ModuleType) -> None:
    cache = service.ModelledCache(1, 4)
    ((_, (a0, a1), *_),) = cache.store([1, 2])
    ((_, (b0, b1), *_),) = cache.store([3, 4])
    cache.store([1, 2])
    stored, removed = cache.store([5])
    assert (stored[3], removed) == ([5], ["BlockRemoved", [b1], "GPU"])
    stored, removed = cache.store([3, 4])  # b0 is still there, and the tail of the oldest chain goes
    assert (stored[2], stored[3]) == (b0, [4])
    assert removed[1] == [a1]
    assert a0


def test_a_prompt_longer_than_the_cache_keeps_its_head(service: types.ModuleType) -> None:
    cache = service.ModelledCache(1, 3)
    (stored,) = cache.store(range(10))
    assert stored[3] == [0, 1, 2]
