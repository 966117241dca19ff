"""The baselines choose what their names say, and break ties by the seed alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from anarchy.routing.pool import WorkerPool
from tests.helpers.baselines import assign_batch, least_loaded, power_of_two, round_robin, uniform

DRAWS = 4000


def shares(draw: Callable[[], int], workers: int) -> list[float]:
    """Share of each worker in many draws."""
    seen = Counter(draw() for _ in range(DRAWS))
    return [seen[worker] / DRAWS for worker in range(workers)]


def test_round_robin_takes_each_in_its_turn() -> None:
    assert [round_robin(turn, 3) for turn in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_uniform_takes_each_equally_often() -> None:
    rng = random.Random(1)
    assert shares(lambda: uniform(4, rng), 4) == pytest.approx([0.25] * 4, abs=0.03)


def test_least_loaded_shares_ties() -> None:
    rng = random.Random(2)
    assert shares(lambda: least_loaded([3, 1, 5, 1], rng), 4) == pytest.approx([0, 0.5, 0, 0.5], abs=0.03)


def test_power_of_two_has_the_law_of_two_draws() -> None:
    rng = random.Random(3)
    # Loads all different: a worker wins every pair with a busier one, of 6 pairs.
    drawn = shares(lambda: power_of_two([4, 1, 3, 2], rng), 4)
    assert drawn == pytest.approx([0, 3 / 6, 1 / 6, 2 / 6], abs=0.03)


def test_power_of_two_shares_ties_and_takes_the_only_worker() -> None:
    rng = random.Random(4)
    assert shares(lambda: power_of_two([2, 2, 2], rng), 3) == pytest.approx([1 / 3] * 3, abs=0.03)
    assert power_of_two([7], rng) == 0


@pytest.mark.parametrize("seed", range(3))
def test_one_seed_gives_one_series_of_choices(seed: int) -> None:
    def series() -> list[tuple[int, int, int, tuple[int, ...]]]:
        rng = random.Random(seed)
        return [
            (
                uniform(5, rng),
                least_loaded([1] * 5, rng),
                power_of_two([1] * 5, rng),
                assign_batch([0] * 5, 3, rng),
            )
            for _ in range(20)
        ]

    assert series() == series()


def test_a_batch_fills_the_emptiest_workers_first() -> None:
    rng = random.Random(5)
    assert Counter(assign_batch([5, 0, 3], 3, rng)) == {1: 3}
    # Seven lift the two emptier ones to 5; the eighth is the sixth request of any worker.
    taken = Counter(assign_batch([5, 0, 3], 8, rng))
    assert sorted(load + taken[worker] for worker, load in enumerate([5, 0, 3])) == [5, 5, 6]


def test_which_request_of_a_batch_goes_where_is_random() -> None:
    rng = random.Random(6)
    first = shares(lambda: assign_batch([0, 0, 0], 3, rng)[0], 3)
    assert first == pytest.approx([1 / 3] * 3, abs=0.03)
    single = shares(lambda: assign_batch([1, 0, 0], 1, rng)[0], 3)
    assert single == pytest.approx([0, 0.5, 0.5], abs=0.03)


def test_a_pool_counts_what_it_holds() -> None:
    pool = WorkerPool((70, 71))
    pool.take(1)
    pool.take(1)
    pool.release(1)
    assert pool.in_flight == [0, 1]
    assert len(pool) == 2
    with pytest.raises(ValueError, match="no request"):
        pool.release(0)
    with pytest.raises(ValueError, match="without workers"):
        WorkerPool(())
