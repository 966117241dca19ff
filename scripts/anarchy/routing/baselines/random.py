"""Any worker, equally likely."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from anarchy.config.policies import Baseline


class Random(Baseline):
    """Any worker, equally likely."""

    kind: Literal["random"] = "random"

    def choose(self, in_flight: Sequence[int], turn: int, rng: random.Random) -> int:  # noqa: ARG002
        """Any worker."""
        return rng.randrange(len(in_flight))


POLICY = Random
