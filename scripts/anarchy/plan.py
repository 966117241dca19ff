"""Experiment and tier -> deployments -> cells: what will be measured, in which order, and what it costs.

Pure: the same configuration gives the same plan, cell seeds and order included.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from anarchy import predict
from anarchy.config import EngineName, Experiment, Model, Policy, Run, Study, Timing, Topology, Workload
from anarchy.errors import UserError
from anarchy.predict import CellCost
from anarchy.serving.profiles import Profile

SIMULATED = "mocker"
"""The engine that follows a timing table."""
_FOR_PEOPLE = {"title"}
"""Keys that decide nothing: a better title must not cost a measurement."""
_OF_SIMULATION = {"profile", "kv_bytes_per_token", "dilation"}
"""Keys of a model that decide nothing for a real engine."""


@dataclass(frozen=True)
class Cell:
    """One concurrency of one workload on one deployment: the unit that is sealed and resumed."""

    name: str
    workload: Workload
    concurrency: int
    timing: Timing
    seed: int
    plan_hash: str
    """Everything that decides the measurement; a sealed trace with another hash is not this cell."""
    cost: CellCost


@dataclass(frozen=True)
class DeploymentPlan:
    """One fresh launch of the serving stack and its ladder of cells, in the order of measuring."""

    experiment: Experiment
    tier: str
    engine: EngineName
    model: Model
    topology: Topology
    policy: Policy
    trial: int
    cells: tuple[Cell, ...]
    start_s: float = predict.START_S
    """Predicted wall seconds to start, prove and stop."""

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """The wildcards: experiment, model, topology, routing, trial."""
        return self.experiment.name, self.model.name, self.topology.name, self.policy.name, self.trial

    @property
    def title(self) -> str:
        """For people: model, topology, routing, launch."""
        return f"{self.model.name}/{self.topology.name}/{self.policy.name}/{self.trial}"

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
    for name in run.models:
        if name not in study.models:
            raise UserError(
                f"key 'models': there is no model {name!r}",
                where="--config",
                remedy=f"known models: {', '.join(sorted(study.models))}",
            )
    deployments: list[DeploymentPlan] = []
    for name in run.experiments:
        if name not in study.experiments:
            raise UserError(
                f"key 'experiments': there is no experiment {name!r}",
                where="--config",
                remedy=f"known experiments: {', '.join(sorted(study.experiments))}",
            )
        deployments += _plan_experiment(
            study, study.experiments[name], run, profiles, stack or Stack(), starts
        )
    if not deployments:
        raise UserError(
            "this selection holds no deployment",
            where="--config",
            remedy=f"experiments named: {', '.join(run.experiments) or 'none'}; "
            f"models asked for: {', '.join(run.models) or 'all'}; choose a model that one of them uses",
        )
    return tuple(deployments)


def _plan_experiment(
    study: Study,
    experiment: Experiment,
    run: Run,
    profiles: Mapping[str, Profile],
    stack: Stack,
    starts: Mapping[str, float],
) -> list[DeploymentPlan]:
    if run.tier not in experiment.tiers:
        raise UserError(
            f"key 'tier': experiment {experiment.name} has no tier {run.tier!r}",
            where="--config",
            remedy=f"known tiers: {', '.join(experiment.tiers)}",
        )
    tier = experiment.tiers[run.tier]
    bases = [
        DeploymentPlan(
            experiment,
            run.tier,
            run.engine,
            _as_served(study.models[system.model], run.engine),
            study.topologies[system.topology],
            study.policies[routing],
            trial,
            cells=(),
            start_s=starts.get(system.model, predict.start_s(run.engine)),
        )
        for system in experiment.systems
        if not run.models or system.model in run.models
        for routing in experiment.routing
        for trial in range(1, tier.launches + 1)
    ]
    seed = experiment.seed if run.seed is None else run.seed
    return [_with_cells(base, study, seed, profiles, stack) for base in bases]


def _with_cells(
    base: DeploymentPlan, study: Study, seed: int, profiles: Mapping[str, Profile], stack: Stack
) -> DeploymentPlan:
    """Give a deployment its ladder: every workload at every C of its tier, in a seeded, shuffled order."""
    profile = profiles.get(base.model.profile)
    if profile is None:
        raise UserError(
            f"key 'profile': there is no timing table {base.model.profile!r}",
            where=f"model {base.model.name}",
            remedy=f"known timing tables: {', '.join(sorted(profiles)) or 'none'}; see data/README.md",
        )
    tier = base.experiment.tiers[base.tier]
    identity = (seed, base.experiment.name, base.tier, *base.key[1:])
    cells = [
        _plan_cell(base, study.workloads[workload], concurrency, identity, profile, stack)
        for workload in tier.workloads
        for concurrency in tier.concurrency
    ]
    random.Random(derive_seed(*identity, "order")).shuffle(cells)
    return replace(base, cells=tuple(cells))


def _plan_cell(
    base: DeploymentPlan,
    workload: Workload,
    concurrency: int,
    identity: tuple[object, ...],
    profile: Profile,
    stack: Stack,
) -> Cell:
    timing = base.experiment.tiers[base.tier].timing
    name = cell_name(workload.name, concurrency)
    blocks = {"model": base.model, "topology": base.topology, "policy": base.policy, "workload": workload}
    ignored = _FOR_PEOPLE | (set() if base.engine == SIMULATED else _OF_SIMULATION)
    decides = {
        "engine": base.engine,
        "stack": stack.version,
        **_engine_facts(base, profile, stack),
        **{key: block.model_dump(mode="json", exclude=ignored) for key, block in blocks.items()},
        "timing": timing.model_dump(mode="json"),
        "concurrency": concurrency,
        "identity": list(identity),
    }
    return Cell(
        name=name,
        workload=workload,
        concurrency=concurrency,
        timing=timing,
        seed=derive_seed(*identity, name),
        plan_hash=_digest(decides),
        cost=predict.cell_cost(base.model, base.topology, workload, timing, concurrency, profile),
    )


def _as_served(model: Model, engine: str) -> Model:
    """The model as an engine serves it: only simulated engines can slow time down."""
    return model if engine == SIMULATED else model.model_copy(update={"dilation": 1.0})


def _engine_facts(base: DeploymentPlan, profile: Profile, stack: Stack) -> dict[str, str]:
    """What decides a measurement by this engine: its timing table, or its device and weights."""
    if base.engine == SIMULATED:
        return {"profile": profile.digest}
    return {"device": stack.device, "weights": stack.weights.get(base.model.name, "")}


def cell_name(workload: str, concurrency: int) -> str:
    """Name of a cell within its deployment, sortable: ``unique-c0128``."""
    return f"{workload}-c{concurrency:04d}"


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else."""
    return int(_digest([str(part) for part in parts])[:16], 16) >> 1


def _digest(document: object) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
