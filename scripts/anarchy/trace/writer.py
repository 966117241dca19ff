"""Append-only JSON Lines while a cell runs, sealed into one Parquet file when it ends.

The manifest is written last and atomically: a cell without one is not data, whatever else lies there.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, sha256_of, sync, write_json
from anarchy.ground.layout import MANIFEST_FILE, REQUESTS_FILE, TRACE_FILE
from anarchy.trace.schema import TRACE_SCHEMA, Manifest, RequestRecord, Seal

_FIELDS = tuple(field.name for field in dataclasses.fields(RequestRecord))
_CUT_OFF = "the cell was cut off or its rows were edited; run again and it is measured again"


class TraceWriter:
    """The open trace of the running cell; each row reaches the operating system as it is written."""

    def __init__(self, cell_directory: Path) -> None:
        self.path = cell_directory / REQUESTS_FILE
        self.rows = 0
        make_folder(cell_directory)
        with disk_errors(cell_directory):
            self._file = self.path.open("w", encoding="utf-8", buffering=1)

    def append(self, record: RequestRecord) -> None:
        """Write one finished request."""
        row = {name: getattr(record, name) for name in _FIELDS}
        with disk_errors(self.path):
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self.rows += 1

    def close(self) -> None:
        """Bring every row to the disk."""
        if not self._file.closed:
            with disk_errors(self.path):
                try:
                    self._file.flush()
                    os.fsync(self._file.fileno())
                finally:
                    self._file.close()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_rows(path: Path) -> pa.Table:
    """The rows of a JSON Lines trace in the order of sending, as a table of TRACE_SCHEMA.

    Raises UserError with the line number for a line that is not a whole row.
    """
    rows: list[dict[str, Any]] = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                rows.append(_whole_row(line, where=f"{path}:{number}"))
    except FileNotFoundError:
        raise UserError("there are no rows", where=path, remedy=_CUT_OFF) from None
    try:
        table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
    except pa.ArrowException as error:
        raise UserError(f"a value has the wrong type: {error}", where=path, remedy=_CUT_OFF) from None
    return table.sort_by([("t_sent", "ascending"), ("request_id", "ascending")])


def _whole_row(line: bytes, *, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        raise UserError("is not a whole JSON row", where=where, remedy=_CUT_OFF) from None
    if not isinstance(row, dict) or row.keys() != set(_FIELDS):
        raise UserError("does not hold just the fields of a request", where=where, remedy=_CUT_OFF)
    return row


def seal(
    cell_directory: Path, table: pa.Table, manifest: Manifest, companions: Sequence[Path] = ()
) -> Manifest:
    """Turn a finished cell into data: Parquet, checksum, manifest, in that order.

    ``companions`` are further files of the cell, finished and in its folder; the manifest holds their
    checksums. Returns the sealed manifest. Raises UserError when the cell is sealed already: raw data are
    never rewritten (``state.set_aside`` makes room).
    """
    trace = cell_directory / TRACE_FILE
    if (cell_directory / MANIFEST_FILE).exists():
        raise UserError(
            "is sealed already, and raw data are never rewritten",
            where=cell_directory,
            remedy="move the folder away and run again",
        )
    with disk_errors(cell_directory):
        scratch = trace.with_suffix(".partial")
        pq.write_table(table, scratch, compression="zstd")
        sync(scratch)
        digest = sha256_of(scratch)
        os.replace(scratch, trace)
        sealed = manifest.model_copy(
            update={
                "seal": Seal(file=TRACE_FILE, rows=table.num_rows, sha256=digest),
                "companions": {path.name: _checked_in(cell_directory, path) for path in companions},
            }
        )
        write_json(cell_directory / MANIFEST_FILE, sealed.model_dump(mode="json"))
        (cell_directory / REQUESTS_FILE).unlink(missing_ok=True)
    return sealed


def _checked_in(cell_directory: Path, companion: Path) -> str:
    """Bring a companion to the disk and return its checksum."""
    if companion.parent != cell_directory:
        raise ValueError(f"{companion} does not lie in {cell_directory}")
    sync(companion)
    return sha256_of(companion)
