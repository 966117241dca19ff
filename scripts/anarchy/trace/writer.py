"""Append-only JSON Lines while a cell runs, sealed into one Parquet file when it ends.

The manifest is written last and atomically: a cell without one is not data, whatever else lies there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anarchy.errors import UserError
from anarchy.layout import MANIFEST_FILE, REQUESTS_FILE, TRACE_FILE
from anarchy.trace.schema import TRACE_SCHEMA, Manifest, RequestRecord, Seal

_FIELDS = tuple(field.name for field in dataclasses.fields(RequestRecord))
_CANNOT_BE = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR)
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
        _sync(scratch)
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
    _sync(companion)
    return sha256_of(companion)


def write_json(path: Path, document: object) -> None:
    """Write a JSON file so that it is either whole or not there; NaN and infinity become null."""
    make_folder(path.parent)
    with disk_errors(path):
        scratch = path.with_suffix(f".{os.getpid()}.partial")  # another process may write it too
        scratch.write_text(
            json.dumps(_finite_or_null(document), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        _sync(scratch)
        os.replace(scratch, path)


def _finite_or_null(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite_or_null(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_null(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Tell a full disk, and what may not or cannot be written, as what they are."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                "no disk space is left",
                where=where,
                remedy="free space and run again: sealed cells are kept, the interrupted one is repeated",
            ) from error
        if error.errno == errno.EFBIG:
            raise UserError(
                "the file may not grow further",
                where=where,
                remedy="raise the limit of this shell (ulimit -f unlimited) and run again",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                "may not be written",
                where=where,
                remedy="give this user write access, or set results to another folder",
            ) from error
        if error.errno in _CANNOT_BE:
            raise UserError(
                f"cannot be written: {error.strerror}", where=where, remedy="name another place"
            ) from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing; raises UserError saying why it cannot be."""
    with disk_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UserError("is there and is no folder", where=folder, remedy="name another place") from None
        except FileNotFoundError as error:  # /proc and the like say so of whatever one makes there
            raise UserError(
                f"cannot be made: {error.strerror}", where=folder, remedy="name another place"
            ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
