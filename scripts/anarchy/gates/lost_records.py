"""Gate `lost_records`: records of an imported trace that could not be read."""

from __future__ import annotations

from typing import Final

from anarchy.gates.errors import MAX_ERROR_SHARE
from anarchy.gates.gate import Gate, Verdict
from anarchy.trace.reader import CellTrace


def lost_records(trace: CellTrace) -> Verdict:
    """More records of the source could not be read than may be missing; as its import counted them."""
    lost = trace.manifest.source.get("lost_records", 0)
    lost = lost if type(lost) is int and lost > 0 else 0
    share = lost / (trace.table.num_rows + lost) if lost else 0.0
    return share > MAX_ERROR_SHARE, {"lost_record_share": share}


GATE: Final = Gate(
    name="lost_records",
    rank=40,
    sentence="More records of the source could not be read than may be missing; as its import counted them.",
    threshold=f"more than {MAX_ERROR_SHARE:.1%} of them",
    machine=False,
    own=False,
    public=True,
    ask=lambda asked: lost_records(asked.trace),
)
