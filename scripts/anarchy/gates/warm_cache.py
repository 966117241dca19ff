"""Gate `warm_cache`: prompts that a cache knew."""

from __future__ import annotations

from typing import Final

import numpy as np

from anarchy.gates.gate import Gate, Verdict, measured_parts
from anarchy.trace.reader import CellTrace

MAX_WARM_SHARE: Final = 0.01
"""`warm_cache`: more than this share of the measured prompts of their own were found in a cache."""


def warm_cache(trace: CellTrace) -> Verdict:
    """Prompts of their own were found in a cache: they had been sent before, and prefill was skipped."""
    own = trace.measured & (trace.column("template") == -1)
    warm = own & (trace.column("cached_tokens") > 0)
    parts = [rows & own for rows in measured_parts(trace).values()]
    share = max((float(np.mean(warm[rows])) for rows in parts if rows.any()), default=None)
    return share is not None and share > MAX_WARM_SHARE, {"warm_prompt_share": share}


GATE: Final = Gate(
    name="warm_cache",
    rank=80,
    sentence="Prompts of their own were found in a cache: they had been sent before, and prefill was "
    "skipped.",
    threshold=f"more than {MAX_WARM_SHARE:.0%} of them",
    machine=True,
    own=True,
    public=False,
    ask=lambda asked: warm_cache(asked.trace),
)
