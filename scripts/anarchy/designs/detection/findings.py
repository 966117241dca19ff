"""What detectors found, in sentences of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from anarchy.designs.notes import condition_notes
from anarchy.ground.words import number, span
from anarchy.tables import System


def parts(system: System, workload: str) -> list[str]:
    """What each kind of detector made of the load, a clause of numbers."""
    logs = system.of(workload, "detection")
    logs = logs[logs["valid"].astype(bool)]
    clauses = [_detector(source, mine) for source, mine in logs.groupby("source", sort=False)]
    return clauses or ["no detector's log counts"]


def _detector(source: Any, logs: pd.DataFrame) -> str:
    """How often and how late one kind of detector fired, over launches."""
    name = {"client": "client's TTFT", "prometheus": "frontends' histograms"}[str(source)]
    logs = logs[logs["knee"].notna()]
    if logs.empty:
        return f"the detector on the {name} is not judged, for no knee is known that the load could cross"
    fired = logs[logs["fired"].astype(bool)]
    if len(fired):
        delays = (float(fired["delay_s"].min()), float(fired["delay_s"].max()))
        span = " to ".join(dict.fromkeys(map(number, delays)))
        told = f"fires {span} s after the load crosses the knee"
        if len(fired) < len(logs):
            told += f" in {len(fired)} of {len(logs)} launches"
    else:
        told = f"never fires in {len(logs)} launch{'es' if len(logs) > 1 else ''}"
    alarms = int(logs["false_alarms"].sum())
    before = f"{alarms or 'no'} false alarm{'' if alarms == 1 else 's'} before"
    return f"the detector on the {name} {told}, with {before}"


def notes(system: System, workload: str) -> list[str]:
    """Where mean latency bends most, and how much of the rise of PoA-hat is routing."""
    return condition_notes(system, workload)


def answer(systems: Sequence[System]) -> str:
    """How late all detectors fired, over every system, workload and launch."""
    logs = pd.concat([system.frames["detection"] for system in systems])
    logs = logs[logs["valid"].astype(bool)]
    if logs.empty:
        return "No detector's log counts."
    logs = logs[logs["knee"].notna()]
    if logs.empty:
        return "No knee is known that the load could cross, so no detector is judged."
    fired = logs[logs["fired"].astype(bool)]
    alarms = int(logs["false_alarms"].sum())
    told = f"{len(fired)} of {len(logs)} detectors fired"
    if len(fired):
        told += f", {span(list(fired['delay_s']))} s after the load crossed the knee"
    return f"{told}, with {alarms or 'no'} false alarm{'' if alarms == 1 else 's'} before."
