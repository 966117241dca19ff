"""The index of dispersion: 1 by chance, exact in step, near 0 at regular distances; free of zero and unit."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from anarchy.stats.synchrony import (
    CHANCE,
    COMPANY,
    Dispersion,
    binned,
    dispersion,
    in_step_from,
    perfect_step,
)

TICK = 1.0 / 1024.0
"""Times on this grid are added and doubled without rounding."""


@given(
    ticks=st.lists(st.integers(0, 20_000), min_size=1, max_size=200),
    width=st.integers(1, 3_000),
    shift=st.integers(-10_000_000, 10_000_000),
    doublings=st.integers(-10, 10),
)
def test_another_zero_or_unit_of_time_changes_nothing(
    ticks: list[int], width: int, shift: int, doublings: int
) -> None:
    times, scale = TICK * np.array(ticks, dtype=np.float64), 2.0**doublings
    first, last = float(times.min()), float(times.max())
    here = dispersion(times, first, last, TICK * width)
    start, end = (scale * (value + TICK * shift) for value in (first, last))
    there = dispersion(scale * (times + TICK * shift), start, end, scale * TICK * width)
    assert repr(here) == repr(there)


@given(order=st.permutations(list(range(40))))
def test_the_order_of_events_does_not_matter(order: list[int]) -> None:
    times = np.random.default_rng(3).uniform(0.0, 9.0, 40)
    assert dispersion(times[order], 0.0, 9.0, 0.2) == dispersion(times, 0.0, 9.0, 0.2)


def test_it_is_one_where_events_fall_by_chance() -> None:
    """The mean over streams lies within 4 standard errors of 1, and their spread is the one that is told."""
    rng, streams = np.random.default_rng(11), 4_000
    found = []
    for _ in range(streams):
        times = rng.uniform(0.0, 50.0, rng.poisson(120.0))
        found.append(dispersion(times, 0.0, 50.0, 0.5))
    index, sd = np.array([one.index for one in found]), np.array([one.chance_sd for one in found])
    assert abs(index.mean() - 1.0) < 4.0 * index.std() / math.sqrt(streams)
    # The standard error of a standard deviation of values with some excess: below 2 % for 4,000 of them.
    assert index.std() == pytest.approx(float(np.sqrt((sd**2).mean())), rel=0.08)


def test_the_chance_of_a_few_events_on_a_few_bins_is_exact() -> None:
    """All 3^4 ways in which 4 events fall on 3 bins: mean 1 and the variance that is told."""
    ways = np.stack(np.meshgrid(*[np.arange(3)] * 4)).reshape(4, -1).T + 0.5
    found = [dispersion(way, 0.0, 3.0, 1.0) for way in ways]
    index = np.array([one.index for one in found])
    assert index.mean() == pytest.approx(1.0)
    assert index.std() == pytest.approx(found[0].chance_sd)


@given(
    users=st.integers(1, 400),
    rounds=st.integers(1, 40),
    every=st.integers(2, 30),
    inside=st.floats(0.0, 0.99),
)
def test_users_in_perfect_step_are_exact(users: int, rounds: int, every: int, inside: float) -> None:
    """All send at one instant, once in `every` bins, wherever in its bin that is."""
    times = np.repeat((np.arange(rounds) * every + inside) * 0.25, users)
    found = dispersion(times, 0.0, 0.25 * every * rounds, 0.25)
    assert found.n_bins == every * rounds
    assert found.n_events == users * rounds
    assert found.index == pytest.approx(perfect_step(users, rounds, every * rounds))
    # What is said for people: C (1 - step / T), up to the factor of a sample's variance.
    bins = found.n_bins
    assert found.index == pytest.approx(users * (1.0 - 1.0 / every) * bins / (bins - 1))


@given(distance=st.integers(1, 5_000), count=st.integers(2, 300), width=st.integers(1, 5_000))
def test_regular_arrivals_have_next_to_none(distance: int, count: int, width: int) -> None:
    """A bin of regular arrivals holds one of two neighbouring numbers, so no spread can be smaller."""
    times = TICK * distance * np.arange(count, dtype=np.float64)
    found = dispersion(times, 0.0, float(times[-1]), TICK * width)
    if found.n_bins < 2 or found.n_events == 0:
        assert math.isnan(found.index)
        return
    mean = found.n_events / found.n_bins
    part = mean % 1.0
    least = part * (1.0 - part) / mean * found.n_bins / (found.n_bins - 1)
    assert found.index == pytest.approx(least, abs=1e-9)
    assert found.index <= 1.0 + 1.0 / (found.n_bins - 1)


@given(groups=st.lists(st.integers(1, 30), min_size=5, max_size=60), gap=st.integers(3, 9))
def test_it_is_the_size_of_the_group_that_a_request_comes_with(groups: list[int], gap: int) -> None:
    """Groups at distances of many bins: sum g^2 / sum g, less the mean of a bin, of which there are many."""
    times = np.repeat(np.arange(len(groups)) * gap + 0.5, groups)
    found = dispersion(times, 0.0, float(gap * len(groups)), 1.0)
    sizes = np.array(groups, dtype=np.float64)
    mean = sizes.sum() / found.n_bins
    expected = ((sizes**2).sum() / sizes.sum() - mean) * found.n_bins / (found.n_bins - 1)
    assert found.index == pytest.approx(expected)


def test_counts_of_bins_leave_out_what_lies_outside_and_the_last_part() -> None:
    times = np.array([-0.1, 0.0, 0.49, 0.5, 1.2, 1.49, 1.6])
    assert binned(times, 0.0, 1.7, 0.5).tolist() == [2, 1, 2]
    assert binned(np.empty(0), 0.0, 1.0, 0.25).tolist() == [0, 0, 0, 0]
    assert math.isnan(dispersion(np.empty(0), 0.0, 1.0, 0.25).index)
    assert math.isnan(dispersion(np.array([0.1]), 0.0, 1.0, 0.8).index)


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf])
def test_a_width_that_is_none_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width above 0"):
        dispersion(np.array([0.1]), 0.0, 1.0, width)


def test_what_is_no_time_and_what_takes_too_many_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        dispersion(np.array([math.nan]), 0.0, 1.0, 0.1)
    with pytest.raises(ValueError, match="at most"):
        binned(np.array([0.1]), 0.0, 1.0, 1e-9)
    for users, rounds, bins in ((0, 1, 2), (1, 0, 2), (1, 3, 2), (1, 1, 1)):
        with pytest.raises(ValueError, match="users in"):
            perfect_step(users, rounds, bins)


def test_a_step_of_next_to_nothing_takes_no_memory_and_one_of_less_tells_nothing() -> None:
    times = np.array([0.0, 0.0, 0.25, 1e9])
    found = dispersion(times, 0.0, 1e9, 1e-6)
    assert found.n_bins == 10**15
    assert found.n_events == 3
    assert found.index == pytest.approx(5.0 / 3.0)
    none = dispersion(times, 0.0, 1e9, 5e-324)
    assert (none.n_bins, none.n_events) == (0, 0)
    assert math.isnan(none.index)


@given(
    times=st.lists(st.floats(-5.0, 50.0), max_size=60),
    end=st.floats(0.0, 40.0),
    width=st.floats(0.01, 20.0),
)
def test_the_index_is_that_of_the_counts(times: list[float], end: float, width: float) -> None:
    events = np.array(times, dtype=np.float64)
    counts, found = binned(events, 0.0, end, width), dispersion(events, 0.0, end, width)
    assert (counts.size, counts.sum()) == (found.n_bins, found.n_events)
    if counts.size > 1 and counts.any():
        assert found.index == pytest.approx(counts.var(ddof=1) / counts.mean(), abs=1e-9)
    else:
        assert math.isnan(found.index)


def _frozen(rng: np.random.Generator, users: int, rounds: int, bins: int) -> Dispersion:
    """Users of one length who started anywhere in a round of so many bins, and keep their places."""
    places = rng.uniform(0.0, bins, users)
    times = (places[None, :] + bins * np.arange(rounds)[:, None]).ravel()
    return dispersion(times, 0.0, float(rounds * bins), 1.0)


def test_users_who_keep_apart_are_not_called_in_step() -> None:
    """Longer measuring does not narrow what frozen places make, and the limit knows it."""
    rng = np.random.default_rng(5)
    found = [_frozen(rng, users=64, rounds=20, bins=30) for _ in range(3_000)]
    index = np.array([one.index for one in found])
    limit = in_step_from(found[0], 64)
    assert (index >= limit).mean() < 10 * CHANCE
    # Far beyond what as many requests by chance would show: the limit may not be that of all bins.
    assert index.std() > 3.0 * found[0].chance_sd
    assert limit == pytest.approx(max(COMPANY, chi2.isf(CHANCE, 29) / 29), rel=0.01)


def test_users_in_step_and_half_in_step_are() -> None:
    rng = np.random.default_rng(6)
    together = np.repeat(np.arange(10) * 30.0, 64)
    late = together + np.tile(rng.uniform(0.0, 3.0, 64), 10)
    for times in (together, late):
        found = dispersion(times, 0.0, 300.0, 1.0)
        assert found.index > in_step_from(found, 64)
    assert dispersion(late, 0.0, 300.0, 1.0).index < dispersion(together, 0.0, 300.0, 1.0).index


def test_the_limit_falls_with_the_bins_that_tell_something_and_ends_at_company() -> None:
    limits = [in_step_from(Dispersion(1.0, bins, 4 * bins), None) for bins in (3, 10, 30, 100, 10_000)]
    assert all(later <= before for before, later in pairwise(limits))
    assert limits[-1] == COMPANY
    assert limits[0] > 4.0
    # Of C users whose round is shorter than two bins nothing can be told.
    assert math.isnan(in_step_from(Dispersion(1.0, 100, 800), 8))
    assert math.isnan(in_step_from(Dispersion(math.nan, 1, 800), None))
    assert in_step_from(Dispersion(1.0, 100, 200), 64) == in_step_from(Dispersion(1.0, 32, 64), None)


@given(users=st.integers(8, 500), every=st.integers(8, 60), rounds=st.integers(3, 30))
def test_eight_users_in_perfect_step_are_always_told(users: int, every: int, rounds: int) -> None:
    times = np.repeat(np.arange(rounds, dtype=np.float64) * every, users)
    found = dispersion(times, 0.0, float(every * rounds), 1.0)
    assert found.index >= in_step_from(found, users)
