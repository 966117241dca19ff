"""A grid of C for every length mix, and the objectives that a request is held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from anarchy.config.objectives import Objectives
from anarchy.config.policies import Policy
from anarchy.config.tiers import GridTier, Problem
from anarchy.config.values import MOST_ENTRIES, Name, Strict, Users


class MovingStage(Strict):
    """A stage of the load that moves: a mix at a C, taken as if it were steady."""

    workload: Name
    concurrency: Users


class SplitTier(GridTier):
    """A grid of C under one policy, for every split of a budget."""

    design: Literal["split"] = "split"
    slo: Objectives
    """Of a model that has none of its own."""
    slo_of: dict[Name, Objectives] = Field(default_factory=dict, max_length=MOST_ENTRIES)
    """Of a model that has its own: by the model's name."""
    tie: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    """Share of a game's largest utility up to which two rates are no different; ours."""
    moving: Annotated[tuple[MovingStage, ...], Field(min_length=2, max_length=MOST_ENTRIES)]
    """The load that moves, stage by stage out; back is the same again, and changes no price."""

    def objectives(self, model: str) -> Objectives:
        """Those of a model."""
        return self.slo_of.get(model, self.slo)

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """More than one policy, whose games would be two; and a stage that is not measured."""
        yield from super().problems(policies)
        if len(policies) > 1:
            yield Problem(
                "/routing",
                f"{len(policies)} policies, and a split is a game under one",
                "name one policy, and make an experiment of each",
            )
        for place, stage in enumerate(self.moving):
            measured = (stage.workload in self.workloads, stage.concurrency in self.concurrency)
            if not all(measured):
                key = "concurrency" if measured[0] else "workload"
                known = self.concurrency if measured[0] else self.workloads
                yield Problem(
                    f"moving/{place}/{key}",
                    f"{getattr(stage, key)!r} is not measured by this tier",
                    f"name one of {', '.join(map(str, known))}",
                )


TIER = SplitTier
