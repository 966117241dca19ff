"""A grid of C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from anarchy.config.policies import Policy
from anarchy.config.tiers import GridTier, Problem


class LadderTier(GridTier):
    """A grid of C, a constant cell each, under one policy."""

    design: Literal["ladder"] = "ladder"

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """Several policies: a ladder is of one."""
        yield from super().problems(policies)
        if len(policies) > 1:
            yield Problem(
                "/routing",
                f"{len(policies)} policies over a grid of C, but such a ladder is of one",
                "make an experiment of each, name one policy, or choose a design with loads or stages",
            )


TIER = LadderTier
