"""What must hold of the baselines' choices on every pool."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.baselines import assign_batch, least_loaded, power_of_two, round_robin

RELAXED = settings(max_examples=150, deadline=None)
pools = st.lists(st.integers(0, 40), min_size=1, max_size=6)
seeds = st.integers(0, 2**32)


def slot_cost(in_flight: Sequence[int], assigned: Sequence[int]) -> int:
    """Sum over requests of the load that each one leads to on its worker."""
    taken = Counter(assigned)
    return sum(in_flight[worker] + place for worker, n in taken.items() for place in range(1, n + 1))


@RELAXED
@given(pools, st.integers(1, 40), seeds)
def test_a_batch_levels_the_pool_as_far_as_it_can(in_flight: Sequence[int], requests: int, seed: int) -> None:
    assigned = assign_batch(in_flight, requests, random.Random(seed))
    assert len(assigned) == requests
    taken = Counter(assigned)
    after = [load + taken[worker] for worker, load in enumerate(in_flight)]
    # No worker that was given something stands more than one request above any other.
    assert all(after[worker] <= min(after) + 1 for worker in taken)


@RELAXED
@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(1, 5), seeds)
def test_a_batch_costs_what_the_best_of_all_assignments_costs(
    in_flight: Sequence[int], requests: int, seed: int
) -> None:
    workers = range(len(in_flight))
    best = min(slot_cost(in_flight, assigned) for assigned in itertools.product(workers, repeat=requests))
    assert slot_cost(in_flight, assign_batch(in_flight, requests, random.Random(seed))) == best


@RELAXED
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.integers(1, 4),
    seeds,
    st.sampled_from(["x", "x2", "exp"]),
)
def test_the_batch_is_optimal_under_every_convex_latency_curve(
    in_flight: Sequence[int], requests: int, seed: int, shape: str
) -> None:
    curves: dict[str, Callable[[int], float]] = {
        "x": lambda x: x,
        "x2": lambda x: x**2,
        "exp": lambda x: 2.0**x,
    }
    curve = curves[shape]

    def social_cost(assigned: Sequence[int]) -> float:
        taken = Counter(assigned)
        loads = [load + taken[worker] for worker, load in enumerate(in_flight)]
        return sum(load * curve(load) for load in loads)

    workers = range(len(in_flight))
    best = min(social_cost(assigned) for assigned in itertools.product(workers, repeat=requests))
    assert social_cost(assign_batch(in_flight, requests, random.Random(seed))) == best


@RELAXED
@given(pools, st.integers(1, 12), seeds, st.randoms(use_true_random=False))
def test_the_loads_after_a_batch_do_not_depend_on_the_workers_order(
    in_flight: Sequence[int], requests: int, seed: int, shuffle: random.Random
) -> None:
    def after(loads: Sequence[int]) -> list[int]:
        taken = Counter(assign_batch(loads, requests, random.Random(seed)))
        return sorted(load + taken[worker] for worker, load in enumerate(loads))

    moved = list(in_flight)
    shuffle.shuffle(moved)
    assert after(in_flight) == after(moved)


@RELAXED
@given(pools, seeds)
def test_least_loaded_is_never_beaten_and_power_of_two_never_takes_the_worst(
    in_flight: Sequence[int], seed: int
) -> None:
    rng = random.Random(seed)
    assert in_flight[least_loaded(in_flight, rng)] == min(in_flight)
    chosen = power_of_two(in_flight, rng)
    if len(in_flight) > 1:
        assert sum(load >= in_flight[chosen] for load in in_flight) >= 2


@RELAXED
@given(st.integers(1, 9), st.integers(0, 1000))
def test_any_round_of_round_robin_holds_each_worker_once(workers: int, start: int) -> None:
    assert sorted(round_robin(start + i, workers) for i in range(workers)) == list(range(workers))
