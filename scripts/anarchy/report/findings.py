"""What a system's figures show, in sentences of numbers, with the intervals that the estimates hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from anarchy.tables import TITLES, System, interval, is_missing, number, percent, ratio_interval, whole
from anarchy.tables.knees import knee_words

FITS: Final = {
    "R² of the affine latency curve": ("affine", "r2"),
    "of the full one inside cells": ("full", "r2_within"),
}
"""What is told of a ladder's curves: the curve, and which share of the variance."""


@dataclass(frozen=True)
class Finding:
    """What the figures of one system show of one workload."""

    of: str
    """System and workload, for people."""
    parts: tuple[str, ...]
    """Each a clause of numbers."""
    notes: tuple[str, ...]
    """What to know beside them, each a sentence."""

    def __str__(self) -> str:
        return f"{self.of}: {'; '.join(self.parts)}."


def find(system: System, workload: str) -> Finding:
    """Put one system's numbers under one workload in words."""
    title = system.info["workloads"][workload].get("title", workload)
    parts = _TOLD[system.design.name](system, workload)
    if is_missing((system.info.get("knee_from") or {"used": 0}).get("used")):
        parts = [knee_words(system.info, workload)]
    rows = system.rows[system.rows["workload"] == workload]
    if not rows["valid"].all():
        count = int((~rows["valid"].astype(bool)).sum())
        parts.append(f"{count} of {len(rows)} cells not counted")
    return Finding(f"{system.title}, {title}", tuple(parts), tuple(_more(system, workload)))


def findings(system: System) -> list[Finding]:
    """One for each workload of a system."""
    return [find(system, workload) for workload in system.info["workloads"]]


def _ladder(system: System, workload: str) -> list[str]:
    found = system.info["workloads"][workload]
    plateau, knee, deepest = found.get("plateau"), found.get("knee") or {}, found.get("deepest") or {}
    parts = [
        f"plateau {interval(plateau['poa_hat'], plateau.get('lo'), plateau.get('hi'))} "
        f"from C = {plateau['c_from']} to {plateau['c_to']}"
        if plateau
        else "no plateau"
    ]
    if knee.get("exists"):
        parts.append(f"knee at C = {interval(knee['knee'], knee.get('lo'), knee.get('hi'))}")
        if not is_missing(knee.get("first_post_knee")):
            parts.append(f"first post-knee point C = {knee['first_post_knee']}")
        others = [
            none if is_missing(knee.get(key)) else f"{some} C = {whole(knee[key])}"
            for key, some, none in (
                ("kneedle", "Kneedle says", "Kneedle finds none"),
                ("slo_crossing", "TTFT P99 > 2x its plateau from", "TTFT P99 nowhere > 2x its plateau"),
            )
        ]
        parts.append(f"for comparison, without intervals: {', '.join(others)}")
    else:
        parts.append("no knee found on this grid")
    if knee.get("note"):
        parts.append(str(knee["note"]))
    if deepest:
        depth = interval(deepest.get("poa_hat"), deepest.get("lo"), deepest.get("hi"))
        parts.append(f"PoA-hat {depth} at the deepest point, C = {deepest['concurrency']}")
    return parts


def _detection(system: System, workload: str) -> list[str]:
    logs = system.of(workload, "detection")
    logs = logs[logs["valid"].astype(bool)]
    parts = [_detector(source, mine) for source, mine in logs.groupby("source", sort=False)]
    return parts or ["no detector's log counts"]


def _detector(source: Any, logs: pd.DataFrame) -> str:
    """How often and how late one kind of detector fired, over launches."""
    name = {"client": "client's TTFT", "prometheus": "frontends' histograms"}[str(source)]
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


def _stages(system: System, workload: str) -> list[str]:
    ratios = system.of(workload, "ratios")
    ratios = ratios[ratios["against_reference"].astype(bool) & ratios["valid"].astype(bool)]
    if ratios.empty:
        return ["no ratio of the reference to an adaptive policy counts"]
    deepest = ratios[ratios["concurrency"] == ratios["concurrency"].max()]
    parts = []
    for (stage, policy, against, way), mine in deepest.groupby(
        ["stage", "policy", "against", "way"], sort=False
    ):
        by_name = {str(row["quantity"]): row for row in mine.to_dict("records")}
        shown = [
            f"{TITLES[name]} {ratio_interval(by_name[name])}"
            for name in ("poa_hat", "poa_cal", "ttft_p99", "throughput_rps")
            if name in by_name
        ]
        C = whole(mine["concurrency"].iloc[0])
        parts.append(f"{stage}, C = {C}, {way}: {against} over {policy}: {', '.join(shown)}")
    return parts


def _pareto(system: System, workload: str) -> list[str]:
    spread = system.of(workload, "spread")
    spread = spread[(spread["quantity"] == "poa_hat") & (spread["factor"] == "pair")]
    parts = []
    for row in spread[spread["valid"].astype(bool)].to_dict("records"):
        verdict = "they differ" if row["effect"] is True else "no difference seen"
        bound = "" if is_missing(row["cv_bound"]) else f", at most {percent(row['cv_bound'])} (95 %)"
        noise = percent(row["cv_noise"]) if row["noise"] else "not known"
        words = f"{row['way']}, {row['load']} (C = {whole(row['concurrency'])}): CV of PoA-hat over "
        words += f"{whole(row['n_levels'])} pairs {percent(row['cv'])}, noise {noise}{bound}: {verdict}"
        if not is_missing(row["variance_ratio"]):
            bounds = (row[f"variance_ratio{end}"] for end in ("", "_lo", "_hi"))
            words += f", variance {interval(*bounds)} times that of {row['against_load']}"
        parts.append(words)
    return parts or ["no spread over pairs could be estimated"]


_TOLD: Final[Mapping[str, Callable[[System, str], list[str]]]] = {
    "ladder": _ladder,
    "detection": _detection,
    "stages": _stages,
    "pareto": _pareto,
}


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


def _more(system: System, workload: str) -> list[str]:
    """Fits of the latency curves, where latency bends, what the rise consists of, the estimates' notes."""
    found = system.info["workloads"][workload]
    knee = knee_words(system.info, workload)
    notes = [*([knee[0].upper() + knee[1:]] if knee else []), *(found.get("notes") or ())]
    if system.design.name != "ladder":
        return [*_bends(found), *_rises(found), *notes]
    fits = [f"{title}: {', '.join(of)}" for title, fit in FITS.items() if (of := _shares(found, *fit))]
    return [*(["; ".join(fits)] if fits else []), *notes]


def _shares(found: Mapping[str, Any], curve: str, share: str) -> list[str]:
    """One share of the variance that a curve explains, launch by launch."""
    fits = (found.get("curves") or {}).items()
    qualities = {launch: (fit.get(curve) or {}).get("quality") or {} for launch, fit in fits}
    return [
        f"launch {launch} {number(quality[share])}"
        for launch, quality in qualities.items()
        if not is_missing(quality.get(share))
    ]
