"""The baselines' choices of a worker, pure: what is known goes in, a worker's index comes out.

`in_flight` is the number of requests on each worker that were sent and have not ended, by our own count. Ties
are broken by the generator that is given, and so by its seed. The choice of Dynamo's KV router is not here:
Dynamo makes it (`selector_service`), by the law of `serving.selftest.choice_probabilities`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def round_robin(turn: int, workers: int) -> int:
    """Worker of the turn-th request (from 0): each in its turn."""
    return turn % workers


def uniform(workers: int, rng: random.Random) -> int:
    """Any worker, equally likely."""
    return rng.randrange(workers)


def least_loaded(in_flight: Sequence[int], rng: random.Random) -> int:
    """One of the workers with the fewest requests."""
    fewest = min(in_flight)
    return rng.choice([worker for worker, load in enumerate(in_flight) if load == fewest])


def power_of_two(in_flight: Sequence[int], rng: random.Random) -> int:
    """The less loaded one of two different workers, drawn uniformly (Mitzenmacher 2001); of one, that one."""
    if len(in_flight) == 1:
        return 0
    drawn = rng.sample(range(len(in_flight)), 2)
    # The sample's order is random already, so that the first of two equal ones is either.
    return min(drawn, key=lambda worker: in_flight[worker])


def assign_batch(in_flight: Sequence[int], requests: int, rng: random.Random) -> tuple[int, ...]:
    """Worker of each request of a batch: the cheapest assignment of all of them at once.

    Each request takes a slot (worker j, place p = 1, 2, ...), at the load n_j + p that it leads to. That is
    the congested optimum of the routing game (`games.routing`): workers share one convex latency curve, so
    slots stand in the order of n_j + p under any such curve, and the Hungarian algorithm on n_j + p gives an
    assignment that is optimal under all of them. Which of equally cheap ones is random.
    """
    workers = len(in_flight)
    # Nobody needs more places than lift one worker to the level that all reach together.
    level = max(max(in_flight), -(-(sum(in_flight) + requests) // workers))
    slots = [
        (load + place, worker)
        for worker, load in enumerate(in_flight)
        for place in range(1, min(requests, level - load + 1) + 1)
    ]
    # The algorithm breaks ties by position: the cheapest slots first, in random order among equals.
    rng.shuffle(slots)
    cost = np.tile(np.asarray([load for load, _ in slots], dtype=np.float64), (requests, 1))
    _, taken = linear_sum_assignment(cost)
    chosen = [slots[slot][1] for slot in taken]
    rng.shuffle(chosen)
    return tuple(chosen)
