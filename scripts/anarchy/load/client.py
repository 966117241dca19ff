"""The closed-loop load client: C users, each sending its next request when the last one has ended.

A workload may have them think first; a failed request is followed by a pause of its own instead. One asyncio
task, one connection and one request at a time for each user. All durations given and recorded are model
seconds; the wall takes ``dilation`` times as long. The clock is the monotonic one with its zero at the start
of the cell, and one wall-clock anchor is taken there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from anarchy.ground.errors import UserError
from anarchy.ground.preflight import check_open_files
from anarchy.load.cell import ClientConfig, backoff_s
from anarchy.load.connection import StreamConnection, StreamResult
from anarchy.load.connections import Connections
from anarchy.load.payload import PayloadWriter
from anarchy.load.phases import Phases
from anarchy.load.report import ClientProgress, ClientReport, Observer
from anarchy.load.router import FixedRouter, Route, Router
from anarchy.load.stages import StagedPhases
from anarchy.load.workload import Request, Workload
from anarchy.trace.schema import RequestRecord

TICK_S: Final = 0.02
"""Period of the ticker that measures the event loop's lag and moves the phases on, wall s."""
PROGRESS_S: Final = 0.5
WATCH_S: Final = 1.0
CANCELLED: Final = StreamResult.nothing("cancelled", "")


@dataclass(slots=True)
class Sent:
    """A request that was routed; times in model s, sending and phase as expected until it is sent."""

    user: int
    request_id: str
    request: Request
    route: Route
    t_intended: float
    t_sent: float
    phase: str


def run_client(
    config: ClientConfig,
    workload: Workload,
    sink: Callable[[RequestRecord], None],
    *,
    router: Router,
    on_start: Callable[[], None] | None = None,
    on_progress: Callable[[ClientProgress], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> ClientReport:
    """Run one cell on an event loop of its own and return the client's report.

    ``sink`` takes each record as its request ends. ``on_start`` is called at the cell's zero, when router
    and connections are ready, ``on_progress`` about each 0.5 s (wall) and at the end, ``watch`` each 1 s; all
    run on the event loop, as the router does, so they must be quick. What one of them raises ends the cell
    and comes out here, as does KeyboardInterrupt on SIGINT; connections and router are then closed, and the
    records of all requests that had ended are in the sink. Raises UserError if an endpoint refuses the
    first connections, if the limit on open files is too low, or if the router takes longer over a request
    than the deadline.
    """
    client = LoadClient(
        config, workload, sink, router=router, on_start=on_start, on_progress=on_progress, watch=watch
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(client.run())


class LoadClient:
    """One cell from its first connection to its report; use it once."""

    def __init__(
        self,
        config: ClientConfig,
        workload: Workload,
        sink: Callable[[RequestRecord], None],
        *,
        router: Router,
        on_start: Callable[[], None] | None = None,
        on_progress: Callable[[ClientProgress], None] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self._workload = workload
        self._sink = sink
        self._router = router
        self._fixed = router.fixed if isinstance(router, FixedRouter) else None
        self._on_start = on_start
        self._on_progress = on_progress
        self._watch = watch
        self._phases = (
            StagedPhases(config.stages, config.deadline_s)
            if config.phases is None
            else Phases(config.phases, config.concurrency, config.stagger_s)
        )
        self._observer = Observer()
        self._connections = Connections(
            config.endpoints, config.concurrency, router.first_token if self._fixed is None else None
        )
        self._payloads = PayloadWriter(config.endpoints)
        self._draining = asyncio.Event()
        self._moved = asyncio.Event()
        """Set, and replaced, whenever the phases move on."""
        self._zero = 0.0
        self._sent = 0
        self._in_flight = 0

    async def run(self) -> ClientReport:
        """Run the cell; see `run_client` for what it raises."""
        check_open_files(self._config.concurrency * len(self._config.endpoints))
        # A collection of everything the program has imported would stop the loop for tens of milliseconds.
        gc.collect()
        gc.freeze()
        try:
            await self._router.open()
            await self._connections.open()
            anchor = time.time()
            self._zero = time.monotonic()
            self._observer.mark("warmup")
            if self._on_start is not None:
                self._on_start()
            await self._run_users()
            self._observer.mark("end")
            self._tell_progress()
            return self._observer.report(
                self._phases,
                started_at=anchor,
                duration_s=self._model_now(),
                dilation=self._config.dilation,
                sent=self._sent,
                reconnects=self._connections.reconnects,
            )
        finally:
            self._connections.close()
            gc.unfreeze()
            await self._router.close()

    async def _run_users(self) -> None:
        """Run until every user has stopped, or one of the tasks raises."""
        users = [asyncio.create_task(self._user(user)) for user in range(self._config.concurrency)]
        housekeeping = asyncio.create_task(self._keep_house())
        gathered = asyncio.gather(*users)
        try:
            either: set[asyncio.Future[Any]] = {gathered, housekeeping}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if housekeeping.done():
                housekeeping.result()
            await gathered
        finally:
            tasks = [*users, housekeeping]
            for task in tasks:
                task.cancel()
            # With the one that was not waited for, or asyncio prints its cancellation as a traceback.
            await asyncio.gather(gathered, *tasks, return_exceptions=True)

    async def _user(self, user: int) -> None:
        """Send requests one after the other while active, until the cell drains.

        Between two it thinks, after a failure it pauses.
        """
        k, failures = 0, 0
        t_intended = self._model_now()
        while not self._phases.draining:
            opens = self._phases.opens_at(user)
            if opens is None or opens > t_intended:
                await self._park(opens)
                t_intended = self._model_now()
                continue
            ended = await self._send(user, f"{user:04d}-{k:06d}", self._workload.request(user, k), t_intended)
            if ended is None:
                return
            t_intended, status = ended
            failures = 0 if status == "ok" else failures + 1
            if failures:
                await self._pause(backoff_s(failures, user, k))
                t_intended = self._model_now()
            elif think_s := self._workload.think_s(user, k):
                t_intended += think_s
                await self._pause(t_intended - self._model_now())
                # A timer may ring a moment early: nobody sends before it means to.
                t_intended = min(t_intended, self._model_now())
            k += 1

    async def _park(self, until: float | None) -> None:
        """Wait for a model time, or for any, but no longer than until the phases move on."""
        moved = self._moved
        wall_s = None if until is None else (until - self._model_now()) * self._config.dilation
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wall_s):
                await moved.wait()

    async def _send(
        self, user: int, request_id: str, request: Request, t_intended: float
    ) -> tuple[float, str] | None:
        """Route and send one request, record how it ended, and return when (model s) and with which status.

        Returns None, having sent nothing, when the cell has come to drain meanwhile.
        """
        route, routing_s = self._fixed, 0.0
        if route is None:
            route, routing_s = await self._route(request_id, request)
        sent = Sent(user, request_id, request, route, t_intended, t_intended, self._phases.phase)
        result = None
        try:
            result = await self._exchange(sent, routing_s)
        finally:
            if result is None:  # not sent, or the cell ends here: what was reserved for it is free again
                self._router.ended(request_id, self._record(sent, CANCELLED, "cancelled"))
        return None if result is None else (self._to_model(result.t_end), self._end(sent, result))

    async def _route(self, request_id: str, request: Request) -> tuple[Route, float]:
        """Ask the router; return the route and what it took, model s. One that hangs ends the cell."""
        asked = self._model_now()
        try:
            async with asyncio.timeout(self._config.deadline_s * self._config.dilation) as limit:
                route = await self._router.route(request_id, request, asked)
        except TimeoutError:
            if not limit.expired():
                raise
            raise UserError(
                f"no route within the deadline of {self._config.deadline_s:g} s",
                where=f"request {request_id}",
                remedy="see the logs of whatever routes: it hangs, or is far too slow for this load",
            ) from None
        return route, self._model_now() - asked

    async def _exchange(self, sent: Sent, routing_s: float) -> StreamResult | None:
        """Send a request over its user's connection and return what came back; None if it was not sent."""
        payload = self._payloads.write(sent.request, sent.route)
        deadline = self._config.deadline_s * self._config.dilation
        user, frontend = sent.user, sent.route.frontend
        connection: StreamConnection | StreamResult | None = self._connections.get(user, frontend)
        if connection is None:
            connection = await self._connections.reopen(user, frontend, deadline)
        sent.t_sent = self._model_now()
        self._advance(sent.t_sent)
        if self._phases.draining:
            return None
        sent.phase = self._phases.sent(user)
        if sent.phase == "measure":
            waited = sent.t_sent - sent.t_intended - routing_s
            self._observer.delayed(self._phases.stage, waited, routing_s)
        self._sent += 1
        self._in_flight += 1
        if isinstance(connection, StreamResult):
            return connection
        return await connection.exchange(payload, deadline, sent.request_id)

    def _end(self, sent: Sent, result: StreamResult) -> str:
        """Count a request that has ended, tell the router and the sink, and return its status."""
        self._in_flight -= 1
        self._phases.ended(sent.user, sent.phase)
        self._advance(self._model_now())
        status, detail = result.status(sent.request.output_tokens), result.detail
        if status == "ok" and (strayed := _strayed(sent.route, result)):
            status, detail = "misrouted", strayed
        self._observer.ended(
            status,
            detail,
            measured=sent.phase == "measure",
            latency_s=self._to_model(result.t_end) - sent.t_sent,
            tokens_now=result.output_tokens if self._phases.phase == "measure" else None,
        )
        record = self._record(sent, result, status)
        self._router.ended(sent.request_id, record)
        self._sink(record)
        return status

    def _record(self, sent: Sent, result: StreamResult, status: str) -> RequestRecord:
        request, labels = sent.request, sent.route.labels
        return RequestRecord(
            request_id=sent.request_id,
            user=sent.user,
            template=request.template,
            t_intended=sent.t_intended,
            t_sent=sent.t_sent,
            t_first_token=self._to_model_or_none(result.t_first_token),
            t_last_token=self._to_model_or_none(result.t_last_token),
            # One that found no connection ended before it would have been sent.
            t_end=max(sent.t_sent, self._to_model(result.t_end)),
            input_tokens=len(request.prompt),
            output_tokens=result.output_tokens,
            cached_tokens=result.cached_tokens(len(request.prompt)),
            prefill_worker=self._config.prefill_workers.get(str(result.prefill_id), -1),
            decode_worker=self._config.decode_workers.get(str(result.decode_id), -1),
            policy=labels.policy,
            tau=labels.tau,
            omega=labels.omega,
            regime=labels.regime,
            phase=sent.phase,
            status=status,
        )

    async def _pause(self, model_s: float) -> None:
        """Sleep, but no longer than until the cell drains."""
        if model_s > 0 and not self._phases.draining:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(model_s * self._config.dilation):
                    await self._draining.wait()

    async def _keep_house(self) -> None:
        """Measure the loop's lag, move the phases on, report progress and watch, until cancelled."""
        due = time.monotonic()
        next_progress, next_watch = due, due
        while True:
            due = time.monotonic() + TICK_S
            measuring = self._phases.phase == "measure"
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            lag = max(0.0, now - due) / self._config.dilation
            # A loop that blocks at the end of a measured part has held up what was measured in it.
            self._observer.tick(lag, measuring=measuring or self._phases.phase == "measure")
            self._advance(self._to_model(now))
            if now >= next_progress:
                next_progress = now + PROGRESS_S
                self._tell_progress()
            if self._watch is not None and now >= next_watch:
                next_watch = now + WATCH_S
                self._watch()

    def _advance(self, now: float) -> None:
        if self._phases.advance(now):
            self._observer.moved(self._phases)
            self._moved.set()
            self._moved = asyncio.Event()
            if self._phases.draining:
                self._draining.set()

    def _tell_progress(self) -> None:
        if self._on_progress is None:
            return
        now = self._model_now()
        observer, dilation = self._observer, self._config.dilation
        mean_latency = observer.latency_sum_s / observer.finished if observer.finished else 0.0
        over = self._phases.draining and self._in_flight == 0
        phase = "drain" if self._phases.draining else self._phases.phase
        if self._config.stages and phase in ("warmup", "measure"):
            phase = f"{self._config.stages[self._phases.stage].name}, {phase}"
        self._on_progress(
            ClientProgress(
                phase=phase,
                elapsed_s=now * dilation,
                remaining_s=0.0 if over else self._phases.expected_remaining_s(now, mean_latency) * dilation,
                sent=self._sent,
                finished=observer.finished,
                errors=observer.errors,
                in_flight=self._in_flight,
            )
        )

    def _model_now(self) -> float:
        return (time.monotonic() - self._zero) / self._config.dilation

    def _to_model(self, t: float) -> float:
        return (t - self._zero) / self._config.dilation

    def _to_model_or_none(self, t: float | None) -> float | None:
        return None if t is None else (t - self._zero) / self._config.dilation


def _strayed(route: Route, result: StreamResult) -> str:
    """Say which worker served a request that was pinned to another; empty where all is as asked."""
    for role, pinned, served in (
        ("prefill", route.prefill_id, result.prefill_id),
        ("decode", route.decode_id, result.decode_id),
    ):
        if pinned is not None and served is not None and served != pinned:
            return f"pinned to {role} worker {pinned}, served by {served}"
    return ""
