"""What one file of the configuration cannot know: references between files, and whether experiments add up.

Every check raises a UserError with the experiment's file, the key and a remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from anarchy.config import (
    Cluster,
    Experiment,
    Model,
    Policy,
    RoutingSet,
    Study,
    Tier,
    Topology,
    reference_of,
)
from anarchy.config.loads import LOWEST_KNEE, REFERENCE_TIMES, at_knee
from anarchy.config.tiers import Problem
from anarchy.config.values import MOST_USERS
from anarchy.ground.errors import UserError

KNEE_POINTS: Final = 4
"""C that a knee takes; `stats.knee.MIN_POINTS`."""
RESERVATION_S: Final = 300.0
"""Wall seconds after which Dynamo's selection service forgets a reservation: the request is no load any more
in the choices that follow (docs/routing.md)."""
MOST_CELLS: Final = 20_000
"""Of one tier: four times tier full of all experiments, two weeks of measuring."""
MOST_DEPLOYMENTS: Final = 2_000
"""Of one tier: each is a start of the whole stack, and tier full has 54."""


def check_experiment(study: Study, experiment: Experiment, file: Path) -> None:
    """Check an experiment against the rest of the study."""
    for index, system in enumerate(experiment.systems):
        _known(system.model, study.models, file, f"systems.{index}.model")
        _known(system.topology, study.topologies, file, f"systems.{index}.topology")
        check_fit(study.models[system.model], study.topologies[system.topology], study.cluster, where=file)
    sets = _check_sets(study, experiment, file)
    _check_knee_source(study, experiment, file)
    for tier_name, tier in experiment.tiers.items():
        key = f"tiers.{tier_name}"
        _check_systems(experiment, tier, file, key)
        for workload in tier.workloads:
            _known(workload, study.workloads, file, f"{key}.workloads")
        # As they are written: whoever only reads the study draws no sample.
        written = tier.routing or experiment.routing
        for problem in tier.misfits(study.workloads, written):
            raise _refused(problem, key, file)
        for name, one in written.items():
            for workload in one.workloads:
                place = f"{key}.routing" if tier.routing else "routing"
                _known(workload, tier.nameable, file, f"{place}.{name}.workloads")
        policies = [policy for one in sets[tier_name].values() for policy in one]
        _check_design(study, experiment, tier_name, policies, file)
        _check_reference_range(study, experiment, tier_name, file)
        for name, policy_set in sets[tier_name].items():
            _check_reservations(study, experiment, tier_name, written[name], policy_set, file)
        _check_size(experiment, tier_name, sets[tier_name], file)


def check_fit(model: Model, topology: Topology, cluster: Cluster, *, where: str | Path) -> None:
    """Refuse a topology that the cluster cannot hold, and show the arithmetic.

    A worker takes ``tensor_parallel`` GPUs of one node; raises UserError.
    """
    per_node = cluster.gpus_per_node // model.tensor_parallel
    room = per_node * cluster.nodes
    wanted = topology.prefill + topology.decode
    if wanted > room:
        raise UserError(
            f"{model.name} on {topology.name} does not fit: "
            f"{topology.prefill} prefill + {topology.decode} decode = {wanted} workers of "
            f"{model.tensor_parallel} GPUs need {wanted * model.tensor_parallel} GPUs; "
            f"{cluster.nodes} nodes x ({cluster.gpus_per_node} GPUs // {model.tensor_parallel}) = "
            f"room for {room} workers",
            where=where,
            remedy="take a smaller topology, or raise nodes in cluster.yaml if the cluster really has them",
        )


def _known(name: str, among: Collection[str], file: Path, key: str) -> None:
    if name not in among:
        near = difflib.get_close_matches(name, among, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"key {key!r}: there is no {name!r}",
            where=file,
            remedy=f"{hint}known: {', '.join(sorted(among))}",
        )


def _check_sets(study: Study, experiment: Experiment, file: Path) -> dict[str, dict[str, tuple[Policy, ...]]]:
    """Check every set of policies, and return those of each tier."""
    places = {"routing": experiment.routing}
    places |= {
        f"tiers.{name}.routing": tier.routing for name, tier in experiment.tiers.items() if tier.routing
    }
    resolved = {
        place: {
            name: _check_set(study, experiment, one, file, _set_key(place, name, one))
            for name, one in sets.items()
        }
        for place, sets in places.items()
    }
    if experiment.reference is not None:
        everywhere = {policy.name for sets in resolved.values() for one in sets.values() for policy in one}
        _known(experiment.reference, everywhere, file, "reference")
    return {
        name: resolved[f"tiers.{name}.routing" if tier.routing else "routing"]
        for name, tier in experiment.tiers.items()
    }


def _set_key(place: str, name: str, one: RoutingSet) -> str:
    """The key of a set; one that a list of policies stands for has no key of its own."""
    return place if one.policies == (name,) else f"{place}.{name}"


def _check_systems(experiment: Experiment, tier: Tier, file: Path, key: str) -> None:
    own = {f"{system.model} on {system.topology}" for system in experiment.systems}
    for index, system in enumerate(tier.systems):
        _known(f"{system.model} on {system.topology}", own, file, f"{key}.systems.{index}")


def _check_set(
    study: Study, experiment: Experiment, one: RoutingSet, file: Path, key: str
) -> tuple[Policy, ...]:
    for policy in one.policies:
        _known(policy, study.policies, file, key)
    policies = one.resolve(study.policies)
    names = [policy.name for policy in policies]
    twice = [name for name in one.policies if names.count(name) > 1]
    if twice:
        raise UserError(
            f"key {key!r}: {twice[0]} is also a pair of the grid",
            where=file,
            remedy="leave it out of policies",
        )
    ways = sorted({policy.way for policy in policies})
    if len(ways) > 1:
        which = "; ".join(f"{way}: {', '.join(p.name for p in policies if p.way == way)}" for way in ways)
        raise UserError(
            f"key {key!r}: policies of both ways in one set, which has one latency curve ({which})",
            where=file,
            remedy="make a set of each way",
        )
    if reference_of(policies, experiment.reference) is None:
        raise UserError(
            f"key {key!r}: nothing says to which policy's cells the latency curves are fitted",
            where=file,
            remedy="name it (reference: ...), or add a kv policy with tau 0 and omega 1 to the set",
        )
    return policies


def _check_design(
    study: Study, experiment: Experiment, tier_name: str, policies: Sequence[Policy], file: Path
) -> None:
    """Refuse a tier whose design lacks something: a knee, loads that differ, workers to choose from."""
    tier, key = experiment.tiers[tier_name], f"tiers.{tier_name}"
    names = {policy.name for policy in policies}  # one may stand in several sets
    for problem in tier.problems(policies):
        raise _refused(problem, key, file)
    for system in experiment.systems_of(tier_name):
        index = [(s.model, s.topology) for s in experiment.systems].index((system.model, system.topology))
        topology = study.topologies[system.topology]
        if len(names) > 1 and max(topology.prefill, topology.decode) < 2:
            raise UserError(
                f"key 'systems.{index}.topology': {topology.name} has one prefill and one decode worker, so "
                f"that {len(names)} policies cannot differ",
                where=file,
                remedy="take a topology with two workers in one pool",
            )


def _refused(problem: Problem, key: str, file: Path) -> UserError:
    """A problem of the tier at this key, as it is told."""
    at = problem.key[1:] if problem.key.startswith("/") else ".".join(filter(None, (key, problem.key)))
    return UserError(f"key {at!r}: {problem.what}", where=file, remedy=problem.remedy)


def _check_knee_source(study: Study, experiment: Experiment, file: Path) -> None:
    """Refuse loads that are multiples of a knee which no experiment measures on the same systems."""
    hanging = [name for name, tier in experiment.tiers.items() if tier.hangs_on_knee]
    if experiment.knee_from is None:
        if hanging:
            tier = experiment.tiers[hanging[0]]
            raise UserError(
                f"key 'knee_from' is missing: tiers.{hanging[0]}.{tier.parts_key} are multiples of a knee",
                where=file,
                remedy="name the experiment that measures it (knee_from: equilibrium), or give each a "
                "concurrency",
            )
        return
    _known(experiment.knee_from, study.experiments, file, "knee_from")
    source = study.experiments[experiment.knee_from]
    if source.design != "ladder":
        raise UserError(
            f"key 'knee_from': {source.name} is no grid of C, so it finds no knee",
            where=file,
            remedy="name an experiment whose tiers have concurrency",
        )
    for index, system in enumerate(experiment.systems):
        if not any((s.model, s.topology) == (system.model, system.topology) for s in source.systems):
            raise UserError(
                f"key 'systems.{index}': {source.name} measures no knee of {system.model} on "
                f"{system.topology}",
                where=file,
                remedy=f"add the system to {source.name}.yaml, or take it out here",
            )
    for name in hanging:
        highest = max(source.tiers[name].grid) if name in source.tiers else LOWEST_KNEE
        _check_loads_bounded(experiment.tiers[name], highest, file, f"tiers.{name}")


def _check_loads_bounded(tier: Tier, highest: int, file: Path, key: str) -> None:
    """Refuse loads of more users than anybody could run, at the highest knee that E1's grid can tell."""
    for index, level in enumerate(tier.levels):
        C = 0 if level.knee_times is None else at_knee(highest, level.knee_times)
        if C > MOST_USERS:
            raise UserError(
                f"key '{key}.{tier.parts_key}.{index}': {level.name} is C = {C} at a knee of {highest}, "
                f"and at most {MOST_USERS} users are planned",
                where=file,
                remedy="lower its knee_times",
            )


def _check_reference_range(study: Study, experiment: Experiment, tier_name: str, file: Path) -> None:
    """Refuse a tier that leaves the affine curve of some system without anything to be fitted to."""
    tier, key = experiment.tiers[tier_name], f"tiers.{tier_name}"
    lowest_times = REFERENCE_TIMES[0]
    if any(level.knee_times is not None and level.knee_times <= lowest_times for level in tier.levels):
        return
    for system in experiment.systems_of(tier_name):
        lowest = max(8, study.topologies[system.topology].decode)
        grid = tier.grid or [level.concurrency for level in tier.levels if level.concurrency]
        if not any(lowest <= C <= experiment.c_ref for C in grid):
            or_below = f", and none at {lowest_times:g} times the knee or less" if tier.hangs_on_knee else ""
            raise UserError(
                f"key '{key}.{tier.parts_key}': no C between {lowest} and c_ref = "
                f"{experiment.c_ref}{or_below}: "
                f"{system.model} on {system.topology} has no cell to fit its affine latency curve to",
                where=file,
                remedy="add such a C, or raise c_ref to a C below the knee",
            )


def _check_reservations(
    study: Study,
    experiment: Experiment,
    tier_name: str,
    routing_set: RoutingSet,
    policies: Sequence[Policy],
    file: Path,
) -> None:
    """Refuse a deadline that lets a pinned request outlive its reservation: it would be load on no worker.

    Dynamo books what it chooses; baselines count for themselves. A tier is for every engine, so a model's
    dilation counts although a real engine has none.
    """
    pinned = [policy for policy in policies if policy.way == "pinned"]
    reserving = [policy for policy in pinned if policy.asks_dynamo]
    if not reserving:
        return
    deadline_s = experiment.tiers[tier_name].timing.deadline_s
    dilation, slowest = max(
        (
            study.models[system.model].dilation * system.times(routing_set.dilation_times),
            system.model,
        )
        for system in experiment.systems_of(tier_name)
    )
    if deadline_s * dilation >= RESERVATION_S:
        raise UserError(
            f"key 'tiers.{tier_name}.timing.deadline_s': {deadline_s:g} s at {slowest}'s dilation of "
            f"{dilation:g} are {deadline_s * dilation:g} s of wall time, but Dynamo's "
            f"selector forgets what {reserving[0].name} has reserved after {RESERVATION_S:g} s",
            where=file,
            remedy=f"set it under {RESERVATION_S / dilation:g}, or lower the model's dilation",
        )


def _check_size(
    experiment: Experiment, tier_name: str, sets: Mapping[str, Sequence[Policy]], file: Path
) -> None:
    """Refuse a tier of more deployments or cells than anybody could measure, before any is planned."""
    tier = experiment.tiers[tier_name]
    deployments = len(experiment.systems_of(tier_name)) * len(sets) * tier.launches
    cells = sum(
        len(experiment.systems_of(tier_name))
        * tier.launches
        * len(tier.workload_names)
        * tier.count(len(policies))
        for policies in sets.values()
    )
    for count, most, what in ((deployments, MOST_DEPLOYMENTS, "deployments"), (cells, MOST_CELLS, "cells")):
        if count > most:
            raise UserError(
                f"key 'tiers.{tier_name}': {count} {what} in all (systems, sets of policies, launches, "
                f"workloads, {tier.parts_key}); at most {most} are planned",
                where=file,
                remedy="lower launches, or name fewer of the others",
            )
