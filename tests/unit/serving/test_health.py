"""The health probe against a frontend that does not tell the truth at first, or ever."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from anarchy.engines.spec import Worker
from anarchy.serving.frontend_api import Address, Connection, RefusedError
from anarchy.serving.health import Probe, UnhealthyError, probe_workers

PREFILL = Worker(0, "prefill", 2**63 + 1, 1, 1, Path("p.log"))
DECODE = Worker(0, "decode", 2**63 + 2, 2, 2, Path("d.log"))


@contextmanager
def frontend(answers: Iterator[tuple[int, dict[str, object]]]) -> Iterator[Address]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = next(answers)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield "127.0.0.1", server.server_port
        finally:
            server.shutdown()
            thread.join()


def answer(prefill: Worker, decode: Worker) -> tuple[int, dict[str, object]]:
    workers = {"prefill_worker_id": prefill.instance_id, "decode_worker_id": decode.instance_id}
    return 200, {"nvext": {"worker_id": workers}, "usage": {"completion_tokens": 2}}


def probe(address: Address, seconds: float) -> tuple[Probe, ...]:
    return probe_workers(
        {"static": address},
        "m",
        (PREFILL, DECODE),
        rng=random.Random(0),
        deadline=time.monotonic() + seconds,
        check=lambda: None,
    )


def test_a_frontend_that_is_not_ready_is_asked_again() -> None:
    refusal: tuple[int, dict[str, object]] = (404, {})
    alone = answer(DECODE, DECODE)  # the decode worker did both: no prefill worker found yet
    with frontend(iter([refusal, alone, answer(PREFILL, DECODE)])) as address:
        (proof,) = probe(address, 60)
    assert (proof.policy, proof.prefill, proof.decode) == ("static", "prefill-0", "decode-0")


def test_a_request_answered_by_another_worker_is_not_healthy() -> None:
    with (
        frontend(iter([answer(DECODE, DECODE)] * 100)) as address,
        pytest.raises(UnhealthyError, match="but answered by"),
    ):
        probe(address, 1.0)


def test_probing_is_given_up_when_a_process_dies() -> None:
    def died() -> None:
        raise RuntimeError("decode-0 died")

    began = time.monotonic()
    with (
        frontend(iter([(503, {})] * 100)) as address,
        pytest.raises(RuntimeError, match="decode-0 died"),
    ):
        probe_workers(
            {"static": address},
            "m",
            (PREFILL, DECODE),
            rng=random.Random(0),
            deadline=began + 300,
            check=died,
        )
    assert time.monotonic() - began < 60, "not at the deadline"


def test_nobody_there_is_a_refusal() -> None:
    with Connection(("127.0.0.1", 1)) as connection, pytest.raises(RefusedError) as refused:
        connection.models()
    assert refused.value.status == 0
