"""The requests of one cell, as arrays, and the load that they put on each worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Metric = Literal["ttft", "e2e"]

CHUNK = 1 << 18  # numbers in a temporary array: 2 MiB, about what a core caches


@dataclass(frozen=True, eq=False)
class Requests:
    """All requests of one cell, seen from the pool of workers that the game is about, in any order.

    Shapes: every array has N entries; `overlap` is (N, m). Units: seconds on one clock, zero = cell start.
    What the trace does not tell is NaN (a time, an overlap) or -1 (a worker), never 0. The arrays must not
    change afterwards. `t_left` is when a request leaves its worker: None = at `t_last_token`, which is right
    for the decode pool; the prefill pool's requests leave at `t_first_token`.
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
    t_left: FloatArray | None = None

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
        for name, column in (("omega", self.omega), ("t_left", self.t_left)):
            if column is not None and column.shape != (n,):
                raise ValueError(f"{name} has shape {column.shape}, want {(n,)}")

    @cached_property
    def _events(self) -> tuple[tuple[FloatArray, FloatArray], ...]:
        """Of each worker, when its requests came and when they left, both sorted (s)."""
        left = self.t_last_token if self.t_left is None else self.t_left
        left = np.where(np.isnan(left), self.cell_end, left)
        # An interval that ends before it begins holds no time; left in, its end would be subtracted early.
        real = left > self.t_sent
        on_worker = (real & (self.worker == j) for j in range(self.n_workers))
        return tuple((np.sort(self.t_sent[here]), np.sort(left[here])) for here in on_worker)

    def _fault(self, wrong: BoolArray, what: str) -> ValueError:
        first = int(np.flatnonzero(wrong)[0])
        return ValueError(
            f"{int(wrong.sum())} request(s) with {what}; the first is row {first} ({self.request_id[first]})"
        )


def latencies(requests: Requests, metric: Metric = "ttft") -> FloatArray:
    """Latency L_i of every request from the moment its user was free: to the first or to the last token.

    Shapes: (N,). Units: seconds; NaN where the trace has no such time.
    Errors: ValueError where a counted request has no latency or a negative one, or where its clock steps back
    between two of its times: such rows are the trace's fault and must be refused before they become a number.
    """
    ends = {"ttft": requests.t_first_token, "e2e": requests.t_last_token}
    if metric not in ends:
        raise ValueError(f"metric is {metric!r}: want one of {sorted(ends)}")
    latency = ends[metric] - requests.t_intended
    wrong = requests.counted & ~(np.isfinite(latency) & (latency >= 0))
    if wrong.any():
        raise requests._fault(wrong, f"counted, but {metric} missing or negative")
    _check_clock(requests)
    return latency


def _check_clock(requests: Requests) -> None:
    """Refuse counted requests whose known times are out of order; a missing time is in order with all."""
    steps = [
        ("t_sent", requests.t_sent, "t_intended", requests.t_intended),
        ("t_first_token", requests.t_first_token, "t_sent", requests.t_sent),
        ("t_last_token", requests.t_last_token, "t_first_token", requests.t_first_token),
    ]
    if requests.t_left is not None:
        steps.append(("t_left", requests.t_left, "t_sent", requests.t_sent))
    for later, end, earlier, start in steps:
        wrong = requests.counted & (end < start)
        if wrong.any():
            raise requests._fault(wrong, f"counted, but {later} before {earlier}: a clock stepped back")


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

    In flight on j at t: `t_sent < t` and leaving time > t (`t_left`, or `t_last_token` without it); with no
    leaving time, up to the cell's end. A request whose worker or `t_sent` is unknown is on no worker.
    Shapes: times (T,) -> (T, m). Cost: O((N + T m) log N).
    """
    out = np.empty((times.size, requests.n_workers), dtype=np.int64)
    for j in range(requests.n_workers):
        out[:, j] = load_on(requests, j, times)
    return out


def load_on(requests: Requests, worker: int, times: FloatArray) -> IntArray:
    """Load of one worker: the column of `loads` that is its own. Shapes: times (T,) -> (T,)."""
    came, left = requests._events[worker]
    load = np.searchsorted(came, times, side="left")
    load -= np.searchsorted(left, times, side="right")
    return load


def chunks(n: int, width: int) -> Iterator[slice]:
    """Cut n rows into slices that hold at most CHUNK numbers where a row holds `width`; at least one row."""
    step = max(1, CHUNK // width)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
