"""One measurement of the estimator as a process of its own: `estimator_jobs.py '{"job": ..., ...}'`.

Prints a JSON object on its last line. The project's estimator is called in
`_read_and_cut`, `poa_of_games`, `resampled_ratio` and `windows_race`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arch.bootstrap import StationaryBootstrap
from scipy.optimize import linear_sum_assignment
from scipy.signal import lfilter
from scipy.stats.mstats import mjci

from anarchy.estimate.game import CellGame, cell_game
from anarchy.estimate.ladder import fit_curves
from anarchy.games.latency import AffineLatency, FullLatency, price
from anarchy.games.routing import Windows, marginal_costs, poa_cal, poa_hat, window_costs
from anarchy.stats.bootstrap import resampled_sums
from anarchy.trace.reader import read_cell
from tests.bench.synthetic_trace import CellSpec, write_cell

ENDS = (0.025, 0.975)
AFFINE = AffineLatency(0.02, 0.0015, kappa=0.02)
FULL = FullLatency(0.02, (1.0, 12.0, 25.0), (0.0015, 0.0005, 0.004))
"""Curves of the race between windows: a credit takes up to half of what a request costs at the mean load."""
MEAN_LOAD = 13.0
UNCACHED = 0.5
"""Share of (request, worker) pairs without overlap, in the races with credits."""


def main() -> None:
    """Do the job that the first argument describes as JSON, and print what it gives as JSON."""
    ready = time.monotonic()
    options = json.loads(sys.argv[1])
    job = JOBS[options.pop("job")]
    if options.pop("one_core", False):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(json.dumps({"ready": ready, **job(**options), "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """Peak resident memory of this process and, at most, of its children.

    VmHWM, because ru_maxrss starts from the memory of the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * len(os.sched_getaffinity(0))
    return (own + children) / 1024


def make_cells(folder: str, measured: int, ladder: Sequence[int]) -> dict[str, Any]:
    """Make up one cell a concurrency, below `folder`."""
    paths = [Path(folder) / f"unique-c{C:04d}" for C in ladder]
    for C, path in zip(ladder, paths, strict=True):
        write_cell(path, CellSpec(measured, C))
    return {"folders": [str(path) for path in paths]}


def estimate(folders: Sequence[str]) -> dict[str, Any]:
    """PoA-hat and PoA-cal of sealed cells on one pair of curves, cell by cell, without intervals."""
    started = time.perf_counter()
    load_s = 0.0
    games = []
    for folder in folders:
        game, seconds = _read_and_cut(Path(folder))
        games.append(game)
        load_s += seconds
    poa = poa_of_games(games)
    return {"seconds": time.perf_counter() - started, "load_s": load_s, "poa": poa}


def _read_and_cut(folder: Path) -> tuple[CellGame, float]:
    """One cell's game, and the seconds that reading took; the trace is dropped on return."""
    started = time.perf_counter()
    trace = read_cell(folder)
    load_s = time.perf_counter() - started
    return cell_game(trace), load_s


def poa_of_games(games: Sequence[CellGame]) -> list[tuple[float, float]]:
    """PoA-hat and PoA-cal of each cell."""
    curves = fit_curves(games, games[0].windows.n_workers)
    costs = [window_costs(game.windows, curves.affine, curves.full) for game in games]
    return [(poa_hat(c), poa_cal(c)) for c in costs]


def bootstrap(n: int, length: float, replicates: int) -> dict[str, Any]:
    """Time the interval of one ratio of sums, on every core that this process may use."""
    columns = _costs(n)
    started = time.perf_counter()
    draws = resampled_ratio(columns, length, replicates, workers=len(os.sched_getaffinity(0)))
    lo, hi = np.quantile(draws, ENDS)
    return {"seconds": time.perf_counter() - started, "lo": float(lo), "hi": float(hi)}


def bootstrap_race(
    n: int, length: float, repeats: int, ours: int, theirs: int, interval_ours: int, interval_theirs: int
) -> dict[str, Any]:
    """Seconds a replicate, ours and arch's in turn, and then both intervals, each from its own draws."""
    columns = _costs(n)
    took: dict[str, list[float]] = {"ours": [], "arch": []}
    for seed in range(repeats):
        seconds = _timed(lambda: resampled_ratio(columns, length, ours, seed=seed))  # noqa: B023
        took["ours"].append(seconds / ours)
        seconds = _timed(lambda: _arch_ratio(columns, length, theirs, seed=seed))  # noqa: B023
        took["arch"].append(seconds / theirs)
    draws = {
        "ours": resampled_ratio(columns, length, interval_ours),
        "arch": _arch_ratio(columns, length, interval_theirs),
    }
    return {**took, "intervals": {name: _interval(drawn) for name, drawn in draws.items()}}


def resampled_ratio(columns: Any, length: float, replicates: int, *, seed: int = 0, workers: int = 1) -> Any:
    """Bootstrap of the ratio of the sums of two columns (2, n), by this project."""
    once = np.ones((replicates, 1), dtype=np.int64)
    sums = resampled_sums([columns], [length], once, seed=seed, workers=workers)
    return sums[0] / sums[1]


def _arch_ratio(columns: Any, length: float, replicates: int, *, seed: int = 0) -> Any:
    """Bootstrap of the same ratio by arch."""
    resampling = StationaryBootstrap(length, columns[0], columns[1], seed=seed)  # type: ignore[arg-type]
    return resampling.apply(lambda over, under: over.sum() / under.sum(), replicates)[:, 0]


def _interval(draws: Any) -> dict[str, Any]:
    """95 % percentile interval of the draws and the standard error of its ends, after Maritz and Jarrett."""
    return {
        "ends": np.quantile(draws, ENDS).tolist(),
        "errors": np.asarray(mjci(draws, ENDS)).tolist(),
        "replicates": len(draws),
    }


def _costs(n: int) -> Any:
    """Two costs a window (2, n) that hang together and change slowly, as SC and OPTf do."""
    rng = np.random.default_rng(7)
    slow = lfilter([1.0], [1.0, -0.9], rng.normal(size=n)) * np.sqrt(1 - 0.9**2)
    under = np.exp(0.2 * slow)
    return np.stack([under * np.exp(0.3 * slow + 0.2 * rng.normal(size=n)), under])


def windows_race(n: int, sample: int, m: int, credited: bool, repeats: int) -> dict[str, Any]:
    """Seconds a window: all four costs of `n` windows by this project, both optima of `sample` by SciPy.

    SciPy's share `calls` is its calls alone. `off` is the largest relative difference of the optima.
    """
    seen = _made_up_windows(n, m, credited)
    took: dict[str, list[float]] = {"ours": [], "scipy": [], "calls": []}
    for _ in range(repeats):
        took["ours"].append(_timed(lambda: window_costs(seen, AFFINE, FULL)) / n)
        took["scipy"].append(_timed(lambda: _optima_by_scipy(seen, sample)) / sample)
        took["calls"].append(_timed_calls(seen, sample) / sample)
    costs = window_costs(seen, AFFINE, FULL)
    found = np.column_stack([costs.OPTf, costs.OPTc])[:sample]
    return {**took, "off": float(np.abs(found / _optima_by_scipy(seen, sample) - 1.0).max())}


def _optima_by_scipy(seen: Windows, sample: int) -> Any:
    """OPTf and OPTc (sample, 2) of the first windows: matrices made at once, then one call for each."""
    return np.array(
        [
            [cost[linear_sum_assignment(cost)].sum() for cost in pair]
            for pair in zip(*_cost_matrices(seen, sample), strict=True)
        ]
    )


def _timed_calls(seen: Windows, sample: int) -> float:
    matrices = [cost for costs in _cost_matrices(seen, sample) for cost in costs]
    return _timed(lambda: [linear_sum_assignment(cost) for cost in matrices])


def _made_up_windows(n: int, m: int, credited: bool) -> Windows:
    rng = np.random.default_rng([n, m])
    overlap = None
    if credited:
        overlap = rng.random((n, m, m)) * (rng.random((n, m, m)) >= UNCACHED)
    return Windows(
        row=np.arange(n * m).reshape(n, m),
        t_start=np.arange(n, dtype=np.float64),
        worker=rng.integers(0, m, (n, m)),
        latency=rng.gamma(4.0, 0.01, (n, m)),
        load=rng.poisson(MEAN_LOAD, (n, m)),
        omega_overlap=overlap,
    )


def _cost_matrices(seen: Windows, sample: int) -> tuple[Any, Any]:
    """The assignment problems of OPTf (sample, m, m) and of OPTc (sample, m, m m)."""
    m, load = seen.n_workers, seen.load[:sample]
    marginal = marginal_costs(FULL, int(load.max()) + m)
    frozen = AFFINE(load + 1)[:, None, :]
    slots = marginal[load[:, :, None] + np.arange(1, m + 1)].reshape(-1, 1, m * m)
    if seen.omega_overlap is None:
        return np.repeat(frozen, m, axis=1), np.repeat(slots, m, axis=1)
    credit = AFFINE.kappa * seen.omega_overlap[:sample]
    return price(frozen, credit), price(slots, np.repeat(credit, m, axis=2))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (make_cells, estimate, bootstrap, bootstrap_race, windows_race)
}


if __name__ == "__main__":
    main()
