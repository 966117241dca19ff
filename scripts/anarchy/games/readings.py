"""Readings of PoA-hat: what "realised cost over the frozen optimum" can mean, each a pure function.

    fitted      latencies over the affine line fitted below the knee (`routing.window_costs`); the default
    idle        latencies over what a request costs on an idle worker, measured at the lowest C
    table       latencies over what a timing table says that the prompt's prefill takes
    both-sides  no latency at all: both sides are prefill time times (1 + resident prefill seconds)

Source: the paper leaves the frozen latency open (arXiv 2606.17081); `both-sides` is how its author later put
it; when a state is looked at is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from .assignment import cheapest_assignments
from .latency import CellSummary
from .requests import FloatArray, IntArray, Requests, time_order
from .routing import Windows

Reading = Literal["fitted", "idle", "table", "both-sides"]
READINGS: Final[tuple[Reading, ...]] = ("fitted", "idle", "table", "both-sides")

IDLE_REQUESTS: Final = 10
"""Requests that found their worker idle, at least; fewer tell no latency. Ours."""


@dataclass(frozen=True, eq=False)
class ReadCosts:
    """Realised cost and frozen optimum of each window under a reading.

    Shapes: (W,) each. Units: request-seconds; under `both-sides` seconds times (1 + seconds).
    """

    SC: FloatArray
    OPTf: FloatArray

    def __len__(self) -> int:
        return int(self.SC.size)


def idle_latency(lowest: CellSummary) -> float:
    """Mean latency of the requests that found their worker idle (load 1, themselves), s.

    `lowest` is the cell of the lowest C. Errors: ValueError where fewer than IDLE_REQUESTS did.
    """
    alone = lowest.x == 1.0
    weight = float(lowest.weight[alone].sum())
    found = round(weight * lowest.n_rows)
    if found < IDLE_REQUESTS:
        raise ValueError(f"{found} requests found their worker idle: it takes {IDLE_REQUESTS}")
    return float(lowest.weight[alone] @ lowest.latency[alone]) / weight


def idle_costs(seen: Windows, idle: float) -> ReadCosts:
    """Latencies over `idle` seconds a request: PoA-hat is the mean latency over that of an idle worker.

    Every worker costs the same, so that every matching is the cheapest one. Shapes: (W,).
    Errors: ValueError on a latency that is not above 0.
    """
    if not (np.isfinite(idle) and idle > 0.0):
        raise ValueError(f"an idle worker's latency is {idle} s: want more than 0")
    return ReadCosts(seen.latency.sum(axis=1), np.full(len(seen), seen.n_workers * idle))


def table_costs(seen: Windows, prefill_s: FloatArray) -> ReadCosts:
    """Latencies over the prefill times of the window's own prompts, `prefill_s` (W, m) s. Shapes: (W,).

    A prompt takes the same on every worker, so that every matching is the cheapest one.
    Errors: ValueError on another shape or a time that is not above 0.
    """
    if prefill_s.shape != seen.latency.shape:
        raise ValueError(f"prefill times have shape {prefill_s.shape}, want {seen.latency.shape}")
    _check_positive(prefill_s)
    return ReadCosts(seen.latency.sum(axis=1), prefill_s.sum(axis=1))


def both_sides_costs(requests: Requests, prefill_s: FloatArray) -> ReadCosts:
    """Both sides modelled: request i costs `T_i (1 + R_j)` on worker j, R_j its resident prefill seconds.

    Realised: R of the chosen worker as i is sent. Optimum: R of all workers as the window's first request is
    sent, least sum over all ways to give its requests different workers. Windows hold up to m requests: the
    last may be shorter. `prefill_s` (N,) s is T of every request, counted or not. Shapes: (W,).
    Errors: ValueError on another shape, or a time that is not above 0 of a request on a worker.
    """
    if prefill_s.shape != requests.t_sent.shape:
        raise ValueError(f"prefill times have shape {prefill_s.shape}, want {requests.t_sent.shape}")
    _check_positive(prefill_s[requests.worker >= 0])
    m = requests.n_workers
    ordered = time_order(requests, requests.counted)
    whole = ordered.size // m * m
    rows = [row for row in (ordered[:whole].reshape(-1, m), ordered[None, whole:]) if row.size]
    costs = [_both_sides(requests, prefill_s, row) for row in rows]
    nothing = np.empty(0)
    return ReadCosts(*(np.concatenate([nothing, *(one[side] for one in costs)]) for side in (0, 1)))


def _both_sides(requests: Requests, prefill_s: FloatArray, row: IntArray) -> tuple[FloatArray, FloatArray]:
    """Both costs of windows of k requests each. Shapes: row (W, k) -> (W,), (W,)."""
    own = prefill_s[row]
    here = resident_seconds(requests, prefill_s, requests.t_sent[row.ravel()])
    found = here[np.arange(row.size), requests.worker[row.ravel()]].reshape(row.shape)
    frozen = resident_seconds(requests, prefill_s, requests.t_sent[row[:, 0]])
    best = cheapest_assignments(own[:, :, None] * (1.0 + frozen[:, None, :]))
    return (own * (1.0 + found)).sum(axis=1), best


def resident_seconds(requests: Requests, prefill_s: FloatArray, times: FloatArray) -> FloatArray:
    """Prefill seconds of the requests on each worker at each time; on it as `requests.loads` has it.

    Shapes: times (T,) -> (T, m). Units: seconds.
    """
    left = requests.t_last_token if requests.t_left is None else requests.t_left
    left = np.where(np.isnan(left), requests.cell_end, left)
    real = left > requests.t_sent
    out = np.empty((times.size, requests.n_workers))
    for j in range(requests.n_workers):
        rows = np.flatnonzero(real & (requests.worker == j))
        came = _sum_until(requests.t_sent[rows], prefill_s[rows], times, "left")
        out[:, j] = came - _sum_until(left[rows], prefill_s[rows], times, "right")
    return np.maximum(out, 0.0)  # what has come and gone may leave a rounding error behind


def _sum_until(
    at: FloatArray, what: FloatArray, times: FloatArray, side: Literal["left", "right"]
) -> FloatArray:
    """Sum of what lies before each time, or (right) at it too. Shapes: (n,), (n,), (T,) -> (T,)."""
    order = np.argsort(at, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(what[order])])
    return np.asarray(sums[np.searchsorted(at[order], times, side=side)])


def _check_positive(seconds: FloatArray) -> None:
    if not (np.isfinite(seconds) & (seconds > 0.0)).all():
        raise ValueError("a prefill time is missing or not above 0")


def read_poa_hat(costs: ReadCosts) -> float:
    """PoA-hat = sum SC / sum OPTf under the reading; NaN with no window."""
    return float(costs.SC.sum() / costs.OPTf.sum()) if len(costs) else float("nan")
