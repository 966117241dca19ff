"""From sealed traces to estimates: every valid cell of one system, its launches pooled, on fitted curves.

Curves are fitted for each launch and workload, because a launch is one placement of processes and a workload
decides what a request costs. Cells that failed a gate enter nothing: no fit, no load, no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from anarchy.games.latency import (
    AffineLatency,
    FullLatency,
    fit_affine,
    fit_full,
    in_reference,
    summarise_cell,
)
from anarchy.games.requests import FloatArray, Metric, Requests
from anarchy.games.routing import (
    CurveRows,
    WindowCosts,
    Windows,
    curve_rows,
    decomposition,
    spread,
    window_costs,
    windows,
)
from anarchy.stats.bootstrap import bootstrap_mean, bootstrap_quantile, bootstrap_ratios
from anarchy.stats.intervals import Resampled, quotient
from anarchy.stats.knee import Knee, find_knee, kneedle, regime, ttft_crossing
from anarchy.trace.reader import CellTrace

REPLICATES: Final = 10_000
QUANTILE_REPLICATES: Final = 1_000
"""Replicates of the intervals of request statistics (TTFT, ITL, throughput)."""
THROUGHPUT_BINS: Final = 20
"""The measure phase is cut into so many equal spans; the spans' completions give throughput its interval."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Ladder:
    """All valid cells of one system under one workload and one policy."""

    pool: int
    c_ref: int
    metric: Metric = "ttft"
    replicates: int = REPLICATES
    seed: int = 0
    cells: dict[int, list[CellTrace]] = field(default_factory=dict)
    """By concurrency; one trace a launch."""


@dataclass(frozen=True)
class LadderEstimate:
    """What a ladder gives: a row a concurrency, and what stands above the rows."""

    rows: list[Row]
    summary: dict[str, Any]


def game_of(trace: CellTrace) -> Requests:
    """The routing game of a cell's decode pool, as the games module takes it."""
    manifest = trace.manifest
    worker = trace.column("decode_worker").astype(np.int64)
    last = trace.column("t_last_token")
    ends = last[np.isfinite(last)]
    return Requests(
        request_id=trace.column("request_id"),
        t_intended=trace.column("t_intended"),
        t_sent=trace.column("t_sent"),
        t_first_token=trace.column("t_first_token"),
        t_last_token=last,
        worker=worker,
        counted=trace.measured & (worker >= 0),
        n_workers=manifest.n_workers.decode,
        cell_end=manifest.duration_s if manifest.duration_s is not None else float(ends.max(initial=0.0)),
    )


def estimate_ladder(ladder: Ladder) -> LadderEstimate:
    """Every estimate of a ladder; a concurrency whose launches have no curve gives a row without numbers."""
    grid = sorted(ladder.cells)
    games = {C: [_Game.of(trace, ladder.metric) for trace in ladder.cells[C]] for C in grid}
    launches = sorted({game.launch for C in grid for game in games[C]})
    curves, notes = {}, []
    for launch in launches:
        mine = {C: [game for game in games[C] if game.launch == launch] for C in grid}
        try:
            curves[launch] = fit_curves(mine, ladder)
        except ValueError as error:
            notes.append(f"launch {launch}: {error}")
    rows, resampled = [], {}
    for stream, C in enumerate(grid):
        usable = [game for game in games[C] if game.launch in curves]
        costs = [window_costs(game.windows, *curves[game.launch]) for game in usable]
        ratios = bootstrap_costs(costs, ladder, stream)
        resampled[C] = ratios["poa_hat"]
        rows.append(_row(C, usable, costs, ratios, ladder, stream))
    knee = _find_knee(grid, rows, resampled)
    for row in rows:
        row["regime"] = regime(row["n_windows"], row["concurrency"], ladder.pool, knee.knee)
    summary = {
        "knee": describe_knee(knee, rows, ladder.c_ref),
        "plateau": _plateau(rows, resampled),
        "rise": _rise(rows, resampled),
        "deepest": _deepest(rows),
        "growth": _growth(rows, games, ladder),
        "regimes": [[row["concurrency"], row["regime"]] for row in rows],
        "curves": {str(launch): _describe_curves(*curves[launch]) for launch in curves},
        "notes": notes,
    }
    return LadderEstimate(rows, summary)


@dataclass(frozen=True)
class _Game:
    """One cell of one launch, cut into windows."""

    launch: int
    trace: CellTrace
    windows: Windows
    rows: CurveRows

    @classmethod
    def of(cls, trace: CellTrace, metric: Metric) -> _Game:
        requests = game_of(trace)
        seen = windows(requests, metric)
        return cls(trace.manifest.launch, trace, seen, curve_rows(requests, seen))


def fit_curves(games: dict[int, list[_Game]], ladder: Ladder) -> tuple[AffineLatency, FullLatency]:
    """Both latency curves of one launch: affine on the cells below C_ref, full on all of them.

    Raises ValueError saying what is missing.
    """
    summaries = {
        C: [
            summarise_cell(g.rows.x, g.rows.latency, omega_overlap=g.rows.omega_overlap, top=g.rows.top)
            for g in cells
        ]
        for C, cells in games.items()
    }
    reference = [
        s for C, cells in summaries.items() if in_reference(C, ladder.pool, ladder.c_ref) for s in cells
    ]
    if not reference:
        raise ValueError(
            f"no valid cell with {max(8, ladder.pool)} <= C <= {ladder.c_ref} to fit the affine curve to"
        )
    return fit_affine(reference), fit_full([s for cells in summaries.values() for s in cells])


def bootstrap_costs(costs: Sequence[WindowCosts], ladder: Ladder, stream: int) -> dict[str, Resampled]:
    """PoA-hat and PoA-cal of one concurrency with their draws, over the windows of all its launches."""
    columns = {name: [getattr(c, name) for c in costs] for name in WINDOW_COLUMNS}
    ratios = {"poa_hat": ("SC", "OPTf"), "poa_cal": ("SCm", "OPTc")}
    return bootstrap_ratios(
        columns, ratios, series="SC", replicates=ladder.replicates, seed=ladder.seed, stream=stream
    )


def _row(
    C: int,
    games: Sequence[_Game],
    costs: Sequence[WindowCosts],
    ratios: dict[str, Resampled],
    ladder: Ladder,
    stream: int,
) -> Row:
    pooled = WindowCosts(
        *(np.concatenate([getattr(c, n) for c in costs] or [np.empty(0)]) for n in WINDOW_COLUMNS)
    )
    hat, cal = ratios["poa_hat"].interval(), ratios["poa_cal"].interval()
    row: Row = {
        "concurrency": C,
        "n_launches": len(games),
        "n_requests": int(sum(game.windows.row.size for game in games)),
        "n_windows": len(pooled),
        "poa_hat": hat.value,
        "poa_hat_lo": hat.lo,
        "poa_hat_hi": hat.hi,
        "poa_cal": cal.value,
        "poa_cal_lo": cal.lo,
        "poa_cal_hi": cal.hi,
        **asdict(decomposition(pooled)),
        **asdict(spread(pooled)),
        "interval_kind": hat.kind,
        "block_length": hat.block_length,
        "valid": bool(games),
        "reasons": "",
    }
    row.update(performance([game.trace for game in games], ladder.seed, stream))
    return row


WINDOW_COLUMNS: Final = ("SC", "SCm", "OPTf", "OPTc")


def performance(traces: Sequence[CellTrace], seed: int = 0, stream: int = 0) -> Row:
    """TTFT P50 and P99, mean ITL (s) and throughput (requests and tokens a second), each with its interval.

    TTFT counts from the moment the user was free. Over the requests that were measured and ended well.
    """
    rates, tokens = [], 0.0 if traces else float("nan")
    wrong, asked = 0, 0
    for trace in traces:
        ok = trace.measured
        rate, token_rate = completion_rates(trace)
        rates.append(rate)
        tokens += token_rate / len(traces)
        measuring = trace.column("phase") == "measure"
        asked += int(measuring.sum())
        wrong += int((measuring & ~ok).sum())
    options: dict[str, int] = {"replicates": QUANTILE_REPLICATES, "seed": seed, "stream": stream}
    row: Row = {"throughput_tps": tokens, "error_share": wrong / asked if asked else None}
    for name, resampled in {
        "ttft_p50": bootstrap_quantile(_ttft(traces), 0.5, **options),
        "ttft_p99": bootstrap_quantile(_ttft(traces), 0.99, **options),
        "itl_mean": bootstrap_mean(_itl(traces), **options),
        "throughput_rps": bootstrap_mean(rates, **options),
    }.items():
        interval = resampled.interval()
        row[name], row[f"{name}_lo"], row[f"{name}_hi"] = interval.value, interval.lo, interval.hi
    return row


def _ttft(traces: Sequence[CellTrace]) -> list[FloatArray]:
    """Time to first token of the measured requests of each launch, s, from the moment the user was free."""
    return [(trace.column("t_first_token") - trace.column("t_intended"))[trace.measured] for trace in traces]


def _itl(traces: Sequence[CellTrace]) -> list[FloatArray]:
    """Inter-token latency of the measured requests of each launch, s, where they have one."""
    each = [inter_token_latency(trace)[trace.measured] for trace in traces]
    return [itl[np.isfinite(itl)] for itl in each]


def inter_token_latency(trace: CellTrace) -> FloatArray:
    """Mean time between the tokens of each request, s; NaN for a request of fewer than two tokens."""
    steps = trace.column("output_tokens").astype(np.float64) - 1.0
    span = trace.column("t_last_token") - trace.column("t_first_token")
    itl: FloatArray = np.divide(span, steps, out=np.full(len(span), np.nan), where=steps > 0)
    return itl


def completion_rates(trace: CellTrace) -> tuple[FloatArray, float]:
    """Requests a second that ended well in each of THROUGHPUT_BINS spans of the measure phase, and tokens.

    Shapes: (THROUGHPUT_BINS,) requests a second, and output tokens a second as one number. The phase is taken
    from the first to the last sending of a measured request, so it needs no client's report.
    """
    sent = trace.column("t_sent")[trace.column("phase") == "measure"]
    span = float(np.ptp(sent)) if sent.size > 1 else 0.0
    if span <= 0.0:
        return np.empty(0), float("nan")
    ok = trace.column("status") == "ok"
    ended = trace.column("t_last_token")[ok]
    inside = (ended >= sent.min()) & (ended <= sent.max())
    counts, _ = np.histogram(
        ended[inside], bins=THROUGHPUT_BINS, range=(float(sent.min()), float(sent.max()))
    )
    tokens = float(trace.column("output_tokens")[ok][inside].sum())
    return counts * (THROUGHPUT_BINS / span), tokens / span


def _find_knee(grid: Sequence[int], rows: Sequence[Row], resampled: dict[int, Resampled]) -> Knee:
    draws = np.column_stack([resampled[C].draws for C in grid]) if grid else np.empty((0, 0))
    return find_knee(np.array(grid), np.array([row["poa_hat"] for row in rows]), draws)


def describe_knee(knee: Knee, rows: Sequence[Row], c_ref: int) -> dict[str, Any]:
    """The knee with what stands beside it: Kneedle, and where TTFT P99 leaves its plateau."""
    C = np.array([row["concurrency"] for row in rows])
    described = asdict(knee)
    described["note"] = described.pop("reason")
    described["kneedle"] = kneedle(C, np.array([row["poa_hat"] for row in rows]))
    described["slo_crossing"] = ttft_crossing(C, np.array([row["ttft_p99"] for row in rows]), c_ref=c_ref)
    return described


def _plateau(rows: Sequence[Row], resampled: dict[int, Resampled]) -> dict[str, Any] | None:
    """PoA-hat of the plateau: the geometric mean of its cells, each weighing the same, with its interval.

    A sum over all windows would be the value of the cells with the most windows, the ones next to the knee.
    """
    inside = _plateau_cells(rows)
    if not inside:
        return None
    value, lo, hi = _value_and_interval(*_geometric_mean([resampled[C] for C in inside]))
    cells = [resampled[C].value for C in inside]
    return {
        "poa_hat": value,
        "lo": lo,
        "hi": hi,
        "cells_lo": min(cells),
        "cells_hi": max(cells),
        "c_from": min(inside),
        "c_to": max(inside),
        "n_cells": len(inside),
    }


def _rise(rows: Sequence[Row], resampled: dict[int, Resampled]) -> dict[str, Any] | None:
    """PoA-hat of the deepest cell over the plateau's: a ratio, so free of the cost model's scale."""
    inside, deepest = _plateau_cells(rows), _deepest(rows)
    if not inside or deepest is None:
        return None
    value, draws = _geometric_mean([resampled[C] for C in inside])
    deep = resampled[deepest["concurrency"]]
    value, lo, hi = _value_and_interval(deep.value / value, deep.draws / draws)
    return {"value": value, "lo": lo, "hi": hi}


def _plateau_cells(rows: Sequence[Row]) -> list[int]:
    return [r["concurrency"] for r in rows if r["regime"] == "plateau" and np.isfinite(r["poa_hat"])]


def _geometric_mean(cells: Sequence[Resampled]) -> tuple[float, FloatArray]:
    value = float(np.exp(np.mean([np.log(cell.value) for cell in cells])))
    draws: FloatArray = np.exp(np.mean([np.log(cell.draws) for cell in cells], axis=0))
    return value, draws


def _value_and_interval(value: float, draws: FloatArray) -> tuple[float, float, float]:
    lo, hi = np.quantile(draws, [0.025, 0.975])
    return value, float(lo), float(hi)


def _deepest(rows: Sequence[Row]) -> dict[str, Any] | None:
    finite = [row for row in rows if np.isfinite(row["poa_hat"])]
    if not finite:
        return None
    deepest = finite[-1]
    return {
        "concurrency": deepest["concurrency"],
        "poa_hat": deepest["poa_hat"],
        "lo": deepest["poa_hat_lo"],
        "hi": deepest["poa_hat_hi"],
    }


def _growth(rows: Sequence[Row], games: dict[int, list[_Game]], ladder: Ladder) -> dict[str, Any] | None:
    """How median TTFT and mean ITL grow from the plateau's last cell up to c_ref to the deepest cell."""
    plateau = [
        r["concurrency"] for r in rows if r["regime"] == "plateau" and r["concurrency"] <= ladder.c_ref
    ]
    deepest = rows[-1]["concurrency"] if rows else 0
    if not plateau or deepest <= ladder.c_ref:
        return None
    deep, reference = ([game.trace for game in games[C]] for C in (deepest, plateau[-1]))
    options: dict[str, int] = {"replicates": QUANTILE_REPLICATES, "seed": ladder.seed}
    found: dict[str, Any] = {"from": plateau[-1], "to": deepest}
    for name, grown in {
        "ttft": quotient(
            bootstrap_quantile(_ttft(deep), 0.5, stream=1, **options),
            bootstrap_quantile(_ttft(reference), 0.5, stream=0, **options),
        ),
        "itl": quotient(
            bootstrap_mean(_itl(deep), stream=1, **options),
            bootstrap_mean(_itl(reference), stream=0, **options),
        ),
    }.items():
        interval = grown.interval()
        found[name] = {"value": interval.value, "lo": interval.lo, "hi": interval.hi}
    return found


def _describe_curves(affine: AffineLatency, full: FullLatency) -> dict[str, Any]:
    used = {str(int(k)): b for k, b in zip(full.knots, full.slopes, strict=True) if b > 0}
    return {
        "affine": {"alpha": affine.alpha, "beta": affine.beta, "quality": _quality(affine)},
        "full": {"c0": full.c0, "slopes": used, "quality": _quality(full)},
    }


def _quality(curve: AffineLatency | FullLatency) -> dict[str, Any] | None:
    return asdict(curve.quality) if curve.quality else None
