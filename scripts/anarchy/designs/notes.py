"""Sentences that designs with conditions share: how PoA-hat rises with load, and where latency bends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anarchy.ground.words import interval, is_missing, whole
from anarchy.tables import System


def condition_notes(system: System, workload: str) -> list[str]:
    """Where mean latency bends most, and how much of the rise of PoA-hat is routing, of each policy."""
    found = system.info["workloads"][workload]
    return [*_bends(found), *_rises(found)]


def _rises(found: Mapping[str, Any]) -> list[str]:
    """How much of the rise of PoA-hat with load is routing, of each policy that has a rise."""
    return [
        _rise(policy, rise)
        for policies in (found.get("rise") or {}).values()
        for policy, rise in policies.items()
        if rise
    ]


def _rise(policy: str, rise: Mapping[str, Any]) -> str:
    """The rise, and the share of its logarithm that is routing; a share of no rise says nothing."""
    whole_rise, lowest, _ = ends = _ends(rise, "poa_hat")
    words = f"{policy}: PoA-hat at {rise['to']} is {interval(*ends)} times that at {rise['from']}"
    words += f", routing alone {interval(*_ends(rise, 'routing'))} times"
    if whole_rise is not None and (lowest or 0.0) > 1.0:
        words += f": {interval(*_ends(rise, 'routing_share', 100.0))} % of the rise, of logarithms"
    return words


def _bends(found: Mapping[str, Any]) -> list[str]:
    """Where mean latency in C bends most on the way up, of each policy."""
    return [
        f"{policy}: mean TTFT bends most at C = {whole(bend['concurrency'])}, "
        f"by {interval(*(1e3 * bend[end] for end in ('value', 'lo', 'hi')))} ms a user²"
        for policies in (found.get("curvature") or {}).values()
        for policy, bend in policies.items()
        if bend and not any(is_missing(bend[end]) for end in ("value", "lo", "hi"))
    ]


def _ends(found: Mapping[str, Any], name: str, factor: float = 1.0) -> list[float | None]:
    """A number of a document and its interval, times ``factor``."""
    values = (found.get(name + bound) for bound in ("", "_lo", "_hi"))
    return [None if is_missing(value) else factor * float(value or 0.0) for value in values]
