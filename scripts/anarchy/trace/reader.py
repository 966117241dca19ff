"""Read traces, and refuse what is not whole or not possible: a number never comes from bad data.

`read_cell` takes what this project sealed, `read_trace` a folder of anybody's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.ground.files import sha256_of
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.packed import (
    CELLS,
    PACK_FILE,
    is_packed,
    manifest_document,
    packed_names,
    packed_table,
)
from anarchy.trace.schema import (
    ADDED_COLUMNS,
    OVERLAP_COLUMNS,
    PHASES,
    PUBLIC_SCHEMA,
    SCHEMA_VERSION,
    TRACE_SCHEMA,
    Manifest,
)

MEASURE_AGAIN: Final = (
    "remove the deployment.json above it and run again: only this cell is measured, the old one set aside"
)
MAX_TIME_S: Final = 1e9
"""A cell that lasts 30 years has its times in another unit, or on another zero."""
MAX_ROWS: Final = 20_000_000
"""Requests of one cell: five hours of a thousand a second. A small file can claim to hold any number."""
MEND: Final = "mend or leave out this trace; docs/traces.md describes the format"


@dataclass(frozen=True)
class CellTrace:
    """One cell: its manifest and its requests in the order of sending, ties by `request_id`."""

    directory: Path
    manifest: Manifest
    table: pa.Table

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column as an array; a null becomes NaN in a float column and -1 in an integer column."""
        values = self.table.column(name)
        if values.null_count and pa.types.is_integer(values.type):
            values = pc.fill_null(values, -1)
        return np.asarray(values.to_numpy(zero_copy_only=False))

    @cached_property
    def measured(self) -> npt.NDArray[np.bool_]:
        """Requests of phase measure that ended well, shape (rows,)."""
        return self.equals("phase", "measure") & self.equals("status", "ok")

    @cached_property
    def ttft(self) -> npt.NDArray[np.float64]:
        """Time to first token of the measured requests, s, from when the user was free; NaN where untold."""
        ttft: npt.NDArray[np.float64] = self.column("t_first_token") - self.column("t_intended")
        return ttft[self.measured]

    @cached_property
    def ends(self) -> npt.NDArray[np.float64]:
        """When each request was over, s, shape (rows,): NaN where neither `t_end` nor a last token tells.

        One that ended well was over with its last token: what a client still reads after it loads no worker.
        """
        end, last = self.column("t_end"), self.column("t_last_token")
        well = self.equals("status", "ok") & np.isfinite(last)
        return np.asarray(np.where(well | np.isnan(end), last, end), dtype=np.float64)

    def equals(self, name: str, word: str) -> npt.NDArray[np.bool_]:
        """Rows whose text in one column is `word`, shape (rows,); far quicker than comparing objects."""
        same = pc.equal(self.table.column(name), word)
        if same.null_count:
            same = pc.fill_null(same, False)
        return np.asarray(same.to_numpy(zero_copy_only=False), dtype=np.bool_)


def read_manifest(cell_directory: Path, remedy: str = MEASURE_AGAIN) -> Manifest:
    """The manifest of a cell; raises UserError when it is missing, not JSON or of another schema.

    A manifest that names no schema version follows the present one.
    """
    path = cell_directory / MANIFEST_FILE
    if os.path.exists(path):
        document = load_json(path, remedy=remedy)
    elif is_packed(cell_directory):
        document = manifest_document(cell_directory)
    else:
        raise UserError("there is no manifest, so the cell is not whole", where=path, remedy=remedy)
    version = document.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION or isinstance(version, bool):
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
        raise UserError(f"key {key!r}: {first['msg']}", where=path, remedy=remedy) from None


def is_sealed(cell_directory: Path) -> bool:
    """Whether a cell has a manifest, in its folder or in its deployment's pack."""
    return os.path.exists(cell_directory / MANIFEST_FILE) or is_packed(cell_directory)


def sealed_cells(deployment: Path) -> list[Path]:
    """Every sealed cell of a deployment by the folder that it has or would have, by name."""
    folders = {path.parent for path in deployment.glob(f"{CELLS}/*/{MANIFEST_FILE}")}
    return sorted(folders | {deployment / CELLS / name for name in packed_names(deployment)})


def read_cell(cell_directory: Path) -> CellTrace:
    """Read one sealed cell of this project.

    Raises UserError when the trace or a companion is missing or does not match its seal, or when the trace
    lacks a column or holds rows that cannot be (see ``check_rows``).
    """
    manifest = read_manifest(cell_directory)
    if manifest.seal is None:
        raise UserError("the cell is not sealed", where=cell_directory / MANIFEST_FILE, remedy=MEASURE_AGAIN)
    table = _read_table(cell_directory / TRACE_FILE, manifest, TRACE_SCHEMA, MEASURE_AGAIN)
    check_finished(table, where=cell_directory / TRACE_FILE, remedy=MEASURE_AGAIN)
    trace = CellTrace(cell_directory, manifest, _in_order(table))
    for name in manifest.companions:
        companion(trace, name)
    return trace


def companion(trace: CellTrace, name: str) -> Path | None:
    """Path of a companion of a cell, checked against its seal; None where the manifest names no such file.

    Raises UserError when it is missing or does not match its seal.
    """
    sealed = trace.manifest.companions.get(name)
    if sealed is None:
        return None
    path = trace.directory / name
    if not path.is_file():
        raise UserError("is missing beside the trace", where=path, remedy=MEASURE_AGAIN)
    _check_seal(path, sealed, MEASURE_AGAIN)
    return path


def read_trace(folder: Path) -> CellTrace:
    """Read anybody's trace: a folder with ``trace.parquet`` and ``manifest.json``.

    A seal is checked where there is one; companions only when asked for (``companion``). Columns that the
    source does not know may be null or missing and come back as null; the overlap columns are kept where
    they are there. Raises UserError as ``read_cell``.
    """
    if not is_sealed(folder) and not (folder / TRACE_FILE).exists():
        raise UserError(
            f"holds no trace: neither {TRACE_FILE} nor {MANIFEST_FILE}",
            where=folder,
            remedy="name a folder that holds both, or a folder above such folders",
        )
    manifest = read_manifest(folder, MEND)
    return CellTrace(
        folder, manifest, _in_order(_read_table(folder / TRACE_FILE, manifest, PUBLIC_SCHEMA, MEND))
    )


def _read_table(path: Path, manifest: Manifest, schema: pa.Schema, remedy: str) -> pa.Table:
    # Beside a pack there may be what a killed unpacking left; the seal says which of the two it is of.
    from_pack = manifest.seal is not None and manifest.seal.file == PACK_FILE
    if path.is_file() and not from_pack:
        if manifest.seal is not None:
            _check_seal(path, manifest.seal.sha256, remedy)
        table = _typed(_parquet(path, remedy), schema, path)
    elif is_packed(path.parent):
        table = _typed(packed_table(path.parent), schema, path.parent)
    else:
        raise UserError("there is no trace", where=path, remedy=remedy)
    if manifest.seal is not None and table.num_rows != manifest.seal.rows:
        raise UserError(f"{table.num_rows} rows, sealed {manifest.seal.rows}", where=path, remedy=remedy)
    check_rows(table, manifest, where=path, remedy=remedy)
    last_sent = pc.max(table.column("t_sent")).as_py()
    if manifest.duration_s is not None and last_sent is not None and last_sent > manifest.duration_s:
        raise UserError(
            f"key 'duration_s': {manifest.duration_s:g} s, but a request was sent at {last_sent:g} s",
            where=path.with_name(MANIFEST_FILE),
            remedy="correct it, or leave it out: the latest time of the trace then counts",
        )
    return table


def _check_seal(path: Path, sealed: str, remedy: str) -> None:
    digest = sha256_of(path)
    if digest != sealed:
        raise UserError(
            f"does not match its seal, so it was truncated or edited "
            f"(SHA-256 {digest[:12]}..., sealed {sealed[:12]}...)",
            where=path,
            remedy=remedy,
        )


def _parquet(path: Path, remedy: str) -> pa.Table:
    """The columns of the format in a file; others may be there and are not read."""
    known = {*TRACE_SCHEMA.names, *OVERLAP_COLUMNS.values()}
    try:
        with pq.ParquetFile(path) as file:
            rows, names = file.metadata.num_rows, file.schema_arrow.names
            if rows > MAX_ROWS:
                raise UserError(f"{rows} rows; at most {MAX_ROWS} are read", where=path, remedy=remedy)
            if twice := [name for name in known if names.count(name) > 1]:
                raise UserError(f"has the column {min(twice)} more than once", where=path, remedy=remedy)
            return file.read(columns=[name for name in names if name in known])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"is not a Parquet file: {error}", where=path, remedy=remedy) from None


def _typed(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """The columns of `schema`, and overlap columns where a public trace has them."""
    there = set(table.column_names)
    missing = [field.name for field in schema if field.name not in there]
    needed = [
        name
        for name in missing
        if not schema.field(name).nullable or (schema is TRACE_SCHEMA and name not in ADDED_COLUMNS)
    ]
    if needed:
        raise UserError(f"lacks the columns {', '.join(needed)}", where=path, remedy=MEND)
    for name in missing:
        table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
    if schema is PUBLIC_SCHEMA:
        for name in OVERLAP_COLUMNS.values():
            if name in table.column_names:
                schema = schema.append(pa.field(name, pa.list_(pa.float64())))
        for name in ("prefill_worker", "decode_worker"):
            at = table.column_names.index(name)
            table = table.set_column(at, name, _unknown_as(-1, table.column(name)))
    for field in schema:
        _check_kind(table, field, path)
        _check_nulls(table, field, path)
    try:
        typed = table.select(schema.names).cast(schema)
        typed.validate(full=True)  # texts that are no UTF-8 among others
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"a column has the wrong type: {error}", where=path, remedy=MEND) from None
    return typed


def _check_kind(table: pa.Table, field: pa.Field, path: Path) -> None:
    """Refuse numbers that are texts, dates or truth values: Arrow would read them as some number."""
    found = table.schema.field(field.name).type
    wanted = field.type
    if pa.types.is_list(wanted) and (pa.types.is_list(found) or pa.types.is_large_list(found)):
        found, wanted = found.value_type, wanted.value_type
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    if not pa.types.is_string(wanted) and not any(is_kind(found) for is_kind in kinds):
        raise UserError(
            f"column {field.name} has the wrong type: {found}, not numbers", where=path, remedy=MEND
        )


def _unknown_as(value: int, column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column, value) if pa.types.is_integer(column.type) else column


def _check_nulls(table: pa.Table, field: pa.Field, path: Path) -> None:
    column = table.column(field.name)
    if not field.nullable and column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise UserError(f"row {row} has no {field.name}", where=path, remedy=MEND)


def _in_order(table: pa.Table) -> pa.Table:
    sent = table.column("t_sent").to_numpy()
    if bool((np.diff(sent) > 0).all()):
        return table
    return table.sort_by([("t_sent", "ascending"), ("request_id", "ascending")])


def check_rows(table: pa.Table, manifest: Manifest, *, where: Path, remedy: str = MEASURE_AGAIN) -> None:
    """Refuse rows that no clock or cluster can have made, naming the first of them.

    Duplicate ids, times out of order, unknown phases, workers that are not in the manifest, rows of another
    policy or deployment than the manifest's. Rows count from 0 in the order of the file. Raises UserError.
    """

    def column(name: str) -> npt.NDArray[Any]:
        return np.asarray(table.column(name).to_numpy())

    intended, sent = column("t_intended"), column("t_sent")
    first, last, end = column("t_first_token"), column("t_last_token"), column("t_end")
    workers = {role: column(f"{role}_worker") for role in ("prefill", "decode")}
    tests = [
        ("t_sent is not a number", ~np.isfinite(sent)),
        ("t_intended is not a number", np.isinf(intended)),
        ("was sent before it was intended", sent < intended),
        ("has its first token before it was sent", first < sent),
        ("has its last token before it was sent", last < sent),
        ("has its last token before its first", last < first),
        ("has a time without end", np.isinf(first) | np.isinf(last) | np.isinf(end)),
        ("was over before it was sent", end < sent),
        ("was over before its last token", end < np.fmax(first, last)),
        ("has a time that no clock shows", _beyond(intended, sent, first, last, end)),
        ("names an unknown prefill worker", workers["prefill"] >= manifest.n_workers.prefill),
        ("names an unknown decode worker", workers["decode"] >= manifest.n_workers.decode),
        ("has an unknown phase", ~_among(table, "phase", PHASES)),
        ("has a negative number of tokens", (column("input_tokens") < 0) | (column("output_tokens") < 0)),
        ("names a worker below -1", (workers["prefill"] < -1) | (workers["decode"] < -1)),
        (
            f"was routed by another policy than the manifest's {manifest.policy!r}: mixed deployments",
            ~_among(table, "policy", (manifest.policy, "", None)),
        ),
        ("has the request_id of an earlier row", _repeated(table)),
    ]
    _refuse_first(table, tests, where, remedy)


def _beyond(*columns: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.any([np.abs(column) > MAX_TIME_S for column in columns], axis=0), dtype=np.bool_)


def check_finished(table: pa.Table, *, where: Path, remedy: str) -> None:
    """Refuse a request that ended well but lacks a time; the client of this project knows them all."""
    tests = [
        ("t_intended is not a number", ~np.isfinite(table.column("t_intended").to_numpy())),
        (
            "has status ok but no time of its first or last token",
            _among(table, "status", ("ok",))
            & ~np.isfinite(
                table.column("t_first_token").to_numpy() + table.column("t_last_token").to_numpy()
            ),
        ),
    ]
    _refuse_first(table, tests, where, remedy)


def _refuse_first(
    table: pa.Table, tests: list[tuple[str, npt.NDArray[np.bool_]]], where: Path, remedy: str
) -> None:
    for what, bad in tests:
        if bad.any():
            row = int(np.argmax(bad))
            named = table.column("request_id")[row].as_py()
            raise UserError(f"row {row} ({named}) {what}", where=where, remedy=remedy)


def _among(table: pa.Table, name: str, words: tuple[str | None, ...]) -> npt.NDArray[np.bool_]:
    inside = pc.is_in(table.column(name), value_set=pa.array(words, pa.string()))
    return np.asarray(inside.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _repeated(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which request ids equal an earlier one, shape (rows,)."""
    ids = table.column("request_id")
    if pc.count_distinct(ids).as_py() == len(ids):
        return np.zeros(len(ids), dtype=np.bool_)
    _, first = np.unique(ids.to_numpy().astype(str), return_index=True)
    repeated = np.ones(len(ids), dtype=np.bool_)
    repeated[first] = False
    return repeated
