"""Every decision of pinned routing: what was known of each candidate, and which one it became.

JSON lines while the cell runs, sealed as Parquet beside the trace.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from anarchy.ground.bounded import parse_json
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors

DECISIONS_FILE: Final = "decisions.parquet"


@dataclass(frozen=True, slots=True)
class Decision:
    """One request's decision. A list has one entry a decode worker, in the order of their index."""

    request_id: str
    """As in the trace."""
    t: float
    """When it was asked for, model s on the trace's clock."""
    policy: str
    way: str
    regime: str
    """Regime of the adaptive controller, empty for any other policy."""
    tau: float | None
    omega: float | None
    """What was set on Dynamo's router; null for a baseline."""
    prefill_worker: int
    decode_worker: int
    """Indices of the workers that the request is pinned to."""
    in_flight: tuple[int, ...]
    """Requests on each decode worker by our own count, without this one."""
    costs: tuple[float, ...] | None
    """Dynamo's cost of each decode worker, KV blocks; null for a baseline, as are the next two."""
    overlaps: tuple[float, ...] | None
    """Share in [0, 1] of the prompt's blocks that each decode worker holds."""
    loads: tuple[float, ...] | None
    """KV blocks booked on each decode worker, without this request."""
    prefill_costs: tuple[float, ...] | None
    """The same of the prefill workers; null where there is one only, or a baseline chose."""
    prefill_overlaps: tuple[float, ...] | None
    prefill_loads: tuple[float, ...] | None
    wall_us: float
    """Wall time that the decision took, microseconds; for a batch with the time of collecting it."""


_FLOATS: Final = pa.list_(pa.float64())
DECISION_SCHEMA: Final = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("t", pa.float64(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("way", pa.string(), nullable=False),
        pa.field("regime", pa.string(), nullable=False),
        pa.field("tau", pa.float64()),
        pa.field("omega", pa.float64()),
        pa.field("prefill_worker", pa.int32(), nullable=False),
        pa.field("decode_worker", pa.int32(), nullable=False),
        pa.field("in_flight", pa.list_(pa.int32()), nullable=False),
        pa.field("costs", _FLOATS),
        pa.field("overlaps", _FLOATS),
        pa.field("loads", _FLOATS),
        pa.field("prefill_costs", _FLOATS),
        pa.field("prefill_overlaps", _FLOATS),
        pa.field("prefill_loads", _FLOATS),
        pa.field("wall_us", pa.float64(), nullable=False),
    ]
)
"""Column for column the fields of `Decision`, one row a decision, in the order in which they were made."""

_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Decision))


class DecisionLog:
    """The decisions of one cell, in its folder; each reaches the operating system as it is written.

    Raises UserError when the disk is full or may not be written.
    """

    def __init__(self, cell_directory: Path) -> None:
        self.path = cell_directory / DECISIONS_FILE
        self._lines = self.path.with_suffix(".jsonl")
        self._file: TextIO | None = None

    def open(self) -> None:
        """Begin, with nothing of a cell that was cut off before."""
        with disk_errors(self._lines):
            self._lines.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._lines.open("w", encoding="utf-8", buffering=1)

    def write(self, decision: Decision) -> None:
        """Append one decision."""
        assert self._file is not None
        row = {name: getattr(decision, name) for name in _FIELDS}
        with disk_errors(self._lines):
            self._file.write(json.dumps(row, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file; may be called twice, and without `open`."""
        if self._file is not None:
            with disk_errors(self._lines):
                self._file.close()

    def seal(self) -> Path:
        """Turn the lines into a Parquet file, whole or not at all, and return its path."""
        self.close()
        scratch = self.path.with_suffix(".partial")
        rows = _rows(self._lines)
        with disk_errors(self.path):
            pq.write_table(pa.Table.from_pylist(rows, schema=DECISION_SCHEMA), scratch, compression="zstd")
            os.replace(scratch, self.path)
            self._lines.unlink()
        return self.path


def read_decisions(path: Path) -> pa.Table:
    """The decisions of a sealed cell, as a table of DECISION_SCHEMA; UserError for another file."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"cannot be read: {error}", where=path, remedy="name the decisions of a sealed cell"
        ) from error
    if not table.schema.equals(DECISION_SCHEMA):
        raise UserError(
            "does not hold the columns of decisions",
            where=path,
            remedy="measure the cell again with this version of the program",
        )
    return table


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as lines:
            return [parse_json(line.decode("utf-8"), each_once=False) for line in lines]
    except (OSError, ValueError) as error:
        raise UserError(
            f"the decisions are not whole: {error}",
            where=path,
            remedy="the cell was cut off or its rows were edited; run again and it is measured again",
        ) from error
