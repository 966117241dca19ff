"""Requests in flight against C: a cell whose rows contradict its concurrency is not the cell that it claims.

C users of a closed loop never have more than C requests under way, and without think time hardly ever fewer.
Too many in flight means ends that are not ends, or the rows of another concurrency; too few means rows that
are missing (a frontend, a shard, records that were dropped), users who pause, or another concurrency.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from anarchy.trace.reader import CellTrace

FloatArray = npt.NDArray[np.float64]

RESOLUTION_S: Final = 0.002
"""Ends are brought forward by this much at least: Dynamo's trace tells times to 1 ms, so that the end of a
request and the sending of its user's next one may overlap by as much ..."""
COARSEST_S: Final = 1.0
"""... and by the grid on which all sendings lie, where a source rounded them, up to this one."""
MAX_ABOVE_SHARE: Final = 0.005
"""More than C in flight for more than this share of the measured time: as much as errors may be."""
MIN_MEAN: Final = 0.90
"""Mean requests in flight over C, at least: a client that takes a tenth of a request's time to send the next
one still passes, one frontend of eight that is missing does not."""
MIN_LEAST: Final = 0.75
"""The same in the emptiest stretch of the measured time: a shard that is missing leaves a hole."""
STRETCH_REQUESTS: Final = 16
"""A stretch lasts one mean latency, longer where C is smaller than this, so that a stretch holds about as
many requests: one user's pause is no hole."""
MIN_STRETCHES: Final = 4
"""The first and the last stretch are left out, in which users start and stop; with fewer, all are asked."""


class Occupancy(NamedTuple):
    """Requests in flight while a cell measures, as shares of C; and the share of time above C."""

    above: float
    mean: float
    least: float


def occupancies(trace: CellTrace) -> Iterator[Occupancy]:
    """Of each measured part of a cell that lasts at all: its stages, or the whole of a constant cell."""
    sent = trace.column("t_sent")
    if not sent.size:
        return
    left = _left(trace, sent)
    steps = _Steps.of(sent, left)
    early = _Steps.of(sent, np.maximum(sent, left - _resolution(sent)))
    for first, last, C in _parts(trace, sent):
        inside = (sent >= first) & (sent <= last)
        if last > first:
            yield _occupancy(steps, early, (first, last), C, float(np.mean((left - sent)[inside])))


def contradiction(trace: CellTrace) -> tuple[bool, dict[str, float | None]]:
    """Whether the requests in flight contradict C in any part of the cell, and the worst numbers."""
    parts = [] if trace.manifest.unbounded else list(occupancies(trace))
    if not parts:
        return False, {}
    above = max(part.above for part in parts)
    numbers: dict[str, float | None] = {"above_concurrency_share": above}
    bad = above > MAX_ABOVE_SHARE
    if trace.manifest.loop == "closed":
        mean, least = min(part.mean for part in parts), min(part.least for part in parts)
        numbers |= {"in_flight_mean": mean, "in_flight_least": least}
        bad = bad or mean < MIN_MEAN or least < MIN_LEAST
    return bad, numbers


def unended(trace: CellTrace) -> int:
    """Requests whose end no source tells: they count as load to the end of the cell."""
    return int(np.count_nonzero(np.isnan(trace.ends)))


def _left(trace: CellTrace, sent: FloatArray) -> FloatArray:
    """When each request left the cell, s; the cell's end where nobody tells."""
    ends = trace.ends
    end = trace.manifest.duration_s
    if end is None:
        end = float(np.fmax.reduce(np.concatenate([ends, sent]), initial=0.0))
    return np.asarray(np.where(np.isnan(ends), end, ends), dtype=np.float64)


def _resolution(sent: FloatArray) -> float:
    """The coarsest power of ten on whose grid all sendings lie, s, between the two bounds."""
    for grid in (COARSEST_S, 0.1, 0.01):
        steps = sent / grid
        if sent.size > 1 and bool(np.all(np.abs(steps - np.rint(steps)) < 1e-6)):
            return grid
    return RESOLUTION_S


def _parts(trace: CellTrace, sent: FloatArray) -> Iterator[tuple[float, float, int]]:
    """Begin, end (s) and concurrency of each measured part."""
    for stage in trace.manifest.stages:
        yield stage.settled_s, stage.end_s, stage.concurrency
    measured = sent[trace.equals("phase", "measure")]
    if not trace.manifest.stages and measured.size:
        yield float(measured.min()), float(measured.max()), trace.manifest.concurrency


class _Steps(NamedTuple):
    """Requests in flight as a step function: after `times[i]` there are `counts[i]`, `area` up to it."""

    times: FloatArray
    counts: FloatArray
    area: FloatArray

    @classmethod
    def of(cls, came: FloatArray, left: FloatArray) -> _Steps:
        """From when each request came and left, s; shapes (n,) both."""
        times = np.concatenate([came, left])
        # At one time ends go first: a user whose request ends there may send the next one there.
        order = np.lexsort((np.repeat([1, 0], came.size), times))
        times = times[order]
        counts = np.cumsum(np.repeat([1.0, -1.0], came.size)[order])
        area = np.concatenate([[0.0], np.cumsum(counts[:-1] * np.diff(times))])
        return cls(times, counts, area)

    def area_to(self, at: FloatArray) -> FloatArray:
        """Requests in flight integrated over time up to each time."""
        i = np.searchsorted(self.times, at, side="right") - 1
        before = i < 0
        i = np.maximum(i, 0)
        return np.asarray(np.where(before, 0.0, self.area[i] + self.counts[i] * (at - self.times[i])))

    def time_above(self, level: float, first: float, last: float) -> float:
        """How long more than `level` are in flight between two times, s."""
        begins = np.clip(self.times, first, last)
        ends = np.append(begins[1:], last)
        return float(np.sum((ends - begins)[self.counts > level]))


def _occupancy(steps: _Steps, early: _Steps, span: tuple[float, float], C: int, latency: float) -> Occupancy:
    first, last = span
    stretch = latency * max(1.0, STRETCH_REQUESTS / C)
    # A loop that keeps to C has fewer stretches than requests; one time that is far off would have billions.
    count = max(1, min(int((last - first) / stretch), steps.times.size)) if stretch > 0 else 1
    edges = np.linspace(first, last, count + 1)
    means = np.diff(steps.area_to(edges)) / np.diff(edges) / C
    inner = means[1:-1] if count >= MIN_STRETCHES else means
    return Occupancy(
        above=early.time_above(C, first, last) / (last - first),
        mean=float(np.mean(inner)),
        least=float(np.min(inner)),
    )
