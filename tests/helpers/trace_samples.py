"""Small sealed cells for the tests of the trace: clean by default, spoiled on purpose."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from anarchy.gates.verdict import evaluate
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import GateResult, Manifest, RequestRecord, StageSpan, WorkerCount
from anarchy.trace.writer import TraceWriter, read_rows, seal

PLAN_HASH = "a" * 64


def record(index: int = 0, **changes: Any) -> RequestRecord:
    """One good request; the index sets id, times and workers. Four are in flight at a time."""
    start = 0.1 * index
    good = RequestRecord(
        request_id=f"r{index:05d}",
        user=index % 4,
        template=-1,
        t_intended=start,
        t_sent=start + 0.001,
        t_first_token=start + 0.101,
        t_last_token=start + 0.4,
        t_end=start + 0.4,
        input_tokens=128,
        output_tokens=64,
        cached_tokens=None,
        prefill_worker=0,
        decode_worker=index % 2,
        policy="static",
        tau=0.0,
        omega=1.0,
        regime="",
        phase="measure",
        status="ok",
    )
    if "t_last_token" in changes and changes["t_last_token"] is not None:
        changes = {"t_end": changes["t_last_token"], **changes}
    return dataclasses.replace(good, **changes)


def records(count: int = 200) -> list[RequestRecord]:
    """A clean cell's requests, a few of them before and after the measure phase."""
    rows = [record(index) for index in range(count)]
    edge = max(1, count // 20)
    rows[:edge] = [dataclasses.replace(row, phase="warmup") for row in rows[:edge]]
    rows[-edge:] = [dataclasses.replace(row, phase="cooldown") for row in rows[-edge:]]
    return rows


STAGES = (
    StageSpan("below", 2, 0.0, 1.0, 9.99),
    StageSpan("past", 4, 9.99, 11.0, 19.99),
)
"""Of a staged cell of 200 requests, one each 0.1 s: 90 are measured in each stage."""


def staged_records() -> list[RequestRecord]:
    """A clean staged cell's requests: what settles is warm-up; in the first stage two are in flight."""
    rows = [record(index) for index in range(200)]
    rows = [
        dataclasses.replace(row, t_last_token=row.t_intended + 0.2, t_end=row.t_intended + 0.2)
        if row.t_sent < STAGES[0].end_s
        else row
        for row in rows
    ]
    return [
        row
        if any(stage.settled_s <= row.t_sent < stage.end_s for stage in STAGES)
        else dataclasses.replace(row, phase="warmup")
        for row in rows
    ]


def manifest(**changes: Any) -> Manifest:
    """A manifest of a 1P/2D cell that every gate lets pass."""
    good: dict[str, Any] = {
        "cell": "unique-c0004",
        "model": "llama-3.1-70b",
        "topology": "1p2d",
        "policy": "static",
        "concurrency": 4,
        "n_workers": WorkerCount(prefill=1, decode=2),
        "launch": 1,
        "engine": "mocker",
        "dilation": 2.0,
        "plan_hash": PLAN_HASH,
        "client": {
            "cpu_share": 0.2,
            "host_cpu_share": 0.5,
            "loop_lag_p99_s": 0.001,
            "schedule_delay_p99_s": 0.001,
            "measure_s": 20.0,
        },
        "routing_test": {"ok": True, "p_value": 0.4},
        "gates": GateResult(valid=True),
    }
    return Manifest(**{**good, **changes})


def write_rows(directory: Path, rows: list[RequestRecord]) -> Path:
    """Write rows as the running client does."""
    with TraceWriter(directory) as writer:
        for row in rows:
            writer.append(row)
    return writer.path


def sealed(directory: Path, rows: list[RequestRecord] | None = None, **changes: Any) -> Manifest:
    """Write and seal a cell."""
    table = read_rows(write_rows(directory, records() if rows is None else rows))
    return seal(directory, table, manifest(**changes))


def judged(
    directory: Path, rows: list[RequestRecord], planned_measure_s: float = 20.0, **changes: Any
) -> GateResult:
    """Ask every gate about a cell whose plan was to measure 20 s."""
    table = read_rows(write_rows(directory, rows))
    return evaluate(CellTrace(directory, manifest(**changes), table), planned_measure_s)
