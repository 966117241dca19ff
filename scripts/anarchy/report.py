"""The report: one HTML file that opens from disk, asks for nothing from a network, and hides no attempt."""

from __future__ import annotations

# Plotting is slow to load and every call of Snakemake reads this module: it is imported where it is used.
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from anarchy import tables
from anarchy.errors import UserError
from anarchy.layout import Layout
from anarchy.tables import MISSING, System, interval, is_missing, load_systems, number, spaced
from anarchy.trace import gates

__all__ = ["load_systems", "render", "terminal_summary", "write", "write_summary"]

EXPERIMENT: Final = "equilibrium"
TEMPLATE: Final = Path(__file__).with_name("report.html.j2")

READING: Final = {
    "poa": "PoA-hat against concurrency, both logarithmic. Shading names the regimes; the vertical line is "
    "the knee with its interval, the ring the first measured point at or after it. The plateau's line is the "
    "geometric mean of its cells, each weighing the same.",
    "performance": "Time to first token, inter-token latency and throughput against concurrency.",
    "decomposition": "PoA-hat as a product: bars stacked on a logarithmic axis multiply up to it. "
    "Routing alone is PoA-cal; freezing is congestion the index leaves out of its optimum; dynamics is "
    "measured latency over what the fitted curve charges, below 1 where a request costs others more than "
    "itself.",
    "costmodel": "The cost model: time to first token against the load on the chosen decode worker, both "
    "logarithmic. l_A prices the frozen optimum of PoA-hat, solid over the loads that it was fitted to and "
    "dashed beyond; l_F prices PoA-cal and the factors. Where the points rise above l_A, PoA-hat grows by "
    "about that gap. Where the points of one C lie flat, latency followed the concurrency, not the load of "
    "the worker chosen.",
}
"""How to read each figure."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: wide, narrow for a small screen, and in words."""

    wide: str
    narrow: str
    double: bool
    alt: str
    reading: str
    links: tuple[tuple[str, str], ...]
    missing: str


def render(layout: Layout, run_info: Mapping[str, Any], claims: Sequence[Mapping[str, Any]] | None) -> str:
    """The report as HTML; figures are drawn from the estimates on disk, so that both agree.

    ``run_info``, every key optional: ``tier``; ``systems``: [experiment, model, topology] of each system of
    this run; ``predicted_s`` and ``measured_s`` in all; ``deployments``: predicted wall seconds by
    ``model/topology/policy/trial``; ``started_at``; ``command``; ``commit``; ``versions`` and ``machine``:
    name to value. ``claims``: rows of claims.json, or None when nobody looked. Raises UserError when no
    system has estimates.
    """
    systems = load_systems(layout, EXPERIMENT)
    if not systems:
        raise UserError(
            "holds no estimates, so there is nothing to report",
            where=layout.root,
            remedy="run `make reproduce` first",
        )
    tier = str(run_info.get("tier") or systems[0].info["tier"])
    summary = tables.summary_table(systems)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "duration": tables.duration,
        "number": number,
        "srcset": lambda uri: uri.replace(" ", "%20"),
    }
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        tier=tier,
        run=run_info,
        label=_label(systems),
        summary=_plain(tables.summary_words(summary)),
        summary_files=_links(layout, [layout.root / "tables" / f"summary.{s}" for s in ("csv", "tex")])[0],
        overview=_overview(layout, systems),
        systems=[_section(layout, system, run_info) for system in systems],
        claims=claims,
        attempts=_attempts(systems),
        gates=_gates(systems),
        deployments=_deployments(systems, run_info),
        simulated=sorted({str(s.info["engine"]) for s in systems} & {"simulated"}),
        dilations=[(s.title, s.info["dilation"]) for s in systems],
        versions=_versions(systems, run_info),
        regenerate=_regenerate(tier, systems, run_info),
        missing=MISSING,
    )


def write(layout: Layout, html: str) -> Path:
    """Write the report, whole or not at all."""
    tables.write_whole(layout.report, html.encode())
    return layout.report


def write_summary(layout: Layout) -> list[Path]:
    """Write what shows all systems together: the figure ``overview_poa`` and the table ``summary``."""
    from anarchy import figures, style

    systems = load_systems(layout, EXPERIMENT)
    cells = pd.concat([system.cells for system in systems])
    summary = tables.summary_table(systems)
    folder = layout.root / "tables"
    what = f"Plateau, knee and deepest point of every system, {tables.workload_titles(systems)}."
    words = tables.caption(what, style.engine_label(cells))
    return [
        *style.save(
            figures.overview(cells, [s.info for s in systems]),
            layout.figures(EXPERIMENT) / "overview_poa",
            cells,
        ),
        tables.write_csv(summary, folder / "summary.csv"),
        tables.write_latex(tables.summary_words(summary), folder / "summary.tex", caption=words),
    ]


def terminal_summary(systems: Sequence[System], report: Path | None = None) -> str:
    """The run's result in a few lines: plateau, knee, first post-knee point, PoA-hat at the deepest point.

    Plain text without colours, as wide as it needs to be; ends with where the report is.
    """
    summary = tables.summary_table(systems)
    words = tables.summary_words(summary).drop(columns=["valid cells"])
    words = words.rename(
        columns={"first post-knee C": "first\npost-knee C", "PoA-hat at deepest C": "PoA-hat at\ndeepest C"}
    )
    table = Table(box=box.SIMPLE_HEAD, title="PoA-hat [95 % interval]", title_justify="left", pad_edge=False)
    for place, name in enumerate(words):
        table.add_column(str(name), justify="left" if place == 0 else "right", no_wrap=True)
    for row in words.astype(str).to_numpy():
        table.add_row(*row)
    stream = io.StringIO()
    Console(file=stream, width=200, force_terminal=False, color_system=None).print(table)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    uncounted = int(summary["cells"].sum() - summary["cells_valid"].sum())
    if uncounted:
        lines.append(
            f"{uncounted} of {int(summary['cells'].sum())} cells are not counted; the report says why."
        )
    workloads = ", ".join(dict.fromkeys(summary["workload"]))
    lines.append(f"{_label(systems)}; {workloads}.")
    if report is not None:
        lines.append(f"report: {report}")
    return "\n".join(lines)


def _label(systems: Sequence[System]) -> str:
    from anarchy import style

    return style.engine_label(pd.concat([system.cells for system in systems]))


def _section(layout: Layout, system: System, run_info: Mapping[str, Any]) -> dict[str, Any]:
    from anarchy import figures, style

    model, topology = system.key
    stem = f"{model}_{topology}"
    notebook = layout.notebook(EXPERIMENT, model, topology)
    pictures = []
    drawn, small = figures.draw(system), figures.draw(system, style.SINGLE)
    for name, wide in drawn.items():
        kind, _, workload = name.partition("_")
        workload = workload or next(iter(system.info["workloads"]))
        double = wide.get_figwidth() >= style.DOUBLE
        narrow = small[name] if double else None
        links, missing = _links(
            layout,
            [
                notebook,
                *(layout.figures(EXPERIMENT) / f"{stem}_{name}.{s}" for s in ("pdf", "svg", "png")),
                system.folder / ("curves.parquet" if kind == "costmodel" else "cells.parquet"),
            ],
        )
        pictures.append(
            Picture(
                wide=_data_uri(style.render(wide, "svg", system.cells)),
                narrow=_data_uri(style.render(narrow, "svg", system.cells)) if narrow else "",
                double=double,
                alt=f"{READING[kind]} {describe(system, workload)}",
                reading=READING[kind],
                links=links,
                missing=missing,
            )
        )
    listed = run_info.get("systems")
    links, missing = _links(layout, [layout.tables(EXPERIMENT) / f"{stem}.{s}" for s in ("csv", "tex")])
    return {
        "id": stem,
        "title": system.title,
        "label": style.engine_label(system.cells),
        "part_of_run": listed is None or [EXPERIMENT, model, topology] in [list(entry) for entry in listed],
        "findings": [
            words
            for workload in system.info["workloads"]
            for words in (describe(system, workload), _fits(system, workload))
            if words
        ],
        "deviations": list(system.info.get("deviations") or []),
        "pictures": pictures,
        "table": _plain(tables.equilibrium_words(tables.equilibrium_table(system.cells))),
        "links": links,
        "missing": missing,
    }


def _overview(layout: Layout, systems: Sequence[System]) -> Picture:
    from anarchy import figures, style

    cells = pd.concat([system.cells for system in systems])
    infos = [system.info for system in systems]
    links, missing = _links(
        layout, [layout.figures(EXPERIMENT) / f"overview_poa.{s}" for s in ("pdf", "svg", "png")]
    )
    return Picture(
        wide=_data_uri(style.render(figures.overview(cells, infos), "svg", cells)),
        narrow=_data_uri(style.render(figures.overview(cells, infos, style.SINGLE), "svg", cells)),
        double=True,
        alt="PoA-hat of every system against concurrency, both logarithmic. "
        + " ".join(describe(system, workload) for system in systems for workload in system.info["workloads"]),
        reading="PoA-hat of every system against concurrency; dotted vertical lines are the knees.",
        links=links,
        missing=missing,
    )


def describe(system: System, workload: str) -> str:
    """What a system's figures show, in one sentence of numbers."""
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
            none if is_missing(knee.get(key)) else f"{some} C = {tables.whole(knee[key])}"
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
    rows = system.cells[system.cells["workload"] == workload]
    if not rows["valid"].all():
        parts.append(f"{int((~rows['valid'].astype(bool)).sum())} of {len(rows)} cells not counted")
    return f"{system.title}, {found.get('title', workload)}: {'; '.join(parts)}."


def _fits(system: System, workload: str) -> str:
    """How well the affine latency curve fits, by launch; empty where the estimates do not say."""
    found = system.info["workloads"][workload]
    shares = [
        f"launch {launch} {number(fit['affine']['quality']['r2'])}"
        for launch, fit in (found.get("curves") or {}).items()
        if not is_missing(((fit.get("affine") or {}).get("quality") or {}).get("r2"))
    ]
    if not shares:
        return ""
    return f"R² of the affine latency curve, {found.get('title', workload)}: {', '.join(shares)}."


def _attempts(systems: Sequence[System]) -> list[dict[str, Any]]:
    """Every attempt as text, ordered as measured within its system."""
    rows = []
    for system in systems:
        for row in system.attempts.sort_values(["trial", "started_at", "attempt"]).to_dict("records"):
            valid = bool(row["valid"])
            uncounted = not is_missing(row.get("counted")) and not row["counted"]
            passed = "valid, not counted" if uncounted else "valid"
            rows.append(
                {
                    "system": system.title,
                    "valid": valid,
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


def _gates(systems: Sequence[System]) -> list[tuple[str, str]]:
    """Every reason that occurs and what it means, in the words of the gate itself."""
    named = {
        reason.strip()
        for system in systems
        for column in (system.attempts["reasons"], system.cells["reasons"])
        for reasons in column.dropna()
        for reason in str(reasons).split(",")
    }
    meanings = {name: (getattr(gates, name, None).__doc__ or "").strip() for name in named if name}
    return [
        (name, meaning.splitlines()[0] if hasattr(gates, name) and meaning else "")
        for name, meaning in sorted(meanings.items())
    ]


def _deployments(systems: Sequence[System], run_info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measured against predicted wall time of every deployment, and its routing self-test."""
    predicted = run_info.get("deployments") or {}
    rows = []
    for system in systems:
        for found in system.info.get("deployments") or []:
            policy = found.get("policy", system.info["policy"])
            test = found.get("routing_test") or {}
            verdict = {True: "passed", False: "failed", None: "not run"}[test.get("ok")]
            p_value = "" if is_missing(test.get("p_value")) else f", p = {number(test['p_value'])}"
            rows.append(
                {
                    "title": f"{system.title}, launch {found['trial']}",
                    "start": found.get("start_s"),
                    "cells": found.get("cells_s"),
                    "stop": found.get("stop_s"),
                    "measured": found.get("wall_s"),
                    "measuring": found.get("measuring_s"),
                    "idle_gpu_hours": _idle_gpu_hours(found),
                    "predicted": predicted.get("/".join((*system.key, str(policy), str(found["trial"])))),
                    "routing_test": verdict + p_value,
                }
            )
    return rows


def _idle_gpu_hours(deployment: Mapping[str, Any]) -> float | None:
    """GPU-hours held while nothing was measured: start, load, warm-up, drain, stop; None without GPUs."""
    gpus, wall_s = deployment.get("gpus") or 0, deployment.get("wall_s")
    if not gpus or wall_s is None:
        return None
    return float(gpus * (wall_s - deployment["measuring_s"]) / 3600.0)


def _versions(systems: Sequence[System], run_info: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions: dict[str, set[str]] = {}
    for source in (
        run_info.get("versions") or {},
        *(system.info.get("versions") or {} for system in systems),
    ):
        for name, version in source.items():
            if version is not None:
                versions.setdefault(str(name), set()).add(str(version))
    rows = [(name, ", ".join(sorted(found))) for name, found in sorted(versions.items())]
    machine = run_info.get("machine") or {}
    rows += [(str(name), str(value)) for name, value in machine.items() if value is not None]
    return rows + ([("commit of this project", str(run_info["commit"]))] if run_info.get("commit") else [])


def _regenerate(tier: str, systems: Sequence[System], run_info: Mapping[str, Any]) -> list[tuple[str, str]]:
    everything = f"make reproduce TIER={tier}"
    made = str(run_info.get("command") or everything).strip()
    commands = [("this report as it was made", made)] if made != everything else []
    commands.append(("everything", everything))
    models = list(dict.fromkeys(system.key[0] for system in systems))
    return commands + [(f"{model} alone", f"make reproduce TIER={tier} MODELS={model}") for model in models]


def _plain(words: pd.DataFrame) -> dict[str, Any]:
    """A table of text for the template: headings, rows, and which columns hold numbers."""
    numeric = [any(str(value)[:1].isdigit() for value in words[name]) for name in words]
    return {
        "head": [str(name) for name in words],
        "rows": words.astype(str).to_numpy().tolist(),
        "numeric": numeric,
    }


def _links(layout: Layout, paths: Sequence[Path]) -> tuple[tuple[tuple[str, str], ...], str]:
    """Relative links to the files that exist, and the names of those that do not."""
    base = layout.report.parent
    names = {".ipynb": "notebook", ".parquet": "data"}
    there, gone = [], []
    for path in paths:
        name = names.get(path.suffix, path.suffix[1:].upper())
        if path.is_file():
            there.append((name, Path(os.path.relpath(path, base)).as_posix()))
        else:
            gone.append(name)
    return tuple(there), ", ".join(gone)


def _data_uri(svg: bytes) -> str:
    """An SVG as the source of an image: smaller than base64, without what the eye does not need."""
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", "", svg.decode(), flags=re.DOTALL)
    text = re.sub(r"([1-9]\d*\.\d\d)\d+", r"\1", text)
    text = re.sub(r"\s+", " ", text).strip().replace("%", "%25").replace("#", "%23")
    return "data:image/svg+xml," + text.replace('"', "%22" if "'" in text else "'")
