"""The few calls that a deployment makes to its own frontends and workers: for control, not for load."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from anarchy.telemetry.exposition import read_samples

Address = tuple[str, int]

HEALTHY_STATUS = 200
_UPTIME = "dynamo_component_uptime_seconds"
_ACTIVE_BLOCKS = "dynamo_frontend_worker_active_decode_blocks"


class RefusedError(RuntimeError):
    """An endpoint answered with an error status; `status` is 0 when it did not answer at all."""

    def __init__(self, address: Address, status: int, body: str) -> None:
        self.status = status
        super().__init__(f"http://{address[0]}:{address[1]} answered {status}: {body[:300]}")


@dataclass(frozen=True)
class Answer:
    """A whole completion and the two workers that made it."""

    prefill_worker: int
    decode_worker: int
    output_tokens: int


class Connection:
    """One keep-alive connection to a frontend or a worker's system port. Use it in a `with`."""

    def __init__(self, address: Address, *, timeout_s: float = 10.0) -> None:
        self._address = address
        self._http = http.client.HTTPConnection(*address, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
        data = json.dumps(body).encode() if body is not None else None
        try:
            self._http.request(method, path, data, {"Content-Type": "application/json"})
            response = self._http.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise RefusedError(self._address, 0, f"{type(error).__name__}: {error}") from error
        if response.status != HEALTHY_STATUS:
            raise RefusedError(self._address, response.status, text)
        return text

    def metrics(self) -> str:
        """The endpoint's Prometheus text."""
        return self._ask("GET", "/metrics")

    def healthy(self) -> bool:
        """Whether an etcd says that it is healthy."""
        return str(json.loads(self._ask("GET", "/health"))["health"]) == "true"

    def models(self) -> tuple[str, ...]:
        """Names of the models that a frontend serves now."""
        return tuple(entry["id"] for entry in json.loads(self._ask("GET", "/v1/models"))["data"])

    def generators(self) -> dict[str, frozenset[int]]:
        """Instance ids of the workers that a frontend knows, by Dynamo component (`prefill`, `backend`)."""
        found: dict[str, set[int]] = {}
        for instance in json.loads(self._ask("GET", "/health"))["instances"]:
            if instance["endpoint"] == "generate":
                found.setdefault(instance["component"], set()).add(instance["instance_id"])
        return {component: frozenset(ids) for component, ids in found.items()}

    def complete(
        self,
        model: str,
        prompt: Sequence[int],
        max_tokens: int,
        *,
        decode_worker: int | None = None,
        prefill_worker: int | None = None,
    ) -> Answer:
        """Have `prompt` (token ids) answered with `max_tokens` tokens, pinned to the workers given."""
        body = completion_body(model, prompt, max_tokens, decode_worker, prefill_worker)
        answer = json.loads(self._ask("POST", "/v1/completions", body))
        workers = answer["nvext"]["worker_id"]
        return Answer(
            workers["prefill_worker_id"], workers["decode_worker_id"], answer["usage"]["completion_tokens"]
        )

    def choose(self, model: str, prompt: Sequence[int]) -> int:
        """Instance id of the decode worker that the frontend's router would choose for `prompt` now.

        Nothing is sent to a worker and no load is booked (`query_instance_id`), so draws do not disturb
        each other.
        """
        body = completion_body(model, prompt, 1)
        body["stream"] = True
        body["nvext"]["annotations"] = ["query_instance_id:"]
        first = self._ask("POST", "/v1/completions", body).split("\n", 1)[0]
        return int(json.loads(first.removeprefix("data: "))["nvext"]["worker_id"]["decode_worker_id"])


def completion_body(
    model: str,
    prompt: Sequence[int],
    max_tokens: int,
    decode_worker: int | None = None,
    prefill_worker: int | None = None,
) -> dict[str, Any]:
    """Body of a completion request that yields exactly `max_tokens` tokens and tells its workers."""
    # 0.9.0 names the workers only to who asks for the times as well.
    nvext: dict[str, Any] = {"extra_fields": ["worker_id", "timing"]}
    if decode_worker is not None:
        nvext["decode_worker_id"] = decode_worker
    if prefill_worker is not None:
        nvext["prefill_worker_id"] = prefill_worker
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": max_tokens,
        "min_tokens": max_tokens,
        "ignore_eos": True,
        # Greedy, as the load is: vLLM compiles its sampler for the first request that samples.
        "temperature": 0,
        "nvext": nvext,
    }


class HeldRequest:
    """A pinned request that keeps its decode worker busy until its end, or until it is closed.

    Closing cancels it at once. A thread reads what comes, so that the frontend is never held up; `began` is
    set with the first token, `ended` when nothing more comes.
    """

    def __init__(
        self, address: Address, model: str, prompt: Sequence[int], max_tokens: int, decode_worker: int
    ) -> None:
        body = completion_body(model, prompt, max_tokens, decode_worker)
        body["stream"] = True
        del body["nvext"]["extra_fields"]  # its tokens are not looked at: keep them short
        data = json.dumps(body).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {address[0]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        self.began = threading.Event()
        self.ended = threading.Event()
        self._socket = socket.create_connection(address)
        self._socket.sendall(head.encode() + data)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        tail = b""
        with contextlib.suppress(OSError):  # closed here, or by a frontend that is gone
            # The last chunk of an HTTP stream is empty.
            while not tail.endswith(b"\r\n0\r\n\r\n") and (found := self._socket.recv(65536)):
                seen = tail + found
                if b"data: " in seen:
                    self.began.set()
                tail = seen[-16:]
        self.ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # the other side may have gone first
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader
        self._reader.join()
        self._socket.close()


def instance_id_of(metrics: str) -> int | None:
    """Instance id of the process whose system port gave `metrics`; None while it has not registered."""
    ids = [dict(sample.labels).get("worker_id") for sample in read_samples(metrics, "", _UPTIME)]
    return int(ids[0], 16) if ids and ids[0] is not None else None


def active_decode_blocks(metrics: str) -> dict[int, float]:
    """KV blocks in use on each decode worker as a frontend's router believes, by instance id."""
    blocks: dict[int, float] = {}
    for sample in read_samples(metrics, "", _ACTIVE_BLOCKS):
        labels = dict(sample.labels)
        if labels["worker_type"] == "decode":
            blocks[int(labels["worker_id"])] = sample.value
    return blocks
