"""Experiment and tier -> deployments: what will be measured, and in which order.

Pure: the same configuration gives the same plan, cell seeds and order included. Loads may hang on a knee that
nobody knows yet, so a deployment is planned unbound and bound to its knee when that is known (`binding`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from anarchy.config import (
    ALL,
    AS_PLANNED,
    KNEE_WORKLOAD,
    Choices,
    Experiment,
    KvPolicy,
    Limits,
    MeasuredSystem,
    Model,
    Policy,
    RoutingSet,
    Study,
)
from anarchy.config.checks import KNEE_POINTS
from anarchy.config.loads import LOWEST_KNEE
from anarchy.engines.profiles import Profile
from anarchy.engines.registry import engine_names, engine_of
from anarchy.ground.errors import UserError
from anarchy.plan import predict
from anarchy.plan.launches import Launch, Stacks, UnboundCell, UnboundDeployment, derive_seed, no_stack
from anarchy.plan.stacks import reuse_of, stack_of
from anarchy.routing.frontends import frontends

Starts = Callable[[str, str], Mapping[str, float]]
"""By an engine's name and a version of Dynamo: model -> wall seconds that a start has taken before."""


WEIGHT: Final = "decode_active_request_weight"


def no_starts(_: str, __: str) -> Mapping[str, float]:
    """Nothing has been started before."""
    return MappingProxyType({})


def plan(
    study: Study,
    choices: Choices,
    profiles: Mapping[str, Profile],
    stacks: Stacks = no_stack,
    starts: Starts = no_starts,
) -> tuple[UnboundDeployment, ...]:
    """Every deployment that a user asks for, ordered as configured.

    A real engine keeps its own time: the dilation of its models is 1 here. Without a start that was recorded
    it takes the engine's default. Raises UserError for a model, experiment or tier that does not exist, an
    empty selection, and for what its engine cannot run.
    """
    selected = _selected(study, choices)
    sets = sorted({name for experiment in selected for name in experiment.sets(choices.tier)})
    _known("models", "model", choices.models, study.models)
    _known("topologies", "topology", choices.topologies, study.topologies)
    _known("sets", "set of policies", choices.sets, sets)
    deployments: list[UnboundDeployment] = []
    for experiment in selected:
        deployments += _plan_experiment(study, experiment, choices, profiles, stacks, starts)
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


def engines_of(study: Study, choices: Choices) -> frozenset[str]:
    """Every engine that a run is measured with, those that tell its knees among them; errors as `plan`.

    Known before any site file is read, so that one is read only where an engine needs it.
    """
    asked = _selected(study, choices)
    measuring = choices.knees == "measured"
    hanging = [one for one in asked if measuring and one.tiers[choices.tier].hangs_on_knee]
    sources = [study.experiments[one.knee_from] for one in hanging if one.knee_from]
    every_set = choices.model_copy(update={"sets": ()})
    return frozenset(
        _engine_name(one, policy_set, chosen)
        for chosen, experiments in ((choices, asked), (every_set, sources))
        for one in experiments
        if choices.tier in one.tiers and _systems(one, choices)
        for policy_set in _sets(one, chosen).values()
    )


def measuring_knees(
    study: Study,
    choices: Choices,
    deployments: Sequence[UnboundDeployment],
    profiles: Mapping[str, Profile],
    stacks: Stacks = no_stack,
    starts: Starts = no_starts,
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
            found += _plan_experiment(study, source, alone, profiles, stacks, starts)
    return tuple(found)


def check_tells_knee(source: Experiment, tier: str, deployment: Launch) -> None:
    """Refuse a tier at which no knee can come from E1: it has none, not this system, or too few C."""
    why = ""
    if tier not in source.tiers:
        why = f"experiment {source.name} has no tier {tier!r}"
    elif not any((s.model, s.topology) == deployment.key[1:3] for s in source.systems_of(tier)):
        why = f"tier {tier!r} of {source.name} does not measure {'/'.join(deployment.key[1:3])}"
    elif KNEE_WORKLOAD not in source.tiers[tier].workload_names:
        why = f"tier {tier!r} of {source.name} does not measure workload {KNEE_WORKLOAD}"
    elif (usable := sum(C >= LOWEST_KNEE for C in source.tiers[tier].grid)) < KNEE_POINTS:
        why = (
            f"tier {tier!r} of {source.name} has {usable} C from {LOWEST_KNEE} on, a knee takes {KNEE_POINTS}"
        )
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


def _systems(experiment: Experiment, choices: Choices) -> list[MeasuredSystem]:
    """The systems of an experiment that a run names."""
    return [
        system
        for system in experiment.systems_of(choices.tier)
        if not choices.models or system.model in choices.models
        if not choices.topologies or system.topology in choices.topologies
    ]


def _sets(experiment: Experiment, choices: Choices) -> dict[str, RoutingSet]:
    """The sets of policies of an experiment that a run names."""
    sets = experiment.sets(choices.tier)
    return {name: one for name, one in sets.items() if not choices.sets or name in choices.sets}


def _plan_experiment(
    study: Study,
    experiment: Experiment,
    choices: Choices,
    profiles: Mapping[str, Profile],
    stacks: Stacks,
    starts: Starts,
) -> list[UnboundDeployment]:
    deployments = []
    for system in _systems(experiment, choices):
        model = study.models[system.model]
        if model.profile not in profiles:
            raise UserError(
                f"key 'profile': there is no timing table {model.profile!r}",
                where=f"model {model.name}",
                remedy=f"known timing tables: {', '.join(sorted(profiles)) or 'none'}; see data/README.md",
            )
        for routing, policy_set in _sets(experiment, choices).items():
            policies = policy_set.resolve(study.policies)
            engine = _engine(study, experiment, policy_set, policies, choices)
            dynamo = stack_of(experiment, routing, policy_set, policies, choices, engine)
            recorded = starts(engine, dynamo.version).get(system.model)
            pinned = any(policy.way == "pinned" for policy in policies)
            base = UnboundDeployment(
                experiment=experiment,
                tier=choices.tier,
                engine=engine,
                model=as_served(model, engine, system.times(policy_set.dilation_times)),
                topology=study.topologies[system.topology],
                routing=routing,
                policies=policies,
                trial=1,
                seed=experiment.seed if choices.seed is None else choices.seed,
                stack=stacks(engine, dynamo.version),
                cells=(),
                start_s=predict.start_s(
                    engine, len(frontends(policies)), pinned=pinned, dynamo=dynamo.version
                )
                if recorded is None
                else recorded,
                assume_kv_reuse=reuse_of(policy_set, dynamo),
            )
            launches = range(1, experiment.tiers[choices.tier].launches + 1)
            deployments += [_with_cells(replace(base, trial=trial), study) for trial in launches]
    return deployments


def _with_cells(base: UnboundDeployment, study: Study) -> UnboundDeployment:
    """Give a deployment its cells: every workload in every condition, in a seeded, shuffled order."""
    only = base.experiment.sets(base.tier)[base.routing].workloads
    cells = [
        UnboundCell(workload, condition)
        for workload in base.settings.blocks(study.workloads)
        if not only or workload.name in only
        for condition in base.settings.conditions(base.policies, base.reference)
    ]
    random.Random(derive_seed(*base.identity, "order")).shuffle(cells)
    return replace(base, cells=tuple(cells))


def _engine_name(experiment: Experiment, policy_set: RoutingSet, choices: Choices) -> str:
    """The engine that measures a set: its own, else the run's, else the tier's."""
    tier = experiment.tiers[choices.tier]
    return policy_set.engine or (tier.engine if choices.engine == AS_PLANNED else choices.engine)


def _engine(
    study: Study,
    experiment: Experiment,
    policy_set: RoutingSet,
    policies: Sequence[Policy],
    choices: Choices,
) -> str:
    """The engine that measures a set; raises UserError where it cannot run what is asked of it."""
    tier = experiment.tiers[choices.tier]
    engine = engine_of(_engine_name(experiment, policy_set, choices))
    cannot = [policy.name for policy in policies if not engine.routes(policy.kind, policy.way)]
    what = f"policy {cannot[0]}" if cannot else ""
    if tier.stage_plans and not engine.stages:
        what = "cells in which C changes from stage to stage"
    names = [one.name for one in tier.blocks(study.workloads) if one.send_every_s]
    open_loops = [name for name in names if not policy_set.workloads or name in policy_set.workloads]
    if open_loops and not engine.open_loop:
        what = f"workload {open_loops[0]}, whose requests wait for no answer (send_every_s)"
    others = [
        name
        for name in engine_names()
        if all(engine_of(name).routes(policy.kind, policy.way) for policy in policies)
        and (engine_of(name).stages or not tier.stage_plans)
        and (engine_of(name).open_loop or not open_loops)
    ]
    if what:
        raise UserError(
            f"engine {engine.name} cannot run {what}",
            where=f"experiment {experiment.name}, tier {choices.tier}",
            remedy=f"an engine that can: {', '.join(others) or 'none'} (key 'engine'); or leave it out",
        )
    weighted = [
        policy.name
        for policy in policies
        if isinstance(policy, KvPolicy) and policy.decode_active_request_weight
    ]
    if weighted and WEIGHT in engine.ignores:
        raise UserError(
            f"engine {engine.name} would ignore {WEIGHT} of policy {weighted[0]}",
            where=f"experiment {experiment.name}, tier {choices.tier}",
            remedy="a served engine (key 'engine'); or leave the policy out",
        )
    limits = policy_set.limits or tier.limits
    untold = sorted(engine.ignores & limits.model_fields_set)
    if changed := [key for key in untold if getattr(limits, key) != getattr(Limits(), key)]:
        raise UserError(
            f"engine {engine.name} would ignore the limit {changed[0]}",
            where=f"experiment {experiment.name}, tier {choices.tier}, key 'limits.{changed[0]}'",
            remedy="take it out, or another engine (key 'engine')",
        )
    return engine.name


def as_served(model: Model, engine: str, dilation_times: float = 1.0) -> Model:
    """The model as an engine serves it: not every engine can slow time down."""
    dilation = model.dilation * dilation_times if engine_of(engine).dilates else 1.0
    return model.model_copy(update={"dilation": dilation})
