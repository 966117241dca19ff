"""Traces that other programs recorded, brought into this project's format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from anarchy.errors import UserError
from anarchy.trace.importers.aiperf import EXPORT, import_aiperf
from anarchy.trace.importers.dynamo import holds_segments, import_dynamo, trace_files
from anarchy.trace.importers.facts import Facts
from anarchy.trace.importers.lines import json_lines
from anarchy.trace.reader import CellTrace

Format = Literal["dynamo", "aiperf"]


def detect(path: Path) -> Format | None:
    """Which format a file or folder holds, by its first record; None for neither.

    Raises UserError for a file that cannot be read or whose first line is not JSON.
    """
    if path.is_dir() and any((path / name).is_file() for name in (EXPORT, f"{EXPORT}.gz")):
        return "aiperf"
    if path.is_dir() and not holds_segments(path):
        return None
    for file in trace_files(path):
        for line in json_lines(file):
            record = line.data.get("event", line.data)
            if isinstance(record, dict) and str(record.get("schema", "")).startswith("dynamo."):
                return "dynamo"
            return "aiperf" if {"metadata", "metrics"} <= line.data.keys() else None
    return None


def import_trace(source: Path, facts: Facts, *, workers_from: Path | None = None) -> CellTrace:
    """Import a foreign trace: rows in the order of sending, the table of PUBLIC_SCHEMA, not yet sealed.

    `workers_from` joins Dynamo's request trace of the same run to an export of aiperf. Raises UserError for
    another format, bad data, and facts that neither the source nor the caller tells.
    """
    kind = detect(source)
    if kind is None:
        raise UserError(
            "is neither a request trace of Dynamo nor a profile export of aiperf, or is empty",
            where=source,
            remedy="name the file that DYN_REQUEST_TRACE_FILE_PATH named, or aiperf's profile_export.jsonl",
        )
    if kind == "aiperf":
        return import_aiperf(source, facts, workers_from)
    if workers_from is not None:
        raise UserError(
            "a Dynamo trace names its workers itself",
            where=source,
            remedy="leave --workers-from out, or name aiperf's export as the source",
        )
    return import_dynamo(source, facts)


__all__ = ["Facts", "Format", "detect", "import_trace"]
