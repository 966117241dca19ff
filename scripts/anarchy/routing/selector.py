"""Asking Dynamo for a worker: the load client's end of `selector_service`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anarchy.ground.errors import UserError

ANSWER_S: Final = 10.0
"""Wall seconds that an answer may take; one takes well under a millisecond."""
START_S: Final = 30.0
"""Wall seconds that registering the workers may take; it takes about 20 ms."""
_REMEDY: Final = "its log says why it ended (folder logs of the deployment); run again"


@dataclass(frozen=True, slots=True)
class SelectorPool:
    """The workers of one role, as the selector has to know them.

    `block_size` is the KV block in tokens, `blocks` the capacity of a worker in blocks. `events` holds the
    address of each worker's own KV events; None where it publishes none and its cache is modelled.
    `assume_kv_reuse` is what the pool's router is made with, for stacks whose overrides cannot say it.
    """

    name: str
    events: tuple[str | None, ...]
    block_size: int
    blocks: int
    assume_kv_reuse: bool | None = None

    @staticmethod
    def modelled(
        name: str, workers: int, block_size: int, blocks: int, assume_kv_reuse: bool | None = None
    ) -> SelectorPool:
        """A pool of workers that publish no KV events."""
        return SelectorPool(name, (None,) * workers, block_size, blocks, assume_kv_reuse)

    def told(self) -> dict[str, Any]:
        """The pool as `hello` tells of it."""
        return {
            "name": self.name,
            "block_size": self.block_size,
            "blocks": self.blocks,
            "events": list(self.events),
            "assume_kv_reuse": self.assume_kv_reuse,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of Dynamo's, and what it was made from; a list has one entry a worker."""

    worker: int
    """Index of the chosen worker within its pool."""
    costs: tuple[float, ...]
    """What a worker would cost, in KV blocks: omega times prompt blocks to prefill plus active blocks."""
    overlaps: tuple[float, ...]
    """Share in [0, 1] of the prompt's full blocks that lie in the worker's cache."""
    loads: tuple[float, ...]
    """Distinct KV blocks of the prompts that are booked on the worker, without this one."""


class Selector:
    """A connection to the selector; use it on one event loop, from `open` to `close`.

    Operations take effect in the order in which they are called. `choose` raises UserError when the selector
    has gone, does not answer within `answer_s` (wall s) or failed at this or any earlier operation, and so
    does every later call. What is still reserved when it closes is freed.
    """

    def __init__(self, pools: Sequence[SelectorPool], *, answer_s: float = ANSWER_S) -> None:
        self.pools = {pool.name: pool for pool in pools}
        self._answer_s = answer_s
        self._link: _Link | None = None
        self._path: Path | None = None

    async def open(self, path: Path) -> None:
        """Connect, and tell of the workers; caches that the selector has modelled before are kept."""
        self._path = path
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._answer_s):
                _, self._link = await loop.create_unix_connection(lambda: _Link(path), str(path))
        except (OSError, TimeoutError) as error:
            raise UserError(
                f"the selector does not listen: {error or 'no answer'}", where=path, remedy=_REMEDY
            ) from error
        await self._ask({"op": "hello", "pools": [pool.told() for pool in self.pools.values()]}, START_S)

    async def close(self) -> None:
        """Let the connection go; may be called twice, and without `open`."""
        if self._link is not None:
            self._link.close()

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
        """Let Dynamo choose a worker of a pool for a prompt, with this temperature and overlap weight.

        `assume_kv_reuse` goes into the override too, where it is not None. With `reserve` the request is
        load on its worker from then on, as `key`, until `freed`. A call that is cancelled reserves nothing.
        """
        override: dict[str, Any] = {"router_temperature": tau, "overlap_score_weight": omega}
        if assume_kv_reuse is not None:
            override["assume_kv_reuse"] = assume_kv_reuse
        try:
            told = await self._ask(
                {
                    "op": "choose",
                    "pool": pool,
                    "key": key,
                    "prompt": prompt,
                    "override": override,
                    "reserve": reserve,
                },
                self._answer_s,
            )
        except asyncio.CancelledError:
            if reserve:
                self.freed(pool, key)
            raise
        return Choice(
            told["worker"], tuple(told["costs"]), tuple(told["overlaps"]), tuple(map(float, told["loads"]))
        )

    def prefilled(self, pool: str, key: str) -> None:
        """The prompt of a reservation is with its worker: nothing of it is left to prefill."""
        self._tell({"op": "prefilled", "pool": pool, "key": key})

    def freed(self, pool: str, key: str) -> None:
        """A reservation has ended, however it did."""
        self._tell({"op": "freed", "pool": pool, "key": key})

    def stored(self, pool: str, worker: int, prompt: Sequence[int]) -> None:
        """A prompt that was not reserved here is now with a worker."""
        self._tell({"op": "stored", "pool": pool, "worker": worker, "prompt": prompt})

    async def forget(self, pool: str) -> None:
        """Take a pool's workers out of the selector."""
        await self._ask({"op": "forget", "pool": pool}, self._answer_s)

    async def _ask(self, operation: dict[str, Any], seconds: float) -> dict[str, Any]:
        link = self._linked()
        if link.fault is not None:
            raise link.fault
        number, future = link.expect()
        link.write({"i": number, **operation})
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            link.fail(f"the selector did not answer within {seconds:g} s")
            assert link.fault is not None
            raise link.fault from None
        finally:
            link.waiting.pop(number, None)

    def _tell(self, operation: dict[str, Any]) -> None:
        """Send what needs no answer; if the selector has gone, the next `choose` says so."""
        link = self._linked()
        if link.fault is None:
            link.write(operation)

    def _linked(self) -> _Link:
        if self._link is None:
            raise RuntimeError("the selector is not open")
        return self._link


class _Link(asyncio.Protocol):
    """The wire: JSON objects, one a line each way, answers matched by number."""

    def __init__(self, path: Path) -> None:
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.fault: UserError | None = None
        self._path = path
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._pending = b""
        self._number = 0

    def expect(self) -> tuple[int, asyncio.Future[dict[str, Any]]]:
        """A number for an operation, and the future of its answer."""
        self._number += 1
        future = self.waiting[self._number] = self._loop.create_future()
        return self._number, future

    def write(self, operation: dict[str, Any]) -> None:
        """Send one operation."""
        assert self._transport is not None
        self._transport.write(json.dumps(operation, separators=(",", ":")).encode() + b"\n")

    def fail(self, what: str) -> None:
        """Fail everything that waits, and all that comes."""
        if self.fault is None:
            self.fault = UserError(what, where=self._path, remedy=_REMEDY)
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(self.fault)

    def close(self) -> None:
        """Close the connection."""
        self.fail("the selector's connection is closed")
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over (asyncio)."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's are not asyncio's subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits (asyncio)."""
        self.fail(f"the selector has gone{f': {exc}' if exc else ''}")

    def data_received(self, data: bytes) -> None:
        """Hand answers to those who wait for them (asyncio)."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            future = self.waiting.get(told["i"])
            if "error" in told:
                self.fail(f"the selector could not do {told['op']!r}: {told['error']}")
            elif future is not None and not future.done():
                future.set_result(told)
