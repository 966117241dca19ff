"""A stationary block bootstrap of one launch: how long its blocks are, sums over them, how often they hit.

Blocks start anywhere, have geometric lengths and wrap round (Politis and Romano 1994). Sums over blocks come
from prefix sums, so a resample costs its blocks and not its elements. All columns of a launch are summed over
the same blocks.

Every random number hangs on (seed, stream, launch, chunk) alone, so the result does not depend on who
computes which chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from .intervals import FloatArray

IntArray = NDArray[np.int64]

_MIN_SERIES = 16  # below this the automatic block length has nothing to estimate from
_CHUNK = 1 << 16  # blocks that are drawn at once
_CACHED = 1 << 14  # numbers summed at once, 128 KiB: they stay in cache, and the allocator keeps their memory


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
        length = float(_politis_white(series))
    return min(max(length, 1.0), float(n)) if np.isfinite(length) else 1.0


def _politis_white(series: FloatArray) -> np.float64:
    """The rule itself, to the last bit that of `arch.bootstrap.optimal_block_length`; it may be no number.

    The flat-top kernel reaches twice as far as the last lag before a run of autocorrelations that are all
    insignificant. arch looks at every lag up to the square root of n; here only those are that count.
    """
    n = series.size
    cross = _cross_products(series - series.mean())
    reach = len(cross) - 1
    g, variance = np.float64(0.0), cross[0] / n
    for lag in range(1, reach + 1):
        weight = 1.0 if lag / reach <= 1 / 2 else 2 * (1 - lag / reach)
        g += 2 * weight * lag * (cross[lag] / n)
        variance += 2 * weight * (cross[lag] / n)
    length = (2 * g**2 / (2 * variance**2)) ** (1 / 3) * n ** (1 / 3)
    return np.float64(min(length, ceil(min(3 * sqrt(n), n / 3))))


def _cross_products(deviation: FloatArray) -> list[np.float64]:
    """Products of a series with itself, lag 0 to the reach of the kernel: n times the autocovariances."""
    n = deviation.size
    run = max(5, int(np.log10(n)))
    most = ceil(sqrt(n)) + run
    significant = 2 * np.sqrt(np.log10(n) / n)
    reach, quiet = most, 0
    products: list[np.float64] = []
    while len(products) <= reach:
        lag = len(products)
        products.append(np.float64(deviation[lag:] @ deviation[: n - lag]))
        if reach == most and quiet < run:
            late, early = deviation[lag + 1 :], deviation[: n - lag - 1]
            size = np.sqrt((late @ late) * (early @ early))
            quiet = quiet + 1 if np.abs(products[lag]) / size < significant else 0
            if quiet == run and lag < most:  # the run must end before the last lag that is looked at
                reach = min(2 * max(lag + 1 - run, 1), most)
    return products[: reach + 1]


def launch_sums(
    launch: FloatArray, mean_length: float, draws: int, key: tuple[int, int, int], workers: int = 1
) -> FloatArray:
    """Column sums of `draws` stationary block resamples of one launch: (k, n) -> (k, draws).

    `key`: seed, stream and launch of its random numbers. `workers` threads change no bit.
    """
    k, n = launch.shape
    means = launch.mean(axis=1)
    # Every resample holds n elements, so only what lies off the mean has to be summed: small, so exact, and
    # nothing of a column that is constant. The series lies twice, for blocks that wrap round; columns side by
    # side share the memory read at an index.
    off = launch - means[:, None]
    varying = np.flatnonzero(off.any(axis=1))
    prefix = np.zeros((2 * n + 1, varying.size))
    np.cumsum(np.tile(off[varying], 2).T, axis=0, out=prefix[1:])
    out = np.zeros((k, draws))

    def fill(chunk: int, part: slice) -> None:
        starts, ends = draw_blocks(generator(*key, chunk), n, mean_length, part.stop - part.start)
        for rows in parts(len(starts), starts.shape[1] * max(1, varying.size), _CACHED):
            blocks = prefix.take(ends[rows], axis=0, mode="clip")
            blocks -= prefix.take(starts[rows], axis=0, mode="clip")
            for place, c in enumerate(varying):
                out[c, part][rows] = blocks[:, :, place].sum(axis=1)

    each(fill, parts(draws, enough_blocks(n, mean_length), _CHUNK), workers)
    return np.asarray(out + n * means[:, None])


def drawn_counts(rng: np.random.Generator, n: int, mean_length: float, times: IntArray) -> NDArray[np.int32]:
    """How often each of n elements is drawn when row r takes `times[r]` resamples: (R,) -> (R, n)."""
    owner = np.repeat(np.arange(times.size), times)
    starts, ends = draw_blocks(rng, n, mean_length, owner.size)
    wraps = ends > n  # such a block holds the front as well, up to where it ends there
    width = n + 1
    at, size = owner[:, None] * width, times.size * width
    steps = np.bincount((at + starts).ravel(), minlength=size)
    steps -= np.bincount((at + ends - n * wraps).ravel(), minlength=size)
    steps = steps.reshape(times.size, width)
    steps[:, 0] += np.bincount(np.repeat(owner, wraps.sum(axis=1)), minlength=times.size)
    return np.cumsum(steps[:, :n], axis=1, dtype=np.int32)


def draw_blocks(rng: np.random.Generator, n: int, mean_length: float, rows: int) -> tuple[IntArray, IntArray]:
    """Starts and ends of the blocks of `rows` resamples of n elements, on the series laid out twice.

    Shapes: (rows, K) both, 0 <= start < n, start <= end <= start + n; blocks past the n-th element are empty.
    """
    reach = _reach(rng, mean_length, (rows, enough_blocks(n, mean_length)))
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


def enough_blocks(n: int, mean_length: float) -> int:
    """Blocks that hold n elements all but surely: their number is 1 + Binomial(n - 1, 1/mean_length)."""
    expected = n / mean_length
    return min(n, ceil(expected + 6.0 * sqrt(expected)) + 8)


def generator(seed: int, stream: int, launch: int, chunk: int) -> np.random.Generator:
    """The random numbers of one chunk."""
    # A spawn key, because a list of integers as seed is padded with zeros: [5] would be [5, 0, 0, 0].
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, stream, launch, chunk)))


def parts(n: int, width: int, size: int) -> list[slice]:
    """Cut n rows into slices that hold at most `size` numbers where a row holds `width`; at least one row."""
    step = max(1, size // width)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def each(work: Callable[[int, slice], None], parts: Sequence[slice], workers: int) -> None:
    """Call `work(chunk, part)` for every part, on threads: numpy lets go of the interpreter's lock."""
    if workers == 1:
        for chunk, part in enumerate(parts):
            work(chunk, part)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, range(len(parts)), parts):
            pass  # fetching a result raises what its worker raised
