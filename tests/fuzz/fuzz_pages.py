"""Pages of metrics, as a frontend would serve them."""

from __future__ import annotations

import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from anarchy.control.sources import PrometheusSource
from tests.fuzz.mutate import bombs, spoiled

PAGE: Final = """\
# HELP dynamo_frontend_time_to_first_token_seconds Time to first token
# TYPE dynamo_frontend_time_to_first_token_seconds histogram
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="0.1"} 3
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="1"} 7
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="10"} 9
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="+Inf"} 9
dynamo_frontend_time_to_first_token_seconds_sum{model="m"} 12.5
dynamo_frontend_time_to_first_token_seconds_count{model="m"} 9
# TYPE dynamo_frontend_requests_total counter
dynamo_frontend_requests_total{model="m",endpoint="completions"} 9
process_start_time_seconds 1.7e9
"""
PAGE_SCRAPS: Final = (
    'le="NaN"', 'le="-Inf"', 'le=""', "le=0.1", '{le="1"', "} -1", "} NaN", "} 1e400",
    ' # {trace_id="x"} 0.5 1.7e9', "# EOF", '{model="a b",le="1"}', '{model="}",le="1"} 5',
    '{model="\\"",le="1"} 5', '{model="\\n",le="1"} 5', " 1700000000000", "{}",
    "# TYPE dynamo_frontend_time_to_first_token_seconds gauge",
    'dynamo_frontend_time_to_first_token_seconds_bucket{le="1"} 7',
    'dynamo_frontend_time_to_first_token_seconds_bucket{model="n",le="+Inf"} 7', '{model="m",model="m"}',
    "{a=}", "\x1b[31m",
)  # fmt: skip


@st.composite
def _changed_pages(draw: st.DrawFn) -> bytes:
    """A page with lines put in, exchanged, doubled, left out or extended."""
    lines = PAGE.splitlines()
    for at, how, scrap in draw(
        st.lists(
            st.tuples(st.integers(0, 20), st.integers(0, 5), st.sampled_from(PAGE_SCRAPS)),
            min_size=1,
            max_size=4,
        )
    ):
        place = at % max(1, len(lines))
        line = lines[place] if lines else ""
        changed = {
            0: [line, scrap], 1: [line + scrap], 2: [line, line], 3: [],
            4: [line.split("{")[0] + scrap], 5: [line.replace("m", scrap, 1)],
        }[how]  # fmt: skip
        lines[place : place + 1] = changed
    return ("\n".join(lines) + "\n").encode()


class _Frontend(BaseHTTPRequestHandler):
    """Serves one page after another, as a frontend would."""

    pages: list[bytes] = []  # noqa: RUF012 (the handler is made anew for each request)

    def do_GET(self) -> None:
        page = self.pages.pop(0)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@cache
def _frontend() -> str:
    server = HTTPServer(("127.0.0.1", 0), _Frontend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/metrics"


def read_page(path: Path) -> bool:
    """A page between good ones: whether some reading came of it. Polling never raises."""
    page = path.read_bytes()
    _Frontend.pages = [PAGE.encode(), page, page + b"\n", PAGE.encode()]
    source = PrometheusSource([_frontend()])
    source.begin(0.0)
    seen = [source.poll(float(t)) for t in (1, 2, 3)]
    for one in seen:
        assert one.p99 is not None or one.reason
        assert one.p99 is None or one.p99 >= 0
    return any(one.requests is not None for one in seen[:2])


def page_inputs() -> st.SearchStrategy[bytes]:
    """Pages whose lines were changed, and whose bytes were."""
    return st.one_of(_changed_pages(), _changed_pages(), spoiled(PAGE.encode()), bombs)
