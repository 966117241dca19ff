"""One keep-alive HTTP/1.1 connection that streams completions and looks at as little of them as it can.

Tokens are counted by two byte searches an event. JSON is parsed only three times a request: for the worker
identities, in the first event that holds them, and for timing and usage at the end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import httptools

_DETAIL_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What came back for one request; times are the monotonic clock's, s."""

    http_status: int | None
    """None when no response head arrived."""
    failure: str
    """Empty when the response is whole, else ``timeout``, ``disconnect`` or ``cancelled``."""
    detail: str
    """What the server or the socket said of a failure, shortened."""
    t_first_token: float | None
    t_last_token: float | None
    t_end: float
    output_tokens: int
    """As the server's usage says, else the number of token events."""
    kv_hit_rate: float | None
    """Share of the prompt's blocks that the router knew to be in the prefill worker's cache."""
    usage_cached_tokens: int | None
    """``usage.prompt_tokens_details.cached_tokens``: what the worker that answered had."""
    prefill_id: int | None
    decode_id: int | None

    @staticmethod
    def nothing(failure: str, detail: str) -> StreamResult:
        """Return the result of a request that was never sent, or whose answer nobody waited for."""
        return StreamResult(None, failure, detail, None, None, time.monotonic(), 0, None, None, None, None)

    def cached_tokens(self, input_tokens: int) -> int | None:
        """Return how many of the prompt's tokens the prefill worker had in its cache.

        In a disaggregated deployment Dynamo's usage tells of the decode worker's cache, so the router's own
        figure for the prefill worker goes first; where there is none, one worker did both.
        """
        if self.kv_hit_rate is not None:
            return round(self.kv_hit_rate * input_tokens)
        return self.usage_cached_tokens

    def status(self, asked_tokens: int) -> str:
        """Name the outcome as the trace does, given how many tokens were asked for."""
        if self.failure:
            return self.failure
        if self.http_status != 200:
            return f"http_{self.http_status}"
        if self.output_tokens == 0:
            return "zero_tokens"
        return "ok" if self.output_tokens >= asked_tokens else "truncated"


def is_token_event(event: bytes) -> bool:
    """Tell whether a completion event carries a token.

    One with choices does, its text being empty notwithstanding (half a character), unless it is the empty
    one that only closes the stream. Quotes inside a text are escaped, so text cannot imitate the marks.
    """
    return b'"choices":[{' in event and not (b'"text":""' in event and b'"finish_reason":"' in event)


class StreamConnection(asyncio.Protocol):
    """A connection that carries one streamed completion at a time, and is used again while it stays open."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_first_token: Callable[[str], None] | None = None
    ) -> None:
        self._loop = loop
        self._on_first_token = on_first_token
        self._request_id = ""
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[StreamResult] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._now = 0.0
        self._reset()

    def _reset(self) -> None:
        self._http_status: int | None = None
        self._pending = b""
        self._detail = b""
        self._t_first_token: float | None = None
        self._t_last_token: float | None = None
        self._token_events = 0
        self._usage: dict[str, Any] = {}
        self._worker_ids: dict[str, Any] = {}
        self._timing: dict[str, Any] = {}

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    def exchange(self, payload: bytes, deadline: float, request_id: str = "") -> asyncio.Future[StreamResult]:
        """Write one request, and return the future of its result, which comes within ``deadline`` wall s.

        ``on_first_token`` is given the request's id; what it raises comes out of the future.
        """
        assert self._transport is not None
        assert self._waiter is None
        self._reset()
        self._request_id = request_id
        self._waiter = self._loop.create_future()
        self._deadline = self._loop.call_later(deadline, self._expire)
        self._transport.write(payload)
        return self._waiter

    def close(self) -> None:
        """Close at once, dropping whatever is under way."""
        self._finish("disconnect", b"closed by the client")
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over (asyncio)."""
        # uvloop's transports have asyncio's interface without being its subclasses.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End whatever is under way (asyncio)."""
        self._transport = None
        self._now = time.monotonic()
        self._finish("disconnect", str(exc or "closed by the server").encode())

    def data_received(self, data: bytes) -> None:
        """Stamp and parse what arrived (asyncio)."""
        self._now = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._now = time.monotonic()
            self._finish("disconnect", f"not HTTP: {error}".encode())
            self.close()

    def on_headers_complete(self) -> None:
        """Note the status (httptools)."""
        self._http_status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Cut the body into events, and count (httptools)."""
        if self._http_status != 200:
            self._detail = (self._detail + body)[:_DETAIL_BYTES]
            return
        events = (self._pending + body if self._pending else body).split(b"\n\n")
        self._pending = events.pop()
        for event in events:
            if is_token_event(event):
                self._token_events += 1
                self._t_last_token = self._now
                if self._t_first_token is None:
                    self._read_first_token(event)
                if b'"timing":{' in event:  # vLLM closes with its last token, mock engines after it
                    self._read_closing_event(event)
            else:
                self._read_closing_event(event)

    def on_message_complete(self) -> None:
        """Hand the result over (httptools)."""
        keep = self._parser.should_keep_alive()
        self._finish("", self._detail)
        if not keep and self._transport is not None:
            self._transport.close()

    def _read_first_token(self, event: bytes) -> None:
        self._t_first_token = self._now
        if b'"worker_id":{' in event:
            self._worker_ids = _nvext_of(event).get("worker_id") or {}
        if self._on_first_token is not None and self._waiter is not None and not self._waiter.done():
            try:
                self._on_first_token(self._request_id)
            except Exception as error:  # noqa: BLE001 (it must not vanish in the event loop's log)
                self._waiter.set_exception(error)
                self.close()

    def _read_closing_event(self, event: bytes) -> None:
        if b'"usage":{' in event:
            self._usage = _json_of(event).get("usage") or {}
        elif b'"timing":{' in event:
            nvext = _nvext_of(event)
            self._timing = nvext.get("timing") or {}
            # Older versions name the workers here and nowhere before.
            self._worker_ids = self._worker_ids or nvext.get("worker_id") or {}
        elif b"error" in event and not self._detail:
            self._detail = event[:_DETAIL_BYTES]

    def _expire(self) -> None:
        self._now = time.monotonic()
        self._finish("timeout", b"no end within the deadline")
        self.close()

    def _finish(self, failure: str, detail: bytes) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        waiter.set_result(
            StreamResult(
                http_status=self._http_status,
                failure=failure,
                detail=detail.decode(errors="replace"),
                t_first_token=self._t_first_token,
                t_last_token=self._t_last_token,
                t_end=self._now,
                output_tokens=self._usage.get("completion_tokens", self._token_events),
                kv_hit_rate=self._timing.get("kv_hit_rate"),
                usage_cached_tokens=(self._usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
                prefill_id=self._worker_ids.get("prefill_worker_id"),
                decode_id=self._worker_ids.get("decode_worker_id"),
            )
        )


def _json_of(event: bytes) -> dict[str, Any]:
    """Parse the data of one event; an event that is not a JSON object gives an empty mapping."""
    try:
        document = json.loads(event[event.index(b"{") :])
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _nvext_of(event: bytes) -> dict[str, Any]:
    return _json_of(event).get("nvext") or {}
