"""Experiment and tier -> deployments -> cells: what will be measured, in which order, and what it costs.

Pure: the same configuration gives the same plan, cell seeds and order included. Loads may hang on a knee that
nobody knows yet, so a deployment is planned unbound and bound to its knee when that is known (`bind`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from anarchy import predict
from anarchy.config import (
    ALL,
    KNEE_WORKLOAD,
    Choices,
    EngineName,
    Experiment,
    Model,
    Policy,
    Study,
    Tier,
    Timing,
    Topology,
    Workload,
    reference_of,
)
from anarchy.errors import UserError
from anarchy.hashed import Stage, hashed
from anarchy.plan_conditions import (
    NO_KNEE,
    Condition,
    Knee,
    cell_name,
    condition_facts,
    conditions,
    reference_limit,
    stages_at,
    timing_of,
)
from anarchy.predict import CellCost
from anarchy.routing.frontends import frontends
from anarchy.serving.profiles import Profile

__all__ = [
    "SIMULATED",
    "Cell",
    "DeploymentPlan",
    "Knee",
    "Stack",
    "Stage",
    "UnboundCell",
    "UnboundDeployment",
    "bind",
    "cell_name",
    "derive_seed",
    "plan",
]

SIMULATED = "mocker"
"""The engine that follows a timing table."""
_OF_SIMULATION = frozenset({"profile", "kv_bytes_per_token", "dilation"})
"""Keys of a model that decide nothing for a real engine."""


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

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes its seeds its own."""
        return self.seed, self.experiment.name, self.tier, *self.key[1:]


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
        return _digest(sorted(cell.plan_hash for cell in self.cells))

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


def plan(
    study: Study,
    choices: Choices,
    profiles: Mapping[str, Profile],
    stack: Stack | None = None,
    starts: Mapping[str, float] = MappingProxyType({}),
) -> tuple[UnboundDeployment, ...]:
    """Every deployment that a user asks for, ordered as configured.

    A real engine keeps its own time: the dilation of its models is 1 here. ``starts``: model -> wall seconds
    that a start of it has taken before; without, a default of the engine's.
    Raises UserError for a model, experiment or tier that does not exist or an empty selection.
    """
    selected = _selected(study, choices)
    sets = sorted({name for experiment in selected for name in experiment.sets(choices.tier)})
    _known("models", "model", choices.models, study.models)
    _known("topologies", "topology", choices.topologies, study.topologies)
    _known("sets", "set of policies", choices.sets, sets)
    deployments: list[UnboundDeployment] = []
    for experiment in selected:
        deployments += _plan_experiment(study, experiment, choices, profiles, stack or Stack(), starts)
    if not deployments:
        raise UserError(
            "this selection holds no deployment",
            where="--config",
            remedy="asked for: "
            + "; ".join(
                f"{key}: {', '.join(names) or nothing}"
                for key, names, nothing in (
                    ("experiments", choices.experiments, "none"),
                    ("models", choices.models, "all"),
                    ("topologies", choices.topologies, "all"),
                    ("sets", choices.sets, "all"),
                )
            )
            + "; choose what one of the experiments has together",
        )
    return tuple(deployments)


def measuring_knees(
    study: Study,
    choices: Choices,
    deployments: Sequence[UnboundDeployment],
    profiles: Mapping[str, Profile],
    stack: Stack | None = None,
    starts: Mapping[str, float] = MappingProxyType({}),
) -> tuple[UnboundDeployment, ...]:
    """The deployments of E1 that ``deployments`` hang on and do not hold.

    Raises UserError where such an experiment does not have the tier or cannot tell a knee there.
    """
    held = {deployment.key[:3] for deployment in deployments}
    found: list[UnboundDeployment] = []
    for deployment in deployments:
        name = deployment.experiment.knee_from
        if not deployment.hangs_on_knee or name is None:
            continue
        source = study.experiments[name]
        check_tells_knee(source, choices.tier, deployment)
        system = (name, *deployment.key[1:3])
        if system not in held:
            held.add(system)
            alone = choices.model_copy(
                update={"models": (system[1],), "topologies": (system[2],), "sets": ()}
            )
            found += _plan_experiment(study, source, alone, profiles, stack or Stack(), starts)
    return tuple(found)


def check_tells_knee(source: Experiment, tier: str, deployment: Launch) -> None:
    """Refuse a tier at which no knee can come from E1: it has none, not this system, or too few C."""
    from anarchy.stats.knee import C_MIN, MIN_POINTS  # slow to load, and every call of Snakemake plans

    why = ""
    if tier not in source.tiers:
        why = f"experiment {source.name} has no tier {tier!r}"
    elif not any((s.model, s.topology) == deployment.key[1:3] for s in source.systems_of(tier)):
        why = f"tier {tier!r} of {source.name} does not measure {'/'.join(deployment.key[1:3])}"
    elif KNEE_WORKLOAD not in source.tiers[tier].workloads:
        why = f"tier {tier!r} of {source.name} does not measure workload {KNEE_WORKLOAD}"
    elif (usable := sum(C >= C_MIN for C in source.tiers[tier].concurrency)) < MIN_POINTS:
        why = f"tier {tier!r} of {source.name} has {usable} C of {C_MIN} and more, a knee takes {MIN_POINTS}"
    if why:
        raise UserError(
            f"loads of {deployment.experiment.name} are multiples of a knee that nothing measures: {why}",
            where=f"experiment {deployment.experiment.name}",
            remedy="take a recorded knee (knees=recorded), another tier, or let that tier measure it",
        )


def _known(key: str, what: str, named: Sequence[str], known: Collection[str]) -> None:
    """Refuse a selection of something that does not exist."""
    for name in named:
        if name not in known:
            raise UserError(
                f"key {key!r}: there is no {what} {name!r}",
                where="--config",
                remedy=f"known {key}: {', '.join(sorted(known))}",
            )


def _selected(study: Study, choices: Choices) -> list[Experiment]:
    """The experiments that a run names; of `all`, those that have its tier, in the order of their ids."""
    known = study.experiments
    if ALL in choices.experiments:
        having = [one for one in known.values() if choices.tier in one.tiers]
        if not having:
            tiers = dict.fromkeys(tier for one in known.values() for tier in one.tiers)
            raise UserError(
                f"key 'tier': no experiment has a tier {choices.tier!r}",
                where="--config",
                remedy=f"known tiers: {', '.join(tiers)}",
            )
        return sorted(having, key=lambda one: one.id)
    for name in choices.experiments:
        if name not in known:
            raise UserError(
                f"key 'experiments': there is no experiment {name!r}",
                where="--config",
                remedy=f"known experiments: {', '.join(sorted(known))}; {ALL}: each that has the tier",
            )
        if choices.tier not in known[name].tiers:
            raise UserError(
                f"key 'tier': experiment {name} has no tier {choices.tier!r}",
                where="--config",
                remedy=f"known tiers: {', '.join(known[name].tiers)}",
            )
    return [known[name] for name in choices.experiments]


def _plan_experiment(
    study: Study,
    experiment: Experiment,
    choices: Choices,
    profiles: Mapping[str, Profile],
    stack: Stack,
    starts: Mapping[str, float],
) -> list[UnboundDeployment]:
    deployments = []
    for system in experiment.systems_of(choices.tier):
        if (choices.models and system.model not in choices.models) or (
            choices.topologies and system.topology not in choices.topologies
        ):
            continue
        model = study.models[system.model]
        if model.profile not in profiles:
            raise UserError(
                f"key 'profile': there is no timing table {model.profile!r}",
                where=f"model {model.name}",
                remedy=f"known timing tables: {', '.join(sorted(profiles)) or 'none'}; see data/README.md",
            )
        for routing, policy_set in experiment.sets(choices.tier).items():
            if choices.sets and routing not in choices.sets:
                continue
            policies = policy_set.resolve(study.policies)
            pinned = any(policy.way == "pinned" for policy in policies)
            base = UnboundDeployment(
                experiment=experiment,
                tier=choices.tier,
                engine=choices.engine,
                model=_as_served(model, choices.engine),
                topology=study.topologies[system.topology],
                routing=routing,
                policies=policies,
                trial=1,
                seed=experiment.seed if choices.seed is None else choices.seed,
                stack=stack,
                cells=(),
                start_s=starts[system.model]
                if system.model in starts
                else predict.start_s(choices.engine)
                + predict.routing_start_s(len(frontends(policies)), pinned=pinned),
            )
            launches = range(1, experiment.tiers[choices.tier].launches + 1)
            deployments += [_with_cells(replace(base, trial=trial), study) for trial in launches]
    return deployments


def _with_cells(base: UnboundDeployment, study: Study) -> UnboundDeployment:
    """Give a deployment its cells: every workload in every condition, in a seeded, shuffled order."""
    cells = [
        UnboundCell(study.workloads[workload], condition)
        for workload in base.settings.workloads
        for condition in conditions(base.settings, base.policies, base.reference)
    ]
    random.Random(derive_seed(*base.identity, "order")).shuffle(cells)
    return replace(base, cells=tuple(cells))


def bind(deployment: UnboundDeployment, knee: Knee, profile: Profile) -> DeploymentPlan:
    """The plan of a deployment whose knee is known: every C, cell name, seed, hash and cost."""
    launch: dict[str, Any] = {name: getattr(deployment, name) for name in Launch.__dataclass_fields__}
    base = DeploymentPlan(**launch, cells=(), knee=knee if deployment.hangs_on_knee else NO_KNEE)
    return replace(base, cells=tuple(_bind_cell(base, cell, profile) for cell in deployment.cells))


def wall_s(deployment: UnboundDeployment, knee: Knee, profile: Profile) -> float:
    """Predicted wall seconds of a deployment at a knee, without the hashes of its cells."""
    costs = (_cost(deployment, cell, *_levels(cell.condition, knee), profile) for cell in deployment.cells)
    return deployment.start_s + sum(cost.wall_s for cost in costs)


def _levels(condition: Condition, knee: Knee) -> tuple[int, tuple[Stage, ...]]:
    """C of a condition, the largest of its stages, and the stages."""
    stages = stages_at(condition.stages, knee)
    if stages:
        return max(stage.concurrency for stage in stages) if all(s.concurrency for s in stages) else 0, stages
    if condition.load is not None:
        return knee.concurrency(condition.load), ()
    assert condition.concurrency is not None, "a condition is a C, a load or stages"
    return condition.concurrency, ()


def _cost(
    base: Launch, cell: UnboundCell, concurrency: int, stages: Sequence[Stage], profile: Profile
) -> CellCost:
    if not concurrency:
        return CellCost(0.0, 0, 0.0, 0.0)
    costs = (base.model, base.topology, cell.workload)
    if stages:
        spans = [(stage.concurrency, stage.settle_s + stage.seconds) for stage in stages]
        return predict.staged_cost(*costs, spans, profile)
    return predict.cell_cost(*costs, base.settings.timing, concurrency, profile)


def _bind_cell(base: DeploymentPlan, cell: UnboundCell, profile: Profile) -> Cell:
    condition, workload = cell.condition, cell.workload
    concurrency, stages = _levels(condition, base.knee)
    timing = timing_of(base.settings.timing, stages)
    load = condition.load.name if condition.load else ""
    name = cell_name(
        workload.name,
        concurrency,
        policy=condition.policy.name if len(base.policies) > 1 else "",
        staged=bool(stages),
        repeat=condition.repeat,
        load=load,
    )
    ignored = frozenset() if base.engine == SIMULATED else _OF_SIMULATION
    decides = {
        "engine": base.engine,
        "stack": base.stack.version,
        **_engine_facts(base, profile),
        "model": hashed(base.model, ignored),
        "topology": hashed(base.topology),
        "policy": hashed(condition.policy),
        "workload": hashed(workload),
        "timing": hashed(timing),
        "concurrency": concurrency,
        "identity": list(base.identity),
        **condition_facts(base.settings, condition, stages),
    }
    return Cell(
        name=name,
        policy=condition.policy,
        workload=workload,
        concurrency=concurrency,
        timing=timing,
        seed=derive_seed(*base.identity, name),
        plan_hash=_digest(decides),
        cost=_cost(base, cell, concurrency, stages, profile),
        load=load,
        stages=stages,
        repeat=condition.repeat,
    )


def _as_served(model: Model, engine: str) -> Model:
    """The model as an engine serves it: only simulated engines can slow time down."""
    return model if engine == SIMULATED else model.model_copy(update={"dilation": 1.0})


def _engine_facts(base: Launch, profile: Profile) -> dict[str, str]:
    """What decides a measurement by this engine: its timing table, or its device and weights."""
    if base.engine == SIMULATED:
        return {"profile": profile.digest}
    return {"device": base.stack.device, "weights": base.stack.weights.get(base.model.name, "")}


def served(base: Launch, profile: Profile) -> str:
    """What decides how fast a deployment serves, as one word: its timing table, or its device and weights."""
    return " ".join(filter(None, _engine_facts(base, profile).values()))


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else."""
    return int(_digest([str(part) for part in parts])[:16], 16) >> 1


def _digest(document: object) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
