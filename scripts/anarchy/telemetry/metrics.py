"""Prometheus endpoints: ask many at once within one deadline, and tell what changed since the last answer."""

from __future__ import annotations

import errno
import json
import os
import re
import selectors
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 0.5
"""Seconds in which every endpoint must have answered."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes; a frontend of 1P/5D answers 0.1 MB."""
CHUNK = 262_144
_OK = b"200"
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


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
    head = f"GET {parts.path or '/metrics'} HTTP/1.0\r\nHost: {parts.hostname}:{parts.port}\r\n"
    return parts.hostname, parts.port, f"{head}Accept: text/plain;version=0.0.4\r\n\r\n".encode()


def _told(error: OSError) -> str:
    return f"{type(error).__name__}: {error.strerror or error}"


def _scrape(exchange: _Exchange, seconds: float, reason: str) -> Scrape:
    if reason:
        return Scrape(exchange.name, seconds, None, reason)
    head, blank, body = bytes(exchange.answer).partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    words = status.split(None, 2)
    if not blank or len(words) < 2 or not words[0].startswith(b"HTTP/"):
        return Scrape(exchange.name, seconds, None, "no HTTP answer")
    if words[1] != _OK:
        return Scrape(exchange.name, seconds, None, f"answered {words[1].decode('ascii', 'replace')[:20]}")
    for header in headers:
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip() != str(len(body)).encode():
            return Scrape(exchange.name, seconds, None, "the answer was cut off")
    return Scrape(exchange.name, seconds, body.decode("utf-8", "replace"))


@dataclass(frozen=True)
class Changes:
    """What one answer says that the one before did not: values by series, series that are gone, bad lines."""

    values: dict[str, float]
    gone: tuple[str, ...]
    bad_lines: int


class Exposition:
    """The text of one source, compared with its predecessor line by line: most lines never change.

    A series is the text before its value, `name{label="value",...}`. Comparing lines as sets costs a tenth
    of parsing them.
    """

    def __init__(self) -> None:
        self._lines: frozenset[str] = frozenset()

    def update(self, text: str) -> Changes:
        """Take the next answer and return what changed; all of it the first time."""
        lines = frozenset(text.split("\n"))
        values, bad = _parsed(lines - self._lines)
        before, _ = _parsed(self._lines - lines)
        self._lines = lines
        return Changes(values, tuple(before.keys() - values.keys()), bad)


def _parsed(lines: Iterable[str]) -> tuple[dict[str, float], int]:
    values: dict[str, float] = {}
    bad = 0
    for line in lines:
        if not line or line[0] == "#":
            continue
        end = line.rfind("}") + 1 or line.find(" ")
        try:
            values[line[:end]] = float(line[end:].split(None, 1)[0])
        except (ValueError, IndexError):
            bad += 1
    return values, bad


def split_series(series: str) -> tuple[str, dict[str, str]]:
    """Metric name and labels of a series."""
    name, _, rest = series.partition("{")
    return name.strip(), {found[1]: _unescaped(found[2]) for found in _LABEL.finditer(rest)}


def labels_json(labels: Mapping[str, str]) -> str:
    """Labels as the recording writes them: JSON, names sorted."""
    return json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text) if "\\" in text else text
