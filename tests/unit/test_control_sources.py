"""Both sources, the first against a real HTTP server that goes away, restarts and lies; and the command."""

from __future__ import annotations

import http.server
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anarchy.cli import main
from anarchy.control.log import read_log
from anarchy.control.sources import METRIC, ClientSource, PrometheusSource
from anarchy.errors import UserError
from anarchy.trace.schema import RequestRecord

EDGES = (0.047, 0.1, 0.22, 0.47, 1.0, 2.2, math.inf)


class Frontend:
    """A page with a TTFT histogram on a port of its own; `up` says whether it answers."""

    def __init__(self) -> None:
        self.ttfts: list[float] = []
        self.up = True
        self.text: str | None = None
        frontend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = frontend.page().encode()
                self.send_response(200 if frontend.up else 503)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://localhost:{self.server.server_port}/metrics"

    def page(self) -> str:
        if self.text is not None:
            return self.text
        if not self.ttfts:
            return "up 1\n"
        lines = [
            f'{METRIC}_bucket{{model="m",le="{"+Inf" if edge == math.inf else edge}"}} '
            f"{sum(ttft <= edge for ttft in self.ttfts)}\n"
            for edge in EDGES
        ]
        return "".join(lines)


@pytest.fixture
def frontends() -> Iterator[list[Frontend]]:
    started = [Frontend(), Frontend()]
    yield started
    for frontend in started:
        frontend.server.shutdown()
        frontend.server.server_close()


def test_the_requests_of_one_window_over_several_frontends(frontends: list[Frontend]) -> None:
    first, second = frontends
    first.ttfts = [9.0] * 50  # before the window
    source = PrometheusSource([first.url, second.url])
    source.begin(0.0)
    assert source.empty == (second.url,)
    first.ttfts += [0.05] * 90
    second.ttfts += [0.3] * 10
    seen = source.poll(5.0)
    assert (seen.start, seen.end, seen.requests) == (0.0, 5.0, 100)
    assert seen.bracket == (0.22, 0.47)
    assert seen.p99 == pytest.approx(0.22 + 0.25 * 0.9)
    nothing = source.poll(10.0)
    assert (nothing.requests, nothing.p99, nothing.reason) == (0, None, "no request got its first token")


def test_wall_seconds_become_model_seconds(frontends: list[Frontend]) -> None:
    source = PrometheusSource([frontends[0].url], dilation=2.0)
    source.begin(0.0)
    frontends[0].ttfts = [0.3]
    assert source.poll(5.0).bracket == (0.11, 0.235)


def test_a_frontend_that_is_away_makes_two_windows_unknown(frontends: list[Frontend]) -> None:
    first, second = frontends
    source = PrometheusSource([first.url, second.url])
    source.begin(0.0)
    second.up = False
    first.ttfts = [0.05]
    away = source.poll(5.0)
    assert away.p99 is away.requests is None
    assert "no answer now" in away.reason
    assert "answered 503" in away.reason
    second.up = True
    assert "no answer at the start of the window" in source.poll(10.0).reason
    second.ttfts = [0.05] * 3
    assert source.poll(15.0).requests == 3
    assert source.missing == {}


def test_a_restarted_frontend_is_told_and_counts_from_zero(frontends: list[Frontend]) -> None:
    frontends[0].ttfts = [0.05] * 10
    source = PrometheusSource([frontends[0].url])
    source.begin(0.0)
    frontends[0].ttfts = [0.3] * 4
    seen = source.poll(5.0)
    assert (seen.requests, seen.bracket) == (4, (0.22, 0.47))
    assert "started anew" in seen.notes[0]


def test_the_last_bucket_is_a_lower_bound(frontends: list[Frontend]) -> None:
    source = PrometheusSource([frontends[0].url])
    source.begin(0.0)
    frontends[0].ttfts = [30.0] * 4
    seen = source.poll(5.0)
    assert (seen.p99, seen.bracket) == (2.2, (2.2, math.inf))
    assert "lower bound" in seen.notes[0]


def test_a_page_that_is_no_histogram_is_a_reason(frontends: list[Frontend]) -> None:
    source = PrometheusSource([frontends[0].url])
    frontends[0].text = f'{METRIC}_bucket{{le="0.1"}} 5\n'
    source.begin(0.0)
    assert "not a histogram" in source.poll(5.0).reason


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    silent = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # nobody serves
    source = PrometheusSource([f"http://127.0.0.1:{silent.server_port}"], timeout_s=0.2)
    started = time.monotonic()
    source.begin(0.0)
    assert "no answer within 0.2 s" in source.poll(5.0).reason
    assert time.monotonic() - started < 60.0, "it would never answer"
    silent.server_close()


@pytest.mark.parametrize(
    "urls", [[], ["https://h:1"], ["http://127.0.0.1/metrics"], ["http://no-such-host.invalid:80"],
             ["http://127.0.0.1:80", "http://127.0.0.1:80"], ["http://h:x/"]],
)  # fmt: skip
def test_addresses_that_cannot_be_asked_are_refused(urls) -> None:
    with pytest.raises(UserError, match="remedy:"):
        PrometheusSource(urls)


def record(ttft: float | None) -> RequestRecord:
    whole = RequestRecord(
        "0-0", 0, -1, 1.0, 1.1, 1.0, 2.0, 2.0, 128, 64, 0, 0, 0, "static", 0.0, 1.0, "", "measure", "ok"
    )
    return replace(whole, t_first_token=None if ttft is None else 1.0 + ttft)


def test_the_client_s_p99_is_exact_and_a_latency_of_one_request() -> None:
    ttfts = np.random.default_rng(1).gamma(2.0, 0.05, 333)
    source = ClientSource()
    source.append(record(77.0))  # before the first window
    source.begin(0.0)
    for ttft in ttfts:
        source.append(record(float(ttft)))
    source.append(record(None))
    seen = source.poll(5.0)
    assert seen.requests == 333
    assert seen.p99 == pytest.approx(np.quantile(ttfts, 0.99, method="inverted_cdf"))
    assert seen.bracket == (seen.p99, seen.p99)
    assert seen.notes == ("1 requests ended without a first token",)
    assert source.poll(10.0).reason == "no request got its first token"


def test_a_recorded_trace_is_cut_by_its_times() -> None:
    source = ClientSource()
    for t, ttft in ((1.0, 0.1), (5.0, 0.2), (5.1, 0.3), (12.0, 0.4)):
        source.add(t, ttft)
    source.begin(0.0)
    assert [source.poll(t).p99 for t in (5.0, 10.0, 15.0)] == [0.2, 0.3, 0.4]
    with pytest.raises(ValueError, match="TTFT"):
        source.add(1.0, math.nan)


def test_the_command_says_what_it_would_do(
    frontends: list[Frontend], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frontend, log = frontends[0], tmp_path / "controller.jsonl"
    stop = threading.Event()

    def serve() -> None:
        while not stop.wait(0.02):
            frontend.ttfts.append(0.3)

    load = threading.Thread(target=serve)
    load.start()
    arguments = ("--prometheus", frontend.url, "--period", "0.3", "--polls", "10", "--log", str(log))
    try:
        assert main(["control", "--dry-run", *arguments, "--theta1", "0.1", "--theta2", "5"]) == 0
    finally:
        stop.set()
        load.join()
    told = capsys.readouterr().out
    assert "theta1 0.1 s, theta2 5 s; down again under 0.08 s and 4 s" in told
    assert "WOULD SWITCH below -> transition: tau 0.7, omega 1" in told
    assert "ended in regime transition; 1 switches" in told
    assert len(read_log(log).of("poll")) == 10


@pytest.mark.parametrize(
    ("options", "told"),
    [((), "not built yet"), (("--dry-run", "--theta1", "1"), "two numbers of seconds"),
     (("--dry-run", "--theta1", "1", "--theta2", "2", "--theta1-times", "3"), "two numbers of seconds"),
     (("--dry-run", "--theta1", "2", "--theta2", "1"), "theta1 is 2 s"),
     (("--dry-run", "--theta1", "nan", "--theta2", "1"), "theta1 is nan s"),
     (("--dry-run", "--theta1-times", "40"), "theta1 is 40"),
     (("--dry-run", "--period", "0"), "the period is 0"),
     (("--dry-run",), "does not answer")],
)  # fmt: skip
def test_the_command_refuses_before_it_starts(options, told, capsys: pytest.CaptureFixture[str]) -> None:
    closed = "http://127.0.0.1:1/metrics"
    assert main(["control", "--prometheus", closed, *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "remedy:" in error
