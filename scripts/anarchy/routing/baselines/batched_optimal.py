"""What the index calls the best, run for real: requests are collected and assigned together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from anarchy.config.policies import BatchedBaseline
from anarchy.config.values import PositiveSeconds

BATCH_S = 0.005
"""Ours: how long requests are collected, model s."""


class BatchedOptimal(BatchedBaseline):
    """Requests of `batch_s` are assigned all at once, by the Hungarian algorithm."""

    kind: Literal["batched_optimal"] = "batched_optimal"
    batch_s: PositiveSeconds = BATCH_S
    """How long requests are collected before they are assigned, model seconds."""

    def assign(self, in_flight: Sequence[int], requests: int, rng: random.Random) -> tuple[int, ...]:
        """Worker of each request of a batch: the cheapest assignment of all of them at once.

        Each request takes a slot (worker j, place p = 1, 2, ...), at the load n_j + p that it leads to. That
        is the congested optimum of the routing game (`games.routing`): workers share one convex latency
        curve, so slots stand in the order of n_j + p under any such curve, and the Hungarian algorithm on
        n_j + p gives an assignment that is optimal under all of them. Which of equally cheap ones is random.
        """
        import numpy as np  # here: SciPy is slow to load, and the configuration knows this class
        from scipy.optimize import linear_sum_assignment

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


POLICY = BatchedOptimal
