"""Whose knee the loads of a system are multiples of, in words: in the report and with every verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anarchy.config import KNEE_WORKLOAD
from anarchy.ground.words import interval, is_missing


def knee_words(system: Mapping[str, Any], workload: str) -> str:
    """The knee that loads are multiples of: its value, run and engine; empty where they hang on none.

    ``system``: its `system.json`. The knee of one workload serves the others, which the words then say.
    """
    knee = system.get("knee_from")
    if not knee:
        return ""
    if is_missing(knee.get("used")):
        reason = knee.get("reason") or "no reason given"
        return f"E1 found no knee ({reason}), so loads that are multiples of it were not measured"
    low, high = knee.get("interval") or (None, None)
    measured = interval(knee.get("value"), low, high)
    how = "recorded" if knee.get("source") == "recorded" else f"measured by E1 as {measured}"
    words = f"loads are multiples of the knee C = {knee['used']}, {how}: run {knee.get('run')}"
    words += f", engine {knee.get('label') or knee.get('engine')}, {knee.get('version')}, {knee.get('date')}"
    if how == "recorded" and not is_missing(low):
        words += f", interval [{low:g}, {high:g}]"
    return words if workload == KNEE_WORKLOAD else f"{words}; it is that of workload {KNEE_WORKLOAD}"
