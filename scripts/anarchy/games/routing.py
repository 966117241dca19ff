"""The request routing game of one cell: windows, their four costs, PoA-hat, PoA-cal, the decomposition.

    PoA-hat = sum SC  / sum OPTf      the paper's index: an upper bound and a regime indicator, can be below 1
    PoA-cal = sum SCm / sum OPTc      routing inefficiency alone, at least 1 for every window
    PoA-hat = (SC / SCm) (SCm / OPTc) (OPTc / OPTf) = dynamics x routing x freezing

Ratios are always ratios of sums over a set of windows, never means of ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .latency import AffineLatency, FullLatency, price
from .requests import FloatArray, IntArray, Metric, Requests, latencies, loads, time_order

__all__ = [
    "CurveRows",
    "Decomposition",
    "Requests",
    "Spread",
    "WindowCosts",
    "Windows",
    "cheapest_slots",
    "curve_rows",
    "decomposition",
    "latencies",
    "loads",
    "marginal_costs",
    "places",
    "poa_cal",
    "poa_hat",
    "spread",
    "window_costs",
    "windows",
]

_CHUNK = 1 << 22  # numbers in a temporary array: 32 MiB


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of m consecutive counted requests, not overlapping, each with its frozen state.

    Shapes: `row` (W, m) rows of `Requests` in order of sending; `t_start` (W,) s, the `t_sent` of the first;
    `worker` (W, m); `latency` (W, m) s; `load` (W, m) = n_j(t_start), the second axis being the worker;
    `omega_overlap` (W, m, m) = omega_i o_ij by request and worker, or None where the trace tells no overlap.
    Source: ours, after the window of routing decisions of arXiv 2606.17081.
    """

    row: IntArray
    t_start: FloatArray
    worker: IntArray
    latency: FloatArray
    load: IntArray
    omega_overlap: FloatArray | None = None

    def __len__(self) -> int:
        return int(self.row.shape[0])

    @property
    def n_workers(self) -> int:
        """Number m of workers in the pool, and of requests in a window."""
        return int(self.row.shape[1])


@dataclass(frozen=True, eq=False)
class CurveRows:
    """Rows of one cell for the latency fits: the requests of its windows, each at its own time of sending.

    Shapes: `x` (R,) load on the chosen worker, the request included; `latency` (R,) s; `omega_overlap` (R,)
    on the chosen worker or None. `top` = the largest n_j + 1 over all workers and these requests.
    """

    x: IntArray
    latency: FloatArray
    omega_overlap: FloatArray | None
    top: int


@dataclass(frozen=True, eq=False)
class WindowCosts:
    """The four costs of each window: realised SC, modelled SCm, frozen optimum OPTf, congested optimum OPTc.

    Shapes: (W,) each. Units: request-seconds.
    """

    SC: FloatArray
    SCm: FloatArray
    OPTf: FloatArray
    OPTc: FloatArray

    def __len__(self) -> int:
        return int(self.SC.size)


@dataclass(frozen=True)
class Decomposition:
    """PoA-hat as a product: temporal dynamics SC/SCm, routing SCm/OPTc, freezing OPTc/OPTf (ours)."""

    dynamics: float
    routing: float
    freezing: float

    @property
    def product(self) -> float:
        """PoA-hat again, to rounding."""
        return self.dynamics * self.routing * self.freezing


@dataclass(frozen=True)
class Spread:
    """Median and 90th percentile over windows of a window's own SC/OPTf, for spread and nothing else."""

    median_window: float
    p90_window: float


def windows(requests: Requests, metric: Metric = "ttft") -> Windows:
    """Cut the counted requests, in order of sending, into windows of m; drop the last partial one.

    Errors: ValueError where a counted request has no latency or a negative one.
    """
    m = requests.n_workers
    latency = latencies(requests, metric)
    ordered = time_order(requests, requests.counted)
    row = ordered[: ordered.size // m * m].reshape(-1, m)
    t_start = requests.t_sent[row[:, 0]]
    return Windows(
        row=row,
        t_start=t_start,
        worker=requests.worker[row].astype(np.int64),
        latency=latency[row],
        load=loads(requests, t_start),
        omega_overlap=_omega_overlap(requests, row),
    )


def curve_rows(requests: Requests, seen: Windows) -> CurveRows:
    """Rows for the latency fits: the same requests as in the windows, x = n_{a_i}(t_i) + 1.

    Shapes: R = W m rows, in order of sending.
    """
    row = seen.row.ravel()
    load = loads(requests, requests.t_sent[row])
    chosen = seen.worker.ravel()
    overlap = seen.omega_overlap
    if overlap is not None:
        overlap = np.take_along_axis(overlap.reshape(-1, seen.n_workers), chosen[:, None], axis=1)[:, 0]
    return CurveRows(
        x=load[np.arange(row.size), chosen] + 1,
        latency=seen.latency.ravel(),
        omega_overlap=overlap,
        top=int(load.max(initial=-1)) + 1,
    )


def window_costs(seen: Windows, affine: AffineLatency, full: FullLatency) -> WindowCosts:
    """The four costs of every window under the fitted curves.

    SC   = sum_i L_i.
    SCm  = sum_i price(marg_{a_i}(s_i), credit), s_i = i's place among the window's requests on its worker.
    OPTf = min over perfect matchings pi of sum_i price(l_A(n_pi(i) + 1), credit)   (arXiv 2606.17081).
    OPTc = min over all assignments of requests to (worker, place) of the sum that SCm is   (ours).
    credit of request i on worker j = kappa omega_i o_ij.
    Shapes: (W,) each. Units: request-seconds.
    """
    m = seen.n_workers
    top = int(seen.load.max(initial=0)) + m
    marginal = marginal_costs(full, top)
    frozen = affine(np.arange(top + 1))
    SCm = np.empty(len(seen))
    OPTc = np.empty(len(seen))
    OPTf = np.empty(len(seen))
    for part in _chunks(len(seen), m * m):
        load, worker = seen.load[part], seen.worker[part]
        x = np.take_along_axis(load, worker, axis=1) + places(worker)
        slots = marginal[load[:, :, None] + np.arange(1, m + 1)]
        # With no credit every matching uses every worker once and costs the same, and requests are alike.
        OPTf[part] = frozen[load + 1].sum(axis=1)
        OPTc[part] = cheapest_slots(slots.reshape(len(load), m * m), m)
        SCm[part] = marginal[x].sum(axis=1)
        if seen.omega_overlap is None or affine.kappa == 0.0:
            continue
        credit = affine.kappa * seen.omega_overlap[part]
        earned = np.take_along_axis(credit, worker[:, :, None], axis=2)[:, :, 0]
        SCm[part] = price(marginal[x], earned).sum(axis=1)
        for w in np.flatnonzero(credit.any(axis=(1, 2))):
            at = part.start + int(w)
            OPTf[at] = _assignment(price(frozen[load[w] + 1][None, :], credit[w]))
            OPTc[at] = _assignment(price(slots[w].ravel()[None, :], np.repeat(credit[w], m, axis=1)))
    # What the router did is one of the assignments: only rounding can put the optimum above it.
    return WindowCosts(SC=seen.latency.sum(axis=1), SCm=SCm, OPTf=OPTf, OPTc=np.minimum(OPTc, SCm))


def marginal_costs(curve: Callable[[IntArray], FloatArray], top: int) -> FloatArray:
    """What the x-th request on a worker costs everybody: `x l(x) - (x - 1) l(x - 1)` for x = 0..top.

    Shapes: (top + 1,), entry 0 unused (0). Units: seconds. marg_j(s) at load n_j is entry n_j + s.
    Errors: ValueError when it falls somewhere: only if it rises do the places of a worker fill in order, and
    only then is the congested optimum an assignment problem. Source: ours; marginal cost pricing (Pigou).
    """
    l = curve(np.arange(top + 1))
    x = np.arange(1, top + 1)
    # The same as the difference of products, but exact where the curve is flat.
    marginal = l[1:] + (x - 1) * np.diff(l)
    if (np.diff(marginal) < -1e-9 * np.abs(marginal).max(initial=0.0)).any():
        raise ValueError("the marginal cost falls with the load: x l(x) must be convex")
    return np.concatenate([[0.0], marginal])


def places(worker: IntArray) -> IntArray:
    """Place s_i >= 1 of each request among its window's requests on its worker. Shapes: (W, m) -> same."""
    place = np.ones(worker.shape, dtype=np.int64)
    for i in range(1, worker.shape[1]):
        place[:, i] += (worker[:, :i] == worker[:, i : i + 1]).sum(axis=1)
    return place


def cheapest_slots(marginal: FloatArray, k: int) -> FloatArray:
    """Least cost of k equal requests over slots: the sum of the k smallest marginal costs of each row.

    Exact for a congestion game whose marginal costs rise with the place on every worker.
    Shapes: (W, slots) -> (W,). Errors: ValueError when there are fewer than k slots.
    """
    if marginal.shape[1] < k:
        raise ValueError(f"{k} requests do not fit {marginal.shape[1]} slots")
    return np.asarray(np.partition(marginal, k - 1, axis=1)[:, :k].sum(axis=1), dtype=np.float64)


def poa_hat(costs: WindowCosts) -> float:
    """PoA-hat = sum SC / sum OPTf (arXiv 2606.17081); NaN with no window or where the optimum is 0."""
    return _ratio(costs.SC, costs.OPTf)


def poa_cal(costs: WindowCosts) -> float:
    """PoA-cal = sum SCm / sum OPTc >= 1, routing inefficiency alone (ours); NaN as `poa_hat`."""
    return _ratio(costs.SCm, costs.OPTc)


def decomposition(costs: WindowCosts) -> Decomposition:
    """PoA-hat = dynamics x routing x freezing, each a ratio of sums (ours); NaN as `poa_hat`."""
    return Decomposition(
        dynamics=_ratio(costs.SC, costs.SCm),
        routing=_ratio(costs.SCm, costs.OPTc),
        freezing=_ratio(costs.OPTc, costs.OPTf),
    )


def spread(costs: WindowCosts) -> Spread:
    """Median and P90 over windows of SC_w / OPTf_w; NaN with no window or where an optimum is 0."""
    if len(costs) == 0 or not (costs.OPTf > 0.0).all():
        return Spread(float("nan"), float("nan"))
    median, p90 = np.quantile(costs.SC / costs.OPTf, [0.5, 0.9])
    return Spread(float(median), float(p90))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> float:
    total = float(denominator.sum())
    return float(numerator.sum()) / total if total > 0.0 else float("nan")


def _assignment(cost: FloatArray) -> float:
    chosen = linear_sum_assignment(cost)
    return float(cost[chosen].sum())


def _omega_overlap(requests: Requests, row: IntArray) -> FloatArray | None:
    if requests.overlap is None or requests.omega is None:
        return None
    weighted: FloatArray = requests.omega[row][:, :, None] * requests.overlap[row]
    if (weighted < 0.0).any():
        raise ValueError("omega and overlap must not be negative")
    return np.nan_to_num(weighted, nan=0.0)  # no credit where the trace does not tell the overlap


def _chunks(n: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // width)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
