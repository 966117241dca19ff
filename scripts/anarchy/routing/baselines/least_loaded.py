"""The worker with the fewest requests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from anarchy.config.policies import Baseline


class LeastLoaded(Baseline):
    """The worker with the fewest requests."""

    kind: Literal["least_loaded"] = "least_loaded"

    def choose(self, in_flight: Sequence[int], turn: int, rng: random.Random) -> int:  # noqa: ARG002
        """One of the workers with the fewest requests."""
        fewest = min(in_flight)
        return rng.choice([worker for worker, load in enumerate(in_flight) if load == fewest])


POLICY = LeastLoaded
