"""The estimates of one condition: what every launch of a deployment measured at one load under one policy.

A condition is a constant cell or a stage of a staged one. Launches are pooled as in a ladder's concurrency,
with the latency curves of each launch's reference policy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from anarchy.engines.profiles import Profile
from anarchy.estimate.game import CellGame, cell_game
from anarchy.estimate.ladder import (
    RATIOS,
    REPLICATES,
    WINDOW_COLUMNS,
    Curves,
    Ladder,
    curve_points,
    fit_launches,
    pool_costs,
)
from anarchy.estimate.loads import measured_times, prefill_load, to_fullest, worker_loads
from anarchy.estimate.mechanism import mean_of, mechanism
from anarchy.estimate.performance import (
    QUANTILE_REPLICATES,
    bounded,
    completion_rates,
    error_share,
    inter_token_latency,
    performance_draws,
)
from anarchy.estimate.step import Stream, shortest, step_row, stream_of
from anarchy.games.requests import FloatArray
from anarchy.games.routing import WindowCosts, decomposition, poa_cal, poa_hat, spread, window_costs
from anarchy.stats.bootstrap import bootstrap_mean, bootstrap_ratios
from anarchy.stats.intervals import Resampled
from anarchy.stats.knee import regime
from anarchy.stats.launches import MIN_LAUNCHES
from anarchy.stats.variance import log_cv_interval
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]

FACTORS: Final = {**RATIOS, "dynamics": ("SC", "SCm"), "freezing": ("OPTc", "OPTf")}
"""PoA-hat, PoA-cal and the factors of the decomposition; its routing is PoA-cal."""
NAN: Final = float("nan")


@dataclass(frozen=True)
class Method:
    """How conditions of one system are estimated; `knee` is the system's configured C, None = unknown."""

    n_workers: int
    c_ref: int
    knee: int | None = None
    replicates: int = REPLICATES
    seed: int = 0
    processes: int = 1
    profile: Profile | None = None
    """The model's timing table, for readings of PoA-hat that need one."""


@dataclass(frozen=True, eq=False)
class Part:
    """What one launch measured under a condition: a trace whose phase `measure` is this condition's alone."""

    trace: CellTrace

    @cached_property
    def game(self) -> CellGame:
        """The routing game of the decode pool."""
        return cell_game(self.trace)

    @cached_property
    def loads(self) -> FloatArray:
        """Requests in flight on each decode worker over the measure phase, (T, m)."""
        return worker_loads(self.trace, measured_times(self.trace))

    @cached_property
    def rates(self) -> tuple[FloatArray, float]:
        """Requests a second in each span of the measure phase, and tokens a second."""
        return completion_rates(self.trace)

    @cached_property
    def stream(self) -> Stream:
        """When its requests came and went."""
        return stream_of(self.trace)


@dataclass(frozen=True, eq=False)
class Condition:
    """What was planned to be measured once on every launch of a deployment.

    `parts`: by launch, what counts. `absent`: by launch, why nothing does.
    """

    concurrency: int
    parts: Mapping[int, Part]
    absent: Mapping[int, str]

    @property
    def launches(self) -> list[int]:
        """Every launch planned, ascending."""
        return sorted({*self.parts, *self.absent})


@dataclass(frozen=True, eq=False)
class CostModel:
    """The latency curves of each launch of a deployment under one workload, and why some have none."""

    curves: Mapping[int, Curves]
    without: Mapping[int, str]
    points: Sequence[Row]
    """What they were fitted to, as `ladder.curve_points`."""
    steps: Mapping[int, float] = field(default_factory=dict)
    """Length of a prefill step of each launch in these conditions, s; NaN where no trace tells it."""

    def step(self, part: Part) -> float:
        """The length of a prefill step of a part's launch, s: in no case longer than its own shortest."""
        return shortest([self.steps.get(part.game.launch, NAN), part.stream.shortest_s])


@dataclass(frozen=True, eq=False)
class Estimate:
    """A condition's row (columns: `columns.ESTIMATE_COLUMNS`), its replicates, and a row a launch planned."""

    row: Row
    draws: Mapping[str, Resampled]
    launches: Sequence[Row]


def cost_model(conditions: Sequence[Condition], method: Method) -> CostModel:
    """Fit both curves of every launch to the reference policy's conditions."""
    cells: dict[int, list[CellGame]] = {}
    for condition in conditions:
        games = [part.game for _, part in sorted(condition.parts.items())]
        cells.setdefault(condition.concurrency, []).extend(games)
    ladder = Ladder(n_workers=method.n_workers, cells=cells, c_ref=method.c_ref)
    curves, without = fit_launches(ladder)
    for launch in sorted({launch for condition in conditions for launch in condition.launches}):
        if launch not in curves and launch not in without:
            without[launch] = "no valid cell of the reference policy to fit the curves to"
    steps = {
        launch: shortest(c.parts[launch].stream.shortest_s for c in conditions if launch in c.parts)
        for launch in sorted({launch for condition in conditions for launch in condition.parts})
    }
    return CostModel(curves, without, curve_points(ladder), steps)


def estimate_condition(condition: Condition, model: CostModel, method: Method, stream: int) -> Estimate:
    """Every estimate of one condition; without a valid trace, or without curves, numbers are NaN.

    `stream` tells the random numbers of conditions apart.
    """
    parts = [part for _, part in sorted(condition.parts.items())]
    costs = {
        part.game.launch: window_costs(part.game.windows, curves.affine, curves.full)
        for part in parts
        if (curves := model.curves.get(part.game.launch)) is not None
    }
    draws = _draw_costs(costs, model, method, stream) | _draw_performance(parts, method.seed, stream)
    windows = sum(len(part.game.windows) for part in parts)
    hat = draws["poa_hat"]
    row: Row = {
        "n_launches": len(parts),
        "n_requests": int(sum(part.game.windows.row.size for part in parts)),
        "n_windows": windows,
        "interval_kind": (hat if costs else draws["ttft_p50"]).kind,
        "block_length": hat.block_length,
        "regime": regime(windows, condition.concurrency, method.n_workers, method.knee) if parts else "",
    }
    for name, resampled in draws.items():
        row |= bounded(name, resampled)
    row |= {f"routing{bound}": row[f"poa_cal{bound}"] for bound in ("", "_lo", "_hi")}
    launches = [_launch_row(condition, launch, costs.get(launch), model) for launch in condition.launches]
    row |= asdict(spread(pool_costs(list(costs.values()))))
    row |= _means(parts) | _launch_spread(launches)
    row |= step_row([part.stream for part in parts], [model.step(part) for part in parts])
    row |= {"valid": bool(parts), "reasons": reasons_of(condition.parts, condition.absent, model.without)}
    return Estimate(row, draws, launches)


def _draw_costs(
    costs: Mapping[int, WindowCosts], model: CostModel, method: Method, stream: int
) -> dict[str, Resampled]:
    launches = sorted(model.curves)
    return bootstrap_ratios(
        {name: [getattr(one, name) for one in costs.values()] for name in WINDOW_COLUMNS},
        FACTORS,
        series="SC",
        replicates=method.replicates,
        seed=method.seed,
        stream=stream,
        workers=method.processes,
        ids=[launches.index(launch) for launch in costs],
        of=len(launches),
    )


def _draw_performance(parts: Sequence[Part], seed: int, stream: int) -> dict[str, Resampled]:
    """Latencies, throughput and the decode workers' loads, each with its replicates."""
    options: dict[str, int] = {"replicates": QUANTILE_REPLICATES, "seed": seed, "stream": stream}
    traces = [part.trace for part in parts]
    return performance_draws(traces, seed, stream) | {
        "ttft_mean": bootstrap_mean([trace.ttft for trace in traces], **options),
        "load_range": bootstrap_mean([np.ptp(part.loads, axis=1) for part in parts], **options),
        "load_sd": bootstrap_mean([part.loads.std(axis=1) for part in parts], **options),
    }


def _means(parts: Sequence[Part]) -> Row:
    """Plain means over the measured requests or the time measured."""
    traces = [part.trace for part in parts]
    return {
        "throughput_tps": float(np.mean([part.rates[1] for part in parts])) if parts else NAN,
        "error_share": error_share(traces),
        "load_mean": mean_of([part.loads.mean(axis=1) for part in parts]),
        "prefill_load": mean_of([prefill_load(trace, measured_times(trace)) for trace in traces]),
        "to_fullest": mean_of([to_fullest(trace) for trace in traces]),
        **mechanism(traces),
    }


def _launch_row(condition: Condition, launch: int, costs: WindowCosts | None, model: CostModel) -> Row:
    """One launch's own values, without intervals."""
    part = condition.parts.get(launch)
    if part is None:
        return {"launch": launch, "valid": False, "reasons": condition.absent[launch]}
    ttft, itl = part.trace.ttft, inter_token_latency(part.trace)[part.trace.measured]
    p50, p99 = np.quantile(ttft, [0.5, 0.99]) if ttft.size else (NAN, NAN)
    return {
        "launch": launch,
        "n_requests": int(part.game.windows.row.size),
        "n_windows": len(part.game.windows),
        "ttft_p50": float(p50),
        "ttft_p99": float(p99),
        "itl_mean": mean_of([itl[np.isfinite(itl)]]),
        "throughput_rps": mean_of([part.rates[0]]),
        "load_range": mean_of([np.ptp(part.loads, axis=1)]),
        **step_row([part.stream], [model.step(part)]),
        "valid": True,
        "reasons": "",
        **({"poa_hat": poa_hat(costs), "poa_cal": poa_cal(costs)} if costs else {}),
        **(asdict(decomposition(costs)) if costs else {}),
    }


def _launch_spread(launches: Sequence[Row]) -> Row:
    """CV of PoA-hat from launch to launch with its interval; NaN with fewer than three launches."""
    values = np.array([row["poa_hat"] for row in launches if np.isfinite(row.get("poa_hat", NAN))])
    cv = log_cv_interval(values if values.size >= MIN_LAUNCHES else np.empty(0))
    return {"poa_hat_cv": cv.value, "poa_hat_cv_lo": cv.lo, "poa_hat_cv_hi": cv.hi}


def reasons_of(counting: Collection[int], absent: Mapping[int, str], without: Mapping[int, str]) -> str:
    """Why launches are missing from the numbers, each reason once and with its launches.

    `counting`: launches with a trace that counts. `absent`: by launch, why it has none. `without`: by launch,
    why it has no latency curves.
    """
    why: dict[str, list[int]] = {}
    for launch, reason in absent.items():
        why.setdefault(reason, []).append(launch)
    for launch in counting:
        if launch in without:
            why.setdefault(f"no cost model: {without[launch]}", []).append(launch)
    everyone = sorted({*counting, *absent})
    return ", ".join(
        reason if sorted(which) == everyone else f"{reason} (launch {' and '.join(map(str, which))})"
        for reason, which in why.items()
    )
