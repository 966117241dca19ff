"""The request routing game of one cell: windows, their four costs, PoA-hat, PoA-cal, the decomposition.

    PoA-hat = sum SC  / sum OPTf      the paper's index: an upper bound and a regime indicator, can be below 1
    PoA-cal = sum SCm / sum OPTc      routing inefficiency alone, at least 1 for every window
    PoA-hat = (SC / SCm) (SCm / OPTc) (OPTc / OPTf) = dynamics x routing x freezing

Ratios are always ratios of sums over a set of windows, never means of ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .assignment import cheapest_assignments
from .latency import AffineLatency, FullLatency, price
from .requests import FloatArray, IntArray, Metric, Requests, chunks, latencies, load_on, loads, time_order

__all__ = [
    "CurveRows",
    "Decomposition",
    "Requests",
    "Spread",
    "WindowCosts",
    "WindowExample",
    "Windows",
    "cheapest_slots",
    "curve_rows",
    "decomposition",
    "explain_window",
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
        worker=requests.worker[row].astype(np.int64, copy=False),
        latency=latency[row],
        load=loads(requests, t_start),
        omega_overlap=_omega_overlap(requests, row),
    )


def curve_rows(requests: Requests, seen: Windows) -> CurveRows:
    """Rows for the latency fits: the same requests as in the windows, x = n_{a_i}(t_i) + 1.

    Shapes: R = W m rows, in order of sending.
    """
    row, chosen = seen.row.ravel(), seen.worker.ravel()
    sent = requests.t_sent[row]
    x, top = np.empty(row.size, dtype=np.int64), 0
    for j in range(
        seen.n_workers
    ):  # worker by worker: the loads of all of them together are m times as large
        load = load_on(requests, j, sent)
        here = chosen == j
        x[here] = load[here] + 1
        top = max(top, int(load.max(initial=-1)) + 1)
    overlap = seen.omega_overlap
    if overlap is not None:
        overlap = np.take_along_axis(overlap, seen.worker[:, :, None], axis=2).ravel()
    return CurveRows(x=x, latency=seen.latency.ravel(), omega_overlap=overlap, top=top)


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
    marginal, frozen = _tables(seen.load, m, affine, full)
    SCm, OPTf, OPTc = (np.empty(len(seen)) for _ in range(3))
    for part in chunks(len(seen), m * m):
        load, worker = seen.load[part], seen.worker[part]
        x = np.take_along_axis(load, worker, axis=1) + places(worker)
        # With no credit every matching uses every worker once and costs the same, and requests are alike.
        SCm[part] = marginal[x].sum(axis=1)
        OPTf[part] = frozen[load + 1].sum(axis=1)
        OPTc[part] = cheapest_slots(_slots(marginal, load).reshape(len(load), m * m), m)
    if seen.omega_overlap is not None and affine.kappa > 0.0:
        earning = np.flatnonzero(seen.omega_overlap.any(axis=(1, 2)))
        for part in chunks(earning.size, m * m * m):
            w = earning[part]
            load, worker = seen.load[w], seen.worker[w]
            credit = affine.kappa * seen.omega_overlap[w]
            earned = np.take_along_axis(credit, worker[:, :, None], axis=2)[:, :, 0]
            x = np.take_along_axis(load, worker, axis=1) + places(worker)
            SCm[w] = price(marginal[x], earned).sum(axis=1)
            OPTf[w] = cheapest_assignments(price(frozen[load + 1][:, None, :], credit))
            slots = price(_slots(marginal, load)[:, None], credit[..., None])
            OPTc[w] = cheapest_assignments(slots.reshape(w.size, m, m * m))
    # What the router did is one of the assignments: only rounding can put the optimum above it.
    return WindowCosts(SC=seen.latency.sum(axis=1), SCm=SCm, OPTf=OPTf, OPTc=np.minimum(OPTc, SCm))


@dataclass(frozen=True, eq=False)
class WindowExample:
    """Every number of one window's computation, for a worked example; request i is the i-th of the window.

    Shapes, (m,) by request: `row` of `Requests`; `worker`; `latency`; `place` s_i >= 1; `paid` =
    price(slot_cost[worker, place - 1], credit); `frozen_worker`, where the frozen optimum puts it;
    `best_worker` and `best_place`, where the congested optimum does, and `best_paid`, its price there.
    (m,) by worker: `load` at `t_start`. (m, m) by request and worker: `credit` = kappa omega_i o_ij;
    `frozen_cost` = price(l_A(n_j + 1), credit). (m, m) by worker and place: `slot_cost`, before credits.
    `SC`, `SCm`, `OPTf`, `OPTc` are the sums of `latency`, `paid`, the chosen `frozen_cost`, `best_paid`.
    Units: seconds; the four sums in request-seconds. Among equally cheap optima one is shown.
    """

    row: IntArray
    t_start: float
    worker: IntArray
    latency: FloatArray
    load: IntArray
    place: IntArray
    credit: FloatArray
    slot_cost: FloatArray
    paid: FloatArray
    frozen_cost: FloatArray
    frozen_worker: IntArray
    best_worker: IntArray
    best_place: IntArray
    best_paid: FloatArray
    SC: float
    SCm: float
    OPTf: float
    OPTc: float


def explain_window(seen: Windows, w: int, affine: AffineLatency, full: FullLatency) -> WindowExample:
    """The computation of one window, laid open: its four sums are those of `window_costs`, to rounding.

    Both optima come from SciPy here, also where `window_costs` sorts or solves many windows at once.
    Errors: IndexError when there is no window w.
    """
    if not 0 <= w < len(seen):
        raise IndexError(f"no window {w}: there are {len(seen)}, counted from 0")
    m = seen.n_workers
    load, worker = seen.load[w], seen.worker[w]
    marginal, frozen = _tables(load, m, affine, full)
    credit = np.zeros((m, m)) if seen.omega_overlap is None else affine.kappa * seen.omega_overlap[w]
    request, place, slot_cost = np.arange(m), places(worker[None, :])[0], _slots(marginal, load)
    frozen_cost = price(frozen[load + 1], credit)
    frozen_worker = linear_sum_assignment(frozen_cost)[1]
    slots = price(slot_cost, credit[:, :, None])
    best_worker, best_place = np.divmod(linear_sum_assignment(slots.reshape(m, m * m))[1], m)
    # Equally dear places may be taken out of order; a worker's requests move up to its first ones.
    ahead = (best_worker == best_worker[:, None]) & (best_place < best_place[:, None])
    best_place = ahead.sum(axis=1)
    paid, best_paid = slots[request, worker, place - 1], slots[request, best_worker, best_place]
    return WindowExample(
        row=seen.row[w],
        t_start=float(seen.t_start[w]),
        worker=worker,
        latency=seen.latency[w],
        load=load,
        place=place,
        credit=credit,
        slot_cost=slot_cost,
        paid=paid,
        frozen_cost=frozen_cost,
        frozen_worker=frozen_worker,
        best_worker=best_worker,
        best_place=best_place + 1,
        best_paid=best_paid,
        SC=float(seen.latency[w].sum()),
        SCm=float(paid.sum()),
        OPTf=float(frozen_cost[request, frozen_worker].sum()),
        OPTc=float(min(best_paid.sum(), paid.sum())),
    )


def _tables(
    load: IntArray, m: int, affine: AffineLatency, full: FullLatency
) -> tuple[FloatArray, FloatArray]:
    """Marginal costs of l_F and latencies l_A, by load from 0 to the most that m more requests can make."""
    top = int(load.max(initial=0)) + m
    return marginal_costs(full, top), affine(np.arange(top + 1))


def _slots(marginal: FloatArray, load: IntArray) -> FloatArray:
    """Marginal cost of places 1..m of every worker. Shapes: load (..., m) -> (..., m, m), place last."""
    return marginal[load[..., None] + np.arange(1, load.shape[-1] + 1)]


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


def _omega_overlap(requests: Requests, row: IntArray) -> FloatArray | None:
    if requests.overlap is None or requests.omega is None:
        return None
    weighted: FloatArray = requests.overlap[row]
    weighted *= requests.omega[row][:, :, None]
    weighted[np.isnan(weighted)] = 0.0  # no credit where the trace does not tell the overlap
    if weighted.min(initial=0.0) < 0.0 or np.isinf(weighted.max(initial=0.0)):
        raise ValueError("omega and overlap must not be negative, nor infinite")
    return weighted
