"""The closed loop against a small server that streams as Dynamo does, well-behaved and not."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil
import pytest

from anarchy.config.loads import Stage
from anarchy.ground.errors import UserError
from anarchy.ground.preflight import check_open_files
from anarchy.load.cell import BACKOFF_MAX_S, backoff_s
from anarchy.load.client import PROGRESS_S, run_client
from anarchy.load.phases import PhasePlan, Phases
from anarchy.load.report import ClientProgress, CpuMark, Observer, cpu_mark
from anarchy.load.workload import Workload
from anarchy.trace.schema import RequestRecord
from tests.helpers.load_fault_server import FaultServer, Reply
from tests.helpers.load_samples import FIXED, SLOW, WORKLOAD, config, late_s, run_cell
from tests.helpers.places import child, with_tests
from tests.helpers.waiting import until


def faulty(bad: Reply) -> Callable[[int, dict[str, Any]], Reply]:
    """Answer every third request badly."""
    return lambda n, body: bad if n % 3 == 2 else SLOW


def warmed_up_at(records: list[RequestRecord]) -> float:
    """When the last user had finished its first request."""
    first: dict[int, float] = {}
    for record in records:
        first.setdefault(record.user, record.t_last_token or 0.0)
    return max(first.values())


def test_a_quiet_cell() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, phases={"min_requests": 11, "measure_max_s": 60.0})
        requests = server.requests
    assert len(records) == len(requests) == report.sent == sum(report.status_counts.values())
    assert report.status_counts == {"ok": len(records)}
    assert report.measured == sum(record.phase == "measure" for record in records) > 10
    assert report.measure_status_counts == {"ok": report.measured}
    assert report.error_samples == {}
    assert report.reconnects == 0
    assert len({record.request_id for record in records}) == len(records)
    streamed: list[bool] = []
    for record in records:
        assert record.t_first_token is not None
        assert record.t_last_token is not None
        assert 0 <= record.t_intended <= record.t_sent < record.t_first_token <= record.t_last_token
        streamed.append(record.t_first_token < record.t_last_token)
        assert record.input_tokens == 16
        assert record.cached_tokens == 14, "the router's 0.875 of 16, not usage's 0"
        assert (record.prefill_worker, record.template) == (0, -1)
        assert record.decode_worker in (0, 1)
        assert (record.policy, record.tau, record.omega, record.regime) == ("kv", 0.7, 1.0, "")
    assert {record.decode_worker for record in records} == {0, 1}
    assert any(streamed), "where the machine stood still a whole answer is read at once"


def test_content_follows_user_and_number_and_tokens_come_as_asked() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        _, records = run_cell(server)
        by_prompt = {tuple(body["prompt"]): body for body in server.requests}
    assert len(by_prompt) == len(records)
    for record in records:
        user, k = (int(part) for part in record.request_id.split("-"))
        request = WORKLOAD.request(user, k)
        assert user == record.user
        assert by_prompt[request.prompt]["max_tokens"] == request.output_tokens == record.output_tokens


def test_closed_loop_keeps_one_request_a_user_and_one_connection() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        _, records = run_cell(server, concurrency=3)
        assert server.connections == 3
    gaps: list[float] = []
    for user in range(3):
        mine = sorted((r for r in records if r.user == user), key=lambda r: r.t_sent)
        assert [int(r.request_id[-6:]) for r in mine] == list(range(len(mine)))
        for before, after in itertools.pairwise(mine):
            assert before.t_last_token is not None
            assert before.t_last_token <= after.t_intended <= after.t_sent
            gaps.append(after.t_intended - before.t_last_token)
    assert sorted(gaps)[len(gaps) // 2] < 0.1, "no think time"


THINKING = Workload(dataclasses.replace(WORKLOAD.spec, think_s=0.1), seed=3)


def test_users_think_after_an_answer() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=3, workload=THINKING)
    assert report.status_counts == {"ok": len(records)}
    for user in range(3):
        mine = sorted((r for r in records if r.user == user), key=lambda r: r.t_sent)
        assert [int(r.request_id[-6:]) for r in mine] == list(range(len(mine)))
        for k, (before, after) in enumerate(itertools.pairwise(mine)):
            assert before.t_end is not None
            # A timer rings at most a moment early, and who is late still meant to send when it had thought.
            thought = after.t_intended - before.t_end
            assert thought == pytest.approx(THINKING.think_s(user, k), abs=0.002)
            assert after.t_intended <= after.t_sent


def test_a_failure_is_followed_by_a_pause_and_not_by_thinking() -> None:
    thoughtful = Workload(dataclasses.replace(WORKLOAD.spec, think_s=1000.0), seed=3)
    with FaultServer(lambda n, body: Reply("http", status=503)) as server:
        report, _ = run_cell(
            server, concurrency=1, workload=thoughtful, phases={"min_requests": 2, "measure_max_s": 60.0}
        )
    assert report.bounds_hit == (), "a thousand seconds would have let it send once"


def test_a_cell_ends_though_its_users_think() -> None:
    """Measuring is over and nothing is under way: nobody is waited for."""
    thoughtful = Workload(dataclasses.replace(WORKLOAD.spec, think_s=1e6), seed=3)
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, workload=thoughtful)
    assert [record.request_id[-6:] for record in records] == ["000000"] * 4
    assert report.duration_s < min(thoughtful.think_s(user, 0) for user in range(4))


def test_phases_in_the_records() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server)
    assert report.measure_start_s is not None
    assert report.measure_end_s is not None
    assert 0.2 <= report.measure_start_s < max(0.2, warmed_up_at(records)) + late_s(report)
    assert 0.4 <= report.measure_end_s - report.measure_start_s < 0.4 + late_s(report)
    assert report.duration_s >= report.measure_end_s
    for record in records:
        if record.phase == "warmup":
            assert record.t_sent < report.measure_start_s
        elif record.phase == "measure":
            assert report.measure_start_s <= record.t_sent < report.measure_end_s
        else:
            assert record.phase == "cooldown"
            assert record.t_sent >= report.measure_end_s
    # Records come as their requests end: after the last measured one what was under way, one a user.
    last_measured = max(n for n, record in enumerate(records) if record.phase == "measure")
    still_sent = [record.user for record in records[last_measured:]]
    assert len(set(still_sent)) == len(still_sent), "nothing sent once the cell drains"
    assert set(report.phase_wall_s) == {"warmup", "measure", "cooldown", "drain"}
    assert 0.4 < sum(report.phase_wall_s.values()) <= report.duration_s
    assert report.bounds_hit == ()


def test_the_wall_seconds_of_the_phases_are_those_between_their_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter((100.0, 102.5, 103.0, 107.0, 107.25))
    monkeypatch.setattr(
        "anarchy.load.report.cpu_mark", lambda: CpuMark(next(clock), own=1.0, host_busy=1.0, host_total=2.0)
    )
    phases = Phases(PhasePlan(warmup_s=2.0, measure_s=0.5, measure_max_s=9.0), users=1)
    observer = Observer()
    observer.mark("warmup")
    phases.ended(0, phases.sent(0))
    for now in (2.5, 3.0):
        if now == 3.0:
            phases.sent(0)
        assert phases.advance(now)
        observer.moved(phases)
    phases.ended(0, "measure")
    assert phases.advance(7.0)
    observer.moved(phases)
    observer.mark("end")
    report = observer.report(phases, started_at=0.0, duration_s=7.25, dilation=1.0, sent=2, reconnects=0)
    assert report.phase_wall_s == {"warmup": 2.5, "measure": 0.5, "cooldown": 4.0, "drain": 0.25}


def test_measuring_goes_on_until_enough_requests_are_sent_or_the_bound_is_hit() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, _ = run_cell(server, phases={"measure_s": 0.1, "min_requests": 60, "measure_max_s": 60.0})
        assert report.measured >= 60
        assert report.bounds_hit == ()
        report, _ = run_cell(server, phases={"measure_s": 0.1, "min_requests": 10**6, "measure_max_s": 0.3})
        assert report.bounds_hit == ("measure_max_s",)


def test_warm_up_waits_for_every_user_unless_bounded() -> None:
    slow = Reply(delay=0.1)  # a request takes a second: the bound comes long before
    with FaultServer(lambda n, body: slow) as server:
        report, records = run_cell(server, concurrency=3, phases={"warmup_s": 0.0})
        assert report.measure_start_s is not None
        assert report.measure_start_s >= warmed_up_at(records)
        report, records = run_cell(server, concurrency=3, phases={"warmup_s": 0.0, "warmup_max_s": 0.1})
        assert report.measure_start_s is not None
        assert 0.1 <= report.measure_start_s < min(r.t_last_token or 0 for r in records)
        assert report.bounds_hit == ("warmup_max_s",)


def test_starts_are_staggered() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=8, stagger_s=0.4, phases={"warmup_s": 0.5})
    first = {r.user: r.t_sent for r in records if r.request_id.endswith("-000000")}
    assert set(first) == set(range(8))
    for user, t_sent in first.items():
        assert 0 <= t_sent - 0.4 * user / 8 < late_s(report)


def test_dilation_is_divided_out() -> None:
    """Wall times four times as long leave model times as they were, and the plan is in model seconds."""
    with FaultServer(lambda n, body: Reply(delay=0.008)) as server:
        started = time.monotonic()
        report, records = run_cell(server, dilation=4.0)
        wall = time.monotonic() - started
    assert report.dilation == 4.0
    assert report.measure_start_s is not None
    assert 0.2 <= report.measure_start_s < max(0.2, warmed_up_at(records)) + late_s(report)
    assert wall >= 4 * report.duration_s
    assert 2 * report.duration_s < sum(report.phase_wall_s.values()) <= 4 * report.duration_s
    gaps = [
        (r.t_last_token - r.t_first_token) / (r.output_tokens - 1)
        for r in records
        if r.t_first_token is not None and r.t_last_token is not None
    ]
    assert sorted(gaps)[len(gaps) // 2] > 0.0015, "8 ms on the wall are 2 ms of the model"
    assert max(r.t_last_token or 0.0 for r in records) <= report.duration_s, "all on one clock"


@pytest.mark.parametrize("kind", ["fragment", "close"])
def test_other_manners_of_a_healthy_server(kind: str) -> None:
    reply = Reply("close") if kind == "close" else Reply(fragment=37)
    with FaultServer(lambda n, body: reply) as server:
        report, records = run_cell(server, concurrency=2)
        assert report.status_counts == {"ok": len(records)}
        if kind == "close":
            # Each user may open one more as the cell comes to drain.
            assert len(records) - 2 <= report.reconnects <= len(records)


@pytest.mark.parametrize(
    ("bad", "status", "tokens", "reused"),
    [
        (Reply("http", status=503), "http_503", 0, True),
        (Reply("http", status=500), "http_500", 0, True),
        (Reply("zero"), "zero_tokens", 0, True),
        (Reply("short", tokens=2), "truncated", 2, True),
        (Reply("cut", tokens=2), "disconnect", 2, False),
        (Reply("hang_up"), "disconnect", 0, False),
        (Reply("garbage"), "disconnect", 0, False),
        (Reply("stall", tokens=2), "timeout", 2, False),
        (Reply("silent"), "timeout", 0, False),
    ],
)
def test_every_failure_has_its_name(bad: Reply, status: str, tokens: int, reused: bool) -> None:
    with FaultServer(faulty(bad)) as server:
        report, records = run_cell(server, deadline_s=1.0 if status == "timeout" else 30.0)
        until(lambda: server.connections == 4 + report.reconnects)  # its own loop counts a moment later
        connections = server.connections
    assert set(report.status_counts) == {"ok", status}
    assert Counter(r.status for r in records) == report.status_counts
    assert set(report.error_samples) == {status}
    for record in records:
        assert record.t_end >= max(record.t_sent, record.t_first_token or 0.0, record.t_last_token or 0.0)
        if record.status == "timeout":
            assert record.t_end - record.t_sent >= 0.99, "it is load until the deadline"
        if record.status == "ok":
            continue
        assert record.output_tokens == tokens
        assert (record.t_first_token is None) == (record.t_last_token is None) == (tokens == 0)
        if tokens:
            assert record.decode_worker in (0, 1)
        else:
            assert status == "zero_tokens" or record.decode_worker == -1
    bad_requests = sum(r.status != "ok" for r in records)
    assert connections == 4 if reused else connections >= 4 + bad_requests - 4
    if status == "timeout":
        assert "deadline" in report.error_samples["timeout"]


def test_the_deadline_bounds_the_whole_cell() -> None:
    with FaultServer(lambda n, body: Reply("silent")) as server:
        started = time.monotonic()
        report, records = run_cell(server, concurrency=2, deadline_s=0.3, phases={"measure_s": 0.3})
        assert time.monotonic() - started < 60, "the server would take an hour"
    assert set(report.status_counts) == {"timeout"}
    assert all(record.t_first_token is None for record in records)


def test_errors_never_become_a_hot_loop() -> None:
    with FaultServer(lambda n, body: Reply("http", status=503)) as server:
        report, records = run_cell(server, concurrency=8, phases={"warmup_s": 0.5, "measure_s": 2.0})
    assert report.status_counts == {"http_503": len(records)}
    assert len(records) < 8 * 7, "about 0.25 + 0.5 + 1 + 2 s between a user's attempts"
    assert report.requests_per_s == 0
    assert report.error_samples["http_503"].startswith('{"message": "no room"')
    assert report.cpu_s < report.duration_s / 2
    by_user = sorted((r for r in records if r.user == 0), key=lambda r: r.t_sent)
    waits = [after.t_sent - before.t_sent for before, after in itertools.pairwise(by_user)]
    assert all(wait >= 0.12 for wait in waits)
    for before, after in itertools.pairwise(by_user):
        assert after.t_intended - before.t_sent >= 0.12, "the pause is no schedule delay"


def test_backoff_grows_spreads_and_is_bounded() -> None:
    assert 0.125 <= backoff_s(1, 0, 0) <= 0.375
    assert backoff_s(50, 0, 0) <= 1.5 * BACKOFF_MAX_S
    pauses = {backoff_s(3, user, 0) for user in range(100)}
    assert len(pauses) > 50
    assert min(pauses) >= 0.5
    assert max(pauses) <= 1.5


def test_a_server_that_dies_and_stays_dead() -> None:
    stoppers: list[threading.Thread] = []

    def reply(n: int, body: dict[str, Any]) -> Reply:
        if n == 5:  # all four have been answered once before the warm-up ends
            stoppers.append(threading.Thread(target=server.stop))
            stoppers[0].start()
        return SLOW

    with FaultServer(reply) as server:
        report, records = run_cell(server, concurrency=4, phases={"measure_s": 1.0})
        stoppers[0].join()
    assert set(report.status_counts) == {"ok", "disconnect"}
    assert report.status_counts["disconnect"] < 30
    assert all(0 <= r.t_intended <= r.t_sent for r in records)


def test_one_user() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=1)
        assert server.connections == 1
    assert report.status_counts == {"ok": len(records)}
    assert {r.user for r in records} == {0}


def test_six_hundred_users() -> None:
    try:
        check_open_files(600)
    except UserError as error:
        pytest.skip(error.what)
    with FaultServer() as server:
        report, records = run_cell(
            server,
            concurrency=600,
            stagger_s=1.0,
            deadline_s=30.0,
            phases={"warmup_s": 1.0, "measure_s": 0.5},
        )
        assert server.connections == 600
    assert report.status_counts == {"ok": len(records)}
    assert {r.user for r in records} == set(range(600))


def test_self_observation() -> None:
    before = time.time()
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=4, phases={"measure_s": 1.0})
    assert report.schedule_delay.n == report.measured
    delays = [r.t_sent - r.t_intended for r in records if r.phase == "measure"]
    assert report.schedule_delay.max == pytest.approx(max(delays))
    assert report.loop_lag_measure.n > 5
    assert report.loop_lag.n > report.loop_lag_measure.n
    for quantiles in (report.loop_lag, report.schedule_delay):
        assert quantiles.p50 is not None
        assert quantiles.p99 is not None
        assert quantiles.max is not None
        assert 0 <= quantiles.p50 <= quantiles.p99 <= quantiles.max
    assert report.cpu_measure_s is not None
    assert 0 < report.cpu_measure_s < report.cpu_s
    assert report.cpu_share_measure is not None
    assert 0 < report.cpu_share_measure < 2
    assert report.host_cpu_share_measure is not None
    assert 0 <= report.host_cpu_share_measure <= 1
    # What ends in the phase differs from what was sent in it by what was under way at its ends.
    assert report.requests_per_s is not None
    assert report.output_tokens_per_s is not None
    assert report.measure_s is not None
    assert report.requests_per_s * report.measure_s == pytest.approx(report.measured, abs=4)
    sizes = [r.output_tokens for r in records if r.phase == "measure"]
    tokens = report.output_tokens_per_s * report.measure_s
    assert tokens == pytest.approx(sum(sizes), abs=4 * max(r.output_tokens for r in records))
    assert before <= report.started_at <= time.time()
    assert report.to_dict()["schedule_delay"]["n"] == report.measured


class CoreTimes(NamedTuple):
    user: float
    idle: float
    iowait: float
    guest: float


def test_the_host_is_the_cores_that_the_client_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def core(user: float, idle: float) -> CoreTimes:
        return CoreTimes(user=user, idle=idle, iowait=1.0, guest=user / 2)

    cores = [core(0.0, 9.0), core(6.0, 3.0), core(8.0, 1.0), core(0.0, 9.0)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2})
    mark = cpu_mark()
    assert (mark.host_busy, mark.host_total) == (14.0, 20.0)
    # The mask names cores that a container shows under other numbers.
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {40, 41})
    assert cpu_mark().host_total == 40.0


def test_a_blocked_loop_shows_in_the_lag() -> None:
    measured: list[RequestRecord] = []

    def sink(record: RequestRecord) -> None:
        if record.phase == "measure":
            measured.append(record)
            if len(measured) <= 3:
                time.sleep(0.1)

    with FaultServer(lambda n, body: SLOW) as server:
        report = run_client(config(server.port, phases={"measure_s": 1.5}), WORKLOAD, sink, router=FIXED)
    assert report.loop_lag_measure.max is not None
    assert report.loop_lag_measure.max > 0.05
    assert report.schedule_delay.max is not None
    assert report.schedule_delay.max > 0.05


def test_progress() -> None:
    seen: list[ClientProgress] = []
    records: list[RequestRecord] = []
    with FaultServer(lambda n, body: SLOW) as server:
        report = run_client(
            config(server.port, phases={"measure_s": 1.5}),
            WORKLOAD,
            records.append,
            router=FIXED,
            on_progress=seen.append,
        )
    assert 3 <= len(seen) <= report.duration_s / PROGRESS_S + 2
    assert seen[0].phase == "warmup"
    assert seen[-1].phase == "drain"
    assert seen[-1].finished == report.sent
    assert seen[-1].remaining_s == 0
    assert seen[-1].in_flight == 0
    assert all(p.sent == p.finished + p.in_flight for p in seen)
    assert all(p.errors == 0 for p in seen)
    assert sorted(p.elapsed_s for p in seen) == [p.elapsed_s for p in seen]
    measuring = next(p for p in seen if p.phase == "measure")
    slowest = max(r.t_last_token - r.t_sent for r in records if r.t_last_token is not None)
    # At least what is planned; what is expected on top are two requests at most, and they come.
    assert 1.69 < measuring.elapsed_s + measuring.remaining_s <= report.duration_s + 2 * slowest


def test_the_start_is_told_once_at_the_cell_s_zero() -> None:
    started: list[tuple[float, int]] = []
    with FaultServer(lambda n, body: SLOW) as server:
        report = run_client(
            config(server.port),
            WORKLOAD,
            lambda record: None,
            router=FIXED,
            on_start=lambda: started.append((time.time(), len(server.requests))),
        )
    ((told_at, requests),) = started
    assert requests == 0, "before the first of them"
    assert 0 <= told_at - report.started_at < report.duration_s


class DeploymentDiedError(Exception):
    pass


def test_watch_ends_the_cell() -> None:
    records: list[RequestRecord] = []
    calls = 0

    def watch() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DeploymentDiedError

    with FaultServer(lambda n, body: SLOW) as server:
        started = time.monotonic()
        with pytest.raises(DeploymentDiedError):
            run_client(
                config(server.port, phases={"measure_s": 300, "measure_max_s": 300}),
                WORKLOAD,
                records.append,
                router=FIXED,
                watch=watch,
            )
        assert time.monotonic() - started < 60, "not the five minutes of the cell"
        assert_all_closed(server)
    assert len(records) > 10


def test_a_sink_that_fails_ends_the_cell() -> None:
    def sink(record: RequestRecord) -> None:
        raise OSError(28, "No space left on device")

    with FaultServer(lambda n, body: SLOW) as server:
        with pytest.raises(OSError, match="No space left"):
            run_client(config(server.port), WORKLOAD, sink, router=FIXED)
        assert_all_closed(server)


def assert_all_closed(server: FaultServer) -> None:
    until(lambda: server.open_connections == 0)


INTERRUPTED = """
from tests.helpers.load_samples import *
def sink(record):
    print(record.request_id, flush=True)
try:
    run_client(config({port}, phases=dict(measure_s=300, measure_max_s=300)), WORKLOAD, sink, router=FIXED)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_interrupt_closes_everything_and_keeps_the_records() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        code = INTERRUPTED.format(port=server.port)
        with child(code) as client:
            assert client.stdout is not None
            lines = [client.stdout.readline() for _ in range(40)]
            os.kill(client.pid, signal.SIGINT)
            rest = client.stdout.read().split()
            assert client.wait(60) == 0
        assert rest[-1] == "interrupted"
        assert_all_closed(server)
        answered = len(lines) + len(rest) - 1
        assert len(server.requests) - 4 <= answered <= len(server.requests)


def test_nobody_listening_is_a_user_error() -> None:
    with FaultServer() as server:
        port = server.port
    with pytest.raises(UserError, match=f"127.0.0.1:{port}: no connection"):
        run_client(config(port), WORKLOAD, lambda record: None, router=FIXED)


def test_too_few_open_files_is_a_user_error() -> None:
    with FaultServer() as server:
        code = (
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300));"
            "from tests.helpers.load_samples import *;"
            f"run_client(config({server.port}, concurrency=100), WORKLOAD, print, router=FIXED)"
        )
        done = subprocess.run([sys.executable, "-c", code], env=with_tests(), capture_output=True, text=True)
        assert server.connections == 0
    assert done.returncode == 1
    assert "UserError: ulimit -n: at most 300 open files are allowed" in done.stderr


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"deadline_s": 0.0}, "deadline_s"),
        ({"stagger_s": -1.0}, "stagger_s"),
        ({"dilation": 0.0}, "dilation"),
        ({"stages": (Stage("a", 5, 0.0, 1.0),)}, "stage 'a': C 5 of 4"),
        ({"stages": (Stage("a", 0, 0.0, 1.0),)}, "stage 'a': C 0 of 4"),
        ({"stages": (Stage("a", 4, -1.0, 1.0),)}, "settle_s -1.0"),
        ({"stages": (Stage("a", 4, 0.0, 0.0),)}, "seconds 0.0"),
        ({"stages": (Stage("a", 4, 0.0, float("nan")),)}, "seconds nan"),
        ({"stages": (Stage("a", 4, 0.0, 1.0), Stage("a", 2, 0.0, 1.0))}, "two stages have one name"),
    ],
)
def test_a_cell_without_sense_is_a_user_error(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        config(1, **changes)


def test_a_cell_is_constant_or_staged_and_has_a_frontend() -> None:
    cell = config(1)
    for changes in ({"phases": None}, {"stages": (Stage("a", 4, 0.0, 1.0),)}):
        with pytest.raises(UserError, match="constant or staged"):
            dataclasses.replace(cell, **changes)
    with pytest.raises(UserError, match="no endpoints"):
        config()
