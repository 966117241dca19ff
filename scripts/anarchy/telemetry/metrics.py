"""Prometheus endpoints: ask many at once within one deadline. What an answer says is `exposition`'s part."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 0.5
"""Seconds in which every endpoint must have answered."""
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes; a frontend of 1P/5D answers 0.1 MB."""
CHUNK = 262_144
_OK = b"200"
_PLAIN = b"identity"
_ENCODINGS = (b"content-encoding", b"transfer-encoding")


@dataclass(frozen=True)
class Source:
    """An endpoint to scrape: the name of its process (`frontend-static`, `decode-0`), http://host:port/path."""

    name: str
    url: str


@dataclass(frozen=True)
class Scrape:
    """An endpoint's answer, or the reason why there is none; `seconds` from asking to its last byte."""

    source: str
    seconds: float
    body: str | None
    reason: str | None = None
    content_type: str = ""


class Scraper:
    """Asks all sources at once over plain sockets, each second anew.

    HTTP/1.0 and one connection a question: the answer ends where the connection does. Nothing is followed:
    a redirect is an answer other than 200, and so a reason. Raises `ValueError` for an address that is not
    http://host:port/...
    """

    def __init__(self, sources: Sequence[Source], timeout_s: float = TIMEOUT_S) -> None:
        self.sources = tuple(sources)
        self._timeout_s = timeout_s
        self._questions = {source.name: _question(source.url) for source in self.sources}
        self._addresses: dict[str, tuple[socket.AddressFamily, tuple[str, int]]] = {}
        if len(self._questions) != len(self.sources):
            raise ValueError(f"sources with the same name: {[source.name for source in self.sources]}")

    def scrape(self) -> list[Scrape]:
        """One answer or reason a source, in the order of the sources, after `timeout_s` at the latest."""
        started = time.monotonic()
        scrapes: dict[str, Scrape] = {}
        with selectors.DefaultSelector() as waiting:
            for source in self.sources:
                try:
                    exchange = self._open(source.name)
                except OSError as error:
                    scrapes[source.name] = Scrape(source.name, 0.0, None, _told(error))
                    continue
                waiting.register(exchange.socket, selectors.EVENT_WRITE, exchange)
            while waiting.get_map():
                remaining = started + self._timeout_s - time.monotonic()
                ready = waiting.select(remaining) if remaining > 0 else []
                if not ready:
                    break
                for key, _ in ready:
                    exchange = key.data
                    done = exchange.step(waiting)
                    if done is not None:
                        scrapes[exchange.name] = _scrape(exchange, time.monotonic() - started, done)
            for key in list(waiting.get_map().values()):
                key.data.socket.close()
                reason = f"no answer within {self._timeout_s:g} s"
                scrapes[key.data.name] = Scrape(key.data.name, self._timeout_s, None, reason)
        return [scrapes[source.name] for source in self.sources]

    def _open(self, name: str) -> _Exchange:
        host, port, question = self._questions[name]
        if name not in self._addresses:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._addresses[name] = (found[0], (str(found[4][0]), port))
        kind, address = self._addresses[name]
        connection = socket.socket(kind, socket.SOCK_STREAM)
        connection.setblocking(False)
        begun = connection.connect_ex(address)
        if begun not in (0, errno.EINPROGRESS):
            connection.close()
            raise OSError(begun, os.strerror(begun))
        return _Exchange(name, connection, question)


class _Exchange:
    """One question under way."""

    def __init__(self, name: str, connection: socket.socket, question: bytes) -> None:
        self.name = name
        self.socket = connection
        self.answer = bytearray()
        self._question = question

    def step(self, waiting: selectors.BaseSelector) -> str | None:
        """Write or read what can be; "" when the answer is whole, a reason when it failed, None before."""
        done: str | None = None
        try:
            if self._question:
                self._question = self._question[self.socket.send(self._question) :]
                if not self._question:
                    waiting.modify(self.socket, selectors.EVENT_READ, self)
            else:
                chunk = self.socket.recv(CHUNK)
                self.answer += chunk
                if not chunk:
                    done = ""
                elif len(self.answer) > LARGEST_ANSWER:
                    done = f"answer of more than {LARGEST_ANSWER} bytes"
        except BlockingIOError:
            return None
        except OSError as error:
            done = _told(error)
        if done is not None:
            waiting.unregister(self.socket)
            self.socket.close()
        return done


def _question(url: str) -> tuple[str, int, bytes]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"{url!r} is not http://host:port/path")
    query = f"?{parts.query}" if parts.query else ""
    head = f"GET {parts.path or '/metrics'}{query} HTTP/1.0\r\nHost: {parts.hostname}:{parts.port}\r\n"
    return parts.hostname, parts.port, f"{head}Accept: text/plain;version=0.0.4\r\n\r\n".encode()


def _told(error: OSError) -> str:
    return f"{type(error).__name__}: {error.strerror or error}"


def _scrape(exchange: _Exchange, seconds: float, reason: str) -> Scrape:
    if reason:
        return Scrape(exchange.name, seconds, None, reason)
    try:
        body, content_type = _answer(bytes(exchange.answer))
    except ValueError as error:
        return Scrape(exchange.name, seconds, None, str(error))
    return Scrape(exchange.name, seconds, body, content_type=content_type)


def _answer(answer: bytes) -> tuple[str, str]:
    """Body and content type of an HTTP answer; raises `ValueError` for one that is not whole, plain UTF-8."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    words = status.split(None, 2)
    if not blank or len(words) < 2 or not words[0].startswith(b"HTTP/"):
        raise ValueError("no HTTP answer")
    if words[1] != _OK:
        raise ValueError(f"answered {_word(words[1])}")
    fields = (line.partition(b":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    if headers.get(b"content-length", length := str(len(body)).encode()) != length:
        raise ValueError("the answer was cut off")
    for name in _ENCODINGS:
        if headers.get(name, _PLAIN).lower() != _PLAIN:
            raise ValueError(f"answered with {name.decode()} {_word(headers[name])}, which was not asked for")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the answer is no UTF-8 from its byte {error.start + 1} on") from None
    return text, headers.get(b"content-type", b"").decode("ascii", "replace")


def _word(text: bytes) -> str:
    """A word of an answer's head in a reason, short and without control characters."""
    return repr(text.decode("ascii", "replace")[:20])[1:-1]
