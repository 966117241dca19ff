"""A grid of C that a live stack and a virtual clock both measure, and how far they may differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from anarchy.config.objectives import RATES, Objectives
from anarchy.config.policies import Policy
from anarchy.config.tiers import GridTier, Problem
from anarchy.config.values import NonNegative, Strict
from anarchy.designs.engines.agreement import COMPARED, Tolerance

Share = Annotated[float, Field(strict=True, gt=0, le=1)]


class Tolerances(Strict):
    """How far the virtual number may lie from the live one, as a share of the live one.

    Set before the first run, by what a verdict can bear: none of them is fitted to what was measured.
    """

    ttft_p50: Share = 0.15
    """Of the median time to first token."""
    ttft_p99: Share = 0.25
    """Of its 99 % quantile: a tail of a few requests."""
    itl_mean: Share = 0.10
    """Of the mean inter-token latency."""
    throughput_rps: Share = 0.05
    """Of the requests completed a second."""
    poa_hat: Share = 0.15
    """Of PoA-hat."""
    window_range: Share = 0.25
    """Of the load range as windows begin, or `window_range_requests` where these are more."""
    window_range_requests: NonNegative = 2.0
    """Requests: where workers are even, any share of the range is less than one request."""
    within_ttft: Share = 0.10
    """Of the requests a second within the TTFT objective, or `rate_rps` where this is more."""
    within_itl: Share = 0.10
    """Of those within the ITL objective, or `rate_rps`."""
    goodput: Share = 0.10
    """Of those within both, or `rate_rps`."""
    rate_rps: NonNegative = 5.0
    """Requests a second: where almost nothing keeps an objective, any share of it is nothing."""

    def of(self, quantity: str) -> Tolerance:
        """That of one quantity."""
        least = self.window_range_requests if quantity == "window_range" else 0.0
        return Tolerance(getattr(self, quantity), self.rate_rps if quantity in RATES else least)


class EnginesTier(GridTier):
    """A grid of C, a constant cell each, under one policy, for sets that differ in their engine."""

    compares_sets: ClassVar[bool] = True

    design: Literal["engines"] = "engines"
    tolerances: Tolerances = Tolerances()
    """How far the virtual clock may differ from the live stack."""
    slo: Objectives | None = None
    """What a request must keep to count: with it the rates of those that do are compared too."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is held against its tolerance."""
        return (*COMPARED, *(RATES if self.slo else ()))

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """Sets under different policies: they would differ in more than their engine."""
        yield from super().problems(policies)
        names = list(dict.fromkeys(policy.name for policy in policies))
        if len(names) > 1:
            yield Problem(
                "/routing",
                f"sets under different policies ({', '.join(names)}) differ in more than their engine",
                "name one policy in both sets, or make an experiment of each",
            )


TIER = EnginesTier
