"""What must hold of the routing game on every input: PoA-cal >= 1, the product, scale and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from anarchy.games.assignment import cheapest_assignments
from anarchy.games.latency import AffineLatency, FullLatency, fit_affine, fit_full, summarise_cell
from anarchy.games.requests import Requests, loads
from anarchy.games.routing import (
    Decomposition,
    curve_rows,
    decomposition,
    explain_window,
    poa_cal,
    poa_hat,
    spread,
    window_costs,
    windows,
)

Curves = tuple[AffineLatency, FullLatency]
RELAXED = settings(max_examples=60, deadline=None)


@st.composite
def requests(draw: st.DrawFn, min_m: int = 1, overlap: bool | None = None) -> Requests:
    m = draw(st.integers(min_m, 5))
    n = draw(st.integers(m, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    decimals = draw(st.sampled_from([0, 1, 6]))  # coarse times: many ties
    known = draw(st.booleans()) if overlap is None else overlap
    sent = np.round(rng.uniform(0.0, 5.0, n), decimals)
    first = sent + rng.gamma(0.5, 1.0, n)
    failed = rng.random(n) < draw(st.sampled_from([0.0, 0.3]))
    return Requests(
        request_id=rng.permutation(n),
        t_intended=sent - rng.gamma(0.5, 0.1, n),
        t_sent=sent,
        t_first_token=np.where(failed, np.nan, first),
        t_last_token=np.where(failed, np.nan, first + rng.gamma(0.5, 2.0, n)),
        worker=np.where(failed, rng.integers(-1, m, n), rng.choice(m, n, p=rng.dirichlet(np.ones(m)))),
        counted=~failed,
        n_workers=m,
        cell_end=20.0,
        overlap=rng.uniform(0.0, 1.0, (n, m)).round(1) if known else None,
        omega=rng.choice([0.0, 1.0, 5.0], n) if known else None,
    )


coefficient = st.floats(0.0, 10.0)


@st.composite
def curves(draw: st.DrawFn) -> Curves:
    knots = tuple(sorted(draw(st.sets(st.integers(0, 30).map(float), max_size=4))))
    slopes = tuple(draw(coefficient) for _ in knots)
    affine = AffineLatency(draw(st.floats(0.01, 10.0)), draw(coefficient), draw(coefficient))
    return affine, FullLatency(draw(st.floats(0.01, 10.0)), knots, slopes)


@RELAXED
@given(requests(), curves())
def test_poa_cal_is_at_least_one_in_every_window(cell: Requests, fitted: Curves) -> None:
    costs = window_costs(windows(cell), *fitted)
    assert (costs.SCm >= costs.OPTc).all()
    assert (costs.OPTc > 0).all()
    assert (costs.OPTf > 0).all()
    assert len(costs) == 0 or poa_cal(costs) >= 1.0


@RELAXED
@given(requests(), curves())
def test_the_three_factors_make_poa_hat(cell: Requests, fitted: Curves) -> None:
    costs = window_costs(windows(cell), *fitted)
    factors = decomposition(costs)
    assert factors.product == pytest.approx(poa_hat(costs), rel=1e-9, nan_ok=True)
    assert factors.routing == pytest.approx(poa_cal(costs), rel=1e-12, nan_ok=True)


@RELAXED
@given(requests(), curves(), st.sampled_from([1e-3, 0.37, 60.0]))
def test_a_common_scale_of_all_latencies_leaves_every_ratio(
    cell: Requests, fitted: Curves, scale: float
) -> None:
    affine, full = fitted
    seen = windows(cell)
    before = window_costs(seen, affine, full)
    after = window_costs(
        replace(seen, latency=scale * seen.latency),
        AffineLatency(scale * affine.alpha, scale * affine.beta, scale * affine.kappa),
        FullLatency(scale * full.c0, full.knots, tuple(scale * b for b in full.slopes)),
    )
    assert poa_hat(after) == pytest.approx(poa_hat(before), rel=1e-9, nan_ok=True)
    assert poa_cal(after) == pytest.approx(poa_cal(before), rel=1e-9, nan_ok=True)
    assert decomposition(after).freezing == pytest.approx(
        decomposition(before).freezing, rel=1e-9, nan_ok=True
    )
    assert spread(after).p90_window == pytest.approx(spread(before).p90_window, rel=1e-9, nan_ok=True)


@RELAXED
@given(requests(min_m=2), st.randoms(use_true_random=False))
def test_other_labels_of_the_workers_leave_every_ratio(cell: Requests, random: Random) -> None:
    label = list(range(cell.n_workers))
    random.shuffle(label)
    renamed = replace(cell, worker=np.array([*label, -1])[cell.worker])
    if cell.overlap is not None:
        renamed = replace(renamed, overlap=cell.overlap[:, np.argsort(label)])
    fitted = AffineLatency(0.2, 0.1, 0.3), FullLatency(0.2, (1.0, 4.0), (0.1, 0.9))
    before, after = (window_costs(windows(c), *fitted) for c in (cell, renamed))
    for name in ("SC", "SCm", "OPTf", "OPTc"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-12)


@RELAXED
@given(requests(min_m=2, overlap=False), st.sampled_from([1e-3, 7.0]))
def test_whole_estimate_from_trace_to_ratio_has_no_unit(cell: Requests, scale: float) -> None:
    """Fits and costs from traces whose latencies are scaled, the load on the workers being left as it is."""

    def estimate(factor: float) -> Decomposition | None:
        seen = windows(cell)
        rows = curve_rows(cell, seen)
        part = summarise_cell(rows.x, factor * rows.latency, omega_overlap=rows.omega_overlap, top=rows.top)
        if np.unique(rows.x).size < 2:
            return None
        scaled = replace(seen, latency=factor * seen.latency)
        return decomposition(window_costs(scaled, fit_affine([part]), fit_full([part])))

    one, other = estimate(1.0), estimate(scale)
    if one is not None:
        for name in ("dynamics", "routing", "freezing"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6, nan_ok=True)


@RELAXED
@given(requests(overlap=False), st.floats(0.01, 5.0), coefficient)
def test_argmin_routing_on_affine_curves_is_within_five_halves(
    cell: Requests, alpha: float, beta: float
) -> None:
    seen = windows(cell)
    load, worker = seen.load.copy(), np.empty_like(seen.worker)
    for i in range(seen.n_workers):  # each request takes the least loaded worker, the load updated
        worker[:, i] = load.argmin(axis=1)
        load[np.arange(len(seen)), worker[:, i]] += 1
    costs = window_costs(
        replace(seen, worker=worker), AffineLatency(alpha, beta), FullLatency(alpha, (0.0,), (beta,))
    )
    if len(costs):
        assert 1.0 <= poa_cal(costs) <= 2.5
        assert poa_cal(costs) == pytest.approx(1.0)


@RELAXED
@given(requests(overlap=False), curves())
def test_the_congested_optimum_is_never_below_the_cheapest_price_a_request_can_have(
    cell: Requests, fitted: Curves
) -> None:
    costs = window_costs(windows(cell), *fitted)
    assert (costs.OPTc >= cell.n_workers * fitted[1](np.array(1)) * (1 - 1e-12)).all()


@RELAXED
@given(requests())
def test_loads_never_fall_under_zero_and_empty_at_the_end(cell: Requests) -> None:
    times = np.linspace(-1.0, 60.0, 50)
    n = loads(cell, times)
    assert (n >= 0).all()
    assert n.sum(axis=1).max() <= len(cell)


@st.composite
def cost_matrices(draw: st.DrawFn, rows: st.SearchStrategy[int]) -> npt.NDArray[np.float64]:
    W, m = draw(st.integers(0, 6)), draw(rows)
    n = m + draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["uniform", "ties", "zeros", "equal", "magnitudes", "signs"]))
    kinds: dict[str, Callable[[], npt.NDArray[np.float64]]] = {
        "uniform": lambda: rng.random((W, m, n)),
        "ties": lambda: rng.integers(0, 4, (W, m, n)).astype(float),
        "zeros": lambda: rng.random((W, m, n)) * (rng.random((W, m, n)) < 0.5),
        "equal": lambda: np.broadcast_to(rng.random((W, 1, 1)), (W, m, n)),
        "magnitudes": lambda: 10.0 ** rng.uniform(-9.0, 9.0, (W, m, n)),
        "signs": lambda: rng.normal(size=(W, m, n)),
    }
    return kinds[kind]()


def one_by_one(cost: npt.NDArray[np.float64]) -> list[float]:
    return [one[linear_sum_assignment(one)].sum() for one in cost]


@RELAXED
@given(cost_matrices(st.integers(1, 8)))
def test_batched_assignment_costs_what_scipys_does(cost: npt.NDArray[np.float64]) -> None:
    np.testing.assert_allclose(cheapest_assignments(cost), one_by_one(cost), rtol=1e-12, atol=1e-14)


@settings(max_examples=15, deadline=None)
@given(cost_matrices(st.sampled_from([9, 11])))
def test_more_rows_than_eight_are_scipys(cost: npt.NDArray[np.float64]) -> None:
    np.testing.assert_array_equal(cheapest_assignments(cost), one_by_one(cost))


@RELAXED
@given(requests(), curves())
def test_an_explained_window_has_the_costs_of_the_window(cell: Requests, fitted: Curves) -> None:
    seen = windows(cell)
    costs = window_costs(seen, *fitted)
    for w in range(len(seen)):
        example = explain_window(seen, w, *fitted)
        for name in ("SC", "SCm", "OPTf", "OPTc"):
            assert getattr(example, name) == pytest.approx(getattr(costs, name)[w], rel=1e-12)
        assert sorted(example.frozen_worker) == list(range(cell.n_workers))
        taken = sorted(zip(example.best_worker, example.best_place, strict=True))
        filled = np.bincount(example.best_worker, minlength=cell.n_workers)
        assert taken == [(j, s) for j in range(cell.n_workers) for s in range(1, filled[j] + 1)]


@RELAXED
@given(requests(), st.randoms(use_true_random=False))
def test_order_of_the_input_is_of_no_matter(cell: Requests, random: Random) -> None:
    shuffle = list(range(len(cell)))
    random.shuffle(shuffle)
    names: tuple[str, ...] = (
        "request_id",
        "t_intended",
        "t_sent",
        "t_first_token",
        "t_last_token",
        "worker",
        "counted",
    )
    names += ("overlap", "omega") if cell.overlap is not None else ()
    shuffled = replace(cell, **{name: getattr(cell, name)[shuffle] for name in names})
    one, other = windows(cell), windows(shuffled)
    for name in ("t_start", "worker", "latency", "load"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(curve_rows(cell, one).x, curve_rows(shuffled, other).x)
