"""Append-only JSON Lines while a cell runs, sealed into one Parquet file when it ends.

The manifest is written last and atomically: a cell without one is not data, whatever else lies there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anarchy.errors import UserError
from anarchy.layout import MANIFEST_FILE, REQUESTS_FILE, TRACE_FILE
from anarchy.trace.schema import TRACE_SCHEMA, Manifest, RequestRecord, Seal

_FIELDS = tuple(field.name for field in dataclasses.fields(RequestRecord))


class TraceWriter:
    """The open trace of the running cell; each row reaches the operating system as it is written."""

    def __init__(self, cell_directory: Path) -> None:
        self.path = cell_directory / REQUESTS_FILE
        self.rows = 0
        with disk_errors(cell_directory):
            cell_directory.mkdir(parents=True, exist_ok=True)
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
                self._file.flush()
                os.fsync(self._file.fileno())
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
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                raise UserError(
                    "is not a whole JSON row",
                    where=f"{path}:{number}",
                    remedy="the cell was cut off; measure it again",
                ) from None
    table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
    return table.sort_by([("t_sent", "ascending"), ("request_id", "ascending")])


def seal(cell_directory: Path, table: pa.Table, manifest: Manifest) -> Manifest:
    """Turn a finished cell into data: Parquet, checksum, manifest, in that order.

    Returns the sealed manifest.
    """
    trace = cell_directory / TRACE_FILE
    with disk_errors(cell_directory):
        scratch = trace.with_suffix(".partial")
        pq.write_table(table, scratch, compression="zstd")
        _sync(scratch)
        digest = sha256_of(scratch)
        os.replace(scratch, trace)
        sealed = manifest.model_copy(
            update={"seal": Seal(file=TRACE_FILE, rows=table.num_rows, sha256=digest)}
        )
        write_json(cell_directory / MANIFEST_FILE, sealed.model_dump(mode="json"))
        (cell_directory / REQUESTS_FILE).unlink(missing_ok=True)
    return sealed


def write_json(path: Path, document: object) -> None:
    """Write a JSON file so that it is either whole or not there."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".partial")
        scratch.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        _sync(scratch)
        os.replace(scratch, path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Tell a full disk or a folder that may not be written as what they are."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                "no disk space is left",
                where=where,
                remedy="free space and run again: sealed cells are kept, the interrupted one is repeated",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise UserError(
                "may not be written",
                where=where,
                remedy="give this user write access, or set results to another folder",
            ) from error
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
