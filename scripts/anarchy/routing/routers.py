"""What routes the requests of a cell beyond a fixed frontend: `load.router.Router` for each policy.

`PinnedRouter` chooses the workers itself, with Dynamo's cost function or by a baseline, and pins the request
to them. `AdaptiveRouter` leaves the choice to Dynamo's built-in router and chooses the frontend, and with it
tau and omega. docs/routing.md has the whole of both ways.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anarchy.config import AdaptivePolicy, Baseline, BatchedBaseline, CostPolicy, Policy, PromptPolicy
from anarchy.control.detector import PARAMETERS, Regime
from anarchy.load.router import Labels, Route
from anarchy.load.workload import Request
from anarchy.routing.pool import WorkerPool
from anarchy.routing.selector import Choice, Selector
from anarchy.trace.decisions import Decision, DecisionLog
from anarchy.trace.schema import RequestRecord

ROLES: Final = ("prefill", "decode")
_NOT_ASKED: Final = Choice(0, (), (), ())


@dataclass(frozen=True, slots=True)
class Selection:
    """The selector that a router asks, and where it listens; its pools are named by role."""

    selector: Selector
    socket: Path


@dataclass(slots=True)
class _Routed:
    """A request on its way."""

    prefill: int
    decode: int
    prefilling: bool = True


class AdaptiveRouter:
    """Sends every request to the frontend of the regime; `frontends` holds its index by regime."""

    def __init__(self, policy: str, frontends: Mapping[Regime, int]) -> None:
        self._routes = {
            regime: Route(Labels(policy, *PARAMETERS[regime], regime.word), frontend=frontend)
            for regime, frontend in frontends.items()
        }
        self._route = self._routes[Regime.BELOW]

    def set_regime(self, regime: Regime) -> None:
        """Route by another regime from now on; any thread may call it."""
        self._route = self._routes[regime]

    async def open(self) -> None:
        """Nothing to make ready."""

    async def route(self, request_id: str, request: Request, t: float) -> Route:  # noqa: ARG002
        """The regime's route."""
        return self._route

    def first_token(self, request_id: str) -> None:
        """Nothing to note."""

    def ended(self, request_id: str, record: RequestRecord) -> None:
        """Nothing to free."""

    async def close(self) -> None:
        """Nothing to let go."""


class PinnedRouter:
    """Chooses the workers of every request by a pinned policy, and tells the request to go to just them.

    `prefill` and `decode` are the workers' instance ids in the order of their index. `selection` is needed by
    the kinds `kv` and `adaptive`; a baseline asks nobody.
    `frontend` is the index of the frontend that all requests go through. `seed` breaks the baselines' ties;
    Dynamo's own draws have no seed. Raises UserError when the selector or the log fails.
    """

    def __init__(
        self,
        policy: Policy,
        prefill: Sequence[int],
        decode: Sequence[int],
        *,
        selection: Selection | None,
        decisions: DecisionLog,
        seed: int,
        frontend: int = 0,
        dilation: float = 1.0,
    ) -> None:
        self._policy = policy
        self._pools = {"prefill": WorkerPool(prefill), "decode": WorkerPool(decode)}
        # A baseline asks nobody, and the prompts of its cell never come again: no cache need know of them.
        self._selection = selection if policy.asks_dynamo else None
        if selection is None and policy.asks_dynamo:
            raise ValueError(f"policy {policy.name} of kind {policy.kind} needs a selector")
        self._asked = ROLES if len(prefill) > 1 else ("decode",)
        """Pools that the selector is asked for: of one prefill worker there is nothing to know."""
        self._reuse = policy.assume_kv_reuse if isinstance(policy, CostPolicy) else None
        self._decisions = decisions
        self._frontend = frontend
        self._rng = random.Random(seed)
        self._turn = 0
        self._batch = (
            _Batch(policy, self._pools, self._rng, policy.batch_s * dilation)
            if isinstance(policy, BatchedBaseline)
            else None
        )
        self._memories = (
            {role: policy.remember(len(pool), self._rng) for role, pool in self._pools.items()}
            if isinstance(policy, PromptPolicy)
            else {}
        )
        self._routed: dict[str, _Routed] = {}
        self._labels = Labels(policy.name, *(policy.pair or (None, None)))
        if isinstance(policy, AdaptivePolicy):
            self.set_regime(Regime.BELOW)

    def set_regime(self, regime: Regime) -> None:
        """Choose by another regime's tau and omega from now on; any thread may call it."""
        self._labels = Labels(self._policy.name, *PARAMETERS[regime], regime.word)

    async def open(self) -> None:
        """Begin the log and connect to the selector."""
        self._decisions.open()
        if self._selection is not None:
            await self._selection.selector.open(self._selection.socket)

    async def route(self, request_id: str, request: Request, t: float) -> Route:
        """Choose the workers, count the request on them, and record the decision."""
        started = time.perf_counter()
        labels = self._labels
        choices: Mapping[str, Choice] = {}
        if self._batch is not None:
            workers = await self._batch.assigned()
        elif self._memories:
            workers = {
                role: memory.choose(request_id, request.prompt) for role, memory in self._memories.items()
            }
        elif isinstance(self._policy, Baseline):
            pools = {role: self._pools[role].in_flight for role in ROLES}
            workers = {role: self._policy.choose(pools[role], self._turn, self._rng) for role in ROLES}
            self._turn += 1
        else:
            choices = await self._ask_dynamo(request_id, request.prompt, labels)
            workers = {role: choices[role].worker if role in choices else 0 for role in ROLES}
        in_flight = tuple(self._pools["decode"].in_flight)
        for role in ROLES:
            self._pools[role].take(workers[role])
        routed = self._routed[request_id] = _Routed(workers["prefill"], workers["decode"])
        self._record(request_id, t, labels, routed, in_flight, choices, time.perf_counter() - started)
        return Route(
            labels,
            self._frontend,
            self._pools["prefill"].instance_ids[routed.prefill],
            self._pools["decode"].instance_ids[routed.decode],
        )

    def first_token(self, request_id: str) -> None:
        """Prefill is over: its worker is free of the request."""
        routed = self._routed[request_id]
        routed.prefilling = False
        self._pools["prefill"].release(routed.prefill)
        for memory in self._memories.values():
            memory.prefilled(request_id)
        if self._selection is None:
            return
        selector = self._selection.selector
        for role in self._asked:
            selector.prefilled(role, request_id)
        if "prefill" in self._asked:
            selector.freed("prefill", request_id)

    def ended(self, request_id: str, record: RequestRecord) -> None:  # noqa: ARG002
        """Free what the request held, however it ended."""
        routed = self._routed.pop(request_id)
        if routed.prefilling:
            self._pools["prefill"].release(routed.prefill)
        self._pools["decode"].release(routed.decode)
        for memory in self._memories.values():
            memory.ended(request_id)
        if self._selection is not None:
            for role in self._asked if routed.prefilling else ("decode",):
                self._selection.selector.freed(role, request_id)

    async def close(self) -> None:
        """Close the log and the selector's connection, which frees what is still reserved."""
        try:
            if self._selection is not None:
                await self._selection.selector.close()
        finally:
            if self._batch is not None:
                self._batch.close()
            self._decisions.close()

    async def _ask_dynamo(
        self, request_id: str, prompt: tuple[int, ...], labels: Labels
    ) -> dict[str, Choice]:
        """Dynamo's choice in every pool that leaves one."""
        assert self._selection is not None
        assert labels.tau is not None
        assert labels.omega is not None
        selector = self._selection.selector
        choices: dict[str, Choice] = {}
        try:
            for role in self._asked:
                choices[role] = await selector.choose(
                    role, request_id, prompt, labels.tau, labels.omega, assume_kv_reuse=self._reuse
                )
        except BaseException:  # cancelled between the two, above all
            for role in choices:
                selector.freed(role, request_id)
            raise
        return choices

    def _record(
        self,
        request_id: str,
        t: float,
        labels: Labels,
        routed: _Routed,
        in_flight: tuple[int, ...],
        choices: Mapping[str, Choice],
        seconds: float,
    ) -> None:
        decode, prefill = (choices.get(role, _NOT_ASKED) for role in ("decode", "prefill"))
        self._decisions.write(
            Decision(
                request_id,
                t,
                labels.policy,
                self._policy.way,
                labels.regime,
                labels.tau,
                labels.omega,
                routed.prefill,
                routed.decode,
                in_flight,
                decode.costs or None,
                decode.overlaps or None,
                decode.loads or None,
                prefill.costs or None,
                prefill.overlaps or None,
                prefill.loads or None,
                seconds * 1e6,
            )
        )


class _Batch:
    """Collects the requests of `seconds` (wall), then assigns them all at once; the first one starts it."""

    def __init__(
        self, policy: BatchedBaseline, pools: Mapping[str, WorkerPool], rng: random.Random, seconds: float
    ) -> None:
        self._policy, self._pools, self._rng, self._seconds = policy, pools, rng, seconds
        self._waiting: list[asyncio.Future[dict[str, int]]] = []
        self._due: asyncio.TimerHandle | None = None

    async def assigned(self) -> dict[str, int]:
        """The workers of one request, by role, when its batch is assigned."""
        loop = asyncio.get_running_loop()
        if self._due is None:
            self._due = loop.call_later(self._seconds, self._assign)
        future: asyncio.Future[dict[str, int]] = loop.create_future()
        self._waiting.append(future)
        return await future

    def close(self) -> None:
        """Give up what is being collected."""
        if self._due is not None:
            self._due.cancel()

    def _assign(self) -> None:
        # A request whose cell has ended meanwhile is cancelled, and takes no slot.
        batch = [future for future in self._waiting if not future.done()]
        self._waiting, self._due = [], None
        if not batch:
            return
        workers = {
            role: self._policy.assign(self._pools[role].in_flight, len(batch), self._rng) for role in ROLES
        }
        for place, future in enumerate(batch):
            future.set_result({role: workers[role][place] for role in ROLES})
