"""A grid of C under every policy, for users who keep apart more or less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from anarchy.config.policies import Policy
from anarchy.config.tiers import GridTier, Problem
from anarchy.config.values import MOST_ENTRIES, Name, Strict, Users


class Curve(Strict):
    """A line of the figure: one workload under one policy."""

    workload: Name
    policy: Name
    title: str
    """For people."""


class ReadingsTier(GridTier):
    """A grid of C, a constant cell each, under every policy."""

    design: Literal["readings"] = "readings"
    level_over: tuple[Users, Users]
    """C that the level is told over, both ends counted: where users in step fill a batch of prefill."""
    curves: Annotated[tuple[Curve, ...], Field(min_length=1, max_length=MOST_ENTRIES)]
    """What the figure shows, the strongest first."""

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """A line of what is not measured, and a level over no cell."""
        yield from super().problems(policies)
        names = {policy.name for policy in policies}
        for place, curve in enumerate(self.curves):
            for key, known in (("workload", self.workloads), ("policy", names)):
                if getattr(curve, key) not in known:
                    yield Problem(
                        f"curves/{place}/{key}",
                        f"{getattr(curve, key)!r} is not measured by this tier",
                        f"name one of {', '.join(sorted(known))}",
                    )
        low, high = self.level_over
        if not any(low <= C <= high for C in self.concurrency):
            yield Problem(
                "level_over", f"no C of the grid lies in [{low}, {high}]", "choose ends around points of it"
            )


TIER = ReadingsTier
