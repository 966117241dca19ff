"""Waiting for what another thread or process does a moment later, on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""Long past any hold-up of a busy machine, and far below pytest's limit."""


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail when it does not come to."""
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends, f"waited {PATIENCE_S:g} s"
        time.sleep(0.01)
