"""Traces that other programs recorded, brought into this project's format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from anarchy.ground.errors import UserError
from anarchy.trace.importers.aiperf import EXPORT, export_file, import_aiperf
from anarchy.trace.importers.dynamo import import_dynamo
from anarchy.trace.importers.facts import Facts
from anarchy.trace.importers.formats import Format, OtherFormatError, recognise
from anarchy.trace.importers.segments import holds_segments, trace_files
from anarchy.trace.reader import CellTrace

LOOKED_AT: Final = 200
"""Files of a folder that are looked at for a format that is known and not read."""


def detect(path: Path) -> Format | None:
    """Which format a file or folder holds; None for a folder without anything that is known here.

    Raises UserError for a file of another format, called by its name, and for a folder that holds such a file
    and nothing that is read.
    """
    if not path.is_dir():
        return recognise(_first(path))
    if any((path / name).is_file() for name in (EXPORT, f"{EXPORT}.gz")):
        return recognise(export_file(path))
    if holds_segments(path):
        return recognise(_first(path))
    for file in sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl"))[:LOOKED_AT]:
        try:
            recognise(file)
        except OtherFormatError:
            raise
        except UserError:
            continue  # other files may lie in a folder, whatever they are
    return None


def _first(path: Path) -> Path:
    return path if path.is_file() else trace_files(path, accept_gaps=True)[0]


def import_trace(
    sources: Path | Sequence[Path], facts: Facts, *, workers_from: Sequence[Path] = ()
) -> CellTrace:
    """Import one cell: rows in the order of sending, the table of PUBLIC_SCHEMA, not yet sealed.

    Several `sources` are merged: the frontends or the clients that served one cell. `workers_from` joins
    Dynamo's request traces of the same run to an export of aiperf. Raises UserError for another format, bad
    data, and facts that neither a source nor the caller tells.
    """
    sources = (sources,) if isinstance(sources, Path) else tuple(sources)
    kinds = {source: detect(source) for source in sources}
    for source, kind in kinds.items():
        if kind is None:
            raise UserError(
                "holds neither a request trace of Dynamo nor a profile export of aiperf",
                where=source,
                remedy="name the file that DYN_REQUEST_TRACE_FILE_PATH named, or aiperf's "
                "profile_export.jsonl",
            )
    if len(set(kinds.values())) > 1:
        raise UserError(
            "are of different formats, and one cell is merged from sources of one",
            where=", ".join(map(str, sources)),
            remedy="name aiperf's export as the source and Dynamo's trace by --workers-from",
        )
    if kinds[sources[0]] == "aiperf":
        return import_aiperf(sources, facts, workers_from)
    if workers_from:
        raise UserError(
            "a Dynamo trace names its workers itself",
            where=sources[0],
            remedy="leave --workers-from out, or name aiperf's export as the source",
        )
    return import_dynamo(sources, facts)


__all__ = ["Facts", "Format", "detect", "import_trace"]
