"""What the page says beside results: every attempt, deployments, versions, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anarchy import tables
from anarchy.gates.registry import gates
from anarchy.report.titles import named
from anarchy.tables import MISSING, System, is_missing, number, spaced


def attempts(systems: Sequence[System]) -> list[dict[str, Any]]:
    """Every attempt as text, ordered as measured within its system.

    Those that are ``smooth`` have nothing to tell: valid at once, and on a clock that no host disturbs. Of a
    run in virtual time these are thousands.
    """
    rows = []
    for system in systems:
        for row in system.attempts.sort_values(["trial", "started_at", "attempt"]).to_dict("records"):
            valid = bool(row["valid"])
            uncounted = not is_missing(row.get("counted")) and not row["counted"]
            passed = "valid, not counted" if uncounted else "valid"
            rows.append(
                {
                    "system": named(system),
                    "valid": valid,
                    "smooth": valid
                    and not uncounted
                    and row.get("attempt") == 1
                    and is_missing(row.get("host_cpu_share")),
                    "verdict": passed if valid else spaced(str(row.get("reasons") or "")),
                    "words": [
                        str(row["workload"]),
                        str(row["policy"]),
                        *(tables.whole(row.get(name)) for name in ("trial", "concurrency", "attempt")),
                    ],
                    "numbers": [
                        tables.whole(row.get("n_requests")),
                        tables.whole(row.get("windows")),
                        number(row.get("duration_wall_s")),
                        *(tables.share(row.get(n)) for n in ("client_cpu_share", "host_cpu_share")),
                        number(
                            None if is_missing(row.get("loop_lag_p99_s")) else row["loop_lag_p99_s"] * 1e3
                        ),
                        tables.share(row.get("error_share")),
                        number(row.get("drift")),
                        str(row.get("started_at") or MISSING),
                    ],
                }
            )
    return rows


def reasons(systems: Sequence[System]) -> list[tuple[str, str]]:
    """Every reason that occurs and what it means, in the words of the gate itself, with its threshold."""
    named = {
        reason.split(" (launch")[0].strip()
        for system in systems
        for column in (system.attempts["reasons"], system.rows["reasons"])
        for reasons in column.dropna()
        for reason in str(reasons).split(",")
    }
    known = gates()
    return [
        (name, f"{known[name].sentence} ({known[name].threshold})" if name in known else "")
        for name in sorted(filter(None, named))
    ]


def deployments(systems: Sequence[System]) -> list[dict[str, Any]]:
    """Measured against predicted wall time of every deployment, and its routing self-test."""
    rows = []
    for system in systems:
        for found in system.info.get("deployments") or []:
            routing = found.get("routing_set") or found.get("policy") or system.info.get("policy")
            test = found.get("routing_test") or {}
            verdict = {True: "passed", False: "failed", None: "not run"}[test.get("ok")]
            p_value = "" if is_missing(test.get("p_value")) else f", p = {number(test['p_value'])}"
            rows.append(
                {
                    "title": f"{named(system)}, {routing}, launch {found['trial']}",
                    "start": found.get("start_s"),
                    "cells": found.get("cells_s"),
                    "stop": found.get("stop_s"),
                    "measured": found.get("wall_s"),
                    "measuring": found.get("measuring_s"),
                    "idle_gpu_hours": idle_gpu_hours(found),
                    "predicted": found.get("predicted_s"),
                    "routing_test": verdict + p_value,
                }
            )
    return rows


def idle_gpu_hours(deployment: Mapping[str, Any]) -> float | None:
    """GPU-hours held while nothing was measured: start, load, warm-up, drain, stop; None without GPUs."""
    gpus, wall_s = deployment.get("gpus") or 0, deployment.get("wall_s")
    if not gpus or wall_s is None:
        return None
    return float(gpus * (wall_s - deployment["measuring_s"]) / 3600.0)


def versions(systems: Sequence[System], run_info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Software and machine, each name once."""
    named: dict[str, set[str]] = {}
    for source in (
        run_info.get("versions") or {},
        *(system.info.get("versions") or {} for system in systems),
    ):
        for name, version in source.items():
            if version is not None:
                named.setdefault(str(name), set()).add(str(version))
    rows = [(name, ", ".join(sorted(found))) for name, found in sorted(named.items())]
    machine = run_info.get("machine") or {}
    rows += [(str(name), str(value)) for name, value in machine.items() if value is not None]
    own = (("frozen run", "run"), ("commit of this project", "commit"))
    return rows + [(title, str(run_info[key])) for title, key in own if run_info.get(key)]


def regenerate(tier: str, systems: Sequence[System], run_info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Commands that make the report again, or a part of it."""
    everything = f"make reproduce TIER={tier}"
    made = str(run_info.get("command") or everything).strip()
    commands = [("this report as it was made", made)] if made != everything else []
    commands.append(("everything", everything))
    models = list(dict.fromkeys(system.key[0] for system in systems))
    return commands + [(f"{model} alone", f"make reproduce TIER={tier} MODELS={model}") for model in models]
