"""Experiments: which systems are measured, under which policies, at which sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from anarchy.config.routing import Routing, RoutingSet
from anarchy.config.systems import MeasuredSystem, Systems
from anarchy.config.tiers import AnyTier, tier_kinds
from anarchy.config.values import MOST_ENTRIES, Launches, Name, Seed, Strict, Users, refusal


class Experiment(Strict):
    """One experiment of the paper: which systems, under which routing, at which sizes."""

    name: Name
    id: str
    title: str
    design: Name
    """What it is made of: the name of a folder of `designs`."""
    systems: Annotated[Systems, Field(min_length=1)]
    routing: Routing
    """Sets of policies; each set is measured on deployments of its own."""
    reference: Name | None = None
    """The policy whose cells the latency curves of its set are fitted to; without, the set's only one, or its
    kv policy with tau 0 and omega 1."""
    knee_from: Name | None = None
    """The experiment that measures the knee which loads and stages are multiples of: a ladder (E1)."""
    c_ref: Users = 64
    """Concurrency up to which the affine latency curve is fitted: a point below the knee. Where loads hang on
    a knee, it is kept between 0.4 and 0.75 times the knee (`config.loads.reference_limit`)."""
    seed: Seed = 0
    attempts: Launches = 2
    """How often a cell is measured when a gate that speaks of the machine, not of the result, fails."""
    tiers: dict[Name, AnyTier] = Field(min_length=1, max_length=MOST_ENTRIES)

    def systems_of(self, tier: str) -> tuple[MeasuredSystem, ...]:
        """The systems of a tier, as it measures them, in the order of the experiment."""
        own = {(system.model, system.topology): system for system in self.tiers[tier].systems}
        return tuple(
            own.get((s.model, s.topology), s) for s in self.systems if not own or (s.model, s.topology) in own
        )

    def sets(self, tier: str) -> dict[str, RoutingSet]:
        """The sets of policies of a tier."""
        return self.tiers[tier].sets(self.routing)

    @model_validator(mode="before")
    @classmethod
    def _tiers_are_of_its_design(cls, given: Any) -> Any:
        """The design stands there once: each tier is read as one of it."""
        if not isinstance(given, Mapping) or not isinstance(given.get("tiers"), Mapping):
            return given
        kinds, design = tier_kinds(), given.get("design")
        if design is not None and not (isinstance(design, str) and design in kinds):
            raise refusal(
                f"key 'design': there is no design {design!r}", f"known designs: {', '.join(kinds)}"
            )
        if design is None:
            raise refusal("key 'design' is missing", f"add design: to it, one of {', '.join(kinds)}")
        return {
            **given,
            "tiers": {
                name: {"design": design, **tier} if isinstance(tier, Mapping) else tier
                for name, tier in given["tiers"].items()
            },
        }

    @model_validator(mode="after")
    def _one_design(self) -> Experiment:
        others = [name for name, tier in self.tiers.items() if tier.design != self.design]
        if others:
            raise ValueError(
                f"tier {others[0]} is of design {self.tiers[others[0]].design}, the experiment of "
                f"{self.design}; leave the key out of tiers"
            )
        return self
