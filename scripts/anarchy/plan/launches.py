"""A launch of the serving stack and its cells: as planned, and bound to the knee that its loads hang on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from anarchy.config import (
    Condition,
    EngineName,
    Experiment,
    Limits,
    Model,
    Policy,
    Tier,
    Timing,
    Topology,
    Workload,
    reference_of,
)
from anarchy.config.loads import NO_KNEE, Knee, Stage, reference_limit
from anarchy.engines.dynamo import USUAL
from anarchy.plan.predict import CellCost


@dataclass(frozen=True)
class Cell:
    """One policy under one workload at one C, or through stages: the unit that is sealed and resumed."""

    name: str
    policy: Policy
    workload: Workload
    concurrency: int
    """Of a staged cell the largest; 0 where it hangs on a knee and none was found: nothing is measured."""
    timing: Timing
    """Of a staged cell: `measure_s` is that of its stages together."""
    seed: int
    plan_hash: str
    """Everything that decides the measurement; a sealed trace with another hash is not this cell."""
    cost: CellCost
    load: str = ""
    """Name of the load, where C is a multiple of the knee."""
    stages: tuple[Stage, ...] = ()
    """Empty for a constant cell."""
    repeat: int = 1
    """Which of several measurements of the same."""


@dataclass(frozen=True)
class UnboundCell:
    """A cell before the knee is known: one condition under one workload."""

    workload: Workload
    condition: Condition


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One fresh launch of the serving stack: what it serves and under which policies, whatever its loads."""

    experiment: Experiment
    tier: str
    engine: EngineName
    model: Model
    topology: Topology
    routing: str
    """Name of the set of policies."""
    policies: tuple[Policy, ...]
    trial: int
    seed: int
    """What every seed of it derives from."""
    stack: Stack
    start_s: float
    """Predicted wall seconds to start, prove and stop."""
    assume_kv_reuse: bool | None = None
    """Whether routers count shared blocks once; None is what the stack does by itself."""

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """The wildcards: experiment, model, topology, routing, trial."""
        return self.experiment.name, self.model.name, self.topology.name, self.routing, self.trial

    @property
    def title(self) -> str:
        """For people: model, topology, routing, launch."""
        return f"{self.model.name}/{self.topology.name}/{self.routing}/{self.trial}"

    @property
    def settings(self) -> Tier:
        """The tier's settings."""
        return self.experiment.tiers[self.tier]

    @property
    def limits(self) -> Limits:
        """Of its workers: its set's, else the tier's."""
        return self.experiment.sets(self.tier)[self.routing].limits or self.settings.limits

    @property
    def reference(self) -> Policy:
        """The policy whose cells the latency curves are fitted to."""
        found = reference_of(self.policies, self.experiment.reference)
        assert found is not None, "config_files refuses a set without one"
        return found

    @property
    def pool(self) -> int:
        """m, the number of workers of the decode pool, which the routing game is about."""
        return self.topology.decode

    @property
    def gpus(self) -> int:
        """GPUs that the workers of this deployment take."""
        return (self.topology.prefill + self.topology.decode) * self.model.tensor_parallel

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes its seeds its own."""
        return self.seed, self.experiment.name, self.settings.identity or self.tier, *self.key[1:]


@dataclass(frozen=True, kw_only=True)
class UnboundDeployment(Launch):
    """A launch whose loads may be multiples of a knee that is not known yet."""

    cells: tuple[UnboundCell, ...]
    """In the order of measuring."""

    @property
    def hangs_on_knee(self) -> bool:
        """Whether its cells are known only with the knee."""
        return self.settings.hangs_on_knee


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan(Launch):
    """One fresh launch of the serving stack and its cells, in the order of measuring; its workers stay up."""

    cells: tuple[Cell, ...]
    knee: Knee = NO_KNEE

    @cached_property
    def wall_s(self) -> float:
        """Predicted wall seconds: start and self-test, every cell, stop."""
        return self.start_s + sum(cell.cost.wall_s for cell in self.cells)

    @property
    def plan_hash(self) -> str:
        """Hash over all cells in any order; the parameter that tells Snakemake to measure again."""
        return digest(sorted(cell.plan_hash for cell in self.cells))

    @property
    def c_ref(self) -> int:
        """C up to which the affine latency curve is fitted."""
        return reference_limit(self.experiment.c_ref, self.knee.value)

    @property
    def measurable(self) -> tuple[Cell, ...]:
        """Cells that have a C: all of them, unless they hang on a knee that was not found."""
        return tuple(cell for cell in self.cells if cell.concurrency)


@dataclass(frozen=True)
class Stack:
    """What serves, beside the study: another one makes other cells."""

    version: str = ""
    """Version of the serving stack."""
    device: str = ""
    """Real engines only: what they compute on."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Real engines only: model -> its weights, as the site names them."""
    dynamo: str = USUAL
    """The version of Dynamo that a run asks for by the word `stack`."""


Stacks = Callable[[str, str], Stack]
"""What serves for an engine, by its name and the version of Dynamo."""


def no_stack(_: str, dynamo: str) -> Stack:
    """Nothing known of what serves: for plans alone."""
    return Stack(dynamo=dynamo)


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else."""
    return int(digest([str(part) for part in parts])[:16], 16) >> 1


def digest(document: object) -> str:
    """SHA-256 of plain values, whatever the order of their keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
