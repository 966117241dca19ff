"""The less loaded of two workers drawn at random (Mitzenmacher 2001)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from anarchy.config.policies import Baseline


class PowerOfTwo(Baseline):
    """The less loaded of two workers drawn at random (Mitzenmacher 2001)."""

    kind: Literal["power_of_two"] = "power_of_two"

    def choose(self, in_flight: Sequence[int], turn: int, rng: random.Random) -> int:  # noqa: ARG002
        """The less loaded one of two different workers, drawn uniformly; of one, that one."""
        if len(in_flight) == 1:
            return 0
        drawn = rng.sample(range(len(in_flight)), 2)
        # The sample's order is random already, so that the first of two equal ones is either.
        return min(drawn, key=lambda worker: in_flight[worker])


POLICY = PowerOfTwo
