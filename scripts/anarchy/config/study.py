"""The study, as configuration: models, topologies, policies, workloads, experiments and their tiers.

Everything under ``workflow/config`` travels unchanged between clusters. What a cluster differs in is not
here. All durations are model seconds. An unknown key is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from anarchy.config.choices import ALL, Choices, EngineName, KneeSource
from anarchy.config.policies import (
    Controller,
    Grid,
    Policy,
    PolicyKind,
    Routing,
    RoutingSet,
    Source,
    Way,
    reference_of,
)
from anarchy.config.values import (
    LARGEST,
    MOST_ENTRIES,
    MOST_SECONDS,
    MOST_USERS,
    KneeTimes,
    Launches,
    Name,
    Names,
    PositiveInt,
    PositiveSeconds,
    Seconds,
    Seed,
    Strict,
    Tokens,
    Users,
    Workers,
    each_once,
)

__all__ = [
    "ALL",
    "BLOCKS",
    "KNEE_WORKLOAD",
    "Choices",
    "Cluster",
    "Controller",
    "Design",
    "EngineName",
    "Experiment",
    "Grid",
    "KneeSource",
    "Level",
    "Load",
    "Model",
    "Name",
    "Policy",
    "PolicyKind",
    "Routing",
    "RoutingSet",
    "Source",
    "StagePlan",
    "Strict",
    "Study",
    "SystemName",
    "Tier",
    "Timing",
    "Topology",
    "Way",
    "Workload",
    "reference_of",
]

Design = Literal["ladder", "pareto", "stages"]
"""What an experiment is made of: a grid of C (E1), loads under many (tau, omega) (E4), or stages (E2, E3)."""

KNEE_WORKLOAD = "unique"
"""The workload that knees are known under: with prompts that repeat, prefill hardly saturates, and nothing is
said to lie past a knee."""


class Cluster(Strict):
    """The machine that the study is about (stated by the paper: 3 nodes of 8 B200)."""

    nodes: Workers = 3
    gpus_per_node: Workers = 8


class Model(Strict):
    """A served model and how one of its workers is laid out."""

    name: Name
    title: str
    tensor_parallel: Workers
    """GPUs of one worker; a worker does not span nodes."""
    quantization: str
    profile: Name
    """Timing table in data/profiles that the simulated engine follows."""
    kv_bytes_per_token: PositiveInt
    """KV cache bytes of one token, for the simulated transfer from prefill to decode."""
    dilation: Annotated[float, Field(strict=True, ge=1, le=100)] = 1.0
    """Simulated engines only: wall seconds for one model second."""


class Topology(Strict):
    """How many prefill and decode workers."""

    name: Name
    title: str
    prefill: Workers
    decode: Workers


class Workload(Strict):
    """What one request looks like."""

    name: Name
    title: str
    input_tokens: Tokens
    output_tokens: Tokens
    """Mean output length."""
    output_jitter: Annotated[float, Field(strict=True, ge=0, lt=1)]
    """Output lengths are uniform within this share of the mean, so that users do not march in step."""
    templates: Annotated[int, Field(strict=True, ge=0, le=MOST_USERS)]
    """Number of distinct prompts; 0 makes every prompt unique."""
    skew: Annotated[float, Field(strict=True, ge=0, le=100)] = 0.0
    """Zipf exponent of the templates' popularity: template i = 0, 1, ... has weight 1 / (i + 1)^skew."""

    @model_validator(mode="after")
    def _skew_has_something_to_skew(self) -> Workload:
        if self.skew > 0 and self.templates < 2:
            raise ValueError(
                f"skew {self.skew:g} needs templates to be unequally popular: there are {self.templates}; "
                "give at least 2, or leave skew out"
            )
        return self


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


class Level(Strict):
    """A concurrency by name: a multiple of the system's knee, or a C of its own."""

    name: Name
    knee_times: KneeTimes | None = None
    """C as a multiple of the system's knee."""
    concurrency: Users | None = None
    """C itself, in place of a multiple: for a load that must not hang on a knee."""
    on_grid: bool = False
    """Where this run's E1 measures the knee, the C of E1's grid next to the multiple, so that both
    experiments measure one saturated point (claim C13)."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Level:
        if (self.knee_times is None) == (self.concurrency is None):
            raise ValueError(
                f"{self.name} needs knee_times (a multiple of the knee) or concurrency (C itself), one of "
                "them"
            )
        if self.on_grid and (self.knee_times or 0.0) <= 1:
            raise ValueError(
                f"on_grid is for loads past the knee, but {self.name} is not; take it out, or raise "
                "knee_times"
            )
        return self


class Load(Level):
    """A constant concurrency."""

    reference_only: bool = False
    """Measured once and under the reference policy alone: a point for the latency curves, which need two."""


class StagePlan(Level):
    """A span of a staged cell in which C stays the same."""

    settle_s: Seconds
    """Before measuring, model seconds from the change of C."""
    seconds: PositiveSeconds
    """Measured part, model seconds."""


class SystemName(Strict):
    """A system: a model on a topology."""

    model: Name
    topology: Name


def _each_system_once(systems: tuple[SystemName, ...]) -> tuple[SystemName, ...]:
    each_once(tuple(f"{system.model} on {system.topology}" for system in systems))
    return systems


class Tier(Strict):
    """One size of an experiment: a grid of C, or loads, or stages; each for every workload and policy."""

    concurrency: Annotated[
        tuple[Users, ...], Field(max_length=MOST_ENTRIES, json_schema_extra={"uniqueItems": True})
    ] = ()
    """The grid of C, rising: a constant cell each."""
    loads: Annotated[tuple[Load, ...], Field(max_length=MOST_ENTRIES)] = ()
    """Named loads: a constant cell each."""
    stages: Annotated[tuple[StagePlan, ...], Field(max_length=MOST_ENTRIES)] = ()
    """The stages of one cell, in order."""
    launches: Launches
    """Fresh launches of every deployment; three or more give intervals over launches."""
    workloads: Names
    timing: Timing
    systems: Annotated[
        tuple[SystemName, ...], Field(max_length=MOST_ENTRIES), AfterValidator(_each_system_once)
    ] = ()
    """Only these of the experiment's systems; empty = all."""
    routing: Routing | None = None
    """Replaces the experiment's, so that a small tier measures fewer policies."""
    repeats: Launches = 1
    """Loads only: how often the reference policy's cells are measured on each deployment. They show the noise
    that differences between policies are held against."""
    poll_s: Annotated[float, Field(strict=True, gt=0.001, le=MOST_SECONDS)] = 5.0
    """Stages only: a controller's period, model seconds (5 s is stated by the paper)."""
    baseline_polls: Annotated[int, Field(strict=True, ge=1, le=MOST_ENTRIES)] = 6
    """Stages only: polls with a P99 that make the baseline of a controller's thresholds."""
    watch: Annotated[tuple[Source, ...], AfterValidator(each_once)] = ()
    """Stages only: detectors with default settings that watch and set nothing."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """Its loads or its stages; none of a grid of C."""
        return (*self.loads, *self.stages)

    @property
    def hangs_on_knee(self) -> bool:
        """Whether a load or stage is a multiple of the knee."""
        return any(level.knee_times is not None for level in self.levels)

    @property
    def design(self) -> Design:
        """Which of the three this tier gives."""
        return "stages" if self.stages else "pareto" if self.loads else "ladder"

    @field_validator("concurrency")
    @classmethod
    def _grid(cls, grid: tuple[int, ...]) -> tuple[int, ...]:
        if list(grid) != sorted(set(grid)):
            raise ValueError("the concurrency grid must be rising, each C once")
        return grid

    @field_validator("loads", "stages")
    @classmethod
    def _named_once(cls, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        each_once(tuple(part.name for part in parts))
        return parts

    @field_validator("workloads")
    @classmethod
    def _some_workload(cls, workloads: tuple[str, ...]) -> tuple[str, ...]:
        if not workloads:
            raise ValueError("name at least one workload")
        return workloads

    @model_validator(mode="after")
    def _one_design(self) -> Tier:
        given = [key for key in ("concurrency", "loads", "stages") if getattr(self, key)]
        if not given:
            raise ValueError("nothing to measure: concurrency, loads and stages are empty; fill one of them")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; a tier has one of them")
        if self.repeats > 1 and self.design != "pareto":
            raise ValueError("repeats are of cells at loads; leave the key out")
        defaults = {
            key: type(self).model_fields[key].default for key in ("poll_s", "baseline_polls", "watch")
        }
        idle = [key for key, default in defaults.items() if getattr(self, key) != default]
        if idle and not self.stages:
            raise ValueError(f"{', '.join(idle)} need stages; leave them out of a tier of constant cells")
        return self

    @model_validator(mode="after")
    def _timing_belongs(self) -> Tier:
        timing = self.timing
        if not self.stages and timing.measure_s <= 0:
            raise ValueError("timing.measure_s must be above 0")
        if self.stages and (timing.warmup_s or timing.measure_s or timing.measure_max_s):
            raise ValueError("the stages say how long a staged cell takes; of timing give deadline_s alone")
        return self


class Experiment(Strict):
    """One experiment of the paper: which systems, under which routing, at which sizes."""

    name: Name
    id: str
    title: str
    systems: Annotated[
        tuple[SystemName, ...],
        Field(min_length=1, max_length=MOST_ENTRIES),
        AfterValidator(_each_system_once),
    ]
    routing: Routing
    """Sets of policies; each set is measured on deployments of its own."""
    reference: Name | None = None
    """The policy whose cells the latency curves of its set are fitted to; without, the set's only one, or its
    kv policy with tau 0 and omega 1."""
    knee_from: Name | None = None
    """The experiment that measures the knee which loads and stages are multiples of: a ladder (E1)."""
    c_ref: Users = 64
    """Concurrency up to which the affine latency curve is fitted: a point below the knee. Where loads hang on
    a knee, it is kept between 0.4 and 0.75 times the knee (`plan_conditions.reference_limit`)."""
    seed: Seed = 0
    attempts: Launches = 2
    """How often a cell is measured when a gate that speaks of the machine, not of the result, fails."""
    tiers: dict[Name, Tier] = Field(min_length=1, max_length=MOST_ENTRIES)

    @property
    def design(self) -> Design:
        """What it is made of, the same at every tier."""
        return next(iter(self.tiers.values())).design

    def systems_of(self, tier: str) -> tuple[SystemName, ...]:
        """The systems of a tier."""
        only = [(system.model, system.topology) for system in self.tiers[tier].systems]
        return tuple(s for s in self.systems if not only or (s.model, s.topology) in only)

    def sets(self, tier: str) -> dict[str, RoutingSet]:
        """The sets of policies of a tier."""
        return self.tiers[tier].routing or self.routing

    @model_validator(mode="after")
    def _one_design(self) -> Experiment:
        designs = dict.fromkeys(tier.design for tier in self.tiers.values())
        if len(designs) > 1:
            raise ValueError(
                f"its tiers are of several designs ({', '.join(designs)}); "
                "give each tier concurrency, or each loads, or each stages"
            )
        return self


class Study(Strict):
    """The whole configuration, with every cross-reference resolved."""

    cluster: Cluster
    models: dict[str, Model]
    topologies: dict[str, Topology]
    policies: dict[str, Policy]
    workloads: dict[str, Workload]
    experiments: dict[str, Experiment]


BLOCKS: dict[str, type[Strict]] = {
    "run": Choices,
    "cluster": Cluster,
    "model": Model,
    "topology": Topology,
    "policy": Policy,
    "workload": Workload,
    "experiment": Experiment,
}
"""One kind of configuration file each; their JSON Schemas are in workflow/schemas."""
