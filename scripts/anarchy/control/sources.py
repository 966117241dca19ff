"""Where the controller's TTFT comes from: the frontends' histograms, as in the paper, or the load client."""

from __future__ import annotations

import math
import socket
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from anarchy.control.histogram import Histograms, Quantile, add, increase, quantile, read_histograms
from anarchy.control.observation import QUANTILE, Observation
from anarchy.errors import UserError
from anarchy.telemetry.metrics import Exposition, Scrape, Scraper, Source
from anarchy.trace.schema import RequestRecord

METRIC: Final = "dynamo_frontend_time_to_first_token_seconds"
"""Wall seconds from a request's arrival at the frontend to the end of its prefill."""
TIMEOUT_S: Final = 2.0
"""Wall seconds in which all frontends must have answered; a loaded one takes its time."""
NO_REQUESTS: Final = "no request got its first token"


@dataclass(frozen=True, slots=True)
class _Mark:
    """One frontend at the start of the window: its histograms, or why they are not known."""

    histograms: Histograms | None
    reason: str = ""


class PrometheusSource:
    """TTFT P99 from the histograms that all frontends of a deployment expose.

    `urls` are the frontends' own pages, http://host:port/metrics, not a Prometheus server. A window is known
    only when every frontend answered at its start and at its end: a part of the requests is not the requests.
    `dilation` is wall seconds of a model second. Host names are looked up once, here. Raises `UserError` for
    an address that cannot be asked.
    """

    name = "prometheus"

    def __init__(self, urls: Sequence[str], *, dilation: float = 1.0, timeout_s: float = TIMEOUT_S) -> None:
        self.urls = tuple(urls)
        self._dilation = dilation
        try:
            targets = [Source(url, _resolved(url)) for url in self.urls]
            self._scraper = Scraper(targets, timeout_s)
        except ValueError as error:
            raise UserError(
                str(error), where="controller", remedy="give each frontend once, as http://host:port/metrics"
            ) from None
        if not self.urls:
            raise UserError("no frontend", where="controller", remedy="name the frontends' /metrics pages")
        self._start = 0.0
        self._marks = {url: _Mark(None, "was never asked") for url in self.urls}

    @property
    def missing(self) -> dict[str, str]:
        """Frontends whose last answer is missing, and why."""
        return {url: mark.reason for url, mark in self._marks.items() if mark.histograms is None}

    @property
    def empty(self) -> tuple[str, ...]:
        """Frontends that answered last and have no TTFT histogram: they have served nothing, or are none."""
        return tuple(url for url, mark in self._marks.items() if mark.histograms == {})

    def begin(self, t: float) -> None:
        """Scrape for the first time, at `t` (model s)."""
        self._start = t
        self._marks = self._scrape()

    def poll(self, t: float) -> Observation:
        """Scrape, and return P99 of what came in since the last scrape.

        Never raises, and waits for `timeout_s` at most.
        """
        before, start = self._marks, self._start
        after = self._scrape()
        self._marks, self._start = after, t
        for when, marks in (("now", after), ("at the start of the window", before)):
            lost = [f"{url}: {mark.reason}" for url, mark in marks.items() if mark.histograms is None]
            if lost:
                return Observation(start, t, None, None, reason=f"no answer {when} from {'; '.join(lost)}")
        return self._window(start, t, before, after)

    def _window(
        self, start: float, t: float, before: dict[str, _Mark], after: dict[str, _Mark]
    ) -> Observation:
        grown = {
            url: increase(before[url].histograms or {}, after[url].histograms or {}) for url in self.urls
        }
        notes = tuple(
            f"{url} started anew: requests before that are lost"
            for url, growth in grown.items()
            if growth.restarts
        )
        try:
            together = add(part for growth in grown.values() for part in growth.histograms)
        except ValueError as error:
            return Observation(start, t, None, None, reason=str(error), notes=notes)
        found = quantile(together, QUANTILE) if together is not None else None
        if together is None or found is None:
            return Observation(start, t, 0, None, reason=NO_REQUESTS, notes=notes)
        return self._observed(start, t, round(together.total), found, notes)

    def _observed(
        self, start: float, t: float, requests: int, found: Quantile, notes: tuple[str, ...]
    ) -> Observation:
        if found.upper == math.inf:
            notes += ("P99 lies in the last bucket, which has no end: it is a lower bound",)
        return Observation(
            start,
            t,
            requests,
            found.value / self._dilation,
            (found.lower / self._dilation, found.upper / self._dilation),
            notes=notes,
        )

    def _scrape(self) -> dict[str, _Mark]:
        return {scrape.source: _mark(scrape) for scrape in self._scraper.scrape()}


def _mark(scrape: Scrape) -> _Mark:
    if scrape.body is None:
        return _Mark(None, scrape.reason or "no reason")
    try:
        return _Mark(read_histograms(Exposition().update(scrape.body).values, METRIC))
    except ValueError as error:
        return _Mark(None, f"not a histogram: {error}")


def _resolved(url: str) -> str:
    """The address with its host as a number, IPv4 first: `localhost` is also ::1, where nobody may listen.

    Later look-ups could wait for a name server, and so hold up a poll.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"{url!r} is not http://host:port/metrics")
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"{url!r}: {error.strerror or error}") from None
    found.sort(key=lambda address: address[0] != socket.AF_INET)
    host = str(found[0][4][0])
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{parts.port}{parts.path or '/metrics'}"


class ClientSource:
    """TTFT P99 from the load client's own requests, exact: the latency of one of them.

    Feed it from any thread, model s; the loop polls it from its own. A request counts in the first window
    that ends after it was known.
    """

    name = "client"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, float | None]] = deque()
        self._start = 0.0

    def append(self, record: RequestRecord) -> None:
        """Take a request that has just ended: a sink for `load.client.run_client`.

        Its TTFT counts from the time at which it was meant to be sent. It is known here only with its last
        token, so this source lags by the time of decoding. One without a first token is counted in the notes.
        """
        first = record.t_first_token
        self._take(-math.inf, None if first is None else first - record.t_intended)

    def add(self, t: float, ttft: float) -> None:
        """Take a request whose first token came at `t` on the loop's clock, say of a recorded trace."""
        if not (math.isfinite(ttft) and ttft >= 0.0):
            raise ValueError(f"a TTFT of {ttft} s")
        self._take(t, ttft)

    def begin(self, t: float) -> None:
        """Start the first window at `t`; what is known until then counts in no window."""
        self._drain(t)
        self._start = t

    def poll(self, t: float) -> Observation:
        """P99 of the requests since the last poll, up to and at `t`."""
        start, self._start = self._start, t
        taken = self._drain(t)
        ttfts = [ttft for ttft in taken if ttft is not None]
        failed = len(taken) - len(ttfts)
        notes = (f"{failed} requests ended without a first token",) if failed else ()
        if not ttfts:
            return Observation(start, t, 0, None, reason=NO_REQUESTS, notes=notes)
        p99 = exact_quantile(ttfts, QUANTILE)
        return Observation(start, t, len(ttfts), p99, (p99, p99), notes=notes)

    def _take(self, t: float, ttft: float | None) -> None:
        with self._lock:
            self._waiting.append((t, ttft))

    def _drain(self, t: float) -> list[float | None]:
        with self._lock:
            taken = [ttft for at, ttft in self._waiting if at <= t]
            self._waiting = deque(pair for pair in self._waiting if pair[0] > t)
        return taken


def exact_quantile(sample: Sequence[float], q: float) -> float:
    """The smallest value of the sample with at least the share q at or below it; its unit.

    The definition whose value a histogram's bracket holds (NumPy's `inverted_cdf`).
    """
    return float(np.quantile(np.asarray(sample), q, method="inverted_cdf"))
