"""Named loads under many pairs of tau and omega."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from anarchy.config.loads import LOWEST_KNEE, Load, at_knee
from anarchy.config.policies import Policy
from anarchy.config.tiers import Condition, ConstantTier, Problem
from anarchy.config.values import MOST_ENTRIES, Launches, each_once


class ParetoTier(ConstantTier):
    """Named loads, a constant cell each, for every policy."""

    parts_key: ClassVar[str] = "loads"

    design: Literal["pareto"] = "pareto"
    loads: Annotated[tuple[Load, ...], Field(min_length=1, max_length=MOST_ENTRIES)]
    """Named loads: a constant cell each."""
    repeats: Launches = 1
    """How often the reference policy's cells are measured on each deployment. They show the noise that
    differences between policies are held against."""

    @property
    def levels(self) -> tuple[Load, ...]:
        """Its loads."""
        return self.loads

    @property
    def named_loads(self) -> dict[str, Load]:
        """Its loads by name."""
        return {load.name: load for load in self.loads}

    def conditions(self, policies: Sequence[Policy], reference: Policy) -> list[Condition]:
        """Every load under each policy; the reference policy as often as `repeats` says."""
        return [
            Condition(policy, load=load, repeat=repeat)
            for load in self.loads
            for policy in policies
            if policy is reference or not load.reference_only
            for repeat in range(
                1, 1 + (self.repeats if policy is reference and not load.reference_only else 1)
            )
        ]

    def count(self, policies: int) -> int:
        """One a load and policy, and the repeats of the reference."""
        return sum(1 if load.reference_only else policies + self.repeats - 1 for load in self.loads)

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """Loads are told apart by their C, in names and in tables: also at the lowest knee there can be."""
        yield from super().problems(policies)
        seen: dict[int, str] = {}
        for index, load in enumerate(self.loads):
            C = load.concurrency if load.knee_times is None else at_knee(LOWEST_KNEE, load.knee_times)
            assert C is not None, "a level has one of the two"
            if C in seen:
                yield Problem(
                    f"loads.{index}",
                    f"{load.name} and {seen[C]} are both C = {C} at a knee of {LOWEST_KNEE}",
                    "give them knee_times further apart",
                )
            seen[C] = load.name
        on_grid = [index for index, load in enumerate(self.loads) if load.on_grid]
        if len(on_grid) > 1:
            yield Problem(
                f"loads.{on_grid[1]}.on_grid",
                "two loads on E1's grid may come to lie on the same C",
                "keep one of them",
            )

    @field_validator("loads")
    @classmethod
    def _named_once(cls, loads: tuple[Load, ...]) -> tuple[Load, ...]:
        each_once(tuple(load.name for load in loads))
        return loads


TIER = ParetoTier
