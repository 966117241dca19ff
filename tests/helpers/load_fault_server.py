"""A tiny completion server that streams like Dynamo's frontend, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

PREFILL_IDS = (17672487001539436849,)
DECODE_IDS = (9971825388281273001, 9395804541166882895)


@dataclass(frozen=True)
class Reply:
    """How one request is answered."""

    kind: str = "ok"
    """ok, http (status), cut, stall, zero, short, silent, garbage, close, hang_up."""
    status: int = 200
    tokens: int = 0
    """Tokens before the fault."""
    delay: float = 0.0
    """Seconds before each token."""
    fragment: int = 0
    """Send in pieces of this many bytes; 0 = whole."""
    workers: dict[str, int] | None = None
    """Claim that these served it, whoever it was pinned to."""


class FaultServer:
    """Runs on a thread with a loop of its own; use it as a context manager."""

    def __init__(self, reply: Callable[[int, dict[str, Any]], Reply] = lambda n, body: Reply()) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.open_connections = 0
        self.in_flight = 0
        self.loads: list[int] = []
        """The requests under way at the arrival of each, that one included."""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> FaultServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.close()

    def stop(self) -> None:
        """Close the listener and every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                number = len(self.requests)
                self.requests.append(body)
                reply = self.reply(number, body)
                self.in_flight += 1
                self.loads.append(self.in_flight)
                try:
                    if not await self._answer(writer, number, body, reply):
                        return
                finally:
                    self.in_flight -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            writer.transport.abort()

    async def _answer(
        self, writer: asyncio.StreamWriter, number: int, body: dict[str, Any], reply: Reply
    ) -> bool:
        """Answer one request; say whether the connection goes on."""

        async def send(data: bytes) -> None:
            step = reply.fragment or len(data)
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await writer.drain()
                if reply.fragment:
                    await asyncio.sleep(0)

        if reply.kind == "silent":
            await asyncio.sleep(3600)
        if reply.kind == "hang_up":
            return False
        if reply.kind == "garbage":
            await send(b"this is not HTTP\r\n\r\n")
            await asyncio.sleep(0.2)
            return False
        if reply.kind == "http":
            text = json.dumps({"message": "no room", "code": reply.status}).encode()
            await send(
                f"HTTP/1.1 {reply.status} Whatever\r\ncontent-type: application/json\r\n"
                f"content-length: {len(text)}\r\n\r\n".encode()
                + text
            )
            return True
        closing = b"connection: close\r\n" if reply.kind == "close" else b""
        await send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            + closing
            + b"transfer-encoding: chunked\r\n\r\n"
        )
        asked = body["max_tokens"]
        workers = _workers(number, body["nvext"]) | (reply.workers or {})
        whole = reply.kind in ("ok", "close")
        for token in range(asked if whole else reply.tokens):
            if reply.delay:
                await asyncio.sleep(reply.delay)
            await send(_chunk(_event(number, workers, f" t{token}")))
        if reply.kind == "cut":
            return False
        if reply.kind == "stall":
            await asyncio.sleep(3600)
        if whole or reply.kind == "zero":
            usage = {
                "prompt_tokens": len(body["prompt"]),
                "completion_tokens": asked if whole else 0,
                "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 0},
            }
            await send(_chunk(_event(number, workers, "", finish="length" if whole else "stop")))
            await send(_chunk({"choices": [], "usage": usage}))
        else:  # as Dynamo ends a stream whose worker died
            await send(_chunk({"error": {"message": "Internal server error", "code": 500}}))
        await send(b"E\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        return reply.kind != "close"


def _event(number: int, workers: dict[str, int], text: str, finish: str | None = None) -> dict[str, Any]:
    nvext: dict[str, Any] = {"worker_id": workers}
    choice: dict[str, Any] = {"text": text, "index": 0}
    if finish is not None:
        choice["finish_reason"] = finish
        nvext["timing"] = {"ttft_ms": 1.0, "kv_hit_rate": 0.875}
    return {"id": f"cmpl-{number}", "choices": [choice], "usage": None, "nvext": nvext}


def _workers(number: int, nvext: dict[str, Any]) -> dict[str, int]:
    """Those that the request is pinned to, else in turn."""
    ids = {"prefill_worker_id": PREFILL_IDS[0], "decode_worker_id": DECODE_IDS[number % len(DECODE_IDS)]}
    return {name: nvext.get(name, worker) for name, worker in ids.items()}


def _chunk(document: dict[str, Any]) -> bytes:
    data = b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"
    return f"{len(data):X}\r\n".encode() + data + b"\r\n"
