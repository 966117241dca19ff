"""From replayed requests to a trace: phases as the live client has them, and whether enough was replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anarchy.load.phases import PhasePlan
from anarchy.load.workload import UNIQUE_PROMPT, Workload
from anarchy.trace.schema import TRACE_SCHEMA
from anarchy.virtual.errors import CellError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Requests:
    """Requests by user and turn, of an open loop by session; times in model s, shape (requests,) each."""

    user: Ints
    turn: Ints
    sent: Floats
    first_token: Floats
    last_token: Floats
    end: Floats
    output_tokens: Ints
    cached_tokens: Ints
    prefill_worker: Ints
    decode_worker: Ints
    completed: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, columns: Mapping[str, npt.NDArray[Any]]) -> Requests:
        """From the columns of a replay, sorted by user and turn."""
        order = np.lexsort((columns["turn_index"], columns["user"]))

        def seconds(name: str) -> Floats:
            return np.asarray(columns[name][order] / 1e3, dtype=np.float64)

        return cls(
            user=columns["user"][order],
            turn=columns["turn_index"][order],
            sent=seconds("arrival_time_ms"),
            first_token=seconds("first_token_ms"),
            last_token=seconds("last_token_ms"),
            end=seconds("terminal_time_ms"),
            output_tokens=columns["output_length"][order],
            cached_tokens=columns["reused_input_tokens"][order],
            prefill_worker=columns["prefill_worker_idx"][order],
            decode_worker=columns["decode_worker_idx"][order],
            completed=columns["completed"][order],
        )

    def check_served(self) -> None:
        """Raise CellError where the engine dropped requests."""
        if dropped := int(np.count_nonzero(~self.completed)):
            raise CellError(
                f"the engine dropped {dropped} of {len(self.user)} requests: one alone needs more KV "
                "blocks than a worker holds",
                where="cell",
                remedy="raise limits.num_gpu_blocks, or shorten prompts and answers",
            )

    def known_until(self, users: int, workload: Workload) -> float:
        """Until when every request that was sent is known, s.

        A user's next one comes after its last end, and after what it thinks then.
        """
        last = np.full(users, -np.inf)
        final = np.flatnonzero(np.diff(self.user, append=-1))
        for user, turn, end in zip(self.user[final], self.turn[final], self.end[final], strict=True):
            last[user] = end + workload.think_s(int(user), int(turn))
        return float(last.min())

    def fastest_s(self) -> float:
        """Model s from one request to the next of the user who got through most of them, on average."""
        user = self.user[np.argmax(self.turn)]
        own = self.user == user
        return float((self.end[own].max() - self.sent[own].min()) / np.count_nonzero(own))


@dataclass(frozen=True)
class Phases:
    """When measuring began and ended, model s, and the bounds that ended a phase before its condition."""

    measure_start: float
    measure_end: float
    bounds_hit: tuple[str, ...]


def phases(requests: Requests, plan: PhasePlan, users: int, workload: Workload) -> Phases | None:
    """The phases of a replayed cell (`load.phases`); None where it was not replayed far enough to tell."""
    known = requests.known_until(users, workload)
    first_end = requests.end[requests.turn == 0]
    start, bounds = plan.warmup_s, []
    if len(first_end) < users or first_end.max() > plan.warmup_max_s:
        if known < plan.warmup_max_s:
            return None
        start = plan.warmup_max_s
        bounds.append("warmup_max_s")
    else:
        start = max(start, float(first_end.max()))
    sent = np.sort(requests.sent[requests.sent >= start])
    end = start + plan.measure_s
    if plan.min_requests > np.searchsorted(sent, end):
        enough = sent[plan.min_requests - 1] if len(sent) >= plan.min_requests else np.inf
        end = min(float(np.nextafter(enough, np.inf)), start + plan.measure_max_s)
        if end < enough:
            bounds.append("measure_max_s")
    return Phases(start, end, tuple(bounds)) if known >= end else None


def table_of(
    requests: Requests,
    found: Phases,
    workload: Workload,
    labels: Mapping[str, Any],
    deadline_s: float,
) -> pa.Table:
    """The trace of a cell: all requests sent before measuring ended, in the order of sending.

    `labels`: policy, tau and omega of every row. What is sent after that loads no window that is measured. A
    request that took longer than its deadline would have been cut off by a client: it is a `timeout`.
    """
    kept = np.flatnonzero(requests.sent < found.measure_end)
    pairs = list(zip(requests.user[kept].tolist(), requests.turn[kept].tolist(), strict=True))
    sent = requests.sent[kept]
    status = np.where(requests.end[kept] - sent > deadline_s, "timeout", "ok")
    rows = len(kept)
    columns: dict[str, Any] = {
        "request_id": [f"{user:04d}-{turn:06d}" for user, turn in pairs],
        "user": requests.user[kept],
        "template": workload.shapes(pairs)[1] if workload.spec.templates else np.full(rows, UNIQUE_PROMPT),
        "t_intended": sent,
        "t_sent": sent,
        "t_first_token": known(requests.first_token[kept]),
        "t_last_token": known(requests.last_token[kept]),
        "t_end": requests.end[kept],
        "input_tokens": np.full(rows, workload.spec.input_tokens),
        "output_tokens": requests.output_tokens[kept],
        "cached_tokens": requests.cached_tokens[kept],
        "prefill_worker": requests.prefill_worker[kept],
        "decode_worker": requests.decode_worker[kept],
        "phase": np.where(sent < found.measure_start, "warmup", "measure"),
        "status": status,
    }
    return trace_table(columns, labels)


def trace_table(columns: Mapping[str, Any], labels: Mapping[str, Any]) -> pa.Table:
    """A trace in the order of sending; `labels` are policy, tau and omega, which every row has alike."""
    words = {"policy": labels["policy"], "tau": labels["tau"], "omega": labels["omega"], "regime": ""}
    rows = len(columns["t_sent"])
    alike = {
        name: pa.repeat(pa.scalar(word, TRACE_SCHEMA.field(name).type), rows) for name, word in words.items()
    }
    whole = {**columns, **alike}
    table = pa.table([pa.array(whole[field.name], field.type) for field in TRACE_SCHEMA], schema=TRACE_SCHEMA)
    return table.sort_by([("t_sent", "ascending"), ("request_id", "ascending")])


def known(seconds: Floats) -> pa.Array:
    """Times as a column: null where there is none."""
    return pa.array(seconds, pa.float64(), from_pandas=True)
