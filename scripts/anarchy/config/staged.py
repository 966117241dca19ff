"""Tiers of staged cells, in which C moves from stage to stage while controllers and detectors watch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from anarchy.config.loads import StagePlan
from anarchy.config.policies import AdaptivePolicy, Controller, Policy, Source
from anarchy.config.tiers import Condition, Problem, Tier, Watching
from anarchy.config.values import MOST_ENTRIES, MOST_SECONDS, each_once


class StagedTier(Tier):
    """The stages of one cell, for every workload and policy."""

    parts_key: ClassVar[str] = "stages"

    stages: Annotated[tuple[StagePlan, ...], Field(min_length=1, max_length=MOST_ENTRIES)]
    """The stages of one cell, in order."""
    poll_s: Annotated[float, Field(strict=True, gt=0.001, le=MOST_SECONDS)] = 5.0
    """A controller's period, model seconds (5 s is stated by the paper)."""
    baseline_polls: Annotated[int, Field(strict=True, ge=1, le=MOST_ENTRIES)] = 6
    """Polls with a P99 that make the baseline of a controller's thresholds."""
    watch: Annotated[tuple[Source, ...], AfterValidator(each_once)] = ()
    """Detectors with default settings that watch and set nothing."""

    def conditions(self, policies: Sequence[Policy], reference: Policy) -> list[Condition]:  # noqa: ARG002
        """One sequence of stages for each policy."""
        return [Condition(policy, stages=self.stages) for policy in policies]

    def count(self, policies: int) -> int:
        """One a policy."""
        return policies

    @property
    def levels(self) -> tuple[StagePlan, ...]:
        """Its stages."""
        return self.stages

    @property
    def stage_plans(self) -> tuple[StagePlan, ...]:
        """Its stages."""
        return self.stages

    @property
    def watching(self) -> Watching:
        """How its controllers look at TTFT."""
        return Watching(self.watch, self.poll_s, self.baseline_polls)

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """A controller whose baseline would be taken past the knee, or in too short a stage."""
        controllers: Mapping[str, Controller] = {
            **{policy.name: policy.controller for policy in policies if isinstance(policy, AdaptivePolicy)},
            **{f"watch {source}": Controller(source=source) for source in self.watch},
        }
        relative = [name for name, controller in controllers.items() if not controller.in_seconds]
        if not relative:
            return
        first = self.stages[0]
        if (first.knee_times or 0.0) >= 1:
            yield Problem(
                "stages.0.knee_times",
                f"{relative[0]} takes its baseline in the first stage, at {first.knee_times:g} times the "
                "knee: its thresholds would be multiples of a saturated TTFT",
                "begin with a stage below the knee, or give thresholds in seconds (theta1_s, theta2_s)",
            )
        # One to spare: controllers begin when the stage has settled, and a poll may see no request.
        lasts, needed = first.seconds, (self.baseline_polls + 1) * self.poll_s
        if lasts < needed:
            yield Problem(
                "stages.0.seconds",
                f"{lasts:g} s, but the baseline of {relative[0]} takes {self.baseline_polls} polls every "
                f"{self.poll_s:g} s, and one to spare: {needed:g} s",
                f"set it to at least {needed:g}, or lower baseline_polls or poll_s",
            )

    @field_validator("stages")
    @classmethod
    def _named_once(cls, stages: tuple[StagePlan, ...]) -> tuple[StagePlan, ...]:
        each_once(tuple(stage.name for stage in stages))
        return stages

    @model_validator(mode="after")
    def _timing_belongs(self) -> StagedTier:
        if self.timing.warmup_s or self.timing.measure_s or self.timing.measure_max_s:
            raise ValueError("the stages say how long a staged cell takes; of timing give deadline_s alone")
        return self
