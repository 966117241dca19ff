"""Two-level bootstrap of ratios of sums: launches, and inside each a block bootstrap of windows or requests.

The experimental unit is the launch: requests of one run share placement, clocks and queues. With three or
more launches each replicate draws launches with replacement; with fewer it keeps them and the interval says
`within-run`. Inside a launch blocks are drawn (`blocks`).

Over few launches the draws are spread as wide as Student's interval (`launches.spread_as_student`). How often
a nominal 95 % interval holds the truth is simulated by tests/bench/simulate_coverage.py (table in
docs/benchmarks.md): 93 to 97 % with three launches and more, alike or not; within one run 90 to 93 % on AR(1)
costs, and on a queue 63 % with 30 windows, 88 % with 1,000, 92 % with 5,000.

The cells of one ladder share the seed, which draws the same launches for all of them, and differ in `stream`,
which draws their blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .blocks import IntArray, block_length, launch_sums
from .intervals import FloatArray, Resampled
from .launches import launch_counts, over_launches, present_launches


def bootstrap_ratios(
    columns: Mapping[str, Sequence[FloatArray]],
    ratios: Mapping[str, tuple[str, str]],
    *,
    series: str,
    replicates: int = 10_000,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
    ids: Sequence[int] | None = None,
    of: int | None = None,
) -> dict[str, Resampled]:
    """Ratios of sums, each with its bootstrap; all come from the same draws, so they may be combined.

    `columns` names per-window costs, one array a launch, in time order; `ratios` names pairs (numerator,
    denominator) of columns; `series` names the column whose dependence sets the block length (SC for costs).
    `workers` threads share the work; their number changes no bit of the result. `ids` numbers the launches
    among the `of` that a ladder has (default: these are all): cells draw the same launches by number, also
    where one of them lacks some.
    Shapes: launches may differ in length, the columns of one launch may not. Launches with no window are left
    out. A value is NaN with no window or a denominator of 0; the draws are NaN where one run has one window.
    Errors: ValueError on columns that do not pair up or a value that is not finite.
    Source: interval definition ours; ratio of sums as PoA-hat, arXiv 2606.17081.
    """
    names = list(columns)
    launches, present = present_launches([columns[name] for name in names], ids)
    of = max(present, default=-1) + 1 if of is None else of
    lengths = [block_length(launch[names.index(series)]) for launch in launches]
    used = sorted({column for pair in ratios.values() for column in pair})
    rows = [names.index(column) for column in used]
    parts = [launch[rows] for launch in launches]
    times = launch_counts([launch.shape[1] for launch in launches], present, of, replicates, seed)
    totals, sums = np.zeros((len(used), 1)), np.zeros((len(used), replicates))
    if parts:
        totals = np.sum([part.sum(axis=1, keepdims=True) for part in parts], axis=0)
        sums = resampled_sums(parts, lengths, times, seed=seed, stream=stream, workers=workers, ids=present)
    out = {}
    for ratio, (over, under) in ratios.items():
        a, b = used.index(over), used.index(under)
        value = float(_divide(totals[a], totals[b])[0])
        out[ratio] = over_launches(value, _divide(sums[a], sums[b]), launches, lengths, times)
    return out


def bootstrap_ratio(
    numerator: Sequence[FloatArray],
    denominator: Sequence[FloatArray],
    *,
    series: Sequence[FloatArray] | None = None,
    replicates: int = 10_000,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
) -> Resampled:
    """One ratio of sums with its bootstrap; see `bootstrap_ratios`. `series` defaults to the numerator."""
    columns = {"over": numerator, "under": denominator, "series": numerator if series is None else series}
    return bootstrap_ratios(
        columns,
        {"ratio": ("over", "under")},
        series="series",
        replicates=replicates,
        seed=seed,
        stream=stream,
        workers=workers,
    )["ratio"]


def bootstrap_mean(
    launches: Sequence[FloatArray],
    *,
    replicates: int = 1_000,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
) -> Resampled:
    """Mean over the requests of a cell, launches pooled, with its bootstrap; requests in time order."""
    ones = [np.ones(launch.size) for launch in launches]
    return bootstrap_ratio(launches, ones, replicates=replicates, seed=seed, stream=stream, workers=workers)


def resampled_sums(
    launches: Sequence[FloatArray],
    block_lengths: Sequence[float],
    times: IntArray,
    *,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
    ids: Sequence[int] | None = None,
) -> FloatArray:
    """Column sums of each bootstrap replicate, which takes launch l `times[b, l]` times (`launch_counts`).

    Shapes: a launch is (k, n_l), n_l >= 1, at least one of them; times (B, L); the result is (k, B). All k
    columns of a replicate are summed over the same blocks, drawn by `workers` threads. `ids` numbers the
    launches. Memory: a chunk of blocks a thread, whatever B is.
    """
    out = np.zeros((launches[0].shape[0], len(times)))
    numbers = range(len(launches)) if ids is None else ids
    for launch, mean_length, taken, number in zip(launches, block_lengths, times.T, numbers, strict=True):
        owner = np.repeat(np.arange(len(times)), taken)
        sums = launch_sums(launch, mean_length, owner.size, (seed, stream, number), workers)
        for total, column in zip(out, sums, strict=True):
            total += np.bincount(owner, weights=column, minlength=len(times))
    return out


def _divide(over: FloatArray, under: FloatArray) -> FloatArray:
    out = np.full(over.shape, np.nan)
    np.divide(over, under, out=out, where=under > 0.0)
    return out
