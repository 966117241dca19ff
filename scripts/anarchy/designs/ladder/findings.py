"""What a ladder found, in sentences of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from anarchy.ground.words import interval, is_missing, number, span, whole
from anarchy.tables import System

FITS: Final = {
    "R² of the affine latency curve": ("affine", "r2"),
    "of the full one inside cells": ("full", "r2_within"),
}
"""What is told of a ladder's curves: the curve, and which share of the variance."""


def parts(system: System, workload: str) -> list[str]:
    """Plateau, knee and deepest point, each a clause of numbers."""
    found = system.info["workloads"][workload]
    plateau, knee, deepest = found.get("plateau"), found.get("knee") or {}, found.get("deepest") or {}
    clauses = [
        f"plateau {interval(plateau['poa_hat'], plateau.get('lo'), plateau.get('hi'))} "
        f"from C = {plateau['c_from']} to {plateau['c_to']}"
        if plateau
        else "no plateau"
    ]
    if knee.get("exists"):
        clauses.append(f"knee at C = {interval(knee['knee'], knee.get('lo'), knee.get('hi'))}")
        if not is_missing(knee.get("first_post_knee")):
            clauses.append(f"first post-knee point C = {knee['first_post_knee']}")
        others = [
            none if is_missing(knee.get(key)) else f"{some} C = {whole(knee[key])}"
            for key, some, none in (
                ("kneedle", "Kneedle says", "Kneedle finds none"),
                ("slo_crossing", "TTFT P99 > 2x its plateau from", "TTFT P99 nowhere > 2x its plateau"),
            )
        ]
        clauses.append(f"for comparison, without intervals: {', '.join(others)}")
    else:
        clauses.append("no knee found on this grid")
    if knee.get("note"):
        clauses.append(str(knee["note"]))
    if deepest:
        depth = interval(deepest.get("poa_hat"), deepest.get("lo"), deepest.get("hi"))
        clauses.append(f"PoA-hat {depth} at the deepest point, C = {deepest['concurrency']}")
    return clauses


def notes(system: System, workload: str) -> list[str]:
    """How well the latency curves fit."""
    found = system.info["workloads"][workload]
    fits = [f"{title}: {', '.join(of)}" for title, fit in FITS.items() if (of := _shares(found, *fit))]
    return ["; ".join(fits)] if fits else []


def _shares(found: Mapping[str, Any], curve: str, share: str) -> list[str]:
    """One share of the variance that a curve explains, launch by launch."""
    fits = (found.get("curves") or {}).items()
    qualities = {launch: (fit.get(curve) or {}).get("quality") or {} for launch, fit in fits}
    return [
        f"launch {launch} {number(quality[share])}"
        for launch, quality in qualities.items()
        if not is_missing(quality.get(share))
    ]


def answer(systems: Sequence[System]) -> str:
    """Plateau, knee and depth of all systems under their first workload, each from lowest to highest."""
    found = [system.info["workloads"][next(iter(system.info["workloads"]))] for system in systems]
    plateaus = [one["plateau"]["poa_hat"] for one in found if one.get("plateau")]
    knees = [one["knee"]["knee"] for one in found if (one.get("knee") or {}).get("exists")]
    deepest = [one["deepest"] for one in found if one.get("deepest")]
    words = [f"PoA-hat has a plateau at {span(plateaus)}"] if plateaus else ["PoA-hat has no plateau"]
    some = f"leaves it at C = {span(knees)} on {len(knees)} of {len(found)} systems"
    words.append(some if knees else "has no knee on this grid")
    if deepest:
        depth = span([one["poa_hat"] for one in deepest])
        words.append(f"is {depth} at the deepest C, {span([one['concurrency'] for one in deepest], whole)}")
    return f"{', '.join(words[:-1])} and {words[-1]}."
