"""The bytes on the wire: what is sent, and how streams are counted however they are cut up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from anarchy.load.connection import StreamConnection, StreamResult, is_token_event
from anarchy.load.payload import Endpoint, PayloadWriter
from anarchy.load.router import Labels, Route
from anarchy.load.workload import Request


def event(text: str, n: int = 0, **more: object) -> bytes:
    body = {"choices": [{"text": text, "index": n}], "usage": None, **more}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def chunked(*bodies: bytes) -> bytes:
    return b"".join(b"%X\r\n%s\r\n" % (len(body), body) for body in bodies) + b"0\r\n\r\n"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FINISH = b'data: {"choices":[{"text":"","index":0,"finish_reason":"length"}],"usage":null}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":5}}}\n\n'
)
DONE = b"data: [DONE]\n\n"
WORKERS = {"worker_id": {"prefill_worker_id": 2**64 - 1, "decode_worker_id": 7}}


class WireEnd:
    """Stands for the transport."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort


def receive(
    data: bytes, pieces: int | None = None, *, lose: bool = False
) -> tuple[StreamResult, StreamConnection]:
    """Feed a response in pieces of that many bytes and return what came of it."""

    async def run() -> tuple[StreamResult, StreamConnection]:
        connection = StreamConnection(asyncio.get_running_loop())
        connection.connection_made(WireEnd())  # type: ignore[arg-type]
        result = connection.exchange(b"", deadline=1.0)
        step = pieces or len(data)
        for start in range(0, len(data), step):
            connection.data_received(data[start : start + step])
        if lose:
            connection.connection_lost(None)
        return await result, connection

    return asyncio.run(run())


@pytest.mark.parametrize("pieces", [None, 1, 2, 3, 7, 50, 200])
def test_counts_do_not_depend_on_how_the_stream_is_cut(pieces: int | None) -> None:
    stream = chunked(event(" a", nvext=WORKERS), event(" b", nvext=WORKERS), event(" c"), FINISH, USAGE, DONE)
    result, connection = receive(HEAD + stream, pieces)
    assert (result.http_status, result.failure, result.output_tokens) == (200, "", 3)
    assert result.cached_tokens(9) == 5
    assert (result.prefill_id, result.decode_id) == (2**64 - 1, 7)
    assert result.status(3) == "ok"
    assert result.status(4) == "truncated"
    assert result.t_first_token is not None
    assert result.t_last_token is not None
    assert result.t_first_token <= result.t_last_token <= result.t_end
    assert connection.is_open


def test_cached_tokens_are_the_prefill_workers_where_the_router_tells_them() -> None:
    finish = FINISH.replace(
        b'"usage":null', b'"usage":null,"nvext":{"timing":{"ttft_ms":4.5,"kv_hit_rate":0.75}}'
    )
    result, _ = receive(HEAD + chunked(event(" a"), event(" b"), event(" c"), finish, USAGE, DONE))
    assert result.usage_cached_tokens == 5
    assert result.cached_tokens(128) == 96
    assert result.status(3) == "ok"


def test_a_stream_that_closes_with_its_last_token_tells_its_times_too() -> None:
    """So vLLM ends: text, reason and timing in one event, where mock engines send an event of its own."""
    closing = {"timing": {"ttft_ms": 4.5, "kv_hit_rate": 0.75}, **WORKERS}
    last = event(" b", nvext=closing).replace(b'"index":0', b'"index":0,"finish_reason":"length"')
    body = chunked(event(" a", nvext=WORKERS), last, DONE)
    result, _ = receive(HEAD + body)
    assert (result.output_tokens, result.kv_hit_rate, result.decode_id) == (2, 0.75, 7)


def test_several_events_in_one_chunk_and_comments_between_them() -> None:
    stream = chunked(event(" a") + b": ping\n\n" + event(" b") + FINISH + DONE)
    result, _ = receive(HEAD + stream)
    assert result.output_tokens == 2, "counted without usage"
    assert result.cached_tokens(9) is None
    assert (result.prefill_id, result.decode_id) == (None, None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (event(" a"), True),
        (event(""), True),
        (event('"text":"","finish_reason":"length"'), True),
        (event('"choices":[{'), True),
        (FINISH, False),
        (USAGE, False),
        (DONE, False),
        (b": keep-alive\n\n", False),
        (b'data: {"choices":[{"text":" last","index":0,"finish_reason":"length"}]}\n\n', True),
        (b'data: {"choices":[{"text":"","index":0,"finish_reason":null}]}\n\n', True),
        (b'data: {"error":{"message":"Internal server error","code":500}}\n\n', False),
    ],
)
def test_token_events(line: bytes, expected: bool) -> None:
    assert is_token_event(line) is expected


def test_a_stream_that_breaks_off_keeps_what_it_had() -> None:
    result, connection = receive(HEAD + chunked(event(" a"), event(" b"))[:-5], lose=True)
    assert (result.status(3), result.output_tokens) == ("disconnect", 2)
    assert result.t_last_token is not None
    assert not connection.is_open


def test_an_error_inside_the_stream_is_told() -> None:
    error = b'data: {"error":{"message":"Internal server error","code":500}}\n\n'
    result, _ = receive(HEAD + chunked(event(" a"), error, DONE))
    assert result.status(3) == "truncated"
    assert "Internal server error" in result.detail


def test_connection_close_is_heeded() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    result, connection = receive(head + chunked(event(" a"), DONE))
    assert result.status(1) == "ok"
    assert not connection.is_open


def test_what_is_not_http_is_a_disconnect() -> None:
    result, connection = receive(b"SSH-2.0-OpenSSH\r\n")
    assert result.status(1) == "disconnect"
    assert "not HTTP" in result.detail
    assert not connection.is_open


LABELS = Labels("kv", 0.0, 1.0)


@pytest.mark.parametrize("template", [-1, 2])
def test_payload_asks_for_exactly_the_tokens(template: int) -> None:
    writer = PayloadWriter([Endpoint("127.0.0.1", 8080, "llama")])
    for _ in range(2):
        request = Request((5, 6, 7), 9, template)
        head, _, body = writer.write(request, Route(LABELS)).partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert json.loads(body) == {
            "model": "llama",
            "prompt": [5, 6, 7],
            "max_tokens": 9,
            "min_tokens": 9,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "nvext": {"extra_fields": ["worker_id", "timing"]},
        }


def test_payloads_of_one_template_differ_in_their_tails() -> None:
    writer = PayloadWriter([Endpoint("127.0.0.1", 8080, "llama")])
    prompts = [(5, 6, 7), (5, 6, 8), (5, 6, 7)]
    bodies = [writer.write(Request(p, 9, 0, 1), Route(LABELS)).partition(b"\r\n\r\n")[2] for p in prompts]
    assert [tuple(json.loads(body)["prompt"]) for body in bodies] == prompts


@pytest.mark.parametrize(
    "pins", [{"prefill_id": 2**64 - 1, "decode_id": 7}, {"prefill_id": 0}, {"decode_id": 2**63}]
)
def test_payload_pins_the_workers_that_the_route_names(pins: dict[str, int]) -> None:
    writer = PayloadWriter([Endpoint("127.0.0.1", 8080, "llama")])
    payload = writer.write(Request((5, 6, 7), 9, -1), Route(LABELS, **pins))
    body = json.loads(payload.partition(b"\r\n\r\n")[2])
    wanted = {name.replace("_id", "_worker_id"): worker for name, worker in pins.items()}
    assert body["nvext"] == {"extra_fields": ["worker_id", "timing"], **wanted}


def test_payload_is_addressed_to_the_route_s_frontend() -> None:
    writer = PayloadWriter([Endpoint("127.0.0.1", 8080, "a"), Endpoint("127.0.0.1", 8081, "b", "/v2")])
    request = Request((5, 6, 7), 9, 0)
    payloads = [writer.write(request, Route(LABELS, frontend)) for frontend in (0, 1, 0)]
    assert b"Host: 127.0.0.1:8080\r\n" in payloads[0]
    assert payloads[1].startswith(b"POST /v2 HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n")
    assert [json.loads(p.partition(b"\r\n\r\n")[2])["model"] for p in payloads] == ["a", "b", "a"]


def first_tokens(data: bytes, tell: Callable[[str], None]) -> list[StreamResult | BaseException]:
    """Two requests on one connection that answers both alike, with a hook for their first tokens."""

    async def run() -> list[StreamResult | BaseException]:
        connection = StreamConnection(asyncio.get_running_loop(), tell)
        connection.connection_made(WireEnd())  # type: ignore[arg-type]
        results: list[StreamResult | BaseException] = []
        for request_id in ("a", "b"):
            if not connection.is_open:
                break
            result = connection.exchange(b"", 1.0, request_id)
            connection.data_received(data)
            results += await asyncio.gather(result, return_exceptions=True)
        return results

    return asyncio.run(run())


def test_first_tokens_are_told_once_a_request() -> None:
    told: list[str] = []
    results = first_tokens(HEAD + chunked(event(" a"), event(" b"), FINISH, DONE), told.append)
    assert [result.status(2) for result in results if isinstance(result, StreamResult)] == ["ok", "ok"]
    assert told == ["a", "b"]


def test_a_request_without_a_token_tells_of_none() -> None:
    told: list[str] = []
    first_tokens(HEAD + chunked(FINISH, DONE), told.append)
    assert told == []


def test_what_is_raised_at_the_first_token_comes_out_of_the_request() -> None:
    def fail(request_id: str) -> None:
        raise OSError(28, "No space left on device")

    results = first_tokens(HEAD + chunked(event(" a"), event(" b"), FINISH, DONE), fail)
    assert len(results) == 1, "the connection is closed"
    assert isinstance(results[0], OSError)
