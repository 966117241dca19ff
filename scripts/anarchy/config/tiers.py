"""A tier, one size of an experiment: how long it measures what, and which conditions its design makes of it.

Each design of experiment has a model of its own (`tier.py` in its folder of `designs`), told by `design`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, TypeAlias

from pydantic import Field, field_validator, model_validator

from anarchy.config.choices import EngineName, StackName
from anarchy.config.kinds import union
from anarchy.config.limits import Limits
from anarchy.config.loads import Level, Load, StagePlan
from anarchy.config.policies import AdaptivePolicy, Policy, Source
from anarchy.config.routing import Routing, RoutingSet
from anarchy.config.systems import Systems
from anarchy.config.values import (
    LARGEST,
    MOST_ENTRIES,
    Launches,
    Name,
    Names,
    PositiveSeconds,
    Seconds,
    Strict,
    Users,
)
from anarchy.config.workloads import Workload
from anarchy.ground.plugins import parts


class Timing(Strict):
    """How long a cell warms up and measures, model seconds and requests.

    Of a staged cell only the deadline is given here: its stages say how long.
    """

    warmup_s: Seconds = 0.0
    """Warm-up lasts at least this long and until every user has finished a request."""
    measure_s: Seconds = 0.0
    """The measure phase lasts at least this long."""
    min_windows: Annotated[int, Field(strict=True, ge=0, le=LARGEST)] = 30
    """Measuring goes on until this many windows of the routing game are in, within measure_max_s."""
    measure_max_s: Seconds = 0.0
    """The measure phase lasts at most this long."""
    deadline_s: PositiveSeconds = 60.0
    """A request that takes longer is ended and recorded as `timeout`."""

    @model_validator(mode="after")
    def _ordered(self) -> Timing:
        if self.measure_max_s < self.measure_s:
            raise ValueError("measure_max_s must not be below measure_s")
        return self


@dataclass(frozen=True)
class Condition:
    """What is measured of each workload, before the knee is known; exactly one of the three is given."""

    policy: Policy
    concurrency: int | None = None
    """C of a grid."""
    load: Load | None = None
    stages: tuple[StagePlan, ...] = ()
    repeat: int = 1


class Watching(NamedTuple):
    """How controllers and detectors of a tier look at TTFT."""

    sources: tuple[Source, ...]
    """Those of the detectors that watch and set nothing."""
    poll_s: float
    """Period, model seconds."""
    baseline_polls: int


class Problem(NamedTuple):
    """Why a tier cannot be measured, by its own key, and what would be right."""

    key: str
    """Under the tier; empty is the tier itself, and a key with a leading / one of the experiment."""
    what: str
    remedy: str


class Tier(Strict, ABC):
    """One size of an experiment, for every workload and policy; what it measures of them its design says."""

    parts_key: ClassVar[str]
    """The key of what it measures: a grid, loads, stages."""
    compares_sets: ClassVar[bool] = False
    """Whether it compares latencies of one set of policies with another's: one stack serves both then."""

    design: str
    launches: Launches
    """Fresh launches of every deployment; three or more give intervals over launches."""
    workloads: Names
    timing: Timing
    identity: Name | None = None
    """The name that seeds and hashes of its cells are made with, where it is not its own: a tier that is
    renamed keeps its sealed cells."""
    engine: EngineName = "mocker"
    """What measures it where the run names no engine."""
    stack: StackName | None = None
    """The version of Dynamo that serves it, where the run names none; without it the engine's usual one."""
    limits: Limits = Limits()
    """Of its workers."""
    systems: Systems = ()
    """Only these of the experiment's systems; empty = all."""
    routing: Routing | None = None
    """Replaces the experiment's, so that a small tier measures fewer policies."""

    @abstractmethod
    def conditions(self, policies: Sequence[Policy], reference: Policy) -> list[Condition]:
        """What is measured of each workload: every C, load or sequence of stages, for each policy there."""

    @abstractmethod
    def count(self, policies: int) -> int:
        """How many conditions there are with so many policies, without making any."""

    def sets(self, usual: Mapping[str, RoutingSet]) -> dict[str, RoutingSet]:
        """Its sets of policies; ``usual``: the experiment's."""
        return dict(self.routing or usual)

    @property
    def workload_names(self) -> tuple[str, ...]:
        """Every workload that it measures."""
        return self.workloads

    @property
    def nameable(self) -> tuple[str, ...]:
        """Workloads that a set of policies may name, of those that it measures."""
        return self.workload_names

    def blocks(self, known: Mapping[str, Workload]) -> tuple[Workload, ...]:
        """These workloads, in their order; ``known``: those of the study, by name."""
        return tuple(known[name] for name in self.workloads)

    def misfits(
        self,
        known: Mapping[str, Workload],  # noqa: ARG002
        sets: Mapping[str, RoutingSet],  # noqa: ARG002
    ) -> Iterator[Problem]:
        """Why it cannot be measured with these workloads of the study, and these sets of policies."""
        yield from ()

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of C; empty where there is none."""
        return ()

    @property
    def levels(self) -> tuple[Level, ...]:
        """Its loads or stages; none of a grid of C."""
        return ()

    @property
    def named_loads(self) -> dict[str, Load]:
        """Its constant loads by name."""
        return {}

    @property
    def stage_plans(self) -> tuple[StagePlan, ...]:
        """The stages of its cells; empty where cells are constant."""
        return ()

    @property
    def watching(self) -> Watching | None:
        """How controllers look at TTFT; None where there are none."""
        return None

    @property
    def hangs_on_knee(self) -> bool:
        """Whether a load or stage is a multiple of the knee."""
        return any(level.knee_times is not None for level in self.levels)

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """What keeps it from being measured under these policies."""
        adaptive = [policy for policy in policies if isinstance(policy, AdaptivePolicy)]
        if adaptive and not self.stage_plans:
            yield Problem(
                "",
                f"{adaptive[0].name} takes its baseline in a first stage, but this tier has none",
                "give the tier stages, or take adaptive policies out of its routing",
            )

    @field_validator("workloads")
    @classmethod
    def _some_workload(cls, workloads: tuple[str, ...]) -> tuple[str, ...]:
        if not workloads:
            raise ValueError("name at least one workload")
        return workloads


class ConstantTier(Tier):
    """A tier of constant cells: each settles and is measured at one C."""

    @model_validator(mode="after")
    def _is_measured(self) -> ConstantTier:
        if self.timing.measure_s <= 0:
            raise ValueError("timing.measure_s must be above 0")
        return self


class GridTier(ConstantTier):
    """A tier of constant cells over a grid of C, under every policy."""

    parts_key: ClassVar[str] = "concurrency"

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

    @field_validator("concurrency")
    @classmethod
    def _rises(cls, grid: tuple[int, ...]) -> tuple[int, ...]:
        if list(grid) != sorted(set(grid)):
            raise ValueError("the concurrency grid must be rising, each C once")
        return grid


def tier_kinds() -> dict[str, type[Tier]]:
    """The model of a tier of each design, by the name of its folder."""
    return {name: module.TIER for name, module in parts("anarchy.designs", "tier").items()}


if TYPE_CHECKING:
    AnyTier: TypeAlias = Tier
else:
    AnyTier = union("design", tier_kinds())
    """A tier of any design, told by its key `design`."""
