"""How many requests each worker of a pool holds, by our own count."""

from __future__ import annotations

from collections.abc import Sequence


class WorkerPool:
    """The workers of one role: their instance ids, and the requests that we sent to each and did not see end.

    A request is on its prefill worker until its first token and on its decode worker until it has ended, as
    in the routing game (docs/estimator.md). What other clients send is not seen.
    """

    def __init__(self, instance_ids: Sequence[int]) -> None:
        if not instance_ids:
            raise ValueError("a pool without workers")
        self.instance_ids = tuple(instance_ids)
        self.in_flight = [0] * len(self.instance_ids)

    def __len__(self) -> int:
        return len(self.instance_ids)

    def take(self, worker: int) -> None:
        """Count one more request on a worker, by its index."""
        self.in_flight[worker] += 1

    def release(self, worker: int) -> None:
        """Count one less."""
        if self.in_flight[worker] == 0:
            raise ValueError(f"worker {worker} holds no request that could end")
        self.in_flight[worker] -= 1
