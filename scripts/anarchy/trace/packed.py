"""All cells of one deployment in one Parquet file: thousands of short cells are not thousands of folders.

`cells.parquet` has a row group a cell, `cells.json` their manifests in the same order, with the file's
checksum. It is written last: without it there is no pack, whatever else lies there. A cell is named by the
folder that it would have (`<deployment>/cells/<name>`), so that readers need not know which of the two it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from anarchy.ground.bounded import MAX_JSON_BYTES, load_json
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, sha256_of, sync, write_json
from anarchy.ground.layout import MANIFEST_FILE
from anarchy.trace.schema import SCHEMA_VERSION, TRACE_SCHEMA, Manifest, Seal

PACK_FILE: Final = "cells.parquet"
INDEX_FILE: Final = "cells.json"
CELLS: Final = "cells"
"""The folder of a deployment that holds cells, packed or not."""
REPACK: Final = (
    "remove both files of the deployment and its deployment.json, and run again: it is measured again"
)


def is_packed(cell_directory: Path) -> bool:
    """Whether a cell lies in its deployment's pack."""
    return cell_directory.name in packed_names(cell_directory.parent.parent)


def packed_names(deployment: Path) -> tuple[str, ...]:
    """Names of the cells in a deployment's pack, in its order; none where there is no pack.

    Raises UserError for a pack that does not hold together.
    """
    index = _index_of(deployment)
    return tuple(index.cells) if index else ()


def manifest_document(cell_directory: Path) -> dict[str, Any]:
    """The manifest of a packed cell, as it was written; KeyError where it is not in the pack."""
    index = _index_of(cell_directory.parent.parent)
    return index.cells[cell_directory.name][1] if index else {}


def packed_table(cell_directory: Path) -> pa.Table:
    """The requests of a packed cell; raises UserError where the file does not match its checksum."""
    deployment = cell_directory.parent.parent
    index, path = _index_of(deployment), deployment / PACK_FILE
    if index is None or not path.is_file():
        raise UserError("there are no requests beside the index", where=path, remedy=REPACK)
    changed = path.stat().st_mtime_ns
    if _digest(path, changed) != index.sha256:
        raise UserError("does not match its seal, so it was truncated or edited", where=path, remedy=REPACK)
    group, _ = index.cells[cell_directory.name]
    with pq.ParquetFile(path, metadata=_metadata(path, changed)) as file:
        return file.read_row_group(group, columns=TRACE_SCHEMA.names)


def write_pack(deployment: Path, cells: Sequence[tuple[Manifest, pa.Table]]) -> bool:
    """Write a deployment's pack: requests, checksum, index, in that order; say whether it was written.

    It is not where its index would be longer than what is read of one (`MAX_JSON_BYTES`).
    A column `cell` beside those of the format names the cell of each row, for whoever reads the file alone.
    Raises UserError where there is one already: raw data are never rewritten.
    """
    path, index = deployment / PACK_FILE, deployment / INDEX_FILE
    if index.exists():
        raise UserError("is packed already", where=deployment, remedy="unpack it first")
    schema = TRACE_SCHEMA.append(pa.field("cell", pa.string(), nullable=False))
    with disk_errors(path):
        scratch = path.with_suffix(".partial")
        with pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
            for manifest, table in cells:
                named = table.append_column(
                    schema.field("cell"), pa.array([manifest.cell] * table.num_rows, pa.string())
                )
                writer.write_table(named.cast(schema), row_group_size=max(1, table.num_rows))
        sync(scratch)
        digest = sha256_of(scratch)
        os.replace(scratch, path)
        checked = index.with_name(f".{INDEX_FILE}")
        write_json(
            checked,
            {
                "schema_version": SCHEMA_VERSION,
                "file": PACK_FILE,
                "sha256": digest,
                "cells": [_sealed(manifest, table, digest) for manifest, table in cells],
            },
        )
        if checked.stat().st_size > MAX_JSON_BYTES:
            checked.unlink()
            path.unlink()
            return False
        os.replace(checked, index)
    return True


def _sealed(manifest: Manifest, table: pa.Table, digest: str) -> dict[str, Any]:
    """A manifest as the pack holds it: its seal is the pack's."""
    seal = Seal(file=PACK_FILE, rows=table.num_rows, sha256=digest)
    return manifest.model_copy(update={"seal": seal}).model_dump(mode="json")


def remove_pack(deployment: Path) -> None:
    """Remove a deployment's pack, the index first."""
    with disk_errors(deployment):
        for name in (INDEX_FILE, PACK_FILE):
            (deployment / name).unlink(missing_ok=True)


def remove_folders(deployment: Path, names: Sequence[str]) -> None:
    """Remove the folders of cells that are in the pack; raises UserError where that is not whole."""
    folders = [folder for name in names if (folder := deployment / CELLS / name).is_dir()]
    if folders:
        packed_table(folders[0])  # else they are the only copy
    with disk_errors(deployment):
        for folder in folders:
            # A manifest beside no trace would pass for a cell.
            (folder / MANIFEST_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


class _Index(NamedTuple):
    """What a deployment's index says."""

    sha256: str
    cells: dict[str, tuple[int, dict[str, Any]]]
    """Name -> row group and manifest."""


def _index_of(deployment: Path) -> _Index | None:
    path = deployment / INDEX_FILE
    return _read_index(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=64)
def _read_index(path: Path, changed: int) -> _Index:
    del changed  # asked again when the file is another
    document = load_json(path, remedy=REPACK)
    cells = document.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "cell" in cell for cell in cells):
        raise UserError("names no cells", where=path, remedy=REPACK)
    return _Index(str(document.get("sha256")), {str(c["cell"]): (group, c) for group, c in enumerate(cells)})


@lru_cache(maxsize=64)
def _digest(path: Path, changed: int) -> str:
    del changed
    return sha256_of(path)


@lru_cache(maxsize=64)
def _metadata(path: Path, changed: int) -> pq.FileMetaData:
    """What a pack's footer says: parsing it takes as long as reading a cell."""
    del changed
    return pq.read_metadata(path)
