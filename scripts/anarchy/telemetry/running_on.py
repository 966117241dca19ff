"""What a deployment's GPUs did while its cells were measured, from its recordings."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anarchy.ground.errors import UserError
from anarchy.telemetry.gpu import metric_name
from anarchy.telemetry.recording import Recording, read, values
from anarchy.trace.schema import Manifest

Span = tuple[float, float]
"""Begin and end of a cell, seconds since the epoch."""
SAMPLED: Final = {
    "sm_clock_mhz": "clocks.sm",
    "memory_clock_mhz": "clocks.mem",
    "power_w": "power.draw",
    "temperature_c": "temperature.gpu",
    "memory_temperature_c": "temperature.memory",
    "memory_used_mib": "memory.used",
    "busy_percent": "utilization.gpu",
    "memory_busy_percent": "utilization.memory",
}
"""Name with its unit -> nvidia-smi's field."""
REASONS: Final = "clocks_event_reasons.active"
HELD_BACK: Final = 0x4 | 0x8 | 0x20 | 0x40
"""Reasons for which a GPU is slower than its work asks: power cap, hardware slowdown, heat."""
OF_GPUS: Final = "/gpu"
"""How the name of a source ends that is the GPUs of a node."""


def running_on(folder: Path, spans: Sequence[Span]) -> dict[str, Any] | None:
    """What was recorded of a deployment (its folder) during these spans; None without any recording.

    `gpus`: how many were seen; `samples`: least, median and largest of each of `SAMPLED`; `held_back_share`:
    of the samples of all GPUs, null without GPUs; `answer_p99_s`: how long the processes took to tell their
    metrics, and `unanswered_share`, of these questions; null where nothing was asked.
    """
    recordings = [found for found in map(_readable, sorted(folder.glob("telemetry/*"))) if found is not None]
    if not recordings:
        return None
    samples = {name: _sampled(recordings, field, spans) for name, field in SAMPLED.items()}
    reasons = _sampled(recordings, REASONS, spans)
    held_back = [(int(value) & HELD_BACK) != 0 for value in reasons.column("value").to_pylist()]
    seen = {
        (row["source"], row["labels"])
        for table in (*samples.values(), reasons)
        for row in table.select(["source", "labels"]).to_pylist()
    }
    seconds, answered = _questions(recordings, spans)
    return {
        "gpus": len(seen),
        "samples": {name: _ends(table) for name, table in samples.items() if table.num_rows},
        "held_back_share": float(np.mean(held_back)) if held_back else None,
        "answer_p99_s": float(np.quantile(seconds[answered], 0.99)) if answered.any() else None,
        "unanswered_share": float(np.mean(~answered)) if answered.size else None,
    }


def wall_span(cell: Manifest) -> Span | None:
    """When a cell was measured; None where its manifest does not tell."""
    if not cell.started_at or cell.duration_s is None:
        return None
    start = datetime.datetime.fromisoformat(cell.started_at).timestamp()
    return start, start + cell.duration_s * cell.dilation


def _readable(folder: Path) -> Recording | None:
    """A recording; None for a start that ended before its first second."""
    try:
        return read(folder)
    except UserError:
        return None


def _sampled(recordings: Sequence[Recording], field: str, spans: Sequence[Span]) -> pa.Table:
    parts = [
        values(one, metric_name(field), start=start, end=end) for one in recordings for start, end in spans
    ]
    schema = pa.schema([("source", pa.string()), ("labels", pa.string()), ("value", pa.float64())])
    tables = [part.select(schema.names).cast(schema) for part in parts]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _ends(table: pa.Table) -> list[float]:
    """Least, median and largest value."""
    column = table.column("value").to_numpy()
    return [float(np.min(column)), float(np.median(column)), float(np.max(column))]


def _questions(
    recordings: Sequence[Recording], spans: Sequence[Span]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of every question to a process in these spans: seconds to its answer, and whether there was one."""
    seconds: list[float] = []
    answered: list[bool] = []
    for one in recordings:
        source = one.scrapes["source"].cast(pa.string())
        rows = one.scrapes.filter(pc.invert(pc.ends_with(source, pattern=OF_GPUS)))
        wall = rows["t_wall"].to_numpy()
        within = np.zeros(len(wall), dtype=bool)
        for start, end in spans:
            within |= (wall >= start) & (wall < end)
        seconds += rows["seconds"].to_numpy()[within].tolist()
        answered += rows["reason"].is_null().to_numpy()[within].tolist()
    return np.array(seconds, dtype=np.float64), np.array(answered, dtype=np.bool_)
