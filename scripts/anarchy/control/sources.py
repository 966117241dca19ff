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

from anarchy.control.detector import FORGET
from anarchy.control.histogram import Histogram, Quantile, add, increase, quantile
from anarchy.control.observation import QUANTILE, Observation
from anarchy.control.pages import METRIC, Page, broken, name_models, read_page
from anarchy.ground.errors import UserError
from anarchy.telemetry.exposition import Labels, PageError
from anarchy.telemetry.metrics import Scrape, Scraper, Source
from anarchy.trace.schema import RequestRecord

TIMEOUT_S: Final = 2.0
"""Wall seconds in which all frontends must have answered; a loaded one takes its time."""
NO_REQUESTS: Final = "no request got its first token"
SETTLE: Final = FORGET
"""Windows that give no P99 either after one in which a frontend's counts broke off: the detector has then
forgotten what came before. Ours."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """One frontend at the start of the window: its page, or why it is not known."""

    page: Page | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Why a frontend's counts are not trusted, and for how many windows more after this one."""

    reason: str
    windows: int

    def __str__(self) -> str:
        return self.reason + (f"; windows without a P99 from here: {self.windows}" if self.windows else "")


class PrometheusSource:
    """TTFT P99 from the histograms that all frontends of a deployment expose.

    `urls` are the frontends' own pages, http://host:port/metrics, not a Prometheus server; `model` is one of
    those that they serve, and may be left out where there is one. A window is known only when every frontend
    answered at its start and at its end, each as one process: a part of the requests is not the requests.
    `dilation` is wall seconds of a model second. Host names are looked up once, here. Raises `UserError` for
    an address that cannot be asked.
    """

    name = "prometheus"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        model: str | None = None,
        dilation: float = 1.0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.urls = tuple(urls)
        self._model = model
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
        self._doubts: dict[str, _Doubt] = {}

    @property
    def missing(self) -> dict[str, str]:
        """Frontends whose last page is missing, and why."""
        return {url: mark.reason for url, mark in self._marks.items() if mark.page is None}

    @property
    def empty(self) -> tuple[str, ...]:
        """Frontends that answered last and have no TTFT histogram: they have served nothing, or are none."""
        return tuple(url for url, page in self._pages().items() if not page.histograms)

    @property
    def doubts(self) -> dict[str, str]:
        """Frontends whose counts are not trusted now, and why."""
        return {url: str(doubt) for url, doubt in self._doubts.items()}

    @property
    def models(self) -> frozenset[str]:
        """The models on the last pages of all frontends; "" is that of a histogram without a model's name."""
        return frozenset[str]().union(*(page.models for page in self._pages().values()))

    def begin(self, t: float) -> None:
        """Scrape for the first time, at `t` (model s)."""
        self._advance(t)

    def poll(self, t: float) -> Observation:
        """Scrape, and return P99 of what came in since the last scrape.

        Never raises, and waits for `timeout_s` at most; reading a page of 8 MiB takes seconds more.
        """
        start, before = self._advance(t)
        for when, marks in (("now", self._marks), ("at the start of the window", before)):
            reasons = [f"{url}: {mark.reason}" for url, mark in marks.items() if mark.page is None]
            if reasons:
                return self._unknown(start, t, f"no reading {when} of {'; '.join(reasons)}")
        if doubts := self.doubts:
            return self._unknown(start, t, "; ".join(f"{url}: {reason}" for url, reason in doubts.items()))
        return self._window(start, t, before)

    def _advance(self, t: float) -> tuple[float, dict[str, _Mark]]:
        """Take the next page of every frontend; return the start of the window and the pages there."""
        start, before = self._start, self._marks
        self._start = t
        self._marks = {scrape.source: _mark(scrape) for scrape in self._scraper.scrape()}
        self._doubts = {
            url: doubt
            for url, mark in self._marks.items()
            if (doubt := _doubt(before[url].page, mark.page, self._doubts.get(url))) is not None
        }
        return start, before

    def _pages(self) -> dict[str, Page]:
        return {url: mark.page for url, mark in self._marks.items() if mark.page is not None}

    def _window(self, start: float, t: float, before: dict[str, _Mark]) -> Observation:
        models = self.models
        if reason := _no_model(self._model, models):
            return self._unknown(start, t, reason)
        try:
            together = add(
                part
                for url, page in self._pages().items()
                for part in increase(_histograms(before[url], self._model), page.of_model(self._model))
            )
        except ValueError as error:
            return self._unknown(start, t, str(error))
        assert together is not None, "a model that is shown has a histogram"
        requests = round(together.total)
        if len(together.edges) == 1:
            return Observation(start, t, requests, None, reason="the only bucket is +Inf, which tells no P99")
        place = quantile(together, QUANTILE)
        if place is None:
            return Observation(start, t, 0, None, reason=NO_REQUESTS)
        return self._observed(start, t, requests, place)

    def _unknown(self, start: float, t: float, reason: str) -> Observation:
        return Observation(start, t, None, None, reason=reason)

    def _observed(self, start: float, t: float, requests: int, place: Quantile) -> Observation:
        notes: tuple[str, ...] = ()
        if place.upper == math.inf:
            notes = ("P99 lies in the last bucket, which has no end: it is a lower bound",)
        return Observation(
            start,
            t,
            requests,
            place.value / self._dilation,
            (place.lower / self._dilation, place.upper / self._dilation),
            notes=notes,
        )


def _mark(scrape: Scrape) -> _Mark:
    if scrape.body is None:
        return _Mark(None, scrape.reason or "no reason")
    try:
        return _Mark(read_page(scrape.body, scrape.content_type))
    except PageError as error:
        return _Mark(None, f"its page cannot be read: {error}")


def _doubt(before: Page | None, after: Page | None, doubt: _Doubt | None) -> _Doubt | None:
    """What is held against a frontend after one more window; None when it is trusted."""
    if before is None or after is None:
        return doubt
    if reason := broken(before, after):
        return _Doubt(reason, SETTLE)
    return _Doubt(doubt.reason, doubt.windows - 1) if doubt is not None and doubt.windows else None


def _histograms(mark: _Mark, model: str | None) -> dict[Labels, Histogram]:
    return mark.page.of_model(model) if mark.page is not None else {}


def _no_model(model: str | None, models: frozenset[str]) -> str:
    """Why these pages tell no model's TTFT; "" when they do."""
    if not models:
        return f"no {METRIC} on the page: nothing was served yet, or it is not a Dynamo frontend's"
    if model is None and len(models) > 1:
        return f"several models are on the page: {name_models(models)}; name one with --model"
    if model is not None and model not in models:
        return f"no TTFT of the model {model!r}; on the page: {name_models(models)}"
    return ""


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
    query = f"?{parts.query}" if parts.query else ""
    return f"http://{host}:{parts.port}{parts.path or '/metrics'}{query}"


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
