"""Dynamo 0.9.0's `KvPushRouter` as what the selector chooses with: a script for the serving environment.

This is the hook that a Python program has in that version, and so the paper's: `best_worker` with a
`router_config_override` for each request. The override has two fields, `overlap_score_weight` and
`router_temperature`; whether shared blocks count once is settled when a router is made.

A `KvPushRouter` knows workers by discovery, and events by the runtime that published them, whatever worker id
the publisher is given. So each worker of a pool gets a runtime of its own here, which has the worker's model
card, publishes its events and refuses requests; they meet in a discovery folder of the selector's own, and in
the deployment's NATS server. Seen: a router is not made before there is a card; a NaN in an override ends its
scheduler for good. Nothing of this project is imported here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anarchy.serving.selector_service import Events, Load, Pool

NAMESPACE = "anarchy-selector"
READY_S = 20.0
"""How long a router may take to know the workers of its pool."""


@dataclass
class Routed:
    """A pool's router, and what stands for its workers."""

    router: Any
    runtimes: list[Any]
    ids: list[int]
    publishers: list[Any]
    served: list[asyncio.Future[Any]]
    numbers: Iterator[int]
    """Of events."""


class Core:
    """A `KvPushRouter` for each pool."""

    def __init__(self, socket_path: Path, model_folder: Path | None) -> None:
        if model_folder is None:
            raise ValueError("workers need the folder of their model: --model-folder")
        os.environ |= {
            "DYN_FILE_KV": f"{socket_path}.kv",
            "DYN_STORE_KV": "file",
            "DYN_DISCOVERY_BACKEND": "file",
            "DYN_REQUEST_PLANE": "tcp",
            "DYN_EVENT_PLANE": "nats",
            "DYN_TCP_RPC_HOST": "127.0.0.1",
            "DYN_SYSTEM_HOST": "127.0.0.1",
        }
        self._model_folder = str(model_folder)
        self._pools: dict[str, Routed] = {}
        self._forgotten: list[Routed] = []
        """Kept: a router that is dropped outside its runtime's threads ends the process (seen: SIGABRT)."""

    async def register(self, pool: Pool) -> None:
        """Make workers and router; see `selector_service.Core`, as for all that follows."""
        from dynamo.llm import KvPushRouter, KvRouterConfig

        if any(own is not None for own in pool.events):
            raise ValueError("workers with KV events of their own: their router would have to be theirs")
        found = self._pools[pool.model] = Routed(None, [], [], [], [], itertools.count())
        for _ in pool.events:
            await self._add_worker(pool, found)
        reuse = {} if pool.assume_kv_reuse is None else {"router_assume_kv_reuse": pool.assume_kv_reuse}
        found.router = KvPushRouter(
            _component(found.runtimes[0], pool).endpoint("generate"), pool.block_size, KvRouterConfig(**reuse)
        )
        ends = time.monotonic() + READY_S
        while not await self._knows_all(found):
            if time.monotonic() > ends:
                raise TimeoutError(f"the router of pool {pool.name} does not come to know its workers")
            await asyncio.sleep(0.01)

    async def forget(self, pool: Pool) -> None:
        """End the runtimes of its workers, as many as there are."""
        if (found := self._pools.pop(pool.model, None)) is not None:
            self._forgotten.append(found)
            for runtime in found.runtimes:
                runtime.shutdown()

    def publish(self, pool: Pool, worker: int, events: Events) -> None:
        """By the worker's own publisher."""
        found = self._pools[pool.model]
        publisher, size = found.publishers[worker], pool.block_size
        for kind, hashes, *more in events:
            names = [_signed(name) for name in hashes]
            if kind == "BlockStored":
                parent, tokens = more[0], more[1]
                above = None if parent is None else _signed(parent)
                publisher.publish_stored(next(found.numbers), tokens, [size] * len(names), names, 0, above)
            else:
                publisher.publish_removed(next(found.numbers), names)

    async def indexed(self, pool: Pool, worker: int, block: Sequence[int]) -> bool:
        """By the tokens that it would have to prefill: none more, where the block is known."""
        (now, _), (after, _) = [(await self.potential_loads(pool, prompt))[worker] for prompt in ((), block)]
        return after == now

    async def loads(self, pool: Pool) -> list[Load]:
        """Potential loads with nothing."""
        return await self.potential_loads(pool, ())

    async def potential_loads(self, pool: Pool, prompt: Sequence[int]) -> list[Load]:
        """`get_potential_loads`."""
        found = self._pools[pool.model]
        told = {entry["worker_id"]: entry for entry in await found.router.get_potential_loads(list(prompt))}
        own = [told[worker] for worker in found.ids]
        return [(entry["potential_prefill_tokens"], entry["potential_decode_blocks"]) for entry in own]

    async def choose(
        self, pool: Pool, prompt: Sequence[int], override: dict[str, Any], name: str | None
    ) -> int:
        """`best_worker`, which books where it is given a request's name."""
        if more := override.keys() - {"overlap_score_weight", "router_temperature"}:
            raise ValueError(f"0.9.0 would ignore {sorted(more)} in an override")
        found = self._pools[pool.model]
        worker, _, _ = await found.router.best_worker(list(prompt), override, name)
        return found.ids.index(worker)

    async def prefilled(self, pool: Pool, name: str) -> None:
        """`mark_prefill_complete`."""
        await self._pools[pool.model].router.mark_prefill_complete(name)

    async def free(self, pool: Pool, name: str) -> None:
        """`free`."""
        await self._pools[pool.model].router.free(name)

    def close(self) -> None:
        """End all runtimes."""
        for found in self._pools.values():
            for runtime in found.runtimes:
                runtime.shutdown()

    async def _add_worker(self, pool: Pool, found: Routed) -> None:
        from dynamo.llm import KvEventPublisher, ModelInput, ModelRuntimeConfig, ModelType, register_llm
        from dynamo.runtime import DistributedRuntime

        runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
        found.runtimes.append(runtime)
        component = _component(runtime, pool)
        endpoint = component.endpoint("generate")
        found.served.append(asyncio.ensure_future(endpoint.serve_endpoint(_refuse, graceful_shutdown=False)))
        limits = ModelRuntimeConfig()
        limits.total_kv_blocks = pool.blocks
        await register_llm(
            ModelInput.Tokens,
            ModelType.Chat,
            endpoint,
            self._model_folder,
            pool.model,
            kv_cache_block_size=pool.block_size,
            runtime_config=limits,
        )
        found.ids.append(endpoint.connection_id())
        found.publishers.append(KvEventPublisher(component, endpoint.connection_id(), pool.block_size))

    @staticmethod
    async def _knows_all(found: Routed) -> bool:
        told = {entry["worker_id"] for entry in await found.router.get_potential_loads([])}
        return told == set(found.ids)


async def _refuse(request: Any, context: Any = None) -> AsyncIterator[Any]:  # noqa: ARG001
    """What stands for a worker here is chosen, and never sent anything."""
    raise RuntimeError("requests go to the deployment's own workers")
    yield  # it has to be a stream


def _component(runtime: Any, pool: Pool) -> Any:
    return runtime.namespace(NAMESPACE).component(pool.model)


def _signed(name: int) -> int:
    """A block's name as the publisher takes it: 64 bits with a sign."""
    return name - (1 << 64) if name >= 1 << 63 else name
