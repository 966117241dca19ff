"""What the cells ran on while they were measured: how busy the hosts were, and what the GPUs did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from anarchy.report.titles import named
from anarchy.tables import System, is_missing, number, share

UNITS: Final = {
    "sm_clock_mhz": "SM clock, MHz",
    "memory_clock_mhz": "memory clock, MHz",
    "power_w": "power, W",
    "temperature_c": "temperature, °C",
    "memory_temperature_c": "memory temperature, °C",
    "memory_used_mib": "memory used, MiB",
    "busy_percent": "busy, %",
    "memory_busy_percent": "memory busy, %",
}
"""What of a GPU's samples is told, and how it is headed."""


def hosts(systems: Sequence[System]) -> dict[str, Any] | None:
    """How busy the machine was, over the measured cells of each system; None where no client told it."""
    rows = []
    for system in systems:
        busy = system.attempts["host_cpu_share"].dropna()
        client = system.attempts["client_cpu_share"].dropna()
        if len(busy):
            told = (share(busy.median()), share(busy.max()), share(client.max()) if len(client) else "")
            rows.append([named(system), str(len(busy)), *told])
    head = ["system", "cells", "host busy, median", "host busy, most", "client, most of one core"]
    return {"head": head, "rows": rows, "numeric": [False, *[True] * 4]} if rows else None


def gpus(systems: Sequence[System]) -> dict[str, Any] | None:
    """Least, median and largest of what the GPUs of each deployment did; None where there were none."""
    told = [(system, found) for system in systems for found in _deployments(system)]
    with_gpus = [(system, found) for system, found in told if found["running_on"]["gpus"]]
    names = [name for name in UNITS if any(name in f["running_on"]["samples"] for _, f in with_gpus)]
    rows = []
    for system, found in with_gpus:
        on = found["running_on"]
        ends = (on["samples"].get(name) for name in names)
        held = on["held_back_share"]
        rows.append(
            [
                f"{named(system)}, {found['routing_set']}, launch {found['trial']}",
                str(on["gpus"]),
                *("" if of is None else " / ".join(number(value) for value in of) for of in ends),
                "" if is_missing(held) else share(held),
            ]
        )
    head = ["deployment", "GPUs", *(UNITS[name] for name in names), "held back by power or heat"]
    return {"head": head, "rows": rows, "numeric": [False, *[True] * (len(head) - 1)]} if rows else None


def processes(systems: Sequence[System]) -> dict[str, Any] | None:
    """How promptly the processes of each deployment told their metrics; None where nothing was recorded."""
    rows = []
    for system in systems:
        for found in _deployments(system):
            on = found["running_on"]
            if not is_missing(on["unanswered_share"]):
                slow = on["answer_p99_s"]
                title = f"{named(system)}, {found['routing_set']}, launch {found['trial']}"
                words = "" if is_missing(slow) else number(1000.0 * slow)
                rows.append([title, words, share(on["unanswered_share"])])
    head = ["deployment", "answer P99, ms", "not answered"]
    return {"head": head, "rows": rows, "numeric": [False, True, True]} if rows else None


def _deployments(system: System) -> list[Mapping[str, Any]]:
    """Deployments of a system whose telemetry was recorded."""
    return [found for found in system.info.get("deployments") or [] if found.get("running_on")]
