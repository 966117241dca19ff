"""Estimates as read from disk, and the tables made of them: raw numbers for CSV, words for people and LaTeX.

The functions that make a table take and return frames; reading and writing stand apart at the two ends.
Times are seconds in the estimates and milliseconds in tables, as the column names say.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.errors import UserError
from anarchy.layout import Layout
from anarchy.trace.writer import disk_errors

MISSING: Final = "–"
"""What stands for a number that is not known."""

CELL_COLUMNS: Final = (
    *("model", "topology", "workload", "workload_title", "engine", "dilation", "tier", "concurrency"),
    *("n_launches", "n_requests", "n_windows", "interval_kind", "regime", "valid", "reasons"),
    *("dynamics", "routing", "freezing"),
    *(
        name + bound
        for name in ("poa_hat", "poa_cal", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps")
        for bound in ("", "_lo", "_hi")
    ),
)
"""Columns of cells.parquet that figures and tables need."""

NUMBER_COLUMNS: Final = ("n_requests", "n_windows", *CELL_COLUMNS[CELL_COLUMNS.index("dynamics") :])
"""Those of them that hold numbers which a cell that does not count lacks."""

LABEL_COLUMNS: Final = tuple(
    name for name in CELL_COLUMNS if name not in (*NUMBER_COLUMNS, "interval_kind", "regime")
)
"""Those of them that every cell has, counted or not."""

CURVE_COLUMNS: Final = ("workload", "launch", "concurrency", "reference", "x", "latency", "weight")
"""Columns of curves.parquet that figures need."""


@dataclass(frozen=True)
class System:
    """One model on one topology: its estimates and what stands beside them."""

    info: Mapping[str, Any]
    """system.json: titles, engine, and per workload the knee, the plateau and the deepest point."""
    cells: pd.DataFrame
    """One row a workload and concurrency, pooled over launches."""
    attempts: pd.DataFrame
    """One row a measured attempt of a cell, valid or not."""
    curves: pd.DataFrame
    """One row a workload, launch, concurrency and load: the mean latency that the curves were fitted to."""
    folder: Path
    """Where it was read from."""

    @property
    def key(self) -> tuple[str, str]:
        """Model and topology."""
        return str(self.info["model"]), str(self.info["topology"])

    @property
    def title(self) -> str:
        """For people: the model and the topology."""
        return f"{self.info['model_title']} {self.info['topology_title']}"


def load_system(layout: Layout, experiment: str, model: str, topology: str) -> System:
    """Read one system's estimates; raises UserError for what is missing or cannot be read."""
    return _load(layout.estimates(experiment, model, topology))


def load_systems(layout: Layout, experiment: str = "equilibrium") -> list[System]:
    """Every system of an experiment that has estimates on disk, of this run or not, ordered by name."""
    folder = layout.estimates(experiment, "model", "topology").parent
    return [_load(path.parent) for path in sorted(folder.glob("*/system.json"))]


def _load(folder: Path) -> System:
    remedy = f"make it again: delete {folder} and run the same `make reproduce` (measured cells are kept)"
    try:
        info = json.loads((folder / "system.json").read_text(encoding="utf-8"))
        cells = pd.read_parquet(folder / "cells.parquet")
        attempts = pd.read_parquet(folder / "attempts.parquet")
        curves = pd.read_parquet(folder / "curves.parquet")
    except FileNotFoundError:
        files = ("system.json", "cells.parquet", "attempts.parquet", "curves.parquet")
        gone = next((folder / name for name in files if not (folder / name).exists()), folder)
        raise UserError("does not exist", where=gone, remedy=remedy) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=folder, remedy=remedy) from None
    missing = [name for name in CELL_COLUMNS if name not in cells]
    if "valid" in cells and not cells["valid"].any():
        cells = cells.assign(**{name: None for name in missing if name not in LABEL_COLUMNS})
        missing = [name for name in missing if name in LABEL_COLUMNS]
    if curves.empty:
        curves = pd.DataFrame(columns=list(CURVE_COLUMNS))
    for file, lacking in (
        ("cells.parquet", missing),
        ("curves.parquet", [name for name in CURVE_COLUMNS if name not in curves]),
    ):
        if lacking:
            raise UserError(f"lacks the columns {', '.join(lacking)}", where=folder / file, remedy=remedy)
    numbers = {name: pd.to_numeric(cells[name], errors="coerce") for name in NUMBER_COLUMNS}
    cells = cells.assign(**{name: values.astype(float) for name, values in numbers.items()})
    return System(info, _ordered(cells, list(info["workloads"])), attempts, curves, folder)


def _ordered(cells: pd.DataFrame, workloads: Sequence[str]) -> pd.DataFrame:
    """Cells by workload, in the order given, and rising C."""
    place = cells["workload"].map({name: place for place, name in enumerate(workloads)})
    rows = cells.assign(_place=place).sort_values(["_place", "concurrency"], kind="stable")
    return rows.drop(columns="_place").reset_index(drop=True)


def equilibrium_table(cells: pd.DataFrame) -> pd.DataFrame:
    """One row a cell of one system: PoA-hat, PoA-cal, latencies in ms, throughput, regime and validity."""
    cells = _ordered(cells, list(dict.fromkeys(cells["workload"])))
    table = cells[["workload", "concurrency"]].copy()
    for name in ("poa_hat", "poa_cal"):
        table[[name, f"{name}_lo", f"{name}_hi"]] = cells[[name, f"{name}_lo", f"{name}_hi"]]
    table[["dynamics", "routing", "freezing"]] = cells[["dynamics", "routing", "freezing"]]
    for source, name, factor in (
        ("ttft_p50", "ttft_p50_ms", 1e3),
        ("ttft_p99", "ttft_p99_ms", 1e3),
        ("itl_mean", "itl_mean_ms", 1e3),
        ("throughput_rps", "throughput_rps", 1.0),
    ):
        for bound in ("", "_lo", "_hi"):
            table[name + bound] = cells[source + bound] * factor
    columns = [
        "n_windows",
        "n_requests",
        "n_launches",
        "interval_kind",
        "regime",
        "valid",
        "reasons",
        "engine",
    ]
    table[columns] = cells[columns]
    table["dilation"] = cells["dilation"]
    return table


def summary_table(systems: Sequence[System]) -> pd.DataFrame:
    """One row a system and workload: plateau, knee, first post-knee point, deepest point."""
    return pd.DataFrame(
        [_summary_row(system, name) for system in systems for name in system.info["workloads"]]
    )


def _summary_row(system: System, workload: str) -> dict[str, Any]:
    info = system.info
    found = info["workloads"][workload]
    plateau, knee, deepest = found.get("plateau") or {}, found.get("knee") or {}, found.get("deepest") or {}
    rows = system.cells[system.cells["workload"] == workload]
    exists = bool(knee.get("exists"))
    return {
        "model": info["model"],
        "topology": info["topology"],
        "system": system.title,
        "workload": found.get("title", workload),
        "plateau": plateau.get("poa_hat"),
        "plateau_lo": plateau.get("lo"),
        "plateau_hi": plateau.get("hi"),
        "plateau_c_from": plateau.get("c_from"),
        "plateau_c_to": plateau.get("c_to"),
        "knee": knee.get("knee") if exists else None,
        "knee_lo": knee.get("lo") if exists else None,
        "knee_hi": knee.get("hi") if exists else None,
        "first_post_knee": knee.get("first_post_knee") if exists else None,
        "kneedle": knee.get("kneedle"),
        "slo_crossing": knee.get("slo_crossing"),
        "note": knee.get("note") or "",
        "deepest_concurrency": deepest.get("concurrency"),
        "deepest": deepest.get("poa_hat"),
        "deepest_lo": deepest.get("lo"),
        "deepest_hi": deepest.get("hi"),
        "cells_valid": int(rows["valid"].sum()),
        "cells": len(rows),
        "engine": info["engine"],
        "dilation": info["dilation"],
    }


def number(value: Any, like: Any = None) -> str:
    """A number to three significant digits (as many decimals as ``like`` would get), or the mark for none."""
    if is_missing(value):
        return MISSING
    scale = abs(float(value if is_missing(like) else like))
    digits = 2 - math.floor(math.log10(scale)) if scale > 0 else 0
    return f"{float(value):.{min(max(digits, 0), 4)}f}"


def interval(value: Any, lo: Any, hi: Any) -> str:
    """A number and its interval with the same decimals: ``12.3 [11.9, 12.8]``."""
    if is_missing(value) or is_missing(lo) or is_missing(hi):
        return number(value)
    return f"{number(value)} [{number(lo, value)}, {number(hi, value)}]"


def is_missing(value: Any) -> bool:
    """Null, NaN or infinite: not a number that can be shown."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float) and not math.isfinite(value)


def whole(value: Any) -> str:
    """A count, or the mark for none."""
    return MISSING if is_missing(value) else f"{int(value)}"


def share(value: Any) -> str:
    """A share as a percentage."""
    return MISSING if is_missing(value) else f"{100 * float(value):.1f} %"


def duration(seconds: Any) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 48 s``, ``2 h 5 min``."""
    if is_missing(seconds):
        return MISSING
    whole = round(float(seconds))
    if whole < 60:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _intervals(table: pd.DataFrame, name: str) -> list[str]:
    columns = (table[name], table[f"{name}_lo"], table[f"{name}_hi"])
    return [interval(*values) for values in zip(*columns, strict=True)]


def equilibrium_words(table: pd.DataFrame) -> pd.DataFrame:
    """`equilibrium_table` for people: numbers with their intervals as text, units in the headings."""
    words: dict[str, Any] = {}
    if table["workload"].nunique() > 1:
        words["workload"] = list(table["workload"])
    words["C"] = list(map(whole, table["concurrency"]))
    words["PoA-hat"] = _intervals(table, "poa_hat")
    words["PoA-cal"] = _intervals(table, "poa_cal")
    words["TTFT P50, ms"] = _intervals(table, "ttft_p50_ms")
    words["TTFT P99, ms"] = _intervals(table, "ttft_p99_ms")
    words["ITL, ms"] = _intervals(table, "itl_mean_ms")
    words["requests/s"] = _intervals(table, "throughput_rps")
    words["windows"] = list(map(whole, table["n_windows"]))
    words["regime"] = [MISSING if is_missing(regime) else str(regime) for regime in table["regime"]]
    words["counted"] = [
        "valid" if valid else f"no: {reasons}"
        for valid, reasons in zip(table["valid"], table["reasons"].fillna("").map(spaced), strict=True)
    ]
    return pd.DataFrame(words)


def spaced(reasons: str) -> str:
    """Reasons with a space after each comma, so that lines can break there."""
    return ", ".join(word.strip() for word in reasons.split(",") if word.strip()) or "no valid attempt"


def summary_words(table: pd.DataFrame) -> pd.DataFrame:
    """`summary_table` for people."""
    words: dict[str, Any] = {"system": list(table["system"])}
    if table["workload"].nunique() > 1:
        words["workload"] = list(table["workload"])
    words["plateau"] = _intervals(table, "plateau")
    words["knee at C"] = [
        "none found" if text == MISSING else text for text in _intervals(table, "knee")
    ]  # fmt: skip
    words["first post-knee C"] = list(map(whole, table["first_post_knee"]))
    words["PoA-hat at deepest C"] = [
        MISSING if depth == MISSING else f"{text} at {depth}"
        for text, depth in zip(
            _intervals(table, "deepest"), list(map(whole, table["deepest_concurrency"])), strict=True
        )
    ]
    words["valid cells"] = [
        f"{valid} of {total}" for valid, total in zip(table["cells_valid"], table["cells"], strict=True)
    ]
    return pd.DataFrame(words)


def workload_titles(systems: Sequence[System]) -> str:
    """The workloads of systems, for people and once each: ``unique prompts, 5 prompt templates``."""
    titles = (
        str(found.get("title", name))
        for system in systems
        for name, found in system.info["workloads"].items()
    )
    return ", ".join(dict.fromkeys(titles))


def engine_words(
    engines: Sequence[str], dilations: Sequence[float], tiers: Sequence[str], kinds: Sequence[str]
) -> str:
    """What numbers come from, in one line: engines, time dilation, timing table, tiers, kinds of interval."""
    engines, dilations = sorted(set(engines)), sorted(set(dilations))
    parts = [engine if engine.startswith("vLLM") else f"{engine} engine" for engine in engines]
    if dilations and dilations[-1] > 1:
        span = f"{dilations[0]:g}x" if len(dilations) == 1 else f"{dilations[0]:g}x to {dilations[-1]:g}x"
        parts.append(f"model time dilated {span}")
    if "simulated" in engines:
        parts.append("predicted B200 timing table")
    parts += [f"tier {tier}" for tier in sorted(set(tiers))]
    return ", ".join(parts + [f"intervals: 95 % {kind}" for kind in kinds])


def caption(what: str, label: str) -> str:
    """A table's caption: what it shows, and the engine's label."""
    return f"{what} {label[:1].upper()}{label[1:]}. Brackets hold the intervals."


def latex(words: pd.DataFrame, caption: str, label: str) -> str:
    """A table of text as LaTeX (booktabs, over two columns): needs the package booktabs."""
    columns = "".join("l" if _is_text(words[name]) else "r" for name in words)
    lines = [
        r"\begin{table*}",
        r"  \centering",
        rf"  \caption{{{_escape(caption)}}}",
        rf"  \label{{{label}}}",
        r"  \footnotesize\setlength{\tabcolsep}{3pt}",
        rf"  \begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"    \toprule",
        "    " + " & ".join(_escape(str(name)) for name in words) + r" \\",
        r"    \midrule",
        *("    " + " & ".join(_escape(str(value)) for value in row) + r" \\" for row in words.to_numpy()),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _is_text(column: pd.Series[Any]) -> bool:
    return not any(str(value)[:1].isdigit() for value in column)


_LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "×": r"$\times$",
    "[": "{[}", "]": "{]}",
}  # fmt: skip
"""Characters that LaTeX reads as its own; a bracket after a line's end would be read as its argument."""


def _escape(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return escaped.replace("PoA-hat", r"$\widehat{\mathrm{PoA}}$").replace(
        "PoA-cal", r"$\mathrm{PoA}_{\mathrm{cal}}$"
    )


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write raw numbers, whole or not at all."""
    write_whole(path, table.to_csv(index=False, lineterminator="\n").encode())
    return path


def write_latex(words: pd.DataFrame, path: Path, *, caption: str) -> Path:
    """Write a table of text as LaTeX; its label is the file's name."""
    write_whole(path, latex(words, caption, f"tab:{path.stem}").encode())
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there; raises UserError where the disk refuses."""
    path = path.resolve()  # what a link leads to is replaced, not the link
    if path.exists() and not path.is_file():
        raise UserError("is no regular file, and is not replaced", where=path, remedy="name another file")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.partial")
        scratch.write_bytes(content)
        os.replace(scratch, path)
