"""Metrics pages as frontends write them, and a server that gives one after the other."""

from __future__ import annotations

import http.server
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from anarchy.control.pages import METRIC

EDGES = ("0.1", "0.47", "1", "4.7", "10", "+Inf")
QUICK = (50, 90, 100, 100, 100, 100)
"""A hundred requests whose P99 lies in (0.47, 1]."""
SLOW = (0, 0, 0, 0, 100, 100)
"""A hundred requests whose P99 lies in (4.7, 10]."""
TEXT = "text/plain; version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def ttft_text(
    counts: Sequence[int | str],
    labels: str = 'model="m"',
    *,
    edges: Sequence[str] = EDGES,
    after: str = "",
    head: bool = True,
) -> str:
    """A TTFT histogram in text; `after` follows each bucket's count, `head` gives its TYPE."""
    lines = [f"# TYPE {METRIC} histogram"] if head else []
    comma = "," if labels else ""
    lines += [
        f'{METRIC}_bucket{{{labels}{comma}le="{edge}"}} {count}{after}'
        for edge, count in zip(edges, counts, strict=True)
    ]
    lines += [f"{METRIC}_count{{{labels}}} {counts[-1]}", f"{METRIC}_sum{{{labels}}} 1"]
    return "\n".join(lines) + "\n"


def times(counts: Sequence[int], factor: int) -> list[int]:
    """The counts after so many windows."""
    return [count * factor for count in counts]


@contextmanager
def serving(page: Callable[[int], str | bytes], headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a server whose n-th answer, from 0, is `page(n)`."""
    numbers = itertools.count()
    fields = {"Content-Type": TEXT} | dict(headers or {})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(next(numbers))
            body = body.encode() if isinstance(body, str) else body
            self.send_response(200)
            for name, value in ({"Content-Length": str(len(body))} | fields).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
