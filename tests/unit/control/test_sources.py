"""Both sources, the first against a real HTTP server that goes away, restarts and lies; and the command."""

from __future__ import annotations

import gzip
import http.server
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from anarchy.control.pages import METRIC
from anarchy.control.sources import SETTLE, ClientSource, PrometheusSource
from anarchy.ground.errors import UserError
from anarchy.telemetry.metrics import LARGEST_ANSWER
from anarchy.trace.schema import RequestRecord
from tests.helpers.metrics_pages import OPENMETRICS, QUICK, SLOW, serving, times, ttft_text

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
    assert "no reading now" in away.reason
    assert "answered 503" in away.reason
    second.up = True
    assert "no reading at the start of the window" in source.poll(10.0).reason
    second.ttfts = [0.05] * 3
    assert source.poll(15.0).requests == 3
    assert source.missing == {}


def test_a_restarted_frontend_gives_no_p99_until_its_counts_have_settled(frontends: list[Frontend]) -> None:
    frontends[0].ttfts = [0.05] * 10
    source = PrometheusSource([frontends[0].url])
    source.begin(0.0)
    frontends[0].ttfts = [0.3] * 4
    for number in range(1 + SETTLE):
        seen = source.poll(5.0 * (number + 1))
        assert (seen.p99, seen.requests) == (None, None)
        assert "counts fewer requests than before: it was restarted, or several processes" in seen.reason
        frontends[0].ttfts.append(0.3)
    seen = source.poll(100.0)
    assert (seen.requests, seen.bracket) == (1, (0.22, 0.47))


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
    assert "+Inf as its last edge" in source.poll(5.0).reason


def test_one_model_of_several_is_watched_and_none_without_its_name() -> None:
    def page(number: int) -> str:
        slow = times(SLOW, number)
        second = ttft_text(slow, 'model="b",worker="1"') + ttft_text(slow, 'model="b"')
        return ttft_text(times(QUICK, number)) + (second if number != 1 else "")

    with serving(page) as url:
        named, unnamed = PrometheusSource([url], model="b"), PrometheusSource([url])
        named.begin(0.0)
        assert named.models == {"m", "b"}
        assert named.poll(5.0).reason.endswith("no TTFT of the model 'b'; on the page: 'm'")
        unnamed.begin(0.0)
        assert unnamed.poll(5.0).reason == "several models are on the page: 'b', 'm'; name one with --model"
        seen = named.poll(10.0)
    assert (seen.requests, seen.bracket) == (200 * 4, (4.7, 10.0)), "all workers of the model"


def test_edges_that_differ_between_the_histograms_of_a_model_are_a_reason() -> None:
    def page(number: int) -> str:
        return ttft_text(times(QUICK, number)) + ttft_text(
            [number] * 2, 'model="m",w="1"', edges=("2", "+Inf")
        )

    with serving(page) as url:
        source = PrometheusSource([url])
        source.begin(0.0)
        assert source.poll(5.0).reason == "the frontends' histograms have different edges"


def test_only_an_infinite_bucket_tells_no_p99() -> None:
    with serving(lambda number: ttft_text([100 * number], edges=["+Inf"])) as url:
        source = PrometheusSource([url])
        source.begin(0.0)
        seen = source.poll(5.0)
    assert (seen.requests, seen.p99, seen.reason) == (
        100,
        None,
        "the only bucket is +Inf, which tells no P99",
    )


@pytest.mark.parametrize("marks", [lambda _: "", lambda n: f"process_start_time_seconds {n}\n"])
def test_processes_that_answer_in_turn_never_give_a_p99(marks: Callable[[int], str]) -> None:
    """Their counts fall every second time, or would never: each process is told by its start."""

    def page(number: int) -> str:
        process = number % 2
        return ttft_text(times(SLOW, number + (50 * process if marks(0) == "" else 0))) + marks(process)

    with serving(page) as url:
        source = PrometheusSource([url])
        source.begin(0.0)
        source.begin(0.0)
        for number in range(1, 30):
            seen = source.poll(5.0 * number)
            assert seen.p99 is None
            assert "in turn" in seen.reason


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [({"Content-Encoding": "gzip"}, gzip.compress(b"up 1\n", mtime=0), "answered with content-encoding gzip"),
     ({}, gzip.compress(b"up 1\n", mtime=0), "no UTF-8 from its byte 2 on"),
     ({}, b'up{x="\xff"} 1\n', "no UTF-8"),
     ({"Transfer-Encoding": "chunked"}, b"5\r\nup 1\n\r\n0\r\n\r\n", "transfer-encoding chunked"),
     ({"Content-Type": "text/html"}, b"<html></html>", "no line of Prometheus' text format: '<html></html>'"),
     ({"Content-Type": OPENMETRICS}, ttft_text(QUICK).encode(), "'Missing # EOF at end'"),
     ({"Content-Length": "9999"}, ttft_text(QUICK).encode(), "cut off"),
     ({}, b"up 1\n" * (LARGEST_ANSWER // 5 + 1), f"answer of more than {LARGEST_ANSWER} bytes")],
)  # fmt: skip
def test_an_answer_that_is_no_page_is_a_reason(headers: dict[str, str], body: bytes, reason: str) -> None:
    with serving(lambda _: body, headers) as url:
        source = PrometheusSource([url], timeout_s=60.0)
        source.begin(0.0)
        assert reason in source.missing[url]
        assert reason in source.poll(5.0).reason


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
def test_addresses_that_cannot_be_asked_are_refused(urls: list[str]) -> None:
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
