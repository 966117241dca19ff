"""The overlaps that a pinned router saw, joined to the requests that it routed."""

from __future__ import annotations

import pyarrow as pa

from anarchy.trace.decisions import DECISIONS_FILE, read_decisions
from anarchy.trace.reader import CellTrace, companion
from anarchy.trace.schema import OVERLAP_COLUMNS


def with_decisions(trace: CellTrace) -> CellTrace:
    """The trace with the overlaps of the decode workers where a pinned router left its decisions beside it.

    They become the column `decode_overlap`, joined by `request_id`: null for a request without a decision,
    the last decision where a request was routed more than once. A trace that has the column keeps it, and a
    copy without its decisions is one without credits (`trace.reader.read_cell` misses a sealed file).
    Raises UserError for a file that does not match its seal, cannot be read or has other columns.
    """
    name = OVERLAP_COLUMNS["decode"]
    if name in trace.table.column_names or not (trace.directory / DECISIONS_FILE).is_file():
        return trace
    path = companion(trace, DECISIONS_FILE)
    if path is None:  # nobody sealed it with this trace
        return trace
    table = read_decisions(path)
    ids, seen = table.column("request_id").to_pylist(), table.column("overlaps").to_pylist()
    overlaps = dict(zip(ids, seen, strict=True))
    requests = trace.table.column("request_id").to_pylist()
    column = pa.array([overlaps.get(request) for request in requests], pa.list_(pa.float64()))
    return CellTrace(trace.directory, trace.manifest, trace.table.append_column(name, column))
