"""A grid of C under every policy, for users who keep apart more or less, or for settings that are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from anarchy.config.policies import Policy
from anarchy.config.routing import RoutingSet
from anarchy.config.sample import Sample, by_limit, point_name
from anarchy.config.tiers import GridTier, Problem
from anarchy.config.values import MOST_ENTRIES, Name, Strict, Users, each_once
from anarchy.config.workloads import Workload
from anarchy.engines.spec import BLOCK_SIZE

Read = Literal["fitted", "idle", "table", "both-sides"]
"""`games.readings.Reading`, which is slow to load."""


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
    readings: Annotated[tuple[Read, ...], Field(min_length=1), AfterValidator(each_once)] = get_args(Read)
    """What PoA-hat is read as."""
    depths: tuple[Users, ...] = ()
    """C at which the grid is taken to end, beside its own end: a knee and a growth hang on it."""
    sample: Sample | None = None
    """Settings that each workload is varied by; the sets of policies are then one a limit, `b8192` behind
    their names."""

    @property
    def workload_names(self) -> tuple[str, ...]:
        """Every workload that it measures: under each setting, where a sample draws them."""
        if self.sample is None:
            return self.workloads
        return tuple(
            point_name(number, name) for number in range(self.sample.points) for name in self.workloads
        )

    @property
    def nameable(self) -> tuple[str, ...]:
        """Of a sample those that it varies: a set that names some is measured on their points."""
        return super().nameable if self.sample is None else self.workloads

    def blocks(self, known: Mapping[str, Workload]) -> tuple[Workload, ...]:
        """These workloads, in their order."""
        if self.sample is None:
            return super().blocks(known)
        templates = self.sample.templates
        return tuple(
            one.vary(known[name], templates) for one in self.sample.settings for name in self.workloads
        )

    def sets(self, usual: Mapping[str, RoutingSet]) -> dict[str, RoutingSet]:
        """Its sets of policies; of a sample one a limit, and the rest as the set has it."""
        sets = super().sets(usual)
        if self.sample is None:
            return sets
        return {
            f"{name}-b{limit}": one.model_copy(
                update={
                    "limits": (one.limits or self.limits).model_copy(
                        update={"max_num_batched_tokens": limit}
                    ),
                    "workloads": tuple(
                        point.name(workload)
                        for point in points
                        for workload in self.workloads
                        if not one.workloads or workload in one.workloads
                    ),
                }
            )
            for name, one in sets.items()
            for limit, points in by_limit(self.sample.settings).items()
        }

    def misfits(
        self,
        known: Mapping[str, Workload],
        sets: Mapping[str, RoutingSet],  # noqa: ARG002
    ) -> Iterator[Problem]:
        """A sample whose workloads share something already, or share more than they have."""
        if self.sample is None:
            return
        most = self.sample.shared_blocks[1] * BLOCK_SIZE
        for place, workload in enumerate(known[name] for name in self.workloads):
            if workload.templates:
                yield Problem(
                    f"workloads.{place}",
                    f"{workload.name} has templates, and the sample says how much prompts share",
                    "name a workload of unique prompts (templates: 0)",
                )
            if most > workload.input_tokens:
                yield Problem(
                    "sample.shared_blocks",
                    f"{most} tokens shared of {workload.input_tokens} ({workload.name})",
                    f"share at most {workload.input_tokens // BLOCK_SIZE} blocks of {BLOCK_SIZE} tokens",
                )

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """A line of what is not measured, a level over no cell, a depth that the grid does not have."""
        yield from super().problems(policies)
        names = {policy.name for policy in policies}
        for place, curve in enumerate(self.curves):
            for key, known in (("workload", self.workload_names), ("policy", names)):
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
        for place, depth in enumerate(self.depths):
            if depth not in self.concurrency:
                yield Problem(
                    f"depths/{place}", f"C = {depth} is not in the grid", "name points of `concurrency`"
                )


TIER = ReadingsTier
