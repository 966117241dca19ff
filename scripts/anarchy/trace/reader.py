"""Read sealed cells, and refuse what is not sealed, not whole or not possible."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from anarchy.errors import UserError
from anarchy.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.schema import PHASES, SCHEMA_VERSION, TRACE_SCHEMA, Manifest
from anarchy.trace.writer import sha256_of

MEASURE_AGAIN = (
    "remove the deployment.json above it and run again: only this cell is measured, the old one set aside"
)


@dataclass(frozen=True)
class CellTrace:
    """One sealed cell: its manifest and its requests in the order of sending."""

    directory: Path
    manifest: Manifest
    table: pa.Table

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column as an array; a null becomes NaN in a float column and -1 in an integer column."""
        values = self.table.column(name)
        if pa.types.is_integer(values.type):
            return np.asarray(pc.fill_null(values, -1).to_numpy())
        return np.asarray(values.to_numpy(zero_copy_only=False))

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """Requests of phase measure that ended well, shape (rows,)."""
        return np.asarray((self.column("phase") == "measure") & (self.column("status") == "ok"))


def read_manifest(cell_directory: Path) -> Manifest:
    """The manifest of a cell; raises UserError when it is missing, not JSON or of another schema."""
    path = cell_directory / MANIFEST_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            "there is no manifest: the cell was never sealed", where=path, remedy=MEASURE_AGAIN
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is not JSON: {error}", where=path, remedy=MEASURE_AGAIN) from None
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="give this user read access to results"
        ) from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"schema version {version!r}, this program reads {SCHEMA_VERSION}",
            where=path,
            remedy="read it with the release that wrote it, or measure again",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"key {key!r}: {first['msg']}", where=path, remedy=MEASURE_AGAIN) from None


def read_cell(cell_directory: Path) -> CellTrace:
    """Read one sealed cell.

    Raises UserError when the trace is missing, does not match its seal, lacks a column, or holds rows
    that cannot be (see ``check_rows``).
    """
    manifest = read_manifest(cell_directory)
    path = cell_directory / TRACE_FILE
    if manifest.seal is None:
        raise UserError("the cell is not sealed", where=cell_directory / MANIFEST_FILE, remedy=MEASURE_AGAIN)
    if not path.is_file():
        raise UserError("the trace is gone", where=path, remedy=MEASURE_AGAIN)
    digest = sha256_of(path)
    if digest != manifest.seal.sha256:
        raise UserError(
            f"does not match its seal, so it was truncated or edited "
            f"(SHA-256 {digest[:12]}..., sealed {manifest.seal.sha256[:12]}...)",
            where=path,
            remedy=MEASURE_AGAIN,
        )
    table = _read_table(path)
    if table.num_rows != manifest.seal.rows:
        raise UserError(
            f"{table.num_rows} rows, sealed {manifest.seal.rows}", where=path, remedy=MEASURE_AGAIN
        )
    check_rows(table, manifest, where=path)
    in_order = table.sort_by([("t_sent", "ascending"), ("request_id", "ascending")])
    return CellTrace(cell_directory, manifest, in_order)


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"is not a Parquet file: {error}", where=path, remedy=MEASURE_AGAIN) from None
    missing = [name for name in TRACE_SCHEMA.names if name not in table.column_names]
    if missing:
        raise UserError(
            f"lacks the columns {', '.join(missing)}", where=path, remedy="see data/README.md for the format"
        )
    try:
        return table.select(TRACE_SCHEMA.names).cast(TRACE_SCHEMA)
    except (pa.ArrowInvalid, ValueError) as error:
        raise UserError(
            f"a column has the wrong type: {error}", where=path, remedy="see data/README.md"
        ) from None


def check_rows(table: pa.Table, manifest: Manifest, *, where: Path) -> None:
    """Refuse rows that no clock or cluster can have made, naming the first of them.

    Duplicate ids, times out of order, a finished request without its times, unknown phases, workers that
    are not in the manifest. Rows count from 0 in the order of the file. Raises UserError.
    """
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in TRACE_SCHEMA.names}
    intended, sent = columns["t_intended"], columns["t_sent"]
    first, last, ok = columns["t_first_token"], columns["t_last_token"], columns["status"] == "ok"
    tests = [
        ("t_sent is not a number", ~np.isfinite(sent)),
        ("t_intended is not a number", ~np.isfinite(intended)),
        ("was sent before it was intended", sent < intended),
        ("has its first token before it was sent", first < sent),
        ("has its last token before its first", last < first),
        ("has a time without end", np.isinf(first) | np.isinf(last)),
        (
            "has status ok but no time of its first or last token",
            ok & ~(np.isfinite(first) & np.isfinite(last)),
        ),
        ("names an unknown prefill worker", columns["prefill_worker"] >= manifest.n_workers.prefill),
        ("names an unknown decode worker", columns["decode_worker"] >= manifest.n_workers.decode),
        ("has an unknown phase", ~np.isin(columns["phase"].astype(str), PHASES)),
        (
            "has a negative number of tokens",
            (columns["input_tokens"] < 0) | (columns["output_tokens"] < 0),
        ),
        ("names a worker below -1", (columns["prefill_worker"] < -1) | (columns["decode_worker"] < -1)),
        ("has the request_id of an earlier row", _repeated(columns["request_id"])),
    ]
    for what, bad in tests:
        if bad.any():
            row = int(np.argmax(bad))
            raise UserError(
                f"row {row} ({columns['request_id'][row]}) {what}", where=where, remedy=MEASURE_AGAIN
            )


def _repeated(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which entries equal an earlier one, shape (rows,)."""
    _, first = np.unique(values.astype(str), return_index=True)
    repeated = np.ones(len(values), dtype=np.bool_)
    repeated[first] = False
    return repeated
