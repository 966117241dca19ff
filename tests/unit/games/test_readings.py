"""Readings of PoA-hat against all assignments enumerated, and what each of them sees of users in step."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anarchy.games.latency import AffineLatency, FullLatency, fit_affine, summarise_cell
from anarchy.games.readings import (
    IDLE_REQUESTS,
    ReadCosts,
    both_sides_costs,
    idle_costs,
    idle_latency,
    read_poa_hat,
    resident_seconds,
    table_costs,
)
from anarchy.games.requests import Requests, loads
from anarchy.games.routing import curve_rows, poa_hat, window_costs, windows

Floats = npt.NDArray[np.float64]


@st.composite
def cells(draw: st.DrawFn, least: int = 0) -> tuple[Requests, Floats]:
    """Requests on up to 4 workers, some of which only load them, with a prefill time each."""
    m, n = draw(st.integers(1, 4)), draw(st.integers(least, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sent = np.round(rng.uniform(0.0, 4.0, n), draw(st.sampled_from([0, 1, 6])))  # coarse times: many ties
    first = sent + rng.gamma(2.0, 0.2, n)
    counted = rng.random(n) < 0.8
    return (
        Requests(
            request_id=rng.permutation(n),
            t_intended=sent - rng.gamma(0.5, 0.05, n),
            t_sent=sent,
            t_first_token=first,
            t_last_token=np.where(counted, first + rng.gamma(2.0, 0.4, n), np.nan),
            worker=np.where(counted, rng.integers(0, m, n), rng.integers(-1, m, n)),
            counted=counted,
            n_workers=m,
            cell_end=9.0,
        ),
        rng.choice([0.02, 0.1, 0.7], n),
    )


def in_cohorts(
    users: int = 64, m: int = 2, rounds: int = 20, late: float = 0.0, each_s: float = 0.008
) -> tuple[Requests, Floats]:
    """Users in step: all send within `late` s, get their first tokens together, and end together."""
    turn = 0.02 + each_s * users + 0.3
    starts = np.repeat(np.arange(rounds) * turn, users)
    n = users * rounds
    sent = starts + np.tile(np.linspace(0.0, late, users), rounds)
    first = starts + 0.02 + each_s * users
    return (
        Requests(
            request_id=np.arange(n),
            t_intended=sent,
            t_sent=sent,
            t_first_token=first,
            t_last_token=first + 0.299,
            worker=np.arange(n) % m,
            counted=np.ones(n, dtype=np.bool_),
            n_workers=m,
            cell_end=float(starts[-1]) + turn,
        ),
        np.full(n, 0.028),
    )


def resident_by_hand(cell: Requests, seconds: Floats, worker: int, at: float) -> float:
    last = np.where(np.isnan(cell.t_last_token), cell.cell_end, cell.t_last_token)
    here = [
        seconds[k] for k in range(len(cell)) if cell.worker[k] == worker and cell.t_sent[k] < at < last[k]
    ]
    return float(sum(here))


def both_sides_by_hand(cell: Requests, seconds: Floats) -> tuple[list[float], list[float]]:
    """Both costs of each window, over every way to give its requests different workers."""
    m = cell.n_workers
    order = sorted(np.flatnonzero(cell.counted), key=lambda k: (cell.t_sent[k], cell.request_id[k]))
    paid, best = [], []
    for begin in range(0, len(order), m):
        window = order[begin : begin + m]
        start = float(cell.t_sent[window[0]])
        frozen = [resident_by_hand(cell, seconds, j, start) for j in range(m)]
        paid.append(
            sum(
                seconds[k] * (1 + resident_by_hand(cell, seconds, int(cell.worker[k]), float(cell.t_sent[k])))
                for k in window
            )
        )
        best.append(
            min(
                sum(seconds[k] * (1 + frozen[j]) for k, j in zip(window, workers, strict=True))
                for workers in permutations(range(m), len(window))
            )
        )
    return paid, best


@settings(max_examples=80, deadline=None)
@given(cells())
def test_both_sides_agree_with_all_assignments(made: tuple[Requests, Floats]) -> None:
    cell, seconds = made
    costs = both_sides_costs(cell, seconds)
    paid, best = both_sides_by_hand(cell, seconds)
    assert pytest.approx(paid) == costs.SC
    assert costs.OPTf == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(cells(least=1))
def test_resident_seconds_of_alike_prompts_are_the_load(made: tuple[Requests, Floats]) -> None:
    cell, _ = made
    times = np.unique(cell.t_sent)
    one = resident_seconds(cell, np.full(len(cell), 0.25), times)
    assert one == pytest.approx(0.25 * loads(cell, times))


@settings(max_examples=60, deadline=None)
@given(cells(least=1), st.floats(0.01, 5.0))
def test_idle_and_table_agree_with_all_matchings(made: tuple[Requests, Floats], idle: float) -> None:
    """What a request costs is the same on every worker: the least over matchings is that of any of them."""
    cell, seconds = made
    seen = windows(cell)
    m = cell.n_workers
    for costs, price in (
        (idle_costs(seen, idle), np.full(seen.latency.shape, idle)),
        (table_costs(seen, seconds[seen.row]), seconds[seen.row]),
    ):
        matrix = np.repeat(price[:, :, None], m, axis=2)
        least = [
            min(sum(window[i, j] for i, j in enumerate(way)) for way in permutations(range(m)))
            for window in matrix
        ]
        assert costs.OPTf == pytest.approx(least)
        assert pytest.approx(seen.latency.sum(axis=1)) == costs.SC


@settings(max_examples=60, deadline=None)
@given(cells(least=1), st.floats(0.01, 5.0))
def test_a_flat_line_reads_as_idle(made: tuple[Requests, Floats], idle: float) -> None:
    """`idle` is the default with a line that does not rise."""
    seen = windows(made[0])
    flat = window_costs(seen, AffineLatency(idle, 0.0), FullLatency(idle))
    costs = idle_costs(seen, idle)
    assert costs.OPTf == pytest.approx(flat.OPTf)
    assert read_poa_hat(costs) == pytest.approx(poa_hat(flat), nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(cells(least=1), st.permutations(list(range(4))), st.integers(-6, 6))
def test_names_of_workers_and_the_unit_of_time_change_no_reading(
    made: tuple[Requests, Floats], names: list[int], doublings: int
) -> None:
    cell, seconds = made
    m, scale = cell.n_workers, 2.0**doublings
    order = np.array([name for name in names if name < m])
    renamed = replace(cell, worker=np.where(cell.worker < 0, -1, order[cell.worker]))
    here, there = both_sides_costs(cell, seconds), both_sides_costs(renamed, seconds)
    assert here.OPTf == pytest.approx(there.OPTf)
    assert pytest.approx(there.SC) == here.SC
    seen = windows(cell)
    slower = replace(seen, latency=scale * seen.latency)
    for one, other in (
        (idle_costs(seen, 0.3), idle_costs(slower, scale * 0.3)),
        (table_costs(seen, seconds[seen.row]), table_costs(slower, scale * seconds[seen.row])),
    ):
        assert read_poa_hat(one) == pytest.approx(read_poa_hat(other), nan_ok=True)


def test_a_last_window_of_fewer_arrivals_takes_the_emptiest_workers() -> None:
    """Three workers hold 0, 1 and 2 prompts of 1 s; of two arrivals that go to the fullest, one is left."""
    cell = Requests(
        request_id=np.arange(5),
        t_intended=np.array([0.0, 0.1, 0.2, 1.0, 1.1]),
        t_sent=np.array([0.0, 0.1, 0.2, 1.0, 1.1]),
        t_first_token=np.full(5, 8.0),
        t_last_token=np.full(5, 9.0),
        worker=np.array([1, 2, 2, 2, 2]),
        counted=np.array([False, False, False, True, True]),
        n_workers=3,
        cell_end=9.0,
    )
    costs = both_sides_costs(cell, np.ones(5))
    assert costs.SC.tolist() == [3.0 + 4.0]
    assert costs.OPTf.tolist() == [1.0 + 2.0]


def test_nothing_counted_is_no_window() -> None:
    cell, seconds = in_cohorts(users=2, rounds=3)
    none = both_sides_costs(replace(cell, counted=np.zeros(len(cell), dtype=np.bool_)), seconds)
    assert len(none) == 0
    assert np.isnan(read_poa_hat(none))


def test_what_is_no_time_is_refused() -> None:
    cell, seconds = in_cohorts(users=4, rounds=3)
    seen = windows(cell)
    for bad in (0.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="want more than 0"):
            idle_costs(seen, bad)
        with pytest.raises(ValueError, match="not above 0"):
            table_costs(seen, np.full(seen.latency.shape, bad))
        with pytest.raises(ValueError, match="not above 0"):
            both_sides_costs(cell, np.where(np.arange(len(cell)) == 3, bad, seconds))
    with pytest.raises(ValueError, match="shape"):
        table_costs(seen, seconds)
    with pytest.raises(ValueError, match="shape"):
        both_sides_costs(cell, seconds[1:])
    # A request on no worker is resident nowhere, whatever its prompt is.
    away = replace(
        cell,
        worker=np.where(np.arange(len(cell)) == 3, -1, cell.worker),
        counted=np.arange(len(cell)) != 3,
    )
    assert len(both_sides_costs(away, np.where(np.arange(len(cell)) == 3, np.nan, seconds))) == 6


def test_an_idle_worker_is_one_that_was_found_idle() -> None:
    x = np.array([1] * IDLE_REQUESTS + [2] * 30)
    latency = np.where(x == 1, 0.02, 0.08)
    assert idle_latency(summarise_cell(x, latency)) == pytest.approx(0.02)
    overlap = np.tile([0.0, 0.5], x.size // 2)
    assert idle_latency(summarise_cell(x, latency, omega_overlap=overlap)) == pytest.approx(0.02)
    with pytest.raises(ValueError, match=f"{IDLE_REQUESTS - 1} requests found"):
        idle_latency(summarise_cell(x[1:], latency[1:]))


# --- users in step: the load as a window begins is next to nothing ---


def read(made: tuple[Requests, Floats], idle: float) -> dict[str, ReadCosts]:
    cell, seconds = made
    seen = windows(cell)
    return {
        "idle": idle_costs(seen, idle),
        "table": table_costs(seen, seconds[seen.row]),
        "both-sides": both_sides_costs(cell, seconds),
    }


def test_in_step_the_default_has_no_line_to_fit() -> None:
    summaries = []
    for users in (8, 16, 32, 64):
        cell, _ = in_cohorts(users)
        seen = windows(cell)
        assert not seen.load.any()
        rows = curve_rows(cell, seen)
        summaries.append(summarise_cell(rows.x, rows.latency, top=rows.top))
    with pytest.raises(ValueError, match="all 2400 rows have the load 1, which tells no slope"):
        fit_affine(summaries)


def test_in_step_idle_and_table_see_what_users_wait_and_both_sides_see_nothing() -> None:
    alone, _ = in_cohorts(1, m=1)
    idle = float(windows(alone).latency.mean())
    found = {users: read(in_cohorts(users), idle) for users in (2, 64)}
    waits = {users: 0.02 + 0.008 * users for users in found}
    for users, costs in found.items():
        assert read_poa_hat(costs["idle"]) == pytest.approx(waits[users] / 0.028)
        assert read_poa_hat(costs["table"]) == pytest.approx(waits[users] / 0.028)
        assert read_poa_hat(costs["both-sides"]) == pytest.approx(1.0)
    # As in the design of this cell: users in step wait 15 times as long as two of them do.
    assert read_poa_hat(found[64]["idle"]) > 10 * read_poa_hat(found[2]["idle"])


def test_nearly_in_step_the_line_is_flat_and_hides_what_users_wait() -> None:
    """Users who come within 5 ms see each other: load tells their places in a batch, not its cost."""
    summaries, seen = [], {}
    for users in (8, 16, 32, 64):
        cell, _ = in_cohorts(users, late=0.005)
        seen[users] = windows(cell)
        rows = curve_rows(cell, seen[users])
        summaries.append(summarise_cell(rows.x, rows.latency, top=rows.top))
    line = fit_affine(summaries)
    full = FullLatency(line.alpha)
    hat = {users: poa_hat(window_costs(one, line, full)) for users, one in seen.items()}
    idle = {users: read_poa_hat(idle_costs(one, 0.028)) for users, one in seen.items()}
    # By construction near 1 over these cells, although users of the last wait 19 times as long as alone.
    assert 0.4 < hat[8] < 1.0 < hat[64] < 3.0
    assert idle[64] == pytest.approx(19.0, rel=0.02)
    both = read_poa_hat(both_sides_costs(*in_cohorts(64, late=0.005)))
    assert 1.0 <= both < 1.01
