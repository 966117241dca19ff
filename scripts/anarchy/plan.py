"""Experiment and tier -> deployments -> cells: what will be measured, in which order, and what it costs.

Pure: the same configuration gives the same plan, cell seeds and order included.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from anarchy import predict
from anarchy.config import (
    ALL,
    EngineName,
    Experiment,
    Model,
    Policy,
    Run,
    Strict,
    Study,
    Tier,
    Timing,
    Topology,
    Workload,
    reference_of,
)
from anarchy.errors import UserError
from anarchy.plan_conditions import Condition, Stage, cell_name, condition_facts, conditions, timing_of
from anarchy.predict import CellCost
from anarchy.routing.frontends import frontends
from anarchy.serving.profiles import Profile

__all__ = ["SIMULATED", "Cell", "DeploymentPlan", "Stack", "Stage", "cell_name", "derive_seed", "plan"]

SIMULATED = "mocker"
"""The engine that follows a timing table."""
_FOR_PEOPLE = {"title"}
"""Keys that decide nothing: a better title must not cost a measurement."""
_OF_SIMULATION = {"profile", "kv_bytes_per_token", "dilation"}
"""Keys of a model that decide nothing for a real engine."""
_UNLESS_SET = {"way": "builtin", "skew": 0.0, "controller": None, "batch_s": None, "tau": None, "omega": None}
"""Keys that decide nothing at these values; cells sealed before there were such keys stay what they are."""
_NOT_THERE = object()


@dataclass(frozen=True)
class Cell:
    """One policy under one workload at one C, or through stages: the unit that is sealed and resumed."""

    name: str
    policy: Policy
    workload: Workload
    concurrency: int
    """Of a staged cell the largest."""
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
class DeploymentPlan:
    """One fresh launch of the serving stack and its cells, in the order of measuring; its workers stay up."""

    experiment: Experiment
    tier: str
    engine: EngineName
    model: Model
    topology: Topology
    routing: str
    """Name of the set of policies."""
    policies: tuple[Policy, ...]
    trial: int
    cells: tuple[Cell, ...]
    start_s: float = predict.START_S
    """Predicted wall seconds to start, prove and stop."""

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

    @cached_property
    def wall_s(self) -> float:
        """Predicted wall seconds: start and self-test, every cell, stop."""
        return self.start_s + sum(cell.cost.wall_s for cell in self.cells)

    @property
    def plan_hash(self) -> str:
        """Hash over all cells in any order; the parameter that tells Snakemake to measure again."""
        return _digest(sorted(cell.plan_hash for cell in self.cells))


@dataclass(frozen=True)
class Stack:
    """What serves, beside the study: another one makes other cells."""

    version: str = ""
    """Version of the serving stack."""
    device: str = ""
    """Real engines only: what they compute on."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Real engines only: model -> its weights, as the site names them."""


def plan(
    study: Study,
    run: Run,
    profiles: Mapping[str, Profile],
    stack: Stack | None = None,
    starts: Mapping[str, float] = MappingProxyType({}),
) -> tuple[DeploymentPlan, ...]:
    """Every deployment of a run, ordered as configured.

    A real engine keeps its own time: the dilation of its models is 1 here. ``starts``: model -> wall seconds
    that a start of it has taken before; without, a default of the engine's.
    Raises UserError for a model, experiment or tier that does not exist or an empty selection.
    """
    selected = _selected(study, run)
    sets = sorted({name for experiment in selected for name in experiment.sets(run.tier)})
    _known("models", "model", run.models, study.models)
    _known("topologies", "topology", run.topologies, study.topologies)
    _known("sets", "set of policies", run.sets, sets)
    deployments: list[DeploymentPlan] = []
    for experiment in selected:
        deployments += _plan_experiment(study, experiment, run, profiles, stack or Stack(), starts)
    if not deployments:
        raise UserError(
            "this selection holds no deployment",
            where="--config",
            remedy="asked for: "
            + "; ".join(
                f"{key}: {', '.join(names) or nothing}"
                for key, names, nothing in (
                    ("experiments", run.experiments, "none"),
                    ("models", run.models, "all"),
                    ("topologies", run.topologies, "all"),
                    ("sets", run.sets, "all"),
                )
            )
            + "; choose what one of the experiments has together",
        )
    return tuple(deployments)


def _known(key: str, what: str, named: Sequence[str], known: Collection[str]) -> None:
    """Refuse a selection of something that does not exist."""
    for name in named:
        if name not in known:
            raise UserError(
                f"key {key!r}: there is no {what} {name!r}",
                where="--config",
                remedy=f"known {key}: {', '.join(sorted(known))}",
            )


def _selected(study: Study, run: Run) -> list[Experiment]:
    """The experiments that a run names; of `all`, those that have its tier, in the order of their ids."""
    known = study.experiments
    if ALL in run.experiments:
        having = [one for one in known.values() if run.tier in one.tiers]
        if not having:
            tiers = dict.fromkeys(tier for one in known.values() for tier in one.tiers)
            raise UserError(
                f"key 'tier': no experiment has a tier {run.tier!r}",
                where="--config",
                remedy=f"known tiers: {', '.join(tiers)}",
            )
        return sorted(having, key=lambda one: one.id)
    for name in run.experiments:
        if name not in known:
            raise UserError(
                f"key 'experiments': there is no experiment {name!r}",
                where="--config",
                remedy=f"known experiments: {', '.join(sorted(known))}; {ALL}: each that has the tier",
            )
        if run.tier not in known[name].tiers:
            raise UserError(
                f"key 'tier': experiment {name} has no tier {run.tier!r}",
                where="--config",
                remedy=f"known tiers: {', '.join(known[name].tiers)}",
            )
    return [known[name] for name in run.experiments]


def _plan_experiment(
    study: Study,
    experiment: Experiment,
    run: Run,
    profiles: Mapping[str, Profile],
    stack: Stack,
    starts: Mapping[str, float],
) -> list[DeploymentPlan]:
    seed = experiment.seed if run.seed is None else run.seed
    deployments = []
    for system in experiment.systems_of(run.tier):
        if (run.models and system.model not in run.models) or (
            run.topologies and system.topology not in run.topologies
        ):
            continue
        for routing, policy_set in experiment.sets(run.tier).items():
            if run.sets and routing not in run.sets:
                continue
            policies = policy_set.resolve(study.policies)
            pinned = any(policy.way == "pinned" for policy in policies)
            base = DeploymentPlan(
                experiment,
                run.tier,
                run.engine,
                _as_served(study.models[system.model], run.engine),
                study.topologies[system.topology],
                routing,
                policies,
                trial=1,
                cells=(),
                start_s=starts[system.model]
                if system.model in starts
                else predict.start_s(run.engine)
                + predict.routing_start_s(len(frontends(policies)), pinned=pinned),
            )
            for trial in range(1, experiment.tiers[run.tier].launches + 1):
                launch = replace(base, trial=trial)
                deployments.append(_with_cells(launch, study, system.knee, seed, profiles, stack))
    return deployments


def _with_cells(
    base: DeploymentPlan,
    study: Study,
    knee: int | None,
    seed: int,
    profiles: Mapping[str, Profile],
    stack: Stack,
) -> DeploymentPlan:
    """Give a deployment its cells: every workload in every condition, in a seeded, shuffled order."""
    profile = profiles.get(base.model.profile)
    if profile is None:
        raise UserError(
            f"key 'profile': there is no timing table {base.model.profile!r}",
            where=f"model {base.model.name}",
            remedy=f"known timing tables: {', '.join(sorted(profiles)) or 'none'}; see data/README.md",
        )
    identity = (seed, base.experiment.name, base.tier, *base.key[1:])
    cells = [
        _plan_cell(base, study.workloads[workload], condition, identity, profile, stack)
        for workload in base.settings.workloads
        for condition in conditions(base.settings, base.policies, base.reference, knee)
    ]
    random.Random(derive_seed(*identity, "order")).shuffle(cells)
    return replace(base, cells=tuple(cells))


def _plan_cell(
    base: DeploymentPlan,
    workload: Workload,
    condition: Condition,
    identity: tuple[object, ...],
    profile: Profile,
    stack: Stack,
) -> Cell:
    policy, stages = condition.policy, condition.stages
    timing = timing_of(base.settings.timing, stages)
    name = cell_name(
        workload.name,
        condition.concurrency,
        policy=policy.name if len(base.policies) > 1 else "",
        staged=bool(stages),
        repeat=condition.repeat,
    )
    blocks: dict[str, Strict] = {
        "model": base.model,
        "topology": base.topology,
        "policy": policy,
        "workload": workload,
    }
    ignored = _FOR_PEOPLE | (set() if base.engine == SIMULATED else _OF_SIMULATION)
    decides = {
        "engine": base.engine,
        "stack": stack.version,
        **_engine_facts(base, profile, stack),
        **{key: what_decides(block, ignored) for key, block in blocks.items()},
        "timing": timing.model_dump(mode="json"),
        "concurrency": condition.concurrency,
        "identity": list(identity),
        **condition_facts(base.settings, condition),
    }
    costs = (base.model, base.topology, workload)
    return Cell(
        name=name,
        policy=policy,
        workload=workload,
        concurrency=condition.concurrency,
        timing=timing,
        seed=derive_seed(*identity, name),
        plan_hash=_digest(decides),
        cost=predict.staged_cost(*costs, [(s.concurrency, s.settle_s + s.seconds) for s in stages], profile)
        if stages
        else predict.cell_cost(*costs, timing, condition.concurrency, profile),
        load=condition.load,
        stages=stages,
        repeat=condition.repeat,
    )


def what_decides(block: Strict, ignored: set[str]) -> dict[str, object]:
    """Keys and values of a block that a measurement depends on."""
    values = block.model_dump(mode="json", exclude=ignored)
    return {key: value for key, value in values.items() if _UNLESS_SET.get(key, _NOT_THERE) != value}


def _as_served(model: Model, engine: str) -> Model:
    """The model as an engine serves it: only simulated engines can slow time down."""
    return model if engine == SIMULATED else model.model_copy(update={"dilation": 1.0})


def _engine_facts(base: DeploymentPlan, profile: Profile, stack: Stack) -> dict[str, str]:
    """What decides a measurement by this engine: its timing table, or its device and weights."""
    if base.engine == SIMULATED:
        return {"profile": profile.digest}
    return {"device": stack.device, "weights": stack.weights.get(base.model.name, "")}


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else."""
    return int(_digest([str(part) for part in parts])[:16], 16) >> 1


def _digest(document: object) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
