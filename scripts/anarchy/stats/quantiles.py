"""Quantiles over the requests of a cell with their bootstrap: several of them from one set of resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .blocks import IntArray, block_length, drawn_counts, each, generator, parts
from .intervals import FloatArray, Resampled
from .launches import launch_counts, over_launches, present_launches

Counts = NDArray[np.int32]

_CHUNK = 1 << 22  # counts whose random numbers are drawn at once
_CACHED = 1 << 16  # counts put in order at once: 256 KiB an array, so that they stay in cache


def bootstrap_quantiles(
    launches: Sequence[FloatArray],
    qs: Sequence[float],
    *,
    replicates: int = 1_000,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
) -> list[Resampled]:
    """Quantiles over the requests of a cell, launches pooled, with their bootstrap; requests in time order.

    All come from the same draws. Shapes: one array a launch. Linear interpolation between order statistics,
    as `numpy.quantile`. The block length is that of the values themselves (ours). Cost: B times the number of
    requests, however many quantiles. Errors: ValueError on q outside [0, 1] or a value that is not finite.
    """
    if wrong := [q for q in qs if not 0.0 <= q <= 1.0]:
        raise ValueError(f"q is {wrong[0]}: want a number between 0 and 1")
    kept, present = present_launches([launches])
    lengths = [block_length(launch[0]) for launch in kept]
    sizes = [launch.shape[1] for launch in kept]
    times = launch_counts(sizes, present, len(launches), replicates, seed)
    pooled = np.concatenate([launch[0] for launch in kept] or [np.empty(0)])
    order = np.argsort(pooled, kind="stable")
    ordered = pooled[order]
    draws = np.full((len(qs), replicates), np.nan)

    def fill(chunk: int, part: slice) -> None:
        counts = np.concatenate(
            [
                drawn_counts(generator(seed, stream, launch, chunk), size, length, taken)
                for launch, size, length, taken in zip(present, sizes, lengths, times[part].T, strict=True)
            ],
            axis=1,
        )
        for rows in parts(len(counts), pooled.size, _CACHED):
            upto = np.cumsum(counts[rows].take(order, axis=1), axis=1, dtype=np.int32)
            for of_quantile, q in zip(draws, qs, strict=True):
                of_quantile[part][rows] = _quantile(ordered, upto, q)

    if kept:
        each(fill, parts(replicates, pooled.size, _CHUNK), workers)
    values = np.quantile(pooled, qs) if kept else np.full(len(qs), np.nan)
    return [
        over_launches(float(value), of_quantile, kept, lengths, times)
        for value, of_quantile in zip(values, draws, strict=True)
    ]


def bootstrap_quantile(
    launches: Sequence[FloatArray],
    q: float,
    *,
    replicates: int = 1_000,
    seed: int = 0,
    stream: int = 0,
    workers: int = 1,
) -> Resampled:
    """One quantile with its bootstrap; see `bootstrap_quantiles`."""
    (found,) = bootstrap_quantiles(
        launches, [q], replicates=replicates, seed=seed, stream=stream, workers=workers
    )
    return found


def _quantile(ordered: FloatArray, upto: Counts, q: float) -> FloatArray:
    """Quantile of each row's resample: (N,) ascending, (R, N) how many drawn come so early -> (R,)."""
    rank = q * (upto[:, -1] - 1)
    low = np.floor(rank).astype(np.int32)
    high = np.minimum(low + 1, upto[:, -1] - 1)
    below, above = (ordered[_first_beyond(upto, at)] for at in (low, high))
    return np.asarray(below + (rank - low) * (above - below), dtype=np.float64)


def _first_beyond(upto: Counts, at: Counts) -> IntArray:
    """Where each ascending row first exceeds its number: (R, N), (R,) -> (R,)."""
    return np.array([row.searchsorted(one, side="right") for row, one in zip(upto, at, strict=True)])
