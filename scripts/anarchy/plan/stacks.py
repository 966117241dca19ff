"""Which version of Dynamo serves a set of policies, and what that version cannot do."""

from __future__ import annotations

from collections.abc import Sequence

from anarchy.config import AS_PLANNED, Choices, CostPolicy, Experiment, KvPolicy, Limits, Policy, RoutingSet
from anarchy.engines.dynamo import USUAL, Dynamo, dynamo_of
from anarchy.engines.registry import engine_of, engines
from anarchy.ground.errors import UserError
from anarchy.plan.launches import Launch


def stack_of(
    experiment: Experiment,
    routing: str,
    one: RoutingSet,
    policies: Sequence[Policy],
    choices: Choices,
    engine: str,
) -> Dynamo:
    """The stack that serves a set: its own, else the run's, else the tier's, else the usual one.

    Raises UserError where it cannot do what is asked of it, naming one that can.
    """
    tier = experiment.tiers[choices.tier]
    chosen = None if choices.stack == AS_PLANNED else choices.stack
    dynamo = dynamo_of(one.stack or chosen or tier.stack or USUAL)
    where = f"experiment {experiment.name}, tier {choices.tier}, set {routing}"
    if not engine_of(engine).has(dynamo.version):
        able = ", ".join(name for name, other in engines().items() if other.has(dynamo.version))
        raise UserError(
            f"engine {engine} cannot be served with stack {dynamo.version}",
            where=where,
            remedy=f"an engine that can: {able} (key 'engine'); or stack {USUAL} (key 'stack')",
        )
    if choices.launcher == "slurm" and not dynamo.several_nodes:
        raise UserError(
            f"stack {dynamo.version} with launcher slurm: it was run on one machine only",
            where=where,
            remedy=f"launcher local (without --profile slurm), or stack {USUAL} (key 'stack')",
        )
    for policy in policies:
        if isinstance(policy, CostPolicy) and policy.way == "pinned":
            dynamo.check_pinned_reuse(
                policy.assume_kv_reuse, one.assume_kv_reuse, where=f"{where}, policy {policy.name}"
            )
    dynamo.check_reuse(one.assume_kv_reuse, where=where)
    for policy in policies:
        if isinstance(policy, KvPolicy):
            of = f"{where}, policy {policy.name}"
            dynamo.check_active_requests(policy.decode_active_request_weight, where=of)
            dynamo.check_late_events(policy.kv_event_lag_s, where=of)
    if (one.limits or tier.limits).kv_link_gb_s != Limits().kv_link_gb_s and not dynamo.mock_transfers:
        raise UserError(
            f"stack {dynamo.version} would ignore the limit kv_link_gb_s: it models no KV transfer",
            where=f"{where}, key 'limits.kv_link_gb_s'",
            remedy=f"take it out, or stack {USUAL} (key 'stack')",
        )
    return dynamo


def reuse_of(one: RoutingSet, dynamo: Dynamo) -> bool | None:
    """What a set asks of its routers; None where that is what the stack does by itself."""
    return None if dynamo.shares(one.assume_kv_reuse) == dynamo.shares_blocks else one.assume_kv_reuse


def refuse_mixtures(deployments: Sequence[Launch]) -> None:
    """Raise UserError where numbers of two stacks would be taken together without a word.

    A knee is of the stack that measured it, and some designs compare latencies of one set with another's.
    """
    for one in deployments:
        mates = [other for other in deployments if other.key[:3] == one.key[:3]]
        other = next((mate for mate in mates if mate.stack.dynamo != one.stack.dynamo), None)
        if other is not None and one.settings.compares_sets:
            raise UserError(
                f"sets {one.routing} and {other.routing} would be compared by their latencies, which stacks "
                f"{one.stack.dynamo} and {other.stack.dynamo} model in different ways",
                where=f"experiment {one.experiment.name}",
                remedy="name one stack for all of its sets (key 'stack')",
            )
        if not one.settings.hangs_on_knee:
            continue
        source = (one.experiment.knee_from, *one.key[1:3])
        measured = next((other for other in deployments if other.key[:3] == source), None)
        if measured is not None and measured.stack.dynamo != one.stack.dynamo:
            raise UserError(
                f"loads of set {one.routing} are multiples of the knee of stack {measured.stack.dynamo}, and "
                f"stack {one.stack.dynamo} serves it",
                where=f"experiment {one.experiment.name}",
                remedy="name one stack for both (key 'stack'), or give each load a concurrency",
            )
