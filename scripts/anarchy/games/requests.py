"""The requests of one cell, as arrays, and the load that they put on each worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Metric = Literal["ttft", "e2e"]


@dataclass(frozen=True, eq=False)
class Requests:
    """All requests of one cell, seen from the pool of workers that the game is about, in any order.

    Shapes: every array has N entries; `overlap` is (N, m). Units: seconds on one clock, zero = cell start.
    What the trace does not tell is NaN (a time, an overlap) or -1 (a worker), never 0.
    `counted` marks the requests that enter windows and fits: phase `measure`, status `ok`, a known worker,
    a finite latency. The others only put load on the workers. `overlap[i, j]` in [0, 1] is the share of
    request i's prompt blocks that worker j already holds; `omega` is the router's overlap weight.
    Errors: ValueError on arrays that do not fit together, and on counted requests that cannot be counted.
    Source: the request routing game, arXiv 2606.17081, section on game 3; the exact conventions are ours.
    """

    request_id: NDArray[Any]
    t_intended: FloatArray
    t_sent: FloatArray
    t_first_token: FloatArray
    t_last_token: FloatArray
    worker: IntArray
    counted: BoolArray
    n_workers: int
    cell_end: float
    overlap: FloatArray | None = None
    omega: FloatArray | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        if self.n_workers < 1:
            raise ValueError(f"n_workers is {self.n_workers}: a pool has at least one worker")
        if not np.isfinite(self.cell_end):
            raise ValueError(f"cell_end is {self.cell_end}: the cell's end must be a finite time")
        if (self.worker >= self.n_workers).any():
            raise self._fault(self.worker >= self.n_workers, f"a worker outside the pool of {self.n_workers}")
        for what, wrong in (
            ("no known worker", self.worker < 0),
            ("no t_sent", ~np.isfinite(self.t_sent)),
            ("no t_intended", ~np.isfinite(self.t_intended)),
        ):
            if (self.counted & wrong).any():
                raise self._fault(self.counted & wrong, f"counted, but {what}")

    def __len__(self) -> int:
        return int(self.t_sent.size)

    def _check_shapes(self) -> None:
        n = self.t_sent.shape[0] if self.t_sent.ndim == 1 else -1
        columns = ("request_id", "t_intended", "t_sent", "t_first_token", "t_last_token", "worker", "counted")
        shapes = {name: getattr(self, name).shape for name in columns}
        if any(shape != (n,) for shape in shapes.values()):
            raise ValueError(f"the columns of a cell's requests must have one common length: {shapes}")
        if not np.issubdtype(self.worker.dtype, np.integer) or self.counted.dtype != np.bool_:
            raise ValueError(
                f"worker is {self.worker.dtype}, counted is {self.counted.dtype}: want int and bool"
            )
        if (self.overlap is None) != (self.omega is None):
            raise ValueError("overlap and omega go together: the credit is omega times kappa times overlap")
        if self.overlap is not None and self.overlap.shape != (n, self.n_workers):
            raise ValueError(f"overlap has shape {self.overlap.shape}, want {(n, self.n_workers)}")
        if self.omega is not None and self.omega.shape != (n,):
            raise ValueError(f"omega has shape {self.omega.shape}, want {(n,)}")

    def _fault(self, wrong: BoolArray, what: str) -> ValueError:
        first = int(np.flatnonzero(wrong)[0])
        return ValueError(
            f"{int(wrong.sum())} request(s) with {what}; the first is row {first} ({self.request_id[first]})"
        )


def latencies(requests: Requests, metric: Metric = "ttft") -> FloatArray:
    """Latency L_i of every request from the moment its user was free: to the first or to the last token.

    Shapes: (N,). Units: seconds; NaN where the trace has no such time.
    Errors: ValueError where a counted request has no latency or a negative one: such rows are the trace's
    fault and must be refused before they become a number.
    """
    ends = {"ttft": requests.t_first_token, "e2e": requests.t_last_token}
    if metric not in ends:
        raise ValueError(f"metric is {metric!r}: want one of {sorted(ends)}")
    latency = ends[metric] - requests.t_intended
    wrong = requests.counted & ~(np.isfinite(latency) & (latency >= 0))
    if wrong.any():
        raise requests._fault(wrong, f"counted, but {metric} missing or negative")
    return latency


def time_order(requests: Requests, among: BoolArray) -> IntArray:
    """Rows of the chosen requests by `t_sent`, ties by `request_id`, ties of both by row.

    Shapes: `among` (N,) bool -> rows (among.sum(),).
    """
    rows = np.flatnonzero(among)
    rows = rows[np.argsort(requests.t_sent[rows], kind="stable")]
    sent = requests.t_sent[rows]
    tied = np.zeros(rows.size, dtype=np.bool_)
    # Identifiers are slow to compare and ties are rare: compare them only where the times agree.
    tied[1:] |= sent[1:] == sent[:-1]
    tied[:-1] |= tied[1:]
    at = np.flatnonzero(tied)
    rows[at] = rows[at][np.lexsort((requests.request_id[rows[at]], sent[at]))]
    return rows


def loads(requests: Requests, times: FloatArray) -> IntArray:
    """Load n_j(t): the requests of any phase or status in flight on each worker at each time.

    In flight on j at t: `t_sent < t` and `t_last_token > t`; without an end, up to the cell's end. A request
    whose worker or `t_sent` is unknown is on no worker.
    Shapes: times (T,) -> (T, m). Cost: O((N + T m) log N).
    """
    ends = np.where(np.isnan(requests.t_last_token), requests.cell_end, requests.t_last_token)
    # An interval that ends before it begins holds no time; left in, its end would be subtracted too early.
    real = (requests.worker >= 0) & (ends > requests.t_sent)
    out = np.empty((times.size, requests.n_workers), dtype=np.int64)
    for j in range(requests.n_workers):
        here = real & (requests.worker == j)
        begun = np.searchsorted(np.sort(requests.t_sent[here]), times, side="left")
        ended = np.searchsorted(np.sort(ends[here]), times, side="right")
        out[:, j] = begun - ended
    return out
