"""Dynamo 1.5.1's `SelectionService` as what the selector chooses with: a script for the serving environment.

Dynamo has the service as a program of its own, `python -m dynamo.select_service`, but that listens on every
interface of the host without asking who calls. Its override takes `overlap_score_weight`,
`router_temperature` and `assume_kv_reuse`; unknown keys are accepted in silence. Nothing of this project is
imported here.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec  # type: ignore[import-not-found]  # the serving environment has it
import zmq

if TYPE_CHECKING:
    from anarchy.serving.selector_service import Events, Load, Pool

SUBSCRIBE_S = 10.0
"""How long Dynamo may take to subscribe to a worker's events."""


class EventPublisher:
    """KV events of one worker whose cache is modelled, in vLLM's wire format on a socket of its own."""

    def __init__(self, context: zmq.Context[Any], path: Path) -> None:
        self.endpoint = f"ipc://{path}"
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

    def publish(self, events: Events) -> None:
        """Send the events of one change."""
        batch = msgspec.msgpack.encode([time.time(), events, 0])
        number = next(self._sequence).to_bytes(8, "big")
        self._socket.send_multipart([b"kv-events", number, batch])

    def close(self) -> None:
        """Close the socket and remove its file."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


class Core:
    """The selection service; workers exist in it alone."""

    def __init__(self, socket_path: Path, model_folder: Path | None) -> None:  # noqa: ARG002
        from dynamo._core import SelectionService

        self._service = SelectionService(indexer_threads=1)
        self._socket_path = socket_path
        self._zmq: zmq.Context[Any] = zmq.Context()
        self._publishers: dict[int, EventPublisher] = {}

    async def register(self, pool: Pool) -> None:
        """Upsert the workers; see `selector_service.Core`, as for all that follows."""
        if pool.assume_kv_reuse is not None:
            raise ValueError("assume_kv_reuse is given with each choice here, not to a pool")
        for worker, own in enumerate(pool.events):
            number = pool.first_id + worker
            if own is None:
                # Never the same path twice: a socket removes its file some time after it was closed.
                self._publishers[number] = EventPublisher(self._zmq, Path(f"{self._socket_path}.{number}"))
            record = await self._service.upsert_worker(
                {
                    "worker_id": number,
                    "model_name": pool.model,
                    "endpoint": f"http://{pool.name}-{worker}",  # wanted, and never asked
                    "block_size": pool.block_size,
                    "total_kv_blocks": pool.blocks,
                    "kv_events_endpoint": own or self._publishers[number].endpoint,
                }
            )
            if record["lifecycle"] != "schedulable":
                raise ValueError(f"{pool.name}-{worker} is {record['lifecycle']}, not schedulable")
        for worker in pool.caches:
            await self._publishers[pool.first_id + worker].await_subscriber()

    async def forget(self, pool: Pool) -> None:
        """Delete the workers that are there, with what was reserved on them."""
        errors = []
        for number in range(pool.first_id, pool.first_id + len(pool.events)):
            if (publisher := self._publishers.pop(number, None)) is not None:
                publisher.close()
            try:
                await self._service.delete_worker(number)
            except Exception as error:  # noqa: BLE001 (its errors have no common type)
                if "not found" not in str(error):
                    errors.append(error)
        if errors:
            raise errors[0]

    def publish(self, pool: Pool, worker: int, events: Events) -> None:
        """By the worker's socket."""
        self._publishers[pool.first_id + worker].publish(events)

    async def indexed(self, pool: Pool, worker: int, block: Sequence[int]) -> bool:
        """`overlap_scores`: later versions tell no load of a worker that never had one."""
        told = await self._service.overlap_scores({"model_name": pool.model, "token_ids": list(block)})
        holding = {entry["worker_id"] for entry in told["workers"] if entry["device_blocks"]}
        return pool.first_id + worker in holding

    async def loads(self, pool: Pool) -> list[Load]:
        """What the service tells of the pool."""
        return _by_worker(pool, self._service.loads(model_name=pool.model)[0]["loads"])

    async def potential_loads(self, pool: Pool, prompt: Sequence[int]) -> list[Load]:
        """Its potential loads; they take no override, and so count a prompt that is shared once."""
        return _by_worker(pool, await self._service.potential_loads(self._request(pool, prompt)))

    async def choose(
        self, pool: Pool, prompt: Sequence[int], override: dict[str, Any], name: str | None
    ) -> int:
        """`select`, or `select_and_reserve`."""
        request = {**self._request(pool, prompt), "router_config_override": override}
        if name is None:
            chosen = await self._service.select(request)
        else:
            chosen = await self._service.select_and_reserve({**request, "selection_id": name})
        return int(chosen["worker_id"]) - pool.first_id

    async def prefilled(self, pool: Pool, name: str) -> None:  # noqa: ARG002
        """`prefill_complete`."""
        await self._service.prefill_complete(name)

    async def free(self, pool: Pool, name: str) -> None:  # noqa: ARG002
        """`free_reservation`."""
        await self._service.free_reservation(name)

    def close(self) -> None:
        """Close the sockets of the events, and end the service."""
        for publisher in self._publishers.values():
            publisher.close()
        self._service.shutdown()

    @staticmethod
    def _request(pool: Pool, prompt: Sequence[int]) -> dict[str, Any]:
        return {"model_name": pool.model, "token_ids": prompt}


def _by_worker(pool: Pool, entries: Sequence[dict[str, Any]]) -> list[Load]:
    found = {entry["worker_id"]: entry for entry in entries}
    own = [found[pool.first_id + worker] for worker in range(len(pool.events))]
    return [(entry["potential_prefill_tokens"], entry["potential_decode_blocks"]) for entry in own]
