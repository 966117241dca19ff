"""Gate `zero_tokens`: requests that brought nothing."""

from __future__ import annotations

from typing import Final

import numpy as np

from anarchy.gates.gate import Gate, Verdict
from anarchy.trace.reader import CellTrace


def zero_tokens(trace: CellTrace) -> Verdict:
    """A request ended without a token, or nothing at all was measured: success with nothing behind it."""
    measuring = trace.equals("phase", "measure")
    empty = trace.equals("status", "zero_tokens") | (
        trace.equals("status", "ok") & (trace.column("output_tokens") == 0)
    )
    count = int(np.count_nonzero(empty & measuring))
    return count > 0 or not trace.measured.any(), {"zero_token_requests": float(count)}


GATE: Final = Gate(
    name="zero_tokens",
    rank=20,
    sentence="A request ended without a token, or nothing at all was measured: success with nothing behind "
    "it.",
    threshold="one such request",
    machine=True,
    own=True,
    public=True,
    ask=lambda asked: zero_tokens(asked.trace),
)
