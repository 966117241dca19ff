"""Plausible estimates of staged cells (E2, E3), written as `anarchy system` writes them; nothing is measured.

Of the adaptive experiment one condition is not counted: `random` in the stage `past`, `errors`. The detector
fed by histograms raises one false alarm in the first launch of the saturation experiment.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from anarchy.estimate.columns import DETECTION, ESTIMATES, LAUNCHES, POLLS, QUANTITIES, RATIOS, SERIES, STAGES
from anarchy.ground.layout import Layout
from tests.helpers.synthetic_estimates import (
    SYSTEMS,
    WORKLOADS,
    common_facts,
    document_facts,
    write_attempts,
    write_table,
)

KNEE: Final = 96
PHASES: Final = (("below", 0.5), ("at", 1.0), ("past", 2.0), ("recovery", 0.5))
STEPS: Final = (
    *(("up-1", 0.33), ("up-2", 0.67), ("up-3", 1.0), ("up-4", 1.33), ("up-5", 2.0)),
    *(("down-1", 1.33), ("down-2", 0.67), ("down-3", 0.33)),
)
SETTLE, SECONDS = 5.0, 20.0
POLL = 5.0
THETA1, THETA2 = 0.2, 2.0


RISE: Final = {
    "from": "below", "to": "past", "poa_hat": 3.1, "poa_hat_lo": 3.0, "poa_hat_hi": 3.2,
    "routing": 1.02, "routing_lo": 1.01, "routing_hi": 1.03, "dynamics": 2.0, "dynamics_lo": 1.9,
    "dynamics_hi": 2.1, "freezing": 1.5, "freezing_lo": 1.4, "freezing_hi": 1.6, "routing_share": 0.02,
    "routing_share_lo": 0.01, "routing_share_hi": 0.031, "dynamics_share": 0.6, "dynamics_share_lo": 0.5,
    "dynamics_share_hi": 0.7, "freezing_share": 0.38, "freezing_share_lo": 0.3, "freezing_share_hi": 0.4,
}  # fmt: skip
BEND: Final = {"concurrency": 128, "value": 8e-5, "lo": 4e-5, "hi": 1.2e-4}


def policy(name: str, kind: str, way: str, *numbers: float, reference: bool = False) -> dict[str, Any]:
    """A policy as the columns of every frame name it."""
    tau, omega = numbers or (math.nan, math.nan)
    return {
        "policy": name, "policy_title": name.replace("-", " ").capitalize(), "kind": kind, "way": way,
        "tau": tau, "omega": omega, "reference": reference,
    }  # fmt: skip


BASELINES = ("round_robin", "random", "least_loaded", "power_of_two", "batched_optimal")
ROUTING: Final = {
    "saturation": {"static": [policy("static", "kv", "builtin", 0.0, 1.0, reference=True)]},
    "adaptive": {
        "builtin": [
            policy("static", "kv", "builtin", 0.0, 1.0, reference=True),
            policy("adaptive", "adaptive", "builtin"),
            policy("adaptive-client", "adaptive", "builtin"),
        ],
        "pinned": [
            policy("pinned-static", "kv", "pinned", 0.0, 1.0, reference=True),
            policy("pinned-adaptive", "adaptive", "pinned"),
            *(policy(kind.replace("_", "-"), kind, "pinned") for kind in BASELINES),
        ],
    },
}
GAIN: Final = {
    "static": 1.0, "adaptive": 1.03, "adaptive-client": 0.98, "pinned-static": 1.35,
    "pinned-adaptive": 0.95, "round-robin": 0.97,
    "random": 1.1, "least-loaded": 0.94, "power-of-two": 0.99, "batched-optimal": 0.93,
}  # fmt: skip
"""PoA-hat and TTFT past the knee, against static routing of the built-in way."""


def write_staged(
    root: Path,
    experiment: str = "adaptive",
    *,
    tier: str = "quick",
    workloads: tuple[str, ...] = ("unique",),
    launches: int = 1,
    systems: slice = slice(1, 2),
) -> Layout:
    """Write the systems' folders of ``experiment`` (saturation or adaptive) under ``root/<tier>``."""
    layout = Layout(root / tier)
    for place, shape in enumerate(SYSTEMS[systems]):
        rng = np.random.default_rng(100 + place)
        common = common_facts(shape, experiment, tier)
        labels = [
            {**common, "workload": name, "workload_title": WORKLOADS[name], "routing_set": group, **found}
            for name in workloads
            for group, policies in ROUTING[experiment].items()
            for found in policies
        ]
        stages = _stages(experiment)
        folder = layout.estimates(experiment, shape["model"], shape["topology"])
        folder.mkdir(parents=True, exist_ok=True)
        rows = pd.DataFrame([_stage_row(label, stage, launches, rng) for label in labels for stage in stages])
        series = pd.concat(
            [
                _series(label, stages, shape["pool"], launch, rng)
                for label in labels
                for launch in _to(launches)
            ]
        )
        logs = [_log(label, stages, launch, source, rng) for label in labels for launch in _to(launches)
                for source in _sources(experiment, label)]  # fmt: skip
        frames = {
            "stages": (rows, STAGES),
            "launches": (_launches(rows, launches), LAUNCHES),
            "ratios": (pd.DataFrame(_ratios(rows)), RATIOS),
            "series": (series, SERIES),
            "detection": (pd.DataFrame([found for found, _ in logs]), DETECTION),
            "polls": (pd.concat([polls for _, polls in logs]), POLLS),
        }
        write_frames(folder, frames)
        write_attempts(folder, shape, [cell_name(label) for label in labels])
        info = {
            **document_facts(common, shape, launches, workloads),
            "design": "detection" if experiment == "saturation" else "stages",
            "knee": KNEE,
            "knee_from": {"used": KNEE, "reason": ""},
            "c_ref": 64,
            "stages": stages,
            "routing": {
                group: {
                    "reference": policies[0]["policy"],
                    "policies": [_listed(found) for found in policies],
                }
                for group, policies in ROUTING[experiment].items()
            },
            "controllers": {"below": {"tau": 0.0, "omega": 1.0}, "transition": {"tau": 0.7, "omega": 1.0},
                            "saturated": {"tau": 0.8, "omega": 0.1}},
        }  # fmt: skip
        for found in info["workloads"].values():
            found["rise"] = {
                group: {policies[0]["policy"]: RISE} for group, policies in ROUTING[experiment].items()
            }
            found["curvature"] = {"static": {"static": BEND}} if experiment == "saturation" else {}
        (folder / "system.json").write_text(json.dumps(info, indent=2, allow_nan=False), encoding="utf-8")
    return layout


def cell_name(label: dict[str, Any]) -> str:
    """Name of a staged cell: with its policy where its deployment serves several."""
    alone = len(ROUTING[label["experiment"]][label["routing_set"]]) == 1
    return f"{label['workload']}-staged" + ("" if alone else f"_{label['policy']}")


def write_frames(folder: Path, frames: dict[str, tuple[pd.DataFrame, Any]]) -> None:
    """Write frames with just the columns that they must have; a column too many is a fault of the sample."""
    for name, (frame, schema) in frames.items():
        assert set(frame) <= set(schema.names), set(frame) - set(schema.names)
        write_table(frame, schema, folder / f"{name}.parquet")


def bounded(name: str, value: float, width: float) -> dict[str, float]:
    """A number with an interval of this relative half width."""
    return {name: value, f"{name}_lo": value * (1 - width), f"{name}_hi": value * (1 + 1.2 * width)}


def estimated(C: int, gain: float, launches: int, seed: float, rng: np.random.Generator) -> dict[str, Any]:
    """One condition's numbers: flat below the knee, and past it rising by ``gain`` times a common growth."""
    past = max(1.0, C / KNEE)
    noise = math.exp(rng.normal(0, 0.01))
    poa = 1.02 * past**1.6 * (gain if past > 1 else 1.0) * noise
    routing = 1.01 + 0.05 * (gain - 0.9) * past
    freezing = past**2.2
    ttft = 0.06 * past**2.4 * (gain if past > 1 else 1.0) * noise
    rate = 1.9 * min(C, KNEE) / (1 + 0.05 * max(0.0, gain - 1))
    width = 0.03 / math.sqrt(launches)
    return {
        "n_launches": launches, "n_requests": int(40 * C), "n_windows": int(20 * C),
        "interval_kind": "across-launches" if launches >= 3 else "within-run", "block_length": 6.0,
        "regime": "growth" if past > 1 else "plateau",
        **bounded("poa_hat", poa, width), **bounded("poa_cal", max(1.0, routing), width / 3),
        **bounded("ttft_p50", ttft, width), **bounded("ttft_p99", 2.1 * ttft, 2 * width),
        **bounded("itl_mean", 0.006 + 0.00002 * C, width / 2), **bounded("throughput_rps", rate, width / 2),
        **bounded("dynamics", poa / routing / freezing, width), **bounded("routing", routing, width / 3),
        **bounded("freezing", freezing, width), "median_window": 0.9 * poa, "p90_window": 1.6 * poa,
        **bounded("ttft_mean", 1.1 * ttft, width), "throughput_tps": 64 * rate, "error_share": 0.0,
        "load_mean": C / 2, **bounded("load_range", 2 + 0.1 * C * abs(gain - 0.9), 0.1),
        **bounded("load_sd", 1 + 0.04 * C * abs(gain - 0.9), 0.1), "prefill_load": 0.2 * C,
        "cached_share": 0.0, **bounded("poa_hat_cv", 0.02 if launches >= 3 else math.nan, 0.8),
        "valid": True, "reasons": "",
    }  # fmt: skip


def uncounted(row: dict[str, Any], reasons: str) -> dict[str, Any]:
    """The same condition with nothing valid measured."""
    words = ("interval_kind", "regime", "reasons")
    empty = {
        name: "" if name in words else math.nan
        for name in [column.name for column in ESTIMATES]
        if name != "valid"
    }
    return {
        **row,
        **empty,
        "n_launches": 0,
        "n_requests": 0,
        "n_windows": 0,
        "valid": False,
        "reasons": reasons,
    }


def _to(count: int) -> range:
    return range(1, count + 1)


def _listed(found: dict[str, Any]) -> dict[str, Any]:
    plain = {name: found[name] for name in ("kind", "way")}
    numbers = {name: None if math.isnan(found[name]) else found[name] for name in ("tau", "omega")}
    return {"name": found["policy"], "title": found["policy_title"], **plain, **numbers}


def _stages(experiment: str) -> list[dict[str, Any]]:
    plan = PHASES if experiment == "adaptive" else STEPS
    top = max(range(len(plan)), key=lambda index: plan[index][1])
    span = SETTLE + SECONDS
    return [
        {"name": name, "concurrency": round(times * KNEE), "knee_times": times,
         "direction": "up" if index <= top else "down", "settle_s": SETTLE, "seconds": SECONDS,
         "start_s": index * span, "settled_s": index * span + SETTLE, "end_s": (index + 1) * span}
        for index, (name, times) in enumerate(plan)
    ]  # fmt: skip


def _stage_row(
    label: dict[str, Any], stage: dict[str, Any], launches: int, rng: np.random.Generator
) -> dict[str, Any]:
    C = stage["concurrency"]
    row = {
        **label,
        "stage": stage["name"],
        "stage_index": [s["name"] for s in _stages(label["experiment"])].index(stage["name"]),
        **{name: stage[name] for name in ("direction", "concurrency", "knee_times")},
        **estimated(C, GAIN[label["policy"]], launches, 0, rng),
    }
    if label["kind"] == "adaptive":
        shares = (0.1, 0.3, 0.6) if C > KNEE else (1.0, 0.0, 0.0)
        row |= dict(zip(("share_below", "share_transition", "share_saturated"), shares, strict=True))
    if label["way"] == "pinned":
        row |= {"overlap_chosen": 0.4, "overlap_best": 0.7}
    if label["experiment"] == "saturation":
        row |= bounded("curvature", 1e-5 if C <= KNEE else 8e-5, 0.5)
    if label["policy"] == "random" and stage["name"] == "past":
        return uncounted(row, "errors")
    return row


def _launches(rows: pd.DataFrame, launches: int) -> pd.DataFrame:
    each = [rows.assign(condition=rows["stage"], launch=launch) for launch in _to(launches)]
    kept = [name for name in LAUNCHES.names if name in each[0]]
    return pd.concat(each)[kept]


def _ratios(rows: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    index = ["workload", "routing_set", "policy", "stage"]
    by_key = {tuple(row[name] for name in index): row for row in rows.to_dict("records")}
    for key, mine in by_key.items():
        if mine["kind"] != "adaptive":
            continue
        for other_key, other in by_key.items():
            if other["kind"] == "adaptive" or (other_key[0], other_key[3]) != (key[0], key[3]):
                continue
            for name in (*QUANTITIES, "load_range"):
                ratio = other[name] / mine[name]
                found.append(
                    {
                        **{column: mine[column] for column in RATIOS.names if column in mine},
                        "against_set": other["routing_set"], "against": other["policy"],
                        "against_title": other["policy_title"], "against_way": other["way"],
                        "against_kind": other["kind"], "quantity": name, **bounded("ratio", ratio, 0.04),
                        "against_reference": other["reference"] and key[1] == other_key[1],
                        "paired": key[1] == other_key[1], "valid": other["valid"],
                        "reasons": other["reasons"], "interval_kind": mine["interval_kind"],
                    }
                )  # fmt: skip
    return found


def _series(
    label: dict[str, Any],
    stages: list[dict[str, Any]],
    pool: int,
    launch: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """1 s bins: latency follows the load with a delay of some seconds."""
    span = SETTLE + SECONDS
    t = np.arange(0.0, span * len(stages))
    stage = [stages[int(at // span)] for at in t]
    C = np.array([found["concurrency"] for found in stage], dtype=float)
    felt = C.copy()
    for k in range(1, len(felt)):
        felt[k] = felt[k - 1] + 0.25 * (C[k] - felt[k - 1])
    past = np.maximum(1.0, felt / KNEE)
    gain = np.where(past > 1, GAIN[label["policy"]], 1.0)
    ttft = 0.06 * past**2.4 * gain * np.exp(rng.normal(0, 0.08, len(t)))
    skew = 1 + (gain - 0.9)[:, None] * 0.4 * rng.normal(0, 1, (len(t), pool))
    load = np.clip(felt[:, None] / pool * skew, 0, None)
    regime = np.where(past > 1.5, "saturated", np.where(past > 1.1, "transition", "below"))
    return pd.DataFrame(
        {
            **label, "launch": launch, "cell": cell_name(label), "t": t,
            "seconds": 1.0, "stage": [found["name"] for found in stage], "concurrency": C.astype(int),
            "n_sent": np.round(1.9 * np.minimum(felt, KNEE)).astype(int), "ttft_p50": ttft,
            "ttft_p99": 2.1 * ttft, "throughput_rps": 1.9 * np.minimum(felt, KNEE), "load": list(load),
            "prefill_load": 0.2 * felt, "regime": regime if label["kind"] == "adaptive" else "",
        }
    )  # fmt: skip


def _sources(experiment: str, label: dict[str, Any]) -> tuple[str, ...]:
    if experiment == "saturation":
        return ("prometheus", "client")
    if label["kind"] != "adaptive":
        return ()
    return ("client",) if label["policy"] == "adaptive-client" else ("prometheus",)


def _log(
    label: dict[str, Any],
    stages: list[dict[str, Any]],
    launch: int,
    source: str,
    rng: np.random.Generator,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """One controller's log: up two polls after the knee was crossed, down two after it was crossed back."""
    span = SETTLE + SECONDS
    crossed = span * next(k for k, found in enumerate(stages) if found["concurrency"] > KNEE)
    back = [k for k, found in enumerate(stages) if found["concurrency"] <= KNEE and k * span > crossed]
    recovered = span * back[0]
    late = 10.0 if source == "client" else 15.0
    fired, released = crossed + late, recovered + 20.0
    saturated = fired + 15.0
    alarm = source == "prometheus" and launch == 1 and label["experiment"] == "saturation"
    cell = cell_name(label)
    label = {name: value for name, value in label.items() if name in POLLS.names}
    label |= {"launch": launch, "cell": cell, "source": source,
              "log": f"controller-{source}.jsonl", "acts": label["experiment"] == "adaptive"}  # fmt: skip
    t = np.arange(POLL, span * len(stages) + POLL, POLL)
    stage = [stages[min(int((at - POLL) // span), len(stages) - 1)] for at in t]
    past = np.maximum(1.0, np.array([found["concurrency"] for found in stage]) / KNEE)
    p99 = 0.126 * past**2.4 * np.exp(rng.normal(0, 0.05, len(t)))
    p99[3] = math.nan
    regime = np.where(
        (t >= fired) & (t < released), np.where(t >= saturated, "saturated", "transition"), "below"
    )
    if alarm:
        regime[(t > 40) & (t < 60)] = "transition"
    before = np.concatenate([["below"], regime[:-1]])
    theta = np.where(t > 30, 1.0, math.nan)
    polls = pd.DataFrame(
        {
            **label, "t": t, "stage": [found["name"] for found in stage], "requests": 400, "p99": p99,
            "p99_lo": p99 / (1.6 if source == "prometheus" else 1.0),
            "p99_hi": p99 * (1.3 if source == "prometheus" else 1.0), "ewma": p99, "theta1": THETA1 * theta,
            "theta2": THETA2 * theta, "regime": regime, "switch_from": np.where(regime != before, before, ""),
            "verdict": np.where(np.isnan(p99), "missing", "steady"), "reason": "", "late_s": 0.0,
            "skipped": 0,
        }
    )  # fmt: skip
    return {
        **label, "period_s": POLL, "baseline_s": THETA1 / 3, "theta1_s": THETA1, "theta2_s": THETA2,
        "knee": KNEE, "crossed_stage": next(f["name"] for f in stages if f["concurrency"] > KNEE),
        "crossed_concurrency": next(f["concurrency"] for f in stages if f["concurrency"] > KNEE),
        "crossed_s": crossed, "regime_crossed": "below", "ttft_crossed_s": crossed + 5.0, "fired": True,
        "fired_s": fired, "fired_to": "transition", "delay_s": late, "delay_polls": late / POLL,
        "system_delay_s": 5.0, "detector_delay_s": late - 5.0, "saturated_s": saturated,
        "false_alarms": int(alarm), "recovered_s": recovered, "released_s": released, "release_delay_s": 20.0,
        "late_alarms": 0, "switches": 3, "polls": len(t), "polls_missing": 1, "polls_skipped": 0,
        "unreadable": 0, "valid": True, "reasons": "",
    }, polls  # fmt: skip
