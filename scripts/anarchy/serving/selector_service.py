"""Dynamo's own choice of a worker as a small service: a script for the serving environment's Python.

It holds one `SelectionService` of Dynamo (the same cost function, softmax and KV index as in the frontend's
router) and answers over a Unix socket, JSON objects a line, in the order in which they come. The load client
runs in another environment and asks it through `anarchy.routing.selector`; nothing of this project is
imported here. Dynamo has the service as a program of its own, `python -m dynamo.select_service`, but that
listens on every interface of the host without asking who calls.

    {"op": "hello", "i": 1,
     "pools": [{"name": "decode", "block_size": 16, "blocks": 65536, "events": [null, null]}]}
    {"op": "choose", "i": 2, "pool": "decode", "key": "0-1", "prompt": [5, ...], "tau": 0.7, "omega": 1.0,
     "reserve": true}
        -> {"i": 2, "worker": 0, "costs": [...], "overlaps": [...], "loads": [...]}
    {"op": "prefilled" | "freed", "pool": "decode", "key": "0-1"}
    {"op": "stored", "pool": "decode", "worker": 0, "prompt": [5, ...]}
    {"op": "forget", "i": 3, "pool": "decode"}

An operation with a number `i` is answered, {"i": ..., "error": "..."} if it failed; the others are answered
only if they failed, without a number. Workers go by their index in the pool. Reservations of a connection
end with it. `events` holds the address of each worker's own KV events; null where it publishes none (Dynamo's
mock decode workers): then this service publishes for it, in vLLM's format on a socket of its own, what it
must hold by what was routed to it (`ModelledCache`).

The service ends on SIGTERM, when the process that started it is gone, and when its standard input ends where
that is a pipe.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
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
from typing import Any

import msgspec  # type: ignore[import-not-found]  # the serving environment has it
import uvloop
import zmq

LINE_BYTES = 1 << 24
SUBSCRIBE_S = 10.0
"""How long Dynamo may take to subscribe to a worker's events, and to index the first of them."""
PARENT_S = 0.5


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


class EventPublisher:
    """KV events of one worker whose cache is modelled, in vLLM's wire format on a socket of its own."""

    def __init__(self, context: zmq.Context[Any], path: Path, cache: ModelledCache) -> None:
        self.endpoint = f"ipc://{path}"
        self._cache = cache
        self._path = path
        # XPUB tells of subscriptions, and so when events begin to arrive.
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(self.endpoint)
        self._sequence = itertools.count()

    async def await_subscriber(self) -> None:
        """Wait until somebody listens."""
        ends = time.monotonic() + SUBSCRIBE_S
        while not self._socket.poll(0):
            if time.monotonic() > ends:
                raise TimeoutError(f"nobody subscribed to {self.endpoint} within {SUBSCRIBE_S:g} s")
            await asyncio.sleep(0.005)
        self._socket.recv()

    def store(self, prompt: Sequence[int]) -> None:
        """Publish what changes when the worker stores a prompt."""
        if events := self._cache.store(prompt):
            batch = msgspec.msgpack.encode([time.time(), events, 0])
            number = next(self._sequence).to_bytes(8, "big")
            self._socket.send_multipart([b"kv-events", number, batch])

    def close(self) -> None:
        """Close the socket and remove its file."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


@dataclass
class Pool:
    """The workers of one role, as they were announced."""

    name: str
    block_size: int
    blocks: int
    events: tuple[str | None, ...]
    first_id: int = 0
    """Dynamo's id of its first worker; ids are unique over all pools, also those that are forgotten."""
    publishers: dict[int, EventPublisher] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Dynamo's name of the pool: it indexes no events under a name whose workers were all deleted."""
        return f"{self.name}-{self.first_id}"

    @staticmethod
    def told(told: dict[str, Any]) -> Pool:
        """A pool as `hello` tells of it."""
        return Pool(told["name"], told["block_size"], told["blocks"], tuple(told["events"]))

    def same_as(self, other: Pool) -> bool:
        """Whether two announcements speak of the same workers."""
        mine = (self.name, self.block_size, self.blocks, self.events)
        return mine == (other.name, other.block_size, other.blocks, other.events)


class Selections:
    """The operations. They run one after the other: nothing is booked between two reads of one decision."""

    def __init__(self, service: Any, socket_path: Path) -> None:
        self._service = service
        self._socket_path = socket_path
        self._zmq: zmq.Context[Any] = zmq.Context()
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
        """Free what a connection that is gone had reserved."""
        async with self._turn:
            for name in [name for name in self._booked if name.startswith(f"{connection}/")]:
                await self._free(name)

    def close(self) -> None:
        """Close the sockets of the events."""
        for pool in self._pools.values():
            for publisher in pool.publishers.values():
                publisher.close()

    async def _do_hello(self, _: int, told: dict[str, Any]) -> None:
        for pool in map(Pool.told, told["pools"]):
            known = self._pools.get(pool.name)
            if known is None:
                await self._register(pool)
            elif not known.same_as(pool):
                raise ValueError(f"pool {pool.name} was announced with other workers before")

    async def _do_choose(self, connection: int, told: dict[str, Any]) -> dict[str, Any]:
        pool, prompt = self._pools[told["pool"]], told["prompt"]
        tau, omega = float(told["tau"]), float(told["omega"])
        if not prompt:
            raise ValueError("an empty prompt")  # would end Dynamo's scheduler for good
        active = self._by_worker(pool, self._service.loads(model_name=pool.model)[0]["loads"])
        request = {"model_name": pool.model, "token_ids": prompt}
        with_it = self._by_worker(pool, await self._service.potential_loads(request))
        wanted = {"overlap_score_weight": omega, "router_temperature": tau}
        if told["reserve"]:
            name = self._name(connection, told)
            request |= {"selection_id": name, "router_config_override": wanted}
            chosen = (await self._service.select_and_reserve(request))["worker_id"] - pool.first_id
            self._booked[name] = (pool, chosen, prompt)
        else:
            request |= {"router_config_override": wanted}
            chosen = (await self._service.select(request))["worker_id"] - pool.first_id
        full_tokens = max(1, len(prompt) // pool.block_size) * pool.block_size
        return {
            "worker": chosen,
            "costs": [
                omega * after["potential_prefill_tokens"] / pool.block_size + after["potential_decode_blocks"]
                for after in with_it
            ],
            # What a worker has to prefill with this request, less what it has without, lacks the overlap.
            "overlaps": [
                (now["potential_prefill_tokens"] + len(prompt) - after["potential_prefill_tokens"])
                / full_tokens
                for now, after in zip(active, with_it, strict=True)
            ],
            "loads": [now["potential_decode_blocks"] for now in active],
        }

    async def _do_prefilled(self, connection: int, told: dict[str, Any]) -> None:
        name = self._name(connection, told)
        pool, worker, prompt = self._booked[name]
        self._booked[name] = (pool, worker, ())
        with self._expired(name):
            await self._service.prefill_complete(name)
        self._store(pool, worker, prompt)

    async def _do_freed(self, connection: int, told: dict[str, Any]) -> None:
        # A choice that was cancelled while it was under way is freed whether or not it was booked.
        if (name := self._name(connection, told)) in self._booked:
            await self._free(name)

    async def _do_stored(self, _: int, told: dict[str, Any]) -> None:
        self._store(self._pools[told["pool"]], told["worker"], told["prompt"])

    async def _do_forget(self, _: int, told: dict[str, Any]) -> None:
        pool = self._pools.pop(told["pool"])
        for worker in range(len(pool.events)):
            await self._service.delete_worker(pool.first_id + worker)
        for publisher in pool.publishers.values():
            publisher.close()

    async def _register(self, pool: Pool) -> None:
        if not pool.events:
            raise ValueError(f"pool {pool.name} has no workers")
        pool.first_id, self._next_id = self._next_id, self._next_id + len(pool.events)
        for worker, own in enumerate(pool.events):
            if own is None:
                # Never the same path twice: a socket removes its file some time after it was closed.
                path = Path(f"{self._socket_path}.{pool.first_id + worker}")
                cache = ModelledCache(pool.block_size, pool.blocks)
                pool.publishers[worker] = EventPublisher(self._zmq, path, cache)
            record = await self._service.upsert_worker(
                {
                    "worker_id": pool.first_id + worker,
                    "model_name": pool.model,
                    "endpoint": f"http://{pool.name}-{worker}",  # wanted, and never asked
                    "block_size": pool.block_size,
                    "total_kv_blocks": pool.blocks,
                    "kv_events_endpoint": own or pool.publishers[worker].endpoint,
                }
            )
            if record["lifecycle"] != "schedulable":
                raise ValueError(f"{pool.name}-{worker} is {record['lifecycle']}, not schedulable")
        self._pools[pool.name] = pool
        for worker, publisher in pool.publishers.items():
            await publisher.await_subscriber()
            await self._prove_events(pool, worker, publisher)

    async def _prove_events(self, pool: Pool, worker: int, publisher: EventPublisher) -> None:
        """Publish a block that no prompt has, and wait until Dynamo has indexed it.

        Events that come before it listens are lost in silence, and overlaps would stay 0 for ever.
        """
        digest = hashlib.shake_128(f"{pool.model}/{worker}".encode()).digest(2 * pool.block_size)
        block = struct.unpack(f">{pool.block_size}H", digest)
        publisher.store(block)
        ends = time.monotonic() + SUBSCRIBE_S
        while True:
            told = await self._service.overlap_scores({"model_name": pool.model, "token_ids": list(block)})
            held = {entry["worker_id"] for entry in told["workers"] if entry["device_blocks"]}
            if pool.first_id + worker in held:
                return
            if time.monotonic() > ends:
                raise TimeoutError(f"Dynamo did not index a KV event of {pool.name}-{worker}")
            await asyncio.sleep(0.002)

    def _store(self, pool: Pool, worker: int, prompt: Sequence[int]) -> None:
        publisher = pool.publishers.get(worker)
        if publisher is not None and prompt:
            publisher.store(prompt)

    async def _free(self, name: str) -> None:
        del self._booked[name]
        with self._expired(name):
            await self._service.free_reservation(name)

    @contextlib.contextmanager
    def _expired(self, name: str) -> Iterator[None]:
        """Let Dynamo have given up a reservation by itself, as it does with very old ones."""
        try:
            yield
        except Exception as error:
            if "not found" not in str(error):
                raise
            print(f"reservation {name} had expired", file=sys.stderr, flush=True)

    def _name(self, connection: int, told: dict[str, Any]) -> str:
        return f"{connection}/{told['pool']}/{told['key']}"

    @staticmethod
    def _by_worker(pool: Pool, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        found = {entry["worker_id"]: entry for entry in entries}
        return [found[pool.first_id + worker] for worker in range(len(pool.events))]


async def serve(socket_path: Path) -> None:
    """Answer on the socket until told to stop."""
    from dynamo._core import SelectionService  # reads variables that `main` clears

    stop = asyncio.Event()
    service = SelectionService(indexer_threads=1)
    selections = Selections(service, socket_path)
    numbers = itertools.count()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(numbers)
        try:
            while line := await reader.readline():
                told = await selections.answer(connection, json.loads(line))
                if told is not None:
                    writer.write(json.dumps(told, separators=(",", ":")).encode() + b"\n")
        except (ConnectionError, ValueError) as error:
            print(f"connection {connection}: {error}", file=sys.stderr, flush=True)
        finally:
            await selections.end(connection)
            writer.close()

    _stop_with_parent(stop)
    server = await asyncio.start_unix_server(converse, str(socket_path), limit=LINE_BYTES)
    print(f"listening on {socket_path}", file=sys.stderr, flush=True)
    await stop.wait()
    server.close()
    selections.close()
    service.shutdown()


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
    socket_path = parser.parse_args().socket
    # Dynamo's router reads its settings from variables, and each of them would change the choice.
    for name in [name for name in os.environ if name.startswith("DYN_") and name != "DYN_LOG"]:
        del os.environ[name]
    os.environ.setdefault("DYN_LOG", "error")
    socket_path.unlink(missing_ok=True)
    uvloop.new_event_loop().run_until_complete(serve(socket_path))
    socket_path.unlink(missing_ok=True)
    # Dynamo's threads do not survive the end of the interpreter: leave before it comes.
    os._exit(0)


if __name__ == "__main__":
    main()
