"""Each worker in its turn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar, Literal

from anarchy.config.policies import Baseline


class RoundRobin(Baseline):
    """Each worker in its turn."""

    in_dynamo: ClassVar[bool] = True

    kind: Literal["round_robin"] = "round_robin"

    def choose(self, in_flight: Sequence[int], turn: int, rng: random.Random) -> int:  # noqa: ARG002
        """The worker whose turn it is."""
        return turn % len(in_flight)


POLICY = RoundRobin
