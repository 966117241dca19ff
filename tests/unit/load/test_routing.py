"""A router in the loop: where requests go, what it is told, and what becomes of its failures."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest

from anarchy.ground.errors import UserError
from anarchy.load.client import run_client
from anarchy.load.router import Labels, Route
from anarchy.load.workload import Request
from anarchy.trace.schema import RequestRecord
from tests.helpers.load_fault_server import DECODE_IDS, PREFILL_IDS, FaultServer, Reply
from tests.helpers.load_samples import LABELS, SLOW, WORKLOAD, NotingRouter, config, run_cell
from tests.helpers.places import child
from tests.helpers.waiting import until

GONE = 4711
"""A decode worker that has left."""


def pinned(number: int, t: float) -> Route:
    return Route(LABELS, prefill_id=PREFILL_IDS[0], decode_id=DECODE_IDS[1])


def test_a_router_is_told_of_each_request_once() -> None:
    router = NotingRouter()
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, router=router)
    assert router.calls == ["open", "close"]
    ids = [record.request_id for record in records]
    asked = [request_id for request_id, _ in router.asked]
    assert len(set(asked)) == len(asked) == len(router.endings)
    assert sorted(router.ended_ids) == sorted(asked)
    assert sorted(router.first) == sorted(ids)
    sunk = dict(zip(ids, records, strict=True))
    for request_id, record in router.endings:
        if record.status == "cancelled":
            assert request_id not in sunk, "it came to drain before it was sent"
        else:
            assert record is sunk[request_id]
    for request_id, t in router.asked:
        if request_id in sunk:
            assert sunk[request_id].t_intended <= t <= sunk[request_id].t_sent
    assert report.routing_delay.n == report.measured


def test_the_router_s_time_counts_for_the_user_and_not_against_the_client() -> None:
    router = NotingRouter(takes_s=0.1)
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, router=router, phases={"measure_s": 1.0})
    waits = [record.t_sent - record.t_intended for record in records]
    assert min(waits) >= 0.099
    assert report.routing_delay.p50 is not None
    assert report.routing_delay.p50 >= 0.099
    assert report.schedule_delay.p50 is not None
    assert report.schedule_delay.p50 < 0.05, "half of what it were with the router's time in it"
    assert report.routing_delay.max is not None
    assert report.schedule_delay.max is not None
    measured = [wait for wait, record in zip(waits, records, strict=True) if record.phase == "measure"]
    together = report.routing_delay.max + report.schedule_delay.max
    assert max(measured) <= together + 1e-9, "what a user waits is one or the other"


def test_pins_reach_the_server_and_the_trace() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        _, records = run_cell(server, router=NotingRouter(pinned))
        asked = [body["nvext"] for body in server.requests]
    assert {record.status for record in records} == {"ok"}
    assert {record.decode_worker for record in records} == {1}
    assert all(
        (nvext["prefill_worker_id"], nvext["decode_worker_id"]) == (PREFILL_IDS[0], DECODE_IDS[1])
        for nvext in asked
    )


def test_a_request_that_another_worker_served_is_misrouted() -> None:
    def reply(number: int, body: dict[str, Any]) -> Reply:
        strayed = {"decode_worker_id": DECODE_IDS[0]} if number % 3 == 0 else None
        return Reply(delay=0.002, workers=strayed)

    with FaultServer(reply) as server:
        report, records = run_cell(server, router=NotingRouter(pinned))
    assert set(report.status_counts) == {"ok", "misrouted"}
    assert all((record.decode_worker == 0) == (record.status == "misrouted") for record in records)
    assert f"pinned to decode worker {DECODE_IDS[1]}" in report.error_samples["misrouted"]


def test_labels_are_the_route_s() -> None:
    def choose(number: int, t: float) -> Route:
        return Route(Labels("adaptive", *((0.0, 1.0, "below") if number % 2 else (None, None, ""))))

    with FaultServer(lambda n, body: SLOW) as server:
        _, records = run_cell(server, router=NotingRouter(choose))
    told = {(record.policy, record.tau, record.omega, record.regime) for record in records}
    assert told == {("adaptive", 0.0, 1.0, "below"), ("adaptive", None, None, "")}


def test_the_frontend_changes_in_the_middle_of_a_cell() -> None:
    def choose(number: int, t: float) -> Route:
        second = number >= 30
        return Route(Labels("adaptive", 0.7 if second else 0.0, 1.0), frontend=int(second))

    enough = {"min_requests": 60, "measure_max_s": 60.0}
    with FaultServer(lambda n, body: SLOW) as first, FaultServer(lambda n, body: SLOW) as second:
        report, records = run_cell(first, second, router=NotingRouter(choose), phases=enough)
        connections = (first.connections, second.connections)
        served = (len(first.requests), len(second.requests))
        first.stop()
    assert connections == (4, 4), "one a user and frontend"
    assert report.reconnects == 0
    assert served[0] == 30, "at once, in the middle of every user's requests"
    assert sum(served) == len(records) >= 60
    late = [record for record in records if record.tau == 0.7]
    assert len(late) == served[1]
    assert {record.user for record in late} == set(range(4))
    assert {record.status for record in records} == {"ok"}


def test_every_user_is_connected_to_every_frontend_before_the_cell_begins() -> None:
    """A first switch must not pay for connecting within TTFT."""
    seen: list[tuple[int, int]] = []
    with FaultServer(lambda n, body: SLOW) as first, FaultServer(lambda n, body: SLOW) as second:

        def look() -> None:
            # The servers' own loops count a moment later.
            until(lambda: (first.connections, second.connections) == (100, 100))
            seen.append((first.connections, second.connections))

        cell = config(first.port, second.port, concurrency=100)
        report = run_client(cell, WORKLOAD, lambda record: None, router=NotingRouter(), on_start=look)
        assert (first.connections, second.connections) == (100, 100), "and no more of them later"
    assert seen == [(100, 100)]
    assert report.reconnects == 0


def test_a_frontend_that_refuses_ends_the_cell_before_it_begins() -> None:
    with FaultServer() as second:
        port = second.port
    with FaultServer() as first, pytest.raises(UserError, match="no connection") as refused:
        run_client(config(first.port, port), WORKLOAD, lambda record: None, router=NotingRouter())
    assert refused.value.where is not None
    assert str(port) in str(refused.value.where)


def test_open_files_are_asked_for_each_user_and_frontend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("anarchy.load.client.check_open_files", asked.append)
    with FaultServer(lambda n, body: SLOW) as first, FaultServer() as second, FaultServer() as third:
        run_cell(first, second, third)
    assert asked == [12]


def test_a_frontend_that_dies_costs_requests_and_never_hangs() -> None:
    stopped: list[float] = []

    def choose(number: int, t: float) -> Route:
        if t > 0.3 and not stopped:
            stopped.append(t)
            second.stop()
        return Route(LABELS, frontend=int(number % 3 == 0))

    with FaultServer(lambda n, body: SLOW) as first, FaultServer(lambda n, body: SLOW) as second:
        report, records = run_cell(first, second, router=NotingRouter(choose), phases={"measure_s": 1.0})
    assert set(report.status_counts) == {"ok", "disconnect"}
    assert report.status_counts["disconnect"] < 40, "users back off"
    assert any(record.t_sent > stopped[0] and record.status == "ok" for record in records)


def test_a_pinned_worker_that_is_gone_is_an_error_with_a_pause() -> None:
    def reply(number: int, body: dict[str, Any]) -> Reply:
        return Reply("http", status=400) if body["nvext"]["decode_worker_id"] == GONE else SLOW

    router = NotingRouter(lambda number, t: Route(LABELS, decode_id=GONE))
    with FaultServer(reply) as server:
        report, records = run_cell(server, router=router, phases={"measure_s": 1.0})
    assert report.status_counts == {"http_400": len(records)}
    assert len(records) < 4 * 6, "0.25, 0.5, 1 s between a user's attempts"
    assert {record.decode_worker for record in records} == {-1}
    assert router.first == []
    assert sorted(router.ended_ids) == sorted(router.routed)
    assert {record.status for _, record in router.endings} <= {"http_400", "cancelled"}


@pytest.mark.parametrize(
    ("bad", "status", "first_token"),
    [
        (Reply("stall", tokens=2), "timeout", True),
        (Reply("silent"), "timeout", False),
        (Reply("cut", tokens=2), "disconnect", True),
        (Reply("hang_up"), "disconnect", False),
        (Reply("zero"), "zero_tokens", False),
        (Reply("short", tokens=1), "truncated", True),
    ],
)
def test_every_end_frees_what_was_reserved(bad: Reply, status: str, first_token: bool) -> None:
    router = NotingRouter()
    with FaultServer(lambda n, body: bad) as server:
        run_cell(server, router=router, deadline_s=1.0 if status == "timeout" else 30.0)
    assert {record.status for _, record in router.endings} <= {status, "cancelled"}
    assert sorted(router.ended_ids) == sorted(router.routed)
    assert len(set(router.ended_ids)) == len(router.endings)
    answered = [request_id for request_id, record in router.endings if record.status == status]
    assert sorted(router.first) == (sorted(answered) if first_token else [])


def test_a_dead_frontend_frees_what_was_reserved() -> None:
    router = NotingRouter()
    stoppers: list[threading.Thread] = []

    def reply(n: int, body: dict[str, Any]) -> Reply:
        if n == 5:
            stoppers.append(threading.Thread(target=server.stop))
            stoppers[0].start()
        return SLOW

    with FaultServer(reply) as server:
        report, _ = run_cell(server, router=router)
        stoppers[0].join()
    assert set(report.status_counts) == {"ok", "disconnect"}
    assert sorted(router.ended_ids) == sorted(router.routed)


class RouterBrokeError(Exception):
    pass


class Breaking(NotingRouter):
    """Raises at its n-th call of one kind."""

    def __init__(self, where: str, after: int = 20) -> None:
        super().__init__()
        self.where = where
        self.left = after

    def _maybe(self, where: str) -> None:
        self.left -= where == self.where
        if where == self.where and self.left == 0:
            raise RouterBrokeError(where)

    async def open(self) -> None:
        await super().open()
        self._maybe("open")

    async def route(self, request_id: str, request: Request, t: float) -> Route:
        self._maybe("route")
        return await super().route(request_id, request, t)

    def first_token(self, request_id: str) -> None:
        super().first_token(request_id)
        self._maybe("first_token")

    def ended(self, request_id: str, record: RequestRecord) -> None:
        super().ended(request_id, record)
        self._maybe("ended")


@pytest.mark.parametrize("where", ["open", "route", "first_token", "ended"])
def test_what_a_router_raises_ends_the_cell_and_comes_out(where: str) -> None:
    router = Breaking(where, after=1 if where == "open" else 20)
    records: list[RequestRecord] = []
    with FaultServer(lambda n, body: SLOW) as server:
        cell = config(server.port, phases={"measure_s": 300, "measure_max_s": 300})
        started = time.monotonic()
        with pytest.raises(RouterBrokeError, match=where):
            run_client(cell, WORKLOAD, records.append, router=router)
        assert time.monotonic() - started < 60, "not the five minutes of the cell"
        until(lambda: server.open_connections == 0)
    assert router.calls == ["open", "close"]
    assert sorted(router.ended_ids) == sorted(router.routed), "those that were under way are free again"
    cut_off = [record for _, record in router.endings if record.status == "cancelled"]
    assert not {record.request_id for record in cut_off} & {record.request_id for record in records}
    if where != "open":
        assert len(cut_off) >= 2


def test_a_user_error_of_the_router_stays_one() -> None:
    def choose(number: int, t: float) -> Route:
        raise UserError("no such worker", where="router", remedy="start one")

    with FaultServer() as server, pytest.raises(UserError, match="no such worker"):
        run_cell(server, router=NotingRouter(choose))


class Hanging(NotingRouter):
    async def route(self, request_id: str, request: Request, t: float) -> Route:
        if len(self.asked) > 10:
            await asyncio.sleep(3600)
        return await super().route(request_id, request, t)


def test_a_router_that_hangs_ends_the_cell_at_the_deadline() -> None:
    router = Hanging()
    with FaultServer(lambda n, body: SLOW) as server:
        started = time.monotonic()
        with pytest.raises(UserError, match=r"no route within the deadline of 0\.5 s"):
            run_cell(server, router=router, deadline_s=0.5)
        assert time.monotonic() - started < 60, "the router would take an hour"
    assert router.calls[-1] == "close"


def test_a_timeout_inside_the_router_is_its_own() -> None:
    def choose(number: int, t: float) -> Route:
        raise TimeoutError("the sidecar's socket")

    with FaultServer() as server, pytest.raises(TimeoutError, match="the sidecar's socket"):
        run_cell(server, router=NotingRouter(choose))


INTERRUPTED = """
from tests.helpers.load_samples import *
router = NotingRouter()
def sink(record):
    print(record.request_id, flush=True)
try:
    run_client(config({port}, phases=dict(measure_s=300, measure_max_s=300)), WORKLOAD, sink, router=router)
except KeyboardInterrupt:
    cancelled = sum(record.status == "cancelled" for _, record in router.endings)
    print(router.calls, sorted(router.ended_ids) == sorted(router.routed), cancelled > 0, flush=True)
"""


def test_interrupt_frees_and_closes() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        code = INTERRUPTED.format(port=server.port)
        with child(code) as client:
            assert client.stdout is not None
            for _ in range(40):
                client.stdout.readline()
            os.kill(client.pid, signal.SIGINT)
            rest = client.stdout.read().splitlines()
            assert client.wait(60) == 0
    assert rest[-1] == "['open', 'close'] True True"
