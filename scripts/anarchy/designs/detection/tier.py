"""Stages through which detectors watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anarchy.config.policies import AdaptivePolicy, Policy, Source
from anarchy.config.staged import StagedTier
from anarchy.config.tiers import Problem
from anarchy.config.values import each_once


class DetectionTier(StagedTier):
    """Stages under static policies, while detectors watch that set nothing."""

    design: Literal["detection"] = "detection"
    watch: Annotated[tuple[Source, ...], Field(min_length=1), AfterValidator(each_once)]
    """Detectors with default settings that watch and set nothing."""

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """A policy that follows a controller: then more than the load moves TTFT."""
        yield from super().problems(policies)
        if adaptive := [policy.name for policy in policies if isinstance(policy, AdaptivePolicy)]:
            yield Problem(
                "/routing",
                f"{adaptive[0]} follows a controller, but detectors are told by static routing",
                "take it out, or choose the design stages",
            )


TIER = DetectionTier
