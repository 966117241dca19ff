"""Dynamo's own choice of a worker as a small service: a script for the serving environment's Python.

It holds a core of Dynamo's (the same cost function, softmax and KV index as in the frontend's router) and
answers over a Unix socket, JSON objects a line, in the order in which they come. Which core differs by
version, a file each beside this one: `selection_core` (1.5.1) and `push_router_core` (0.9.0). The load client
runs in another environment and asks it through `anarchy.routing.selector`; nothing of this project is
imported here but the core's file, by its path.

    {"op": "hello", "i": 1, "pools": [{"name": "decode", "block_size": 16, "blocks": 65536,
     "events": [null, null], "assume_kv_reuse": null}]}
    {"op": "choose", "i": 2, "pool": "decode", "key": "0-1", "prompt": [5, ...], "reserve": true,
     "override": {"router_temperature": 0.7, "overlap_score_weight": 1.0}}
        -> {"i": 2, "worker": 0, "costs": [...], "overlaps": [...], "loads": [...]}
    {"op": "prefilled" | "freed", "pool": "decode", "key": "0-1"}
    {"op": "stored", "pool": "decode", "worker": 0, "prompt": [5, ...]}
    {"op": "forget", "i": 3, "pool": "decode"}

An operation with a number `i` is answered, {"i": ..., "error": "..."} if it failed; the others are answered
only if they failed, without a number. Workers go by their index in the pool. Reservations of a connection
end with it. `events` holds the address of each worker's own KV events; null where it publishes none (Dynamo's
mock decode workers): then this service publishes for it what it must hold by what was routed to it
(`ModelledCache`). `assume_kv_reuse` is what the pool's router is made with, null as Dynamo makes it;
`override` is Dynamo's `router_config_override`, given with this one choice.

The service ends on SIGTERM, when the process that started it is gone, and when its standard input ends where
that is a pipe.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib.util
import itertools
import json
import math
import os
import signal
import stat
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import uvloop

LINE_BYTES = 1 << 24
INDEX_S = 10.0
"""How long Dynamo may take to index the first event of a worker."""
PARENT_S = 0.5
CORES = ("selection_core", "push_router_core")
"""Files beside this one that each have a class `Core`."""
Events = list[list[Any]]
"""Events of one change of a cache, in vLLM's format."""
Load = tuple[int, int]
"""Of a worker: prompt tokens that are still to be prefilled, and distinct KV blocks in use."""


class ModelledCache:
    """The prompt blocks that one worker holds: an LRU of full blocks, and vLLM's KV events of every change.

    `capacity` is in blocks. A block is named by the hash of all tokens up to its end, as in vLLM. Blocks of a
    prompt are used from its last to its first, so that a chain is evicted from its end, as vLLM does it.
    Output tokens are not modelled: nobody's prompt holds them.
    """

    def __init__(self, block_size: int, capacity: int) -> None:
        self._block_size, self._capacity = block_size, capacity
        self._held: OrderedDict[int, None] = OrderedDict()

    def store(self, prompt: Sequence[int]) -> list[list[Any]]:
        """Note that a worker now holds a prompt; return the events that tell of it."""
        hashes = list(self._chain(prompt))[: self._capacity]
        known = next((i for i, name in enumerate(hashes) if name not in self._held), len(hashes))
        for name in reversed(hashes):
            self._held[name] = None
            self._held.move_to_end(name)
        events: list[list[Any]] = []
        if known < len(hashes):
            size, parent = self._block_size, hashes[known - 1] if known else None
            tokens = list(prompt[known * size : len(hashes) * size])
            events.append(["BlockStored", hashes[known:], parent, tokens, size, None, "GPU", None])
        evicted = [self._held.popitem(last=False)[0] for _ in range(len(self._held) - self._capacity)]
        if evicted:
            events.append(["BlockRemoved", evicted, "GPU"])
        return events

    def _chain(self, prompt: Sequence[int]) -> Iterator[int]:
        name = 0
        for start in range(0, len(prompt) - self._block_size + 1, self._block_size):
            tokens = prompt[start : start + self._block_size]
            digest = hashlib.blake2b(struct.pack(f">Q{len(tokens)}I", name, *tokens), digest_size=8).digest()
            name = int.from_bytes(digest, "big")
            yield name


@dataclass
class Pool:
    """The workers of one role, as they were announced."""

    name: str
    block_size: int
    blocks: int
    events: tuple[str | None, ...]
    assume_kv_reuse: bool | None
    first_id: int = field(default=0, compare=False)
    """Number of its first worker, unique over all pools, also those that are forgotten."""
    caches: dict[int, ModelledCache] = field(default_factory=dict, compare=False)
    """Of the workers that publish no events."""

    @property
    def model(self) -> str:
        """Dynamo's name of the pool: it indexes no events under a name whose workers were all deleted."""
        return f"{self.name}-{self.first_id}"

    @staticmethod
    def told(told: dict[str, Any]) -> Pool:
        """A pool as `hello` tells of it."""
        return Pool(
            told["name"], told["block_size"], told["blocks"], tuple(told["events"]), told["assume_kv_reuse"]
        )


class Core(Protocol):
    """What chooses: a version's own routing core. Lists have an entry for each worker of the pool."""

    async def register(self, pool: Pool) -> None:
        """Tell of a pool's workers; their events are heard from then on."""

    async def forget(self, pool: Pool) -> None:
        """Take a pool's workers out, as many as `register` came to."""

    def publish(self, pool: Pool, worker: int, events: Events) -> None:
        """Publish events of a worker that publishes none itself."""

    async def indexed(self, pool: Pool, worker: int, block: Sequence[int]) -> bool:
        """Whether an event of this worker's, a prompt of one block, is known."""

    async def loads(self, pool: Pool) -> list[Load]:
        """What each worker has to do."""

    async def potential_loads(self, pool: Pool, prompt: Sequence[int]) -> list[Load]:
        """What each would have to do with this prompt."""

    async def choose(
        self, pool: Pool, prompt: Sequence[int], override: dict[str, Any], name: str | None
    ) -> int:
        """A worker for a prompt, booked as `name` where there is one."""

    async def prefilled(self, pool: Pool, name: str) -> None:
        """The prompt of a reservation is with its worker."""

    async def free(self, pool: Pool, name: str) -> None:
        """A reservation has ended."""

    def close(self) -> None:
        """Let everything go."""


class Selections:
    """The operations. They run one after the other: nothing is booked between two reads of one decision."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pools: dict[str, Pool] = {}
        self._booked: dict[str, tuple[Pool, int, Sequence[int]]] = {}
        """Reservations: pool, worker, and the prompt until it is with its worker, empty from then on."""
        self._next_id = 0
        self._turn = asyncio.Lock()

    async def answer(self, connection: int, told: dict[str, Any]) -> dict[str, Any] | None:
        """Do one operation; None where there is nothing to answer."""
        number = told.get("i")
        try:
            operation = getattr(self, f"_do_{told['op']}")
            async with self._turn:
                result = await operation(connection, told)
        except Exception as error:  # noqa: BLE001 (Dynamo's errors have many types; the caller raises it)
            return {"i": number, "op": told.get("op"), "error": f"{type(error).__name__}: {error}"}
        return None if number is None else {"i": number, **(result or {})}

    async def end(self, connection: int) -> None:
        """Free what a connection that is gone had reserved, each by itself: nobody is left to be told."""
        async with self._turn:
            for name in [name for name in self._booked if name.startswith(f"{connection}/")]:
                try:
                    await self._free(name)
                except Exception as error:  # noqa: BLE001 (Dynamo's errors have many types)
                    _say(f"reservation {name} could not be freed: {type(error).__name__}: {error}")

    async def _do_hello(self, _: int, told: dict[str, Any]) -> None:
        for pool in map(Pool.told, told["pools"]):
            known = self._pools.get(pool.name)
            if known is None:
                await self._register(pool)
            elif known != pool:
                raise ValueError(f"pool {pool.name} was announced with other workers before")

    async def _do_choose(self, connection: int, told: dict[str, Any]) -> dict[str, Any]:
        pool, prompt, override = self._pools[told["pool"]], told["prompt"], told["override"]
        if not prompt:
            raise ValueError("an empty prompt")  # would end Dynamo's scheduler for good
        omega = override["overlap_score_weight"]
        for value in (omega, override["router_temperature"]):
            if not (math.isfinite(value) and value >= 0.0):  # NaN would end it too, in 0.9.0
                raise ValueError(f"tau or omega is {value}")
        name = self._name(connection, told) if told["reserve"] else None
        if name in self._booked:
            raise ValueError(f"{told['key']} is reserved already")  # 0.9.0 would choose again, and warn
        active = await self._core.loads(pool)
        with_it = await self._core.potential_loads(pool, prompt)
        chosen = await self._core.choose(pool, prompt, override, name)
        if name is not None:
            self._booked[name] = (pool, chosen, prompt)
        return {
            "worker": chosen,
            "costs": [omega * tokens / pool.block_size + blocks for tokens, blocks in with_it],
            "overlaps": _overlaps(pool, prompt, active, with_it),
            "loads": [blocks for _, blocks in active],
        }

    async def _do_prefilled(self, connection: int, told: dict[str, Any]) -> None:
        name = self._name(connection, told)
        pool, worker, prompt = self._booked[name]
        self._booked[name] = (pool, worker, ())
        with self._expired(name):
            await self._core.prefilled(pool, name)
        self._store(pool, worker, prompt)

    async def _do_freed(self, connection: int, told: dict[str, Any]) -> None:
        # A choice that was cancelled while it was under way is freed whether or not it was booked.
        if (name := self._name(connection, told)) in self._booked:
            await self._free(name)

    async def _do_stored(self, _: int, told: dict[str, Any]) -> None:
        self._store(self._pools[told["pool"]], told["worker"], told["prompt"])

    async def _do_forget(self, _: int, told: dict[str, Any]) -> None:
        pool = self._pools.pop(told["pool"])
        # Reservations go with their workers.
        self._booked = {name: one for name, one in self._booked.items() if one[0] is not pool}
        await self._core.forget(pool)

    async def _register(self, pool: Pool) -> None:
        if not pool.events:
            raise ValueError(f"pool {pool.name} has no workers")
        pool.first_id, self._next_id = self._next_id, self._next_id + len(pool.events)
        pool.caches = {
            worker: ModelledCache(pool.block_size, pool.blocks)
            for worker, own in enumerate(pool.events)
            if own is None
        }
        try:
            await self._core.register(pool)
            for worker in pool.caches:
                await self._prove_events(pool, worker)
        except BaseException:
            await self._take_back(pool)
            raise
        # Only now: the next hello takes a known pool as it is.
        self._pools[pool.name] = pool

    async def _take_back(self, pool: Pool) -> None:
        """Take out whatever was registered of a pool that failed; the first error is the one to tell."""
        try:
            await self._core.forget(pool)
        except Exception as error:  # noqa: BLE001 (Dynamo's errors have many types)
            _say(f"pool {pool.name} could not be taken back: {type(error).__name__}: {error}")

    async def _prove_events(self, pool: Pool, worker: int) -> None:
        """Publish a block that no prompt has, and wait until Dynamo has indexed it.

        Events that come before it listens are lost in silence, and overlaps would stay 0 for ever.
        """
        digest = hashlib.shake_128(f"{pool.model}/{worker}".encode()).digest(2 * pool.block_size)
        block = struct.unpack(f">{pool.block_size}H", digest)
        self._store(pool, worker, block)
        ends = time.monotonic() + INDEX_S
        while not await self._core.indexed(pool, worker, block):
            if time.monotonic() > ends:
                raise TimeoutError(f"Dynamo did not index a KV event of {pool.name}-{worker}")
            await asyncio.sleep(0.002)

    def _store(self, pool: Pool, worker: int, prompt: Sequence[int]) -> None:
        cache = pool.caches.get(worker)
        if cache is not None and prompt and (events := cache.store(prompt)):
            self._core.publish(pool, worker, events)

    async def _free(self, name: str) -> None:
        pool, _, _ = self._booked.pop(name)
        with self._expired(name):
            await self._core.free(pool, name)

    @contextlib.contextmanager
    def _expired(self, name: str) -> Iterator[None]:
        """Let Dynamo have given up a reservation by itself, as it does with very old ones."""
        try:
            yield
        except Exception as error:
            if "not found" not in str(error):
                raise
            _say(f"reservation {name} had expired")

    def _name(self, connection: int, told: dict[str, Any]) -> str:
        return f"{connection}/{told['pool']}/{told['key']}"


def _say(text: str) -> None:
    """A line of the log."""
    print(text, file=sys.stderr, flush=True)


def _overlaps(
    pool: Pool, prompt: Sequence[int], active: Sequence[Load], with_it: Sequence[Load]
) -> list[float]:
    """Share of a prompt's full blocks that each worker holds.

    What a worker has to prefill with this request, less what it has without, lacks the overlap.
    """
    full_tokens = max(1, len(prompt) // pool.block_size) * pool.block_size
    return [
        (now + len(prompt) - after) / full_tokens
        for (now, _), (after, _) in zip(active, with_it, strict=True)
    ]


def load_core(name: str, socket_path: Path, model_folder: Path | None) -> Core:
    """The core in the file of this name beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return cast("Core", module.Core(socket_path, model_folder))


async def serve(socket_path: Path, core_name: str, model_folder: Path | None) -> None:
    """Answer on the socket until told to stop."""
    stop = asyncio.Event()
    core = load_core(core_name, socket_path, model_folder)  # reads variables that `main` clears
    selections = Selections(core)
    numbers = itertools.count()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(numbers)
        try:
            while line := await reader.readline():
                told = await selections.answer(connection, json.loads(line))
                if told is not None:
                    writer.write(json.dumps(told, separators=(",", ":")).encode() + b"\n")
        except (ConnectionError, ValueError) as error:
            _say(f"connection {connection}: {error}")
        finally:
            try:
                await selections.end(connection)
            finally:
                writer.close()

    _stop_with_parent(stop)
    server = await asyncio.start_unix_server(converse, str(socket_path), limit=LINE_BYTES)
    _say(f"listening on {socket_path}")
    await stop.wait()
    server.close()
    core.close()


def _stop_with_parent(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT, when the parent is gone, and when a piped standard input ends."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parent = os.getppid()

    def look() -> None:
        if os.getppid() == parent:
            loop.call_later(PARENT_S, look)
        else:
            stop.set()

    look()

    def read() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, read)


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", type=Path, required=True, help="path of the Unix socket to listen on")
    parser.add_argument("--core", choices=CORES, default=CORES[0], help="what chooses: a file beside this")
    parser.add_argument("--model-folder", type=Path, help="the folder of the model that its workers serve")
    asked = parser.parse_args()
    socket_path = asked.socket
    # Dynamo's router reads its settings from variables, and each of them would change the choice.
    for name in [name for name in os.environ if name.startswith("DYN_") and name != "DYN_LOG"]:
        del os.environ[name]
    os.environ.setdefault("DYN_LOG", "error")
    socket_path.unlink(missing_ok=True)
    uvloop.new_event_loop().run_until_complete(serve(socket_path, asked.core, asked.model_folder))
    socket_path.unlink(missing_ok=True)
    # Dynamo's threads do not survive the end of the interpreter: leave before it comes.
    os._exit(0)


if __name__ == "__main__":
    main()
