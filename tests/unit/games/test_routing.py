"""Windows, their four costs against brute force, the ratios, and the classical bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from anarchy.games.assignment import LOCKSTEP_MAX, assigned_columns, cheapest_assignments
from anarchy.games.latency import AffineLatency, FullLatency, fit_full, price, summarise_cell
from anarchy.games.requests import Requests, loads
from anarchy.games.routing import (
    WindowCosts,
    Windows,
    cheapest_slots,
    curve_rows,
    decomposition,
    explain_window,
    marginal_costs,
    places,
    poa_cal,
    poa_hat,
    spread,
    window_costs,
    windows,
)

Floats = npt.NDArray[np.float64]
AFFINE = AffineLatency(0.3, 0.07, kappa=0.25)
FULL = FullLatency(0.2, (1.0, 3.0, 6.0), (0.05, 0.2, 1.5))


def cell(n: int = 50, m: int = 3, seed: int = 0, overlap: bool = False) -> Requests:
    rng = np.random.default_rng(seed)
    sent = np.round(rng.uniform(0.0, 10.0, n), 1)
    return Requests(
        request_id=np.array([f"r{i:03d}" for i in rng.permutation(n)]),
        t_intended=sent - rng.uniform(0.0, 0.1, n),
        t_sent=sent,
        t_first_token=sent + np.minimum(2.0, rng.gamma(2.0, 0.3, n)),
        t_last_token=sent + 2.0 + rng.gamma(2.0, 0.5, n),
        worker=rng.integers(0, m, n),
        counted=rng.random(n) < 0.8,
        n_workers=m,
        cell_end=15.0,
        overlap=np.where(rng.random((n, m)) < 0.5, rng.integers(0, 5, (n, m)) / 4, 0.0) if overlap else None,
        omega=rng.choice([0.0, 1.0, 20.0], n) if overlap else None,
    )


def made_windows(
    load: npt.ArrayLike,
    worker: npt.ArrayLike,
    latency: npt.ArrayLike | None = None,
    omega_overlap: Floats | None = None,
) -> Windows:
    load, worker = np.atleast_2d(load), np.atleast_2d(worker)
    row = np.arange(worker.size).reshape(worker.shape)
    latency = np.ones(worker.shape) if latency is None else np.atleast_2d(latency)
    return Windows(row, np.zeros(len(worker)), worker, latency, load, omega_overlap)


def brute_force(seen: Windows, affine: AffineLatency, full: FullLatency) -> Floats:
    """SC, SCm, OPTf, OPTc of every window, from their definitions and nothing else."""

    def marginal(n: int, s: int) -> Any:
        a, b = full(np.array([n + s, n + s - 1]))
        return (n + s) * a - (n + s - 1) * b

    m, out = seen.n_workers, []
    for w in range(len(seen)):
        n, a = seen.load[w], seen.worker[w]
        credit = np.zeros((m, m)) if seen.omega_overlap is None else affine.kappa * seen.omega_overlap[w]
        taken, SCm = dict.fromkeys(range(m), 0), np.zeros(())
        for i in range(m):
            taken[a[i]] += 1
            SCm = SCm + price(marginal(n[a[i]], taken[a[i]]), credit[i, a[i]])
        OPTf = min(
            sum(price(affine(n[pi[i]] + 1), credit[i, pi[i]]) for i in range(m))
            for pi in permutations(range(m))
        )
        slots = list(product(range(m), range(1, m + 1)))
        cost = [[price(marginal(n[j], s), credit[i, j]) for j, s in slots] for i in range(m)]
        OPTc = min(sum(cost[i][p] for i, p in enumerate(pi)) for pi in permutations(range(m * m), m))
        out.append((seen.latency[w].sum(), SCm, OPTf, OPTc))
    return np.array(out).T


def assert_costs(seen: Windows, affine: AffineLatency = AFFINE, full: FullLatency = FULL) -> None:
    costs = window_costs(seen, affine, full)
    expected = brute_force(seen, affine, full)
    for got, want in zip((costs.SC, costs.SCm, costs.OPTf, costs.OPTc), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_costs_are_those_of_brute_force(m: int, overlap: bool) -> None:
    for seed in range(3):
        assert_costs(windows(cell(n=24, m=m, seed=seed, overlap=overlap)), AFFINE, FULL)


@pytest.mark.parametrize("overlap", [False, True])
def test_costs_are_those_of_brute_force_over_four_workers(overlap: bool) -> None:
    assert_costs(windows(cell(n=14, m=4, seed=8, overlap=overlap)))


def test_costs_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = windows(cell(n=400, overlap=True))
    whole = window_costs(seen, AFFINE, FULL)
    monkeypatch.setattr("anarchy.games.requests.CHUNK", 70)
    parts = window_costs(seen, AFFINE, FULL)
    for name in ("SC", "SCm", "OPTf", "OPTc"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_without_kappa_the_overlap_is_worth_nothing() -> None:
    bare = replace(AFFINE, kappa=0.0)
    with_overlap = window_costs(windows(cell(overlap=True, seed=4)), bare, FULL)
    requests = replace(cell(overlap=True, seed=4), overlap=None, omega=None)
    without = window_costs(windows(requests), AFFINE, FULL)
    np.testing.assert_array_equal(with_overlap.OPTc, without.OPTc)
    np.testing.assert_array_equal(with_overlap.OPTf, without.OPTf)


def test_windows_hold_consecutive_counted_requests_in_order() -> None:
    requests = cell(n=50)
    seen = windows(requests)
    order = [i for i in np.lexsort((requests.request_id, requests.t_sent)) if requests.counted[i]]
    assert seen.row.ravel().tolist() == order[: len(order) // 3 * 3]
    np.testing.assert_array_equal(seen.t_start, requests.t_sent[seen.row[:, 0]])
    np.testing.assert_array_equal(seen.load, loads(requests, seen.t_start))
    np.testing.assert_array_equal(seen.worker, requests.worker[seen.row])


def test_order_of_the_rows_is_of_no_matter() -> None:
    requests = cell(n=80, overlap=True)
    shuffle = np.random.default_rng(1).permutation(80)
    columns: tuple[str, ...] = (
        "request_id",
        "t_intended",
        "t_sent",
        "t_first_token",
        "t_last_token",
        "worker",
        "counted",
    )
    columns += ("overlap", "omega")
    shuffled = replace(requests, **{name: getattr(requests, name)[shuffle] for name in columns})
    a, b = (window_costs(windows(r), AFFINE, FULL) for r in (requests, shuffled))
    for name in ("SC", "SCm", "OPTf", "OPTc"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_rows_of_the_fit_are_the_windows_requests_at_their_own_time() -> None:
    requests = cell(n=60, overlap=True)
    seen = windows(requests)
    rows = curve_rows(requests, seen)
    row = seen.row.ravel()
    n = loads(requests, requests.t_sent[row])
    assert rows.x.tolist() == [n[k, requests.worker[i]] + 1 for k, i in enumerate(row)]
    assert rows.top == n.max() + 1
    assert requests.omega is not None
    assert requests.overlap is not None
    expected = [requests.omega[i] * requests.overlap[i, requests.worker[i]] for i in row]
    np.testing.assert_array_equal(rows.omega_overlap, expected)
    np.testing.assert_array_equal(rows.latency, seen.latency.ravel())


def test_zero_windows_give_no_number() -> None:
    for requests in (cell(n=2), cell(n=30)):
        none = replace(requests, counted=np.zeros(len(requests), dtype=bool))
        seen = windows(none)
        costs = window_costs(seen, AFFINE, FULL)
        assert len(seen) == len(costs) == 0
        assert np.isnan([poa_hat(costs), poa_cal(costs), decomposition(costs).product]).all()
        assert np.isnan(spread(costs).median_window)
        rows = curve_rows(none, seen)
        assert (rows.x.size, rows.top) == (0, 0)


def test_all_requests_failed_with_no_time_but_that_of_sending() -> None:
    requests = cell(n=30)
    nan = np.full(30, np.nan)
    failed = replace(requests, t_first_token=nan, t_last_token=nan, counted=np.zeros(30, dtype=bool))
    assert len(windows(failed)) == 0
    assert loads(failed, np.array([14.9])).sum() == 30
    assert loads(failed, np.array([15.0])).sum() == 0


def test_one_worker_has_nothing_to_route() -> None:
    costs = window_costs(windows(cell(m=1)), AFFINE, FULL)
    assert poa_cal(costs) == 1.0
    assert decomposition(costs).routing == 1.0


def test_least_loaded_routing_is_optimal_and_herding_is_not() -> None:
    load = np.array([0, 2, 5])
    spreads = window_costs(made_windows(load, [0, 0, 0]), AFFINE, FULL)
    herds = window_costs(made_windows(load, [2, 2, 2]), AFFINE, FULL)
    assert poa_cal(spreads) == 1.0
    assert poa_cal(herds) > 2.0
    assert spreads.OPTc == herds.OPTc


def test_worked_example_of_one_window() -> None:
    """Two workers with loads 0 and 3, both requests sent to the second, latencies 0.5 s and 0.9 s."""
    affine, full = AffineLatency(0.1, 0.1), FullLatency(0.1, (0.0, 4.0), (0.1, 0.2))
    seen = made_windows([0, 3], [1, 1], [0.5, 0.9])
    costs = window_costs(seen, affine, full)
    assert costs.SC[0] == pytest.approx(1.4)
    assert costs.SCm[0] == pytest.approx(5 * 0.8 - 3 * 0.4)
    assert costs.OPTf[0] == pytest.approx(0.2 + 0.5)
    assert costs.OPTc[0] == pytest.approx(2 * 0.3 - 0 * 0.1)
    assert poa_hat(costs) == pytest.approx(2.0)


def test_ratios_are_ratios_of_sums() -> None:
    costs = WindowCosts(*(np.array(c) for c in ([1.0, 9.0], [2.0, 4.0], [1.0, 1.0], [2.0, 3.0])))
    assert poa_hat(costs) == 5.0
    assert poa_cal(costs) == pytest.approx(6 / 5)
    assert decomposition(costs).product == pytest.approx(poa_hat(costs), rel=1e-12)
    assert spread(costs).median_window == 5.0
    assert spread(costs).p90_window == pytest.approx(np.quantile([1.0, 9.0], 0.9))


def test_a_free_optimum_gives_no_number() -> None:
    zero = FullLatency(0.0, (50.0,), (1.0,))
    costs = window_costs(made_windows([0, 0], [1, 1]), AffineLatency(0.0, 0.0), zero)
    assert np.isnan([poa_hat(costs), poa_cal(costs), spread(costs).p90_window]).all()


def test_places_count_up_on_each_worker() -> None:
    assert places(np.array([[2, 0, 2, 2], [1, 1, 0, 1]])).tolist() == [[1, 1, 2, 3], [1, 2, 1, 3]]


def test_marginal_costs_add_up_to_the_social_cost() -> None:
    x = np.arange(40)
    np.testing.assert_allclose(np.cumsum(marginal_costs(FULL, 39)), x * FULL(x), rtol=1e-12)
    assert (np.diff(marginal_costs(FullLatency(0.7), 300)[1:]) == 0.0).all()


def test_a_curve_whose_marginal_cost_falls_is_refused() -> None:
    with pytest.raises(ValueError, match="must be convex"):
        marginal_costs(lambda x: np.asarray(1.0 / (1.0 + x**2), dtype=np.float64), 5)


def test_too_few_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        cheapest_slots(np.ones((1, 2)), 3)


def test_negative_overlap_is_refused() -> None:
    requests = cell(overlap=True)
    with pytest.raises(ValueError, match="must not be negative"):
        windows(replace(requests, overlap=-np.ones((50, 3))))


def test_unknown_overlap_earns_nothing() -> None:
    requests = cell(overlap=True)
    unknown = windows(replace(requests, overlap=np.full((50, 3), np.nan)))
    assert unknown.omega_overlap is not None
    assert not unknown.omega_overlap.any()


def test_pigou_gives_four_thirds() -> None:
    """Pigou's network as the limit of N players of weight 1/N: one road costs 1, the other its share x.

    Selfish players all take the second road, at cost 1; the optimum splits them and costs 3/4.
    """
    N = 20_000
    constant = marginal_costs(AffineLatency(1.0, 0.0), N)[1:] / N
    congested = marginal_costs(AffineLatency(0.0, 1.0 / N), N)[1:] / N
    optimum = cheapest_slots(np.concatenate([constant, congested])[None, :], N)[0]
    equilibrium = AffineLatency(0.0, 1.0 / N)(np.array(N))
    assert equilibrium / optimum == pytest.approx(4 / 3, rel=1e-4)


def test_affine_equilibria_never_pass_five_halves() -> None:
    """Pure equilibria of random atomic games on links of affine latency, one weight a player."""
    rng = np.random.default_rng(0)
    worst = 1.0
    for _ in range(150):
        players, links = int(rng.integers(2, 9)), int(rng.integers(2, 6))
        curves = [
            AffineLatency(a, b)
            for a, b in zip(rng.gamma(0.3, 5.0, links), rng.gamma(0.3, 2.0, links), strict=True)
        ]
        table = np.array([c(np.arange(players + 2)) for c in curves])
        at = rng.integers(0, links, players)
        moved = True
        while moved:  # best responses end: the game has Rosenthal's potential
            moved = False
            for i in range(players):
                others = np.bincount(np.delete(at, i), minlength=links)
                cost = table[np.arange(links), others + 1]
                if cost.min() < cost[at[i]] - 1e-12:
                    at[i], moved = int(cost.argmin()), True
        load = np.bincount(at, minlength=links)
        social = (load * table[np.arange(links), load]).sum()
        slots = np.concatenate([marginal_costs(c, players)[1:] for c in curves])
        worst = max(worst, social / cheapest_slots(slots[None, :], players)[0])
    assert 1.0 < worst <= 2.5


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_batched_assignment_is_that_of_brute_force(m: int) -> None:
    rng = np.random.default_rng(m)
    for n in (m, m + 1, 6):
        cost: Any = rng.choice([0.0, 0.25, 1.0, 1e-9, 1e9], (20, m, n)) + rng.integers(0, 2, (20, m, n))
        every = np.array([[one[range(m), pi].sum() for pi in permutations(range(n), m)] for one in cost])
        np.testing.assert_allclose(cheapest_assignments(cost), every.min(axis=1), rtol=1e-12)


def test_batched_assignment_of_nothing() -> None:
    assert cheapest_assignments(np.empty((0, 3, 9))).shape == (0,)
    assert cheapest_assignments(np.empty((0, 12, 12))).shape == (0,)
    assert cheapest_assignments(np.empty((2, 0, 4))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("m", [2, LOCKSTEP_MAX + 1])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_cost_that_is_not_finite_is_refused(m: int, wrong: float) -> None:
    cost = np.ones((3, m, m))
    cost[1, 0, 1] = wrong
    with pytest.raises(ValueError, match="not finite"):
        cheapest_assignments(cost)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3)])
def test_costs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="columns >= rows"):
        cheapest_assignments(np.ones(shape))


@pytest.mark.parametrize("m", [5, LOCKSTEP_MAX, LOCKSTEP_MAX + 1])
def test_costs_of_larger_pools_are_those_of_the_assignment(m: int) -> None:
    seen = windows(cell(n=12 * m, m=m, overlap=True))
    costs = window_costs(seen, AFFINE, FULL)
    for w in range(len(seen)):
        example = explain_window(seen, w, AFFINE, FULL)
        for name in ("SC", "SCm", "OPTf", "OPTc"):
            assert getattr(costs, name)[w] == pytest.approx(getattr(example, name), rel=1e-12)


def test_only_windows_with_a_credit_are_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of one cell with and without a credit, side by side: each as if it were alone."""
    seen = windows(cell(n=60, overlap=True))
    assert seen.omega_overlap is not None
    overlap = seen.omega_overlap.copy()
    overlap[::2] = 0.0
    mixed = window_costs(replace(seen, omega_overlap=overlap), AFFINE, FULL)
    bare = window_costs(replace(seen, omega_overlap=None), AFFINE, FULL)
    whole = window_costs(seen, AFFINE, FULL)
    for name in ("SCm", "OPTf", "OPTc"):
        np.testing.assert_array_equal(getattr(mixed, name)[::2], getattr(bare, name)[::2])
        np.testing.assert_array_equal(getattr(mixed, name)[1::2], getattr(whole, name)[1::2])


def test_a_worked_example_lays_every_number_open() -> None:
    """Loads 0 and 3, both requests sent to the second worker; the second request has its prompt there."""
    affine, full = AffineLatency(0.1, 0.1, kappa=0.2), FullLatency(0.1, (0.0, 4.0), (0.1, 0.2))
    seen = made_windows([0, 3], [1, 1], [0.5, 0.9], np.array([[[0.0, 0.0], [0.0, 1.0]]]))
    got = explain_window(seen, 0, affine, full)
    assert (got.row.tolist(), got.load.tolist(), got.place.tolist()) == ([0, 1], [0, 3], [1, 2])
    np.testing.assert_allclose(got.slot_cost, [[0.2, 0.4], [0.8, 2.0]])
    np.testing.assert_allclose(got.credit, [[0.0, 0.0], [0.0, 0.2]])
    np.testing.assert_allclose(got.paid, [0.8, 1.8])
    np.testing.assert_allclose(got.frozen_cost, [[0.2, 0.5], [0.2, 0.3]])
    assert got.frozen_worker.tolist() == [0, 1]
    assert got.best_worker.tolist() == [0, 0]
    assert sorted(got.best_place) == [1, 2]
    np.testing.assert_allclose([got.SC, got.SCm, got.OPTf, got.OPTc], [1.4, 2.6, 0.5, 0.6])
    assert got.best_paid.sum() == pytest.approx(got.OPTc)


@pytest.mark.parametrize("w", [-1, 1])
def test_a_window_that_is_not_there_cannot_be_explained(w: int) -> None:
    with pytest.raises(IndexError, match=f"no window {w}: there are 1"):
        explain_window(made_windows([0, 3], [1, 1]), w, AFFINE, FULL)


def test_the_fitted_credit_leaves_poa_alone_where_nothing_overlaps() -> None:
    requests = cell(n=300)
    seen = windows(requests)
    rows = curve_rows(requests, seen)
    part = [summarise_cell(rows.x, rows.latency, top=rows.top)]
    one, other = (window_costs(seen, AFFINE, fit_full(part, kappa)) for kappa in (0.0, 5.0))
    assert (poa_hat(one), poa_cal(one)) == (poa_hat(other), poa_cal(other))


def test_a_worker_that_never_gets_a_request_is_still_a_choice() -> None:
    requests = replace(cell(n=40), worker=np.ones(40, dtype=np.int64))
    seen = windows(requests)
    assert not seen.load[:, [0, 2]].any()
    assert poa_cal(window_costs(seen, AFFINE, FULL)) > 1.0
    assert_costs(seen)


@pytest.mark.parametrize(("n", "expected"), [(2, 0), (3, 1), (5, 1), (6, 2)])
def test_as_many_windows_as_the_requests_fill(n: int, expected: int) -> None:
    requests = replace(cell(n=n), counted=np.ones(n, dtype=bool))
    seen = windows(requests)
    costs = window_costs(seen, AFFINE, FULL)
    assert len(seen) == len(costs) == expected
    assert curve_rows(requests, seen).x.size == 3 * expected
    assert np.isfinite(poa_hat(costs)) == (expected > 0)


def test_all_times_and_identifiers_the_same() -> None:
    """Nothing tells the requests apart: the order is that of the rows, and nobody is in flight yet."""
    requests = cell(n=9)
    same = np.full(9, 1.0)
    requests = replace(
        requests,
        request_id=np.full(9, "again"),
        t_intended=same,
        t_sent=same,
        t_first_token=same,
        t_last_token=same,
        counted=np.ones(9, dtype=bool),
    )
    seen = windows(requests)
    assert seen.row.ravel().tolist() == list(range(9))
    assert not seen.load.any()
    costs = window_costs(seen, AFFINE, FULL)
    assert (poa_hat(costs), (costs.SC == 0.0).all()) == (0.0, True)


@pytest.mark.parametrize("name", ["overlap", "omega"])
def test_an_infinite_credit_is_refused(name: str) -> None:
    requests = replace(cell(overlap=True), overlap=np.ones((50, 3)), omega=np.ones(50))
    with pytest.raises(ValueError, match="nor infinite"):
        windows(replace(requests, **{name: np.full_like(getattr(requests, name), np.inf)}))


def big_cell(n: int, overlap: bool) -> Requests:
    """About 100 requests in flight on five workers, a tenth of them failed; times in milliseconds: ties."""
    rng = np.random.default_rng(9)
    sent = np.sort(rng.integers(0, n * 10, n)) / 1000.0
    first = sent + rng.exponential(0.3, n)
    counted = rng.random(n) < 0.9
    return Requests(
        request_id=np.arange(n),
        t_intended=sent,
        t_sent=sent,
        t_first_token=first,
        t_last_token=np.where(counted, first + rng.exponential(0.7, n), np.nan),
        worker=np.where(counted, rng.integers(0, 5, n), -1),
        counted=counted,
        n_workers=5,
        cell_end=n / 100.0 + 5.0,
        overlap=rng.integers(0, 3, (n, 5)) / 2 if overlap else None,
        omega=np.ones(n) if overlap else None,
    )


@pytest.mark.parametrize(("n", "overlap"), [(1_000_000, False), (100_000, True)])
def test_a_big_cell_is_what_its_windows_are_one_by_one(n: int, overlap: bool) -> None:
    requests = big_cell(n, overlap)
    seen = windows(requests)
    rows = curve_rows(requests, seen)
    costs = window_costs(seen, AFFINE, FULL)
    assert len(costs) == int(requests.counted.sum()) // 5
    assert (costs.SCm >= costs.OPTc).all()
    assert decomposition(costs).product == pytest.approx(poa_hat(costs), rel=1e-9)
    for w in (0, len(seen) // 2, len(seen) - 1):
        i, t = seen.row[w], requests.t_sent[seen.row[w]]
        flying = (requests.t_sent < t[:, None]) & (requests.t_last_token > t[:, None])
        n_j = [[(there & (requests.worker == j)).sum() for j in range(5)] for there in flying]
        assert seen.load[w].tolist() == n_j[0]
        assert rows.x[5 * w : 5 * w + 5].tolist() == [n_j[k][requests.worker[i[k]]] + 1 for k in range(5)]
        example = explain_window(seen, w, AFFINE, FULL)
        for name in ("SC", "SCm", "OPTf", "OPTc"):
            assert getattr(costs, name)[w] == pytest.approx(getattr(example, name), rel=1e-12)


@pytest.mark.parametrize("m", [3, LOCKSTEP_MAX, LOCKSTEP_MAX + 1])
def test_columns_are_distinct_and_do_not_depend_on_the_other_matrices(m: int) -> None:
    cost = np.random.default_rng(m).integers(0, 3, (30, m, m + 2)).astype(float)
    columns = assigned_columns(cost)
    assert all(len(set(row)) == m for row in columns.tolist())
    np.testing.assert_array_equal(columns[7:9], assigned_columns(cost[7:9]))
    chosen = np.take_along_axis(cost, columns[:, :, None], axis=2)
    np.testing.assert_array_equal(cheapest_assignments(cost), chosen.sum(axis=(1, 2)))
