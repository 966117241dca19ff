"""Requests that hold load, and what the reuse self-test makes of the choices beside them."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anarchy.engines.dynamo import DYNAMO_0_9_0
from anarchy.engines.spec import Worker
from anarchy.serving.frontend_api import HeldRequest
from anarchy.serving.health import UnhealthyError
from anarchy.serving.holding import EndedEarlyError, Held, UnderTest
from anarchy.serving.reuse import HELD, TEMPLATE_BLOCKS, TRIES, check_reuse

PATIENCE_S = 30.0
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'a\r\ndata: {"x\r\n'
END = b"0\r\n\r\n"


@contextmanager
def frontend(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A server of one connection, answered as told once its request has come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()
        thread.join()


def test_a_request_begins_with_its_first_token_and_ends_with_the_stream() -> None:
    go_on = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        for _ in range(3):
            connection.sendall(TOKEN)
        assert go_on.wait(PATIENCE_S)
        connection.sendall(END[:2])
        connection.sendall(END[2:])
        connection.recv(1)  # kept alive until the other side leaves

    with frontend(answer) as address, HeldRequest(address, "m", [5], 9, 7) as held:
        assert held.began.wait(PATIENCE_S)
        assert not held.ended.is_set()
        go_on.set()
        assert held.ended.wait(PATIENCE_S)


def test_leaving_ends_it_whatever_the_server_does() -> None:
    left = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + TOKEN)
        while connection.recv(65_536):
            pass
        left.set()

    with frontend(answer) as address:
        with HeldRequest(address, "m", [5], 9, 7) as held:
            assert held.began.wait(PATIENCE_S)
            assert not held.ended.is_set()
        assert held.ended.is_set()
    assert left.is_set()


class Router(UnderTest):
    """Workers whose loads are known, and a router at tau 0 that counts shared blocks once, or each time."""

    def tokens_for(self, seconds: float, rng: random.Random) -> int:
        return 100

    @contextmanager
    def held(
        self, name: str, requests: Sequence[tuple[Worker, list[int]]], tokens: int, seconds: float
    ) -> Iterator[Held]:
        assert name == "cold"
        assert seconds > 0
        books[:] = [(worker.index, tuple(prompt)) for worker, prompt in requests]
        asked.append(tokens)

        class Now(Held):
            def began(self) -> bool:
                return True

            def check(self) -> None:
                if len(asked) <= early[0]:
                    raise EndedEarlyError

        yield Now([])

    def draw(self, name: str, count: int, rng: random.Random) -> tuple[int, ...]:
        def load(index: int) -> int:
            prompts = [prompt for at, prompt in books if at == index]
            return sum(map(len, {*prompts} if once[0] else prompts)) // self.block_size

        loads = [load(worker.index) for worker in self.decode]
        return tuple(count if one == min(loads) else 0 for one in loads)


books: list[tuple[int, tuple[int, ...]]] = []
asked: list[int] = []
early, once = [0], [True]


def router(workers: int) -> Router:
    asked.clear()
    decode = [Worker(index, "decode", 20 + index, 1, 2, Path("log")) for index in range(workers)]
    more: dict[str, Any] = {"frontends": {}, "model": "m", "answer_s": 1.0, "check": lambda: None}
    return Router(decode=decode, dynamo=DYNAMO_0_9_0, block_size=16, hold_tokens=1000, **more)


@pytest.mark.parametrize("workers", [2, 5])
@pytest.mark.parametrize("counts_once", [True, False])
def test_reuse_is_told_from_the_choices(workers: int, counts_once: bool) -> None:
    early[0], once[0] = 0, counts_once
    found = check_reuse(router(workers), "cold", counts_once, random.Random(1))
    assert found.counts_once is counts_once
    assert found.ok
    assert not check_reuse(router(workers), "cold", not counts_once, random.Random(1)).ok
    template = [prompt for index, prompt in books if index == 0]
    assert (len(template), len({*template}), len(template[0])) == (HELD, 1, 16 * TEMPLATE_BLOCKS)


def test_requests_that_ended_early_are_held_again_for_longer() -> None:
    early[0], once[0] = 2, True
    assert check_reuse(router(2), "cold", expected=True, rng=random.Random(1)).ok
    assert asked == [100, 200, 400]
    early[0] = TRIES
    with pytest.raises(UnhealthyError, match="ended before it"):
        check_reuse(router(2), "cold", expected=True, rng=random.Random(1))
