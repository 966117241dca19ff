"""What aiperf and Dynamo would have recorded of one made-up closed loop: whole, or spoiled as files are."""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ZERO_NS = 1_790_000_000_000_000_000
WORKERS = {"prefill": (11,), "decode": (21, 22)}
SCHEMA = "dynamo.request.trace.v1"


class Made(NamedTuple):
    """One request of the loop, times in ns from its start; a cancelled one has no tokens."""

    name: str
    free: int
    sent: int
    first: int
    end: int
    decode: int
    cancelled: bool


def closed_loop(C: int = 32, n: int = 1200, *, cancel: float = 0.0, seed: int = 1) -> list[Made]:
    """Requests in the order of their ends; `cancel` is the share cut off after 50 ms."""
    rng = np.random.default_rng([seed, C, n])
    free = [(int(rng.integers(0, 2_000_000)), user) for user in range(C)]
    heapq.heapify(free)
    ends: dict[int, list[int]] = {worker: [] for worker in WORKERS["decode"]}
    made = []
    for i in range(n):
        at, user = heapq.heappop(free)
        sent = at + 1_000_000
        for worker in ends:
            ends[worker] = [end for end in ends[worker] if end > sent]
        worker = min(ends, key=lambda j: (len(ends[j]), rng.random()))
        x = len(ends[worker]) + 1
        first = sent + int((20 + 2 * x) * 1e6 * rng.lognormal(0.0, 0.1))
        end = first + int(rng.uniform(200, 400) * 1e6)
        cancelled = bool(rng.random() < cancel)
        if cancelled:
            first, end = sent + 50_000_000, sent + 50_000_000
        ends[worker].append(end)
        heapq.heappush(free, (end + 500_000, user))
        made.append(Made(f"{C}-{i:05d}", at, sent, first, end, worker, cancelled))
    return sorted(made, key=lambda request: request.end)


def aiperf_record(made: Made, *, late: bool = False, **metadata: Any) -> dict[str, Any]:
    """The record of one request; `late` stamps a cancelled one as aiperf 0.13 does."""
    shift = made.end - made.sent if late and made.cancelled else 0
    meta = {
        "x_request_id": made.name,
        "credit_issued_ns": ZERO_NS + made.free,
        "request_start_ns": ZERO_NS + made.sent + shift,
        "request_end_ns": ZERO_NS + made.end + shift,
        "benchmark_phase": "profiling",
        "was_cancelled": made.cancelled,
    }
    if made.cancelled:
        error = {"code": 499, "type": "RequestCancellationError", "message": "cancelled"}
        return {"metadata": meta | metadata, "metrics": {"error_isl": tokens(128)}, "error": error}
    metrics = {
        "input_sequence_length": tokens(128),
        "output_sequence_length": tokens(64),
        "request_latency": {"value": (made.end - made.sent) / 1e6, "unit": "ms"},
        "time_to_first_token": {"value": (made.first - made.sent) / 1e6, "unit": "ms"},
    }
    return {"metadata": meta | metadata, "metrics": metrics, "error": None}


def tokens(count: int) -> dict[str, Any]:
    return {"value": count, "unit": "tokens"}


def dynamo_record(made: Made) -> dict[str, Any]:
    """What the frontend recorded of it, received 1 ms after the client's sending."""
    received = (ZERO_NS + made.sent) // 1_000_000 + 1
    total = (made.end - made.sent) / 1e6 - 1.0
    reason = {"backend_finish_reason": "cancelled"} if made.cancelled else {"finish_reason": "length"}
    request = {
        "request_id": f"d-{made.name}",
        "x_request_id": made.name,
        "model": "m",
        "input_tokens": 128,
        "output_tokens": 1 if made.cancelled else 64,
        "cached_tokens": 0,
        "request_received_ms": received,
        "ttft_ms": min(total, (made.first - made.sent) / 1e6 - 1.0),
        "total_time_ms": total,
        "worker": {"prefill_worker_id": WORKERS["prefill"][0], "decode_worker_id": made.decode},
        "finish_reason_metadata": reason,
    }
    event = {
        "schema": SCHEMA,
        "event_type": "request_end",
        "event_time_unix_ms": received + round(total),
        "agent_context": {"session_id": made.name},
        "request": request,
    }
    return {"timestamp": 1, "event": event}


def write_aiperf(
    folder: Path, made: Iterable[Made], C: int = 32, phases: Sequence[dict[str, Any]] = (), **options: Any
) -> Path:
    """An artifact folder: the export and its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "profile_export.jsonl", [aiperf_record(each, **options) for each in made])
    write_settings(folder, phases or [{"kind": "profiling", "type": "concurrency", "concurrency": C}])
    return folder


def write_settings(folder: Path, phases: Sequence[dict[str, Any]]) -> None:
    config = {"models": {"items": [{"name": "m"}]}, "phases": list(phases)}
    (folder / "profile_export_aiperf.json").write_text(
        json.dumps({"aiperf_version": "0.13.0", "input_config": config})
    )


def write_dynamo(path: Path, made: Iterable[Made]) -> Path:
    """A plain request trace."""
    return write_lines(path, [dynamo_record(each) for each in made])


def write_segments(folder: Path, made: Sequence[Made], count: int = 12, prefix: str = "trace") -> list[Path]:
    """The same in gzip segments of equal length."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(made) // count)
    paths = []
    for number in range(count):
        lines = [json.dumps(dynamo_record(each)) for each in made[number * size : (number + 1) * size]]
        paths.append(folder / f"{prefix}.{number:06d}.jsonl.gz")
        paths[-1].write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
    return paths


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def tear(path: Path, share: float = 0.3) -> None:
    """Cut the end off a file, as a writer that is killed does."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * (1.0 - share))])
