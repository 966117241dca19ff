"""What `anarchy estimate` says: one record a cell, as a table for people, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anarchy.engines.devices import common_label, engine_label
from anarchy.estimate.ladder import LadderEstimate, Row, describe_knee
from anarchy.estimate.traces import Cell, LadderCells, Settings
from anarchy.games.readings import Reading
from anarchy.gates.errors import MAX_ERROR_SHARE
from anarchy.ground.terminal import visible
from anarchy.ground.words import MISSING, interval, number
from anarchy.trace.schema import Manifest

Format = Literal["table", "json", "csv"]


class CellEstimate(BaseModel):
    """Every estimate of one cell, its launches pooled. A number that is not known is null."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    cell: str
    model: str
    topology: str
    policy: str
    workload: str
    concurrency: int
    engine: str
    """`simulated`, `unknown`, or what it ran on: `B200`, `vLLM on CPU`, another GPU's name, `vLLM on an
    unknown device`."""
    pool: Literal["decode", "prefill"]
    """Pool of workers that the routing game is about."""
    metric: Literal["ttft", "e2e"]
    reading: Reading
    """What the paper's realised cost over the frozen optimum is read as; under all but `fitted` PoA-cal and
    the factors, which belong to the fitted curves, are null."""
    n_requests: int
    """Requests in windows: of phase measure and ended well, less the last partial window."""
    n_windows: int
    poa_hat: float | None
    """sum SC / sum OPTf: the paper's index, an upper bound and a regime indicator; can be below 1."""
    poa_hat_lo: float | None
    poa_hat_hi: float | None
    poa_cal: float | None
    """sum SCm / sum OPTc: routing inefficiency alone, at least 1."""
    poa_cal_lo: float | None
    poa_cal_hi: float | None
    dynamics: float | None
    """SC / SCm."""
    routing: float | None
    """SCm / OPTc."""
    freezing: float | None
    """OPTc / OPTf. dynamics x routing x freezing = poa_hat."""
    median_window: float | None
    """Median over windows of a window's own SC / OPTf; for spread, not an estimate of poa_hat."""
    p90_window: float | None
    interval_kind: Literal["within-run", "across-launches"]
    """`within-run` knows nothing of the spread between launches; three launches or more are resampled."""
    n_launches: int
    block_length: float | None
    """Mean length of a bootstrap block, in windows."""
    regime: Literal["artifact", "plateau", "growth"] | None
    """`artifact`: under 30 windows or C below the pool; `plateau`: no knee at or below this C."""
    valid: bool
    """False where a gate failed or nothing could be estimated."""
    counted: bool
    """Whether it entered the latency curves, the plateau and the knee: a cell that failed a gate only with
    `--ungated`."""
    reasons: list[str]
    knee: float | None
    """Concurrency at which PoA-hat of this cell's ladder bends upwards; null without a grid or a knee."""
    knee_lo: float | None
    knee_hi: float | None
    first_post_knee: int | None
    """Smallest measured concurrency at or above the knee."""
    knee_note: str
    """Why there is no knee."""
    kneedle: float | None
    """Knee of the same ladder by Kneedle, for comparison."""
    slo_crossing: int | None
    """First concurrency whose TTFT P99 is more than twice its plateau, for comparison."""
    affine_r2: float | None
    """R2 of the affine latency curve; of the worst launch."""
    full_r2: float | None
    """R2 of the full latency curve; of the worst launch."""
    full_r2_within: float | None
    """The same inside cells: how far the load on the chosen worker explains latency at one concurrency."""
    step_s: float | None
    """Length of a prefill step, s, the bin of the next two: the shortest time from sending to first token in
    any cell of the launch."""
    arrivals_dispersion: float | None
    """Variance over mean of the requests sent in a bin: 1 by chance, about g in groups of g."""
    completions_dispersion: float | None
    """The same of the requests that were over in a bin."""
    in_step_from: float | None
    """`arrivals_dispersion` from which users are said to march in step."""
    in_step: bool | None
    """Whether they do, in a launch or more; null where the traces do not tell."""
    unended: int
    """Requests whose end no source tells; they count as load to the end of the cell."""
    sealed: bool
    """Whether every trace behind it was checked against a seal."""
    notes: list[str]
    """What a reader must know: requests left out, a flat curve, what an import assumed or could not tell."""


def records(
    groups: Sequence[LadderCells], estimates: Mapping[int, LadderEstimate], settings: Settings
) -> list[CellEstimate]:
    """One record for each cell of each ladder, by rising concurrency."""
    found = []
    for place, group in enumerate(groups):
        estimate = estimates[place]
        rows = {row["concurrency"]: row for row in (*estimate.aside, *estimate.rows)}
        shared = _of_ladder(group, estimate, settings)
        for C in sorted({cell.manifest.concurrency for cell in group.cells}):
            mine = [cell for cell in group.cells if cell.manifest.concurrency == C]
            counting = [cell for cell in mine if cell.game is not None and cell.counts]
            row = {**_nothing(), **shared, **rows.get(C, {}), **group.steps.get(C, {})}
            reasons = _reasons(group, C, estimate)
            row |= {
                "cell": mine[0].manifest.cell,
                "concurrency": C,
                "reasons": reasons,
                "valid": row["n_launches"] > 0 and bool(counting) and all(c.gates.valid for c in counting),
                "counted": row["n_launches"] > 0 and bool(counting),
                "sealed": all(cell.manifest.seal is not None for cell in mine),
                "unended": int(sum(c.gates.measures.get("unended_requests") or 0 for c in mine)),
                "notes": [
                    *_notes(mine),
                    *_step(C, group.steps.get(C, {})),
                    *_flat(estimate),
                    *_doubtful(group),
                ],
            }
            found.append(CellEstimate(**{name: _plain(row[name]) for name in CellEstimate.model_fields}))
    return found


_INDEX: Final = ("arrivals_dispersion", "in_step_from")


def _nothing() -> Row:
    """A cell without any number."""
    nothing: Row = dict.fromkeys(CellEstimate.model_fields)
    counts = {"n_requests": 0, "n_windows": 0, "n_launches": 0, "unended": 0}
    return nothing | counts | {"interval_kind": "within-run"}


def _of_ladder(group: LadderCells, estimate: LadderEstimate, settings: Settings) -> Row:
    """What all cells of a ladder share."""
    head = group.head
    knee = describe_knee(estimate, settings.c_ref)
    curves = list(estimate.curves.values())
    return {
        "model": head.model,
        "topology": head.topology,
        "policy": head.policy,
        "workload": head.workload,
        "engine": common_label([_label(of.manifest) for of in group.cells]),
        "pool": settings.pool,
        "metric": settings.metric,
        "reading": settings.reading,
        "knee": knee["knee"],
        "knee_lo": knee["lo"],
        "knee_hi": knee["hi"],
        "first_post_knee": knee["first_post_knee"],
        "knee_note": knee["note"],
        "kneedle": knee["kneedle"],
        "slo_crossing": knee["slo_crossing"],
        "affine_r2": min((c.affine.quality.r2 for c in curves if c.affine.quality), default=None),
        "full_r2": min((c.full.quality.r2 for c in curves if c.full.quality), default=None),
        "full_r2_within": min((c.full.quality.r2_within for c in curves if c.full.quality), default=None),
    }


def _label(of: Manifest) -> str:
    return engine_label(of.engine, of.device, of.versions)


def _reasons(group: LadderCells, C: int, estimate: LadderEstimate) -> list[str]:
    """Why a cell, or a launch of it, is not valid; a cell of one launch needs no launch's name."""
    mine = [cell for cell in group.cells if cell.manifest.concurrency == C]
    found = []
    for cell in mine:
        launch = f"launch {cell.manifest.launch}: " if len(mine) > 1 else ""
        found += [launch + name for name in cell.gates.reasons]
        if not cell.gates.valid and not cell.gates.reasons:
            found.append(launch + "its gates did not pass")
        if cell.game is not None and cell.manifest.launch in estimate.without_curves:
            found.append(launch + estimate.without_curves[cell.manifest.launch])
    return found


def _step(C: int, row: Mapping[str, Any]) -> list[str]:
    """That users marched in step, where they did."""
    if not row.get("in_step"):
        return []
    bins, (index, least) = f"{1e3 * row['step_s']:.3g} ms", (number(row[name]) for name in _INDEX)
    words = f"C = {C}: users marched in step: the variance of arrivals in {bins}, a prefill step, is {index}"
    return [f"{words} times their mean (by chance 1, in step from {least})"]


def _flat(estimate: LadderEstimate) -> list[str]:
    """Launches whose affine curve does not rise: their PoA-hat is the mean latency over a constant."""
    return [
        f"launch {launch}: latency does not rise with the load in the cells of the affine fit (beta = 0)"
        for launch, curves in estimate.curves.items()
        if curves.affine.beta == 0.0
    ]


def _doubtful(group: LadderCells) -> list[str]:
    return [
        f"launch {launch}: no cell that counts lies at low concurrency, so the latency curves are fitted to "
        "cells that failed a gate"
        for launch in sorted(group.doubtful)
    ]


def _notes(cells: Sequence[Cell]) -> list[str]:
    """What was left out of the cells, and what importing them left to be known, each once."""
    sources = [cell.manifest.source for cell in cells]
    return [
        f"{cell.game.left_out} measured requests on unknown workers are left out (at most "
        f"{MAX_ERROR_SHARE:.1%} may be)"
        for cell in cells
        if cell.game is not None and cell.game.left_out
    ] + list(
        dict.fromkeys(
            str(note) for s in sources for key in ("assumptions", "notes") for note in _listed(s, key)
        )
    )


def _listed(source: Mapping[str, Any], key: str) -> list[Any]:
    """What a manifest's free text holds under a key, if it is a list."""
    value = source.get(key)
    return value if isinstance(value, list) else []


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def render(found: Sequence[CellEstimate], form: Format, width: int = 200) -> str:
    """The records as text; `width` in characters bounds the table."""
    if form == "json":
        return json.dumps([record.model_dump() for record in found], indent=2, allow_nan=False) + "\n"
    if form == "csv":
        return _csv(found)
    return _tables(found, width)


def _csv(found: Sequence[CellEstimate]) -> str:
    """One line a cell; nothing where a number is not known; several reasons or notes parted by semicolons."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(CellEstimate.model_fields), lineterminator="\n")
    writer.writeheader()
    for record in found:
        texts = {name: "; ".join(getattr(record, name)) for name in ("reasons", "notes")}
        writer.writerow(record.model_dump() | texts)
    return text.getvalue()


def _tables(found: Sequence[CellEstimate], width: int) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=False,
        color_system=None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    ladders: dict[tuple[str, ...], list[CellEstimate]] = {}
    for record in found:
        ladders.setdefault((record.model, record.topology, record.workload, record.policy), []).append(record)
    for names, rows in ladders.items():
        console.print(_table(visible(" ".join(filter(None, names))), rows))
        for line in _footnotes(rows):
            console.print(visible(line), soft_wrap=True)
        console.print()
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _table(title: str, rows: Sequence[CellEstimate]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", title_style="", pad_edge=False
    )
    for name in ("C", "windows", "PoA-hat", "PoA-cal", "dynamics", "routing", "freezing"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("window\nmedian, P90", justify="right", no_wrap=True)
    table.add_column("arrivals,\nvar/mean", justify="right", no_wrap=True)
    table.add_column("regime")
    for row in rows:
        spread = (
            MISSING
            if row.median_window is None
            else f"{_number(row.median_window)}, {_number(row.p90_window)}"
        )
        table.add_row(
            str(row.concurrency),
            str(row.n_windows),
            _interval(row.poa_hat, row.poa_hat_lo, row.poa_hat_hi),
            _interval(row.poa_cal, row.poa_cal_lo, row.poa_cal_hi),
            *(_number(value) for value in (row.dynamics, row.routing, row.freezing)),
            spread,
            _number(row.arrivals_dispersion),
            Text(visible(_not_valid(row)) or row.regime or MISSING),
        )
    return table


def _not_valid(row: CellEstimate) -> str:
    return "" if row.valid else f"not valid: {'; '.join(row.reasons)}"


def _number(value: float | None) -> str:
    return MISSING if value is None else number(value)


def _interval(value: float | None, lo: float | None, hi: float | None) -> str:
    return MISSING if value is None else interval(value, lo, hi)


def _footnotes(rows: Sequence[CellEstimate]) -> list[str]:
    """The knee, the fits, and what the intervals rest on."""
    first = rows[0]
    kinds = sorted({row.interval_kind for row in rows})
    launches = sorted({row.n_launches for row in rows if row.n_launches})
    reading = "" if first.reading == "fitted" else f", reading {first.reading}"
    what = f"{first.pool} pool, {first.metric}{reading}"
    notes = [f"engine {first.engine}; {what}; 95 % intervals {', '.join(kinds)}"]
    notes[0] += f" ({' or '.join(map(str, launches)) or 'no'} launch{'' if launches == [1] else 'es'})"
    if first.knee is not None:
        notes.append(
            f"knee at C = {_interval(first.knee, first.knee_lo, first.knee_hi)}, first post-knee point "
            f"{first.first_post_knee}; Kneedle {_number(first.kneedle)}, TTFT P99 doubles at "
            f"{first.slo_crossing or MISSING}"
        )
    else:
        notes.append(f"no knee: {first.knee_note}")
    if first.affine_r2 is not None or first.full_r2 is not None:
        notes.append(
            f"fits, R2: l_A {_number(first.affine_r2)}, l_F {_number(first.full_r2)}; inside cells l_F "
            f"{_number(first.full_r2_within)}"
        )
    if steps := sorted({row.step_s for row in rows if row.step_s is not None}):
        bins = " to ".join(dict.fromkeys(number(1e3 * step) for step in (steps[0], steps[-1])))
        what = "a prefill step; 1 by chance, C in perfect step"
        notes.append(f"arrivals, var/mean: in bins of {bins} ms, {what}")
    if not all(row.sealed for row in rows):
        notes.append("not every trace is sealed, so nobody can tell whether it was edited")
    marked = [row for row in rows if not row.valid and row.n_windows]
    for counted, what in (
        (True, "not valid and counted all the same, in curves, plateau and knee (--ungated)"),
        (False, "not valid, so shown and not counted in curves, plateau and knee (--ungated counts them)"),
    ):
        those = [str(row.concurrency) for row in marked if row.counted is counted]
        if those:
            notes.append(f"{what}: C = {', '.join(those)}")
    notes += [f"note: {note}" for note in dict.fromkeys(note for row in rows for note in row.notes)]
    return notes
