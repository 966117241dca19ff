"""From a planned deployment and its knee to cells: every C, name, seed, hash and cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from anarchy.config import Condition
from anarchy.config.hashed import hashed
from anarchy.config.loads import NO_KNEE, Knee, Stage
from anarchy.engines.dynamo import dynamo_of
from anarchy.engines.profiles import Profile
from anarchy.engines.registry import engine_of
from anarchy.plan import predict
from anarchy.plan.conditions import cell_name, condition_facts, stages_at, timing_of
from anarchy.plan.launches import (
    Cell,
    DeploymentPlan,
    Launch,
    UnboundCell,
    UnboundDeployment,
    derive_seed,
    digest,
)
from anarchy.plan.predict import CellCost


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
    cost = predict.cell_cost(*costs, base.settings.timing, concurrency, profile)
    engine = engine_of(base.engine)
    return predict.replayed(cost, engine.requests_per_s) if engine.replayed else cost


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
    ignored = engine_of(base.engine).ignores
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
        **({} if base.assume_kv_reuse is None else {"assume_kv_reuse": base.assume_kv_reuse}),
        **({"limits": limits} if (limits := hashed(base.limits, ignored)) else {}),
    }
    return Cell(
        name=name,
        policy=condition.policy,
        workload=workload,
        concurrency=concurrency,
        timing=timing,
        seed=derive_seed(*base.identity, name),
        plan_hash=digest(decides),
        cost=_cost(base, cell, concurrency, stages, profile),
        load=load,
        stages=stages,
        repeat=condition.repeat,
    )


def _engine_facts(base: Launch, profile: Profile) -> dict[str, str]:
    """What decides a measurement by this engine: its timing table, or its device and weights."""
    if engine_of(base.engine).follows_table:
        speed = dynamo_of(base.stack.dynamo).mock_prefill_speed
        # Counts only where it is not 1, so that cells of before it keep their hashes.
        return {"profile": profile.digest, **({} if speed == 1.0 else {"mock_prefill_speed": f"{speed:g}"})}
    return {"device": base.stack.device, "weights": base.stack.weights.get(base.model.name, "")}


def served(base: Launch, profile: Profile) -> str:
    """What decides how fast a deployment serves: the digest of its timing table, or device and weights.

    Where weights lie names folders of a site, so they are told by a digest.
    """
    facts = _engine_facts(base, profile)
    return facts.get("profile") or f"{facts['device']} {digest(facts['weights'])[:16]}"
