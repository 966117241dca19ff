"""The closed-loop load client: C users, each sending its next request when the last one has ended.

One asyncio task, one connection and one request at a time for each user. All durations given and recorded
are model seconds; the wall takes ``dilation`` times as long. The clock is the monotonic one with its zero at
the start of the cell, and one wall-clock anchor is taken there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from anarchy.errors import UserError
from anarchy.load.cell import ClientConfig, backoff_s
from anarchy.load.connection import StreamConnection, StreamResult
from anarchy.load.payload import PayloadWriter
from anarchy.load.phases import Phases
from anarchy.load.report import ClientProgress, ClientReport, Observer
from anarchy.load.workload import Request, Workload
from anarchy.preflight import check_open_files
from anarchy.trace.schema import RequestRecord

TICK_S: Final = 0.02
"""Period of the ticker that measures the event loop's lag and moves the phases on, wall s."""
PROGRESS_S: Final = 0.5
WATCH_S: Final = 1.0
CONNECT_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that went out, with the times of it, model s."""

    user: int
    k: int
    phase: str
    request: Request
    t_intended: float
    t_sent: float


def run_client(
    config: ClientConfig,
    workload: Workload,
    sink: Callable[[RequestRecord], None],
    *,
    on_progress: Callable[[ClientProgress], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> ClientReport:
    """Run one cell on an event loop of its own and return the client's report.

    ``sink`` takes each record as its request ends. ``on_progress`` is called about each 0.5 s (wall) and at
    the end, ``watch`` each 1 s; all run on the event loop, so they must be quick. What one of them raises
    ends the cell and comes out here, as does KeyboardInterrupt on SIGINT; connections are then closed, and
    the records of all requests that had ended are in the sink. Raises UserError if the endpoint refuses the
    first connections or the limit on open files is too low.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(LoadClient(config, workload, sink, on_progress=on_progress, watch=watch).run())


class LoadClient:
    """One cell from its first connection to its report; use it once."""

    def __init__(
        self,
        config: ClientConfig,
        workload: Workload,
        sink: Callable[[RequestRecord], None],
        *,
        on_progress: Callable[[ClientProgress], None] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self._workload = workload
        self._sink = sink
        self._on_progress = on_progress
        self._watch = watch
        self._phases = Phases(config.phases, config.concurrency)
        self._observer = Observer()
        self._connections: list[StreamConnection] = []
        self._draining = asyncio.Event()
        self._zero = 0.0
        self._sent = 0
        self._in_flight = 0
        self._reconnects = 0
        self._payloads = PayloadWriter(config.endpoint)

    async def run(self) -> ClientReport:
        """Run the cell; see `run_client` for what it raises."""
        check_open_files(self._config.concurrency)
        # A collection of everything the program has imported would stop the loop for tens of milliseconds.
        gc.collect()
        gc.freeze()
        try:
            await self._connect_all()
            anchor = time.time()
            self._zero = time.monotonic()
            self._observer.mark("warmup")
            await self._run_users()
            self._observer.mark("end")
            self._tell_progress()
            return self._observer.report(
                self._phases,
                started_at=anchor,
                duration_s=self._model_now(),
                dilation=self._config.dilation,
                sent=self._sent,
                reconnects=self._reconnects,
            )
        finally:
            for connection in self._connections:
                connection.close()
            gc.unfreeze()

    async def _connect_all(self) -> None:
        try:
            while len(self._connections) < self._config.concurrency:
                batch = min(CONNECT_BATCH, self._config.concurrency - len(self._connections))
                self._connections += await asyncio.gather(*(self._connect() for _ in range(batch)))
        except OSError as error:
            raise UserError(
                f"no connection: {error}",
                where=str(self._config.endpoint),
                remedy="see that the frontend runs and listens there; its log says why if it does not",
            ) from error

    async def _connect(self) -> StreamConnection:
        loop = asyncio.get_running_loop()
        endpoint = self._config.endpoint
        _, connection = await loop.create_connection(
            lambda: StreamConnection(loop), endpoint.host, endpoint.port
        )
        return connection

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
        """Send requests one after the other until the cell drains; pause after each that failed."""
        await self._pause(self._config.stagger_s * user / self._config.concurrency)
        t_intended = self._model_now()
        failures = 0
        for k in itertools.count():
            if self._phases.draining:
                return
            ended = await self._send(user, k, t_intended)
            if ended is None:
                return
            t_intended, status = ended
            failures = 0 if status == "ok" else failures + 1
            if failures:
                await self._pause(backoff_s(failures, user, k))
                t_intended = self._model_now()

    async def _send(self, user: int, k: int, t_intended: float) -> tuple[float, str] | None:
        """Send one request, record how it ended, and return when (model s) and with which status.

        Returns None, having sent nothing, when the cell has come to drain meanwhile.
        """
        request = self._workload.request(user, k)
        payload = self._payloads.write(request)
        deadline = self._config.deadline_s * self._config.dilation
        refusal = await self._reconnect(user, deadline)
        t_sent = self._model_now()
        self._advance(t_sent)
        if self._phases.draining:
            return None
        sent = Sent(user, k, self._phases.sent(), request, t_intended, t_sent)
        self._sent += 1
        self._in_flight += 1
        result = refusal or await self._connections[user].exchange(payload, deadline)
        self._in_flight -= 1
        self._phases.ended(user, sent.phase)
        self._advance(self._model_now())
        return self._to_model(result.t_end), self._record(sent, result)

    async def _reconnect(self, user: int, deadline: float) -> StreamResult | None:
        """Open the user's connection again if it is closed; return the failure if that fails."""
        if self._connections[user].is_open:
            return None
        self._reconnects += 1
        try:
            async with asyncio.timeout(deadline):
                self._connections[user] = await self._connect()
        except (OSError, TimeoutError) as error:
            return StreamResult.not_connected(str(error) or "no connection within the deadline")
        return None

    def _record(self, sent: Sent, result: StreamResult) -> str:
        """Count the request, write its record and return its status."""
        request, labels = sent.request, self._config.labels
        status = result.status(request.output_tokens)
        self._observer.ended(
            status,
            result.detail,
            latency_s=self._to_model(result.t_end) - sent.t_sent,
            schedule_delay_s=sent.t_sent - sent.t_intended if sent.phase == "measure" else None,
            tokens_now=result.output_tokens if self._phases.phase == "measure" else None,
        )
        self._sink(
            RequestRecord(
                request_id=f"{sent.user:04d}-{sent.k:06d}",
                user=sent.user,
                template=request.template,
                t_intended=sent.t_intended,
                t_sent=sent.t_sent,
                t_first_token=self._to_model_or_none(result.t_first_token),
                t_last_token=self._to_model_or_none(result.t_last_token),
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
        )
        return status

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
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            lag = max(0.0, now - due) / self._config.dilation
            self._observer.tick(lag, measuring=self._phases.phase == "measure")
            self._advance(self._to_model(now))
            if now >= next_progress:
                next_progress = now + PROGRESS_S
                self._tell_progress()
            if self._watch is not None and now >= next_watch:
                next_watch = now + WATCH_S
                self._watch()

    def _advance(self, now: float) -> None:
        if self._phases.advance(now):
            reached = (self._phases.measure_start, self._phases.measure_end, self._phases.drain_start)
            for name, start in zip(("measure", "cooldown", "drain"), reached, strict=True):
                if start is not None:
                    self._observer.mark(name)
            if self._phases.draining:
                self._draining.set()

    def _tell_progress(self) -> None:
        if self._on_progress is None:
            return
        now = self._model_now()
        observer, dilation = self._observer, self._config.dilation
        mean_latency = observer.latency_sum_s / observer.finished if observer.finished else 0.0
        over = self._phases.draining and self._in_flight == 0
        self._on_progress(
            ClientProgress(
                phase="drain" if self._phases.draining else self._phases.phase,
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
