"""Two-level bootstrap: launches, and inside each a stationary block bootstrap of its windows or requests.

The experimental unit is the launch: requests of one run share placement, clocks and queues. With three or
more launches each replicate draws launches with replacement; with fewer it keeps them and the interval says
`within-run`. Inside a launch, blocks start anywhere, have geometric lengths and wrap round (Politis and
Romano 1994). Sums over blocks come from prefix sums, so a replicate costs its blocks and not its windows.

Over few launches the draws are spread as wide as Student's interval (`launches.spread_as_student`). How often
a nominal 95 % interval holds the truth is simulated by tests/bench/simulate_coverage.py (table in
docs/benchmarks.md): 93 to 97 % with three launches and more, alike or not; within one run 90 to 93 % on AR(1)
costs, and on a queue 63 % with 30 windows, 88 % with 1,000, 92 % with 5,000.

Every random number hangs on (seed, stream, launch, chunk) alone, so the result does not depend on who
computes which chunk. The cells of one ladder share the seed, which draws the same launches for all of them,
and differ in `stream`, which draws their blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil, log1p, sqrt

import numpy as np
from arch.bootstrap import optimal_block_length
from numpy.typing import NDArray

from .intervals import FloatArray, Kind, Resampled
from .launches import launch_counts, resamples_launches, spread_as_student

IntArray = NDArray[np.int64]

_MIN_SERIES = 16  # below this the automatic block length has nothing to estimate from
_CHUNK = 1 << 16  # blocks a thread holds at once: 512 KiB an array, so that they stay in its cache
_COUNT_CHUNK = 1 << 22  # counts a thread holds at once in a quantile's bootstrap


def block_length(series: FloatArray) -> float:
    """Mean block length of Politis and White (2004, corrected 2009) for the stationary bootstrap.

    Shapes: (n,) in time order. Units: elements. At least 1, at most n; 1 for a series that is short, constant
    or leaves the rule undefined. Errors: ValueError on a value that is not finite.
    """
    if not np.isfinite(series).all():
        raise ValueError("the series of a block bootstrap must be finite")
    n = series.size
    if n < _MIN_SERIES or np.ptp(series) <= 1e-12 * np.abs(series).max():
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        length = float(optimal_block_length(series)["stationary"].iloc[0])
    return min(max(length, 1.0), float(n)) if np.isfinite(length) else 1.0


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
    launches, present = _launches([columns[name] for name in names], ids)
    of = max(present, default=-1) + 1 if of is None else of
    lengths = [block_length(launch[names.index(series)]) for launch in launches]
    used = sorted({column for pair in ratios.values() for column in pair})
    rows = [names.index(column) for column in used]
    parts = [launch[rows] for launch in launches]
    totals, sums = np.zeros((len(used), 1)), np.zeros((len(used), replicates))
    if parts:
        totals = np.sum([part.sum(axis=1, keepdims=True) for part in parts], axis=0)
        sums = resampled_sums(
            parts,
            lengths,
            replicates=replicates,
            seed=seed,
            stream=stream,
            workers=workers,
            ids=present,
            of=of,
        )
    times = launch_counts([launch.shape[1] for launch in launches], present, of, replicates, seed)
    out = {}
    for ratio, (over, under) in ratios.items():
        a, b = used.index(over), used.index(under)
        value = float(_divide(totals[a], totals[b])[0])
        out[ratio] = _resampled(value, _divide(sums[a], sums[b]), launches, lengths, times)
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


def bootstrap_quantile(
    launches: Sequence[FloatArray],
    q: float,
    *,
    replicates: int = 1_000,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
) -> Resampled:
    """Quantile over the requests of a cell, launches pooled, with its bootstrap; requests in time order.

    Shapes: one array a launch. Linear interpolation between order statistics, as `numpy.quantile`. The block
    length is that of the values themselves (ours). Cost: B times the number of requests.
    Errors: ValueError on q outside [0, 1] or a value that is not finite.
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"q is {q}: want a number between 0 and 1")
    kept, present = _launches([launches])
    lengths = [block_length(launch[0]) for launch in kept]
    sizes = [launch.shape[1] for launch in kept]
    times = launch_counts(sizes, present, len(launches), replicates, seed)
    if not kept:
        return _resampled(float("nan"), np.full(replicates, np.nan), kept, lengths, times)
    pooled = np.concatenate([launch[0] for launch in kept])
    order = np.argsort(pooled, kind="stable")
    ordered = pooled[order]
    draws = np.empty(replicates)

    def fill(chunk: int, part: slice) -> None:
        counts = np.concatenate(
            [
                _resampled_counts(
                    _generator(seed, stream, present[l], chunk), sizes[l], lengths[l], times[part, l]
                )
                for l in range(len(kept))
            ],
            axis=1,
        )
        draws[part] = _weighted_quantile(ordered, counts[:, order], q)

    _each(fill, _parts(replicates, pooled.size, _COUNT_CHUNK), workers)
    return _resampled(float(np.quantile(pooled, q)), draws, kept, lengths, times)


def resampled_sums(
    launches: Sequence[FloatArray],
    block_lengths: Sequence[float],
    *,
    replicates: int,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
    ids: Sequence[int] | None = None,
    of: int | None = None,
) -> FloatArray:
    """Column sums of each bootstrap replicate.

    Shapes: a launch is (k, n_l), n_l >= 1, at least one of them; the result is (k, B). All k columns of a
    replicate are summed over the same blocks, drawn by `workers` threads. The draws between launches are
    plain: `bootstrap_ratios` widens them. Memory: a chunk of blocks a thread, whatever B is.
    """
    k = launches[0].shape[0]
    present = list(range(len(launches))) if ids is None else list(ids)
    sizes = [launch.shape[1] for launch in launches]
    times = launch_counts(sizes, present, max(present) + 1 if of is None else of, replicates, seed)
    out = np.zeros((k, replicates))
    for l, (launch, mean_length) in enumerate(zip(launches, block_lengths, strict=True)):
        owner = np.repeat(np.arange(replicates), times[:, l])
        sums = _launch_sums(launch, mean_length, owner.size, (seed, stream, present[l]), workers)
        for c in range(k):
            out[c] += np.bincount(owner, weights=sums[c], minlength=replicates)
    return out


def _launch_sums(
    launch: FloatArray, mean_length: float, draws: int, key: tuple[int, int, int], workers: int = 1
) -> FloatArray:
    """Column sums of `draws` stationary block resamples of one launch: (k, n) -> (k, draws)."""
    k, n = launch.shape
    means = launch.mean(axis=1)
    # Every resample holds n elements, so only what lies off the mean has to be summed: small, so exact. The
    # series lies twice, for blocks that wrap round; columns side by side share the memory read at an index.
    prefix = np.zeros((2 * n + 1, k))
    np.cumsum(np.tile(launch - means[:, None], 2).T, axis=0, out=prefix[1:])
    out = np.empty((k, draws))

    def fill(chunk: int, part: slice) -> None:
        rng = _generator(*key, chunk)
        starts, ends = _blocks(rng, n, mean_length, part.stop - part.start)
        blocks = prefix.take(ends, axis=0, mode="clip")
        blocks -= prefix.take(starts, axis=0, mode="clip")
        for c in range(k):
            out[c, part] = blocks[:, :, c].sum(axis=1)

    _each(fill, _parts(draws, _enough_blocks(n, mean_length), _CHUNK), workers)
    return np.asarray(out + n * means[:, None])


def _blocks(rng: np.random.Generator, n: int, mean_length: float, rows: int) -> tuple[IntArray, IntArray]:
    """Starts and ends of the blocks of `rows` resamples of n elements, on the series laid out twice.

    Shapes: (rows, K) both, 0 <= start < n, start <= end <= start + n; blocks past the n-th element are empty.
    """
    reach = _reach(rng, mean_length, (rows, _enough_blocks(n, mean_length)))
    while rows > 0 and reach[:, -1].min() < n:
        reach = np.concatenate([reach, reach[:, -1:] + _reach(rng, mean_length, reach.shape)], axis=1)
    np.minimum(reach, n, out=reach)
    starts = rng.integers(0, n, reach.shape)
    ends = starts + reach
    ends[:, 1:] -= reach[:, :-1]
    return starts, ends


def _reach(rng: np.random.Generator, mean_length: float, shape: tuple[int, int]) -> IntArray:
    """Elements in the first K blocks of each row, K = 1, 2, ...; lengths are geometric, at least 1."""
    # The whole part of an exponential is geometric: half the time of Generator.geometric.
    lengths = rng.standard_exponential(shape)
    lengths *= -1.0 / log1p(-1.0 / mean_length) if mean_length > 1.0 else 0.0
    reach = lengths.astype(np.int64)
    reach += 1
    return np.cumsum(reach, axis=1, out=reach)


def _enough_blocks(n: int, mean_length: float) -> int:
    """Blocks that hold n elements all but surely: their number is 1 + Binomial(n - 1, 1/mean_length)."""
    expected = n / mean_length
    return min(n, ceil(expected + 6.0 * sqrt(expected)) + 8)


def _resampled_counts(
    rng: np.random.Generator, n: int, mean_length: float, times: IntArray
) -> NDArray[np.int32]:
    """How often each of n elements is drawn when row r takes `times[r]` resamples: (R,) -> (R, n)."""
    owner = np.repeat(np.arange(times.size), times)
    starts, ends = _blocks(rng, n, mean_length, owner.size)
    width = 2 * n + 1
    at = owner[:, None] * width
    size = times.size * width
    steps = np.bincount((at + starts).ravel(), minlength=size) - np.bincount(
        (at + ends).ravel(), minlength=size
    )
    drawn = np.cumsum(steps.reshape(times.size, width), axis=1, dtype=np.int32)
    return np.asarray(drawn[:, :n] + drawn[:, n : 2 * n], dtype=np.int32)


def _weighted_quantile(ordered: FloatArray, counts: NDArray[np.int32], q: float) -> FloatArray:
    """Quantile of each row's resample: `ordered` (N,) ascending, `counts` (R, N) -> (R,)."""
    upto = np.cumsum(counts, axis=1)
    rank = q * (upto[:, -1] - 1)
    low = np.floor(rank).astype(np.int64)
    high = np.minimum(low + 1, upto[:, -1] - 1)
    below = ordered[(upto <= low[:, None]).sum(axis=1)]
    above = ordered[(upto <= high[:, None]).sum(axis=1)]
    return np.asarray(below + (rank - low) * (above - below), dtype=np.float64)


def _generator(seed: int, stream: int, launch: int, chunk: int) -> np.random.Generator:
    # A spawn key, because a list of integers as seed is padded with zeros: [5] would be [5, 0, 0, 0].
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, stream, launch, chunk)))


def _launches(
    columns: Sequence[Sequence[FloatArray]], ids: Sequence[int] | None = None
) -> tuple[list[FloatArray], list[int]]:
    """One (k, n_l) array for each launch that has windows, and the numbers of these launches."""
    shapes = [[part.shape for part in column] for column in columns]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"the columns of a bootstrap must have the same launches and lengths: {shapes}")
    launches = [np.stack(parts).astype(np.float64, copy=False) for parts in zip(*columns, strict=True)]
    numbers = range(len(launches)) if ids is None else ids
    kept = [(launch, l) for launch, l in zip(launches, numbers, strict=True) if launch.shape[1] > 0]
    if not all(np.isfinite(launch).all() for launch, _ in kept):
        raise ValueError("the columns of a bootstrap must be finite")
    return [launch for launch, _ in kept], [l for _, l in kept]


def _resampled(
    value: float, draws: FloatArray, launches: Sequence[FloatArray], lengths: Sequence[float], times: IntArray
) -> Resampled:
    sizes = np.array([launch.shape[1] for launch in launches])
    kind: Kind = "across-launches" if resamples_launches(sizes.tolist()) else "within-run"
    if kind == "across-launches":
        draws = spread_as_student(value, draws, times, sizes)
    elif all(launch.shape[1] < 2 for launch in launches):
        draws = np.full(draws.size, np.nan)  # one window resamples to itself: no spread is no knowledge
    return Resampled(
        value=float(value),
        draws=draws,
        kind=kind,
        n_launches=len(launches),
        n_windows=sum(launch.shape[1] for launch in launches),
        block_length=float(np.mean(lengths)) if lengths else float("nan"),
    )


def _divide(over: FloatArray, under: FloatArray) -> FloatArray:
    out = np.full(over.shape, np.nan)
    np.divide(over, under, out=out, where=under > 0.0)
    return out


def _parts(n: int, width: int, size: int) -> list[slice]:
    step = max(1, size // width)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _each(work: Callable[[int, slice], None], parts: Sequence[slice], workers: int) -> None:
    """Call `work(chunk, part)` for every part, on threads: numpy lets go of the interpreter's lock."""
    if workers == 1:
        for chunk, part in enumerate(parts):
            work(chunk, part)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, range(len(parts)), parts):
            pass  # fetching a result raises what its worker raised
