"""A grid of C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from anarchy.config.policies import Policy
from anarchy.config.tiers import Condition, ConstantTier, Problem
from anarchy.config.values import MOST_ENTRIES, Users


class LadderTier(ConstantTier):
    """A grid of C, a constant cell each, under one policy."""

    parts_key: ClassVar[str] = "concurrency"

    design: Literal["ladder"] = "ladder"
    concurrency: Annotated[
        tuple[Users, ...],
        Field(min_length=1, max_length=MOST_ENTRIES, json_schema_extra={"uniqueItems": True}),
    ]
    """The grid of C, rising: a constant cell each."""

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of C."""
        return self.concurrency

    def conditions(self, policies: Sequence[Policy], reference: Policy) -> list[Condition]:  # noqa: ARG002
        """Every C under each policy."""
        return [Condition(policy, C) for policy in policies for C in self.concurrency]

    def count(self, policies: int) -> int:
        """One a C and policy."""
        return policies * len(self.concurrency)

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """Several policies: a ladder is of one."""
        yield from super().problems(policies)
        if len(policies) > 1:
            yield Problem(
                "/routing",
                f"{len(policies)} policies over a grid of C, but such a ladder is of one",
                "make an experiment of each, name one policy, or choose a design with loads or stages",
            )

    @field_validator("concurrency")
    @classmethod
    def _rises(cls, grid: tuple[int, ...]) -> tuple[int, ...]:
        if list(grid) != sorted(set(grid)):
            raise ValueError("the concurrency grid must be rising, each C once")
        return grid


TIER = LadderTier
