"""The same cells on a live stack and on a virtual clock: each engine's estimates, and how far they differ.

Both latency curves are those of each engine and launch, fitted to its own cells as a ladder's are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any, Final

import numpy as np

from anarchy.config.objectives import RATES
from anarchy.designs.engines.agreement import Comparison, agreement
from anarchy.designs.engines.columns import DIFFERENCES, SIDES
from anarchy.designs.engines.tier import EnginesTier
from anarchy.engines.registry import engines
from anarchy.estimate.conditions import (
    Condition,
    CostModel,
    Estimate,
    Method,
    Part,
    cost_model,
    estimate_condition,
)
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.fit_noise import fit_rows, frozen_draws, with_fit_noise
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import Found, describe_model, engine_row, grouped, model_notes
from anarchy.estimate.objectives import rates_within
from anarchy.estimate.performance import QUANTILE_REPLICATES, bounded
from anarchy.games.latency import in_reference
from anarchy.ground.errors import UserError
from anarchy.stats.bootstrap import bootstrap_mean
from anarchy.stats.intervals import Interval, Resampled, quotient

Row = dict[str, Any]

LIVE: Final = "live"
VIRTUAL: Final = "virtual"
"""Names of the two sets of policies."""
WRONG: Final = {LIVE: "measured on a virtual clock too", VIRTUAL: "not measured on a virtual clock"}
"""What is wrong with a set whose engine is of the other kind."""
STREAMS: Final = 1_000_000
"""More than a system has conditions: apart by so much lie the random numbers of launches."""
NAN: Final = float("nan")


@dataclass(frozen=True, eq=False)
class Side:
    """What one engine measured at one C, launches pooled."""

    row: Row
    draws: Mapping[str, Resampled]
    absent: str = ""
    """Why it cannot be compared."""


def estimate(cells: Sequence[MeasuredCell], tier: EnginesTier, method: Method, head: Row) -> Found:
    """Every table and fact of a system that two engines measured; `head` labels all rows.

    Raises UserError for sets of policies other than live and virtual, and for several policies.
    """
    policy = _policy(cells, head)
    stream = count()
    sides: list[Row] = []
    differences: list[Row] = []
    agreements: list[Row] = []
    workloads: Row = {}
    for workload, group in grouped(cells, lambda cell: cell.workload.name).items():
        title = group[0].workload.title
        label = {**head, "workload": workload, "workload_title": title}
        facts: Row = {"title": title, "curves": {}, "notes": []}
        found = {
            name: _of_set(of_set, tier, method, facts, stream)
            for name, of_set in grouped(group, lambda cell: cell.routing).items()
        }
        sides += [{**label, **side.row} for its in found.values() for side in its.values()]
        rows, compared = _differences(found, tier, method)
        differences += [{**label, **row} for row in rows]
        agreements.append(agreement(workload, title, compared, method.c_ref))
        workloads[workload] = facts
    return Found(
        {"sides": frame(sides, SIDES), "differences": frame(differences, DIFFERENCES)},
        {
            "policy": policy,
            "c_ref": method.c_ref,
            "engines": {name: _engine(cells, name) for name in (LIVE, VIRTUAL)},
            "tolerances": {name: asdict(tier.tolerances.of(name)) for name in tier.quantities},
            "agreement": agreements,
            "workloads": workloads,
        },
    )


def _policy(cells: Sequence[MeasuredCell], head: Row) -> str:
    """The one policy of all cells."""
    policies = list(dict.fromkeys(cell.policy.name for cell in cells))
    others = [name for name in dict.fromkeys(cell.routing for cell in cells) if name not in (LIVE, VIRTUAL)]
    where = f"experiment {head['experiment']}"
    if others:
        raise UserError(
            f"set of policies {others[0]!r} is neither {LIVE} nor {VIRTUAL}",
            where=where,
            remedy=f"name its sets {LIVE} and {VIRTUAL}, the latter with a virtual engine",
        )
    if len(policies) > 1:
        raise UserError(
            f"sets under different policies ({', '.join(policies)}) differ in more than their engine",
            where=where,
            remedy="name one policy in both sets",
        )
    return policies[0]


def _engine(cells: Sequence[MeasuredCell], routing: str) -> str:
    """Name of the engine of a set, as its manifests tell it; empty where nothing was measured."""
    of_set = (cell.trace for cell in cells if cell.routing == routing)
    return next((trace.manifest.engine for trace in of_set if trace is not None), "")


def _of_set(
    cells: Sequence[MeasuredCell], tier: EnginesTier, method: Method, facts: Row, stream: count[int]
) -> dict[int, Side]:
    """The estimates of one set under one workload, by C; its curves and notes go to ``facts``."""
    routing = cells[0].routing
    groups = grouped(cells, lambda cell: cell.concurrency)
    conditions = {C: _condition(its) for C, its in groups.items()}
    model = cost_model(list(conditions.values()), method)
    facts["curves"][routing] = describe_model(model)
    facts["notes"] += model_notes(routing, model)
    name = _engine(cells, routing)
    wrong = WRONG[routing] if name and engines()[name].replayed != (routing == VIRTUAL) else ""
    label = engine_row(cells)
    found = {}
    for C, condition in conditions.items():
        number = next(stream)
        done = estimate_condition(condition, model, method, number)
        ours = {
            "window_range": _window_range(condition, method, number),
            **_rates(condition, tier, method, number),
            **_poa_hat(done, condition, list(conditions.values()), model, method, number),
        }
        row = {
            "routing_set": routing,
            "engine_name": name,
            "concurrency": C,
            **label,
            **done.row,
        }
        for quantity, drawn in ours.items():
            row |= bounded(quantity, drawn)
        draws = {**done.draws, **ours}
        found[C] = Side(row, draws, wrong or ("" if row["valid"] else row["reasons"]))
    return found


def _poa_hat(
    done: Estimate,
    condition: Condition,
    conditions: Sequence[Condition],
    model: CostModel,
    method: Method,
    stream: int,
) -> dict[str, Resampled]:
    """PoA-hat past C_ref within a run, its interval as wide as the noise of the fitted line makes it.

    Nothing elsewhere: across launches the interval holds that noise, up to C_ref the line is of the cell
    itself, and where prompts earn credit a line is not all of the frozen price.
    """
    within = done.draws["poa_hat"].kind == "within-run"
    priced = [part for launch, part in sorted(condition.parts.items()) if launch in model.curves]
    if not within or condition.concurrency <= method.c_ref or not priced:
        return {}
    if any(model.curves[part.game.launch].affine.kappa > 0.0 for part in priced):
        return {}
    draws = np.zeros(method.replicates)
    whole = 0.0
    for place, part in enumerate(priced):
        launch, seen = part.game.launch, part.game.windows
        cells = [
            fit_rows(other.parts[launch].trace, other.parts[launch].game.windows)
            for other in conditions
            if launch in other.parts and in_reference(other.concurrency, method.n_workers, method.c_ref)
        ]
        frozen = float(model.curves[launch].affine(seen.load + 1).sum())
        # Launches have noise of their own, so streams of their own, apart from every condition's.
        own = stream + place * STREAMS
        options = {"replicates": method.replicates, "seed": method.seed, "stream": own}
        draws += frozen * frozen_draws(cells, seen, **options)
        whole += frozen
    return {"poa_hat": with_fit_noise(done.draws["poa_hat"], draws / whole, seed=method.seed)}


def _condition(cells: Sequence[MeasuredCell]) -> Condition:
    """What was planned at one C: a cell a launch."""
    return Condition(
        cells[0].concurrency,
        {cell.launch: Part(cell.trace) for cell in cells if cell.valid and cell.trace is not None},
        {cell.launch: cell.reason for cell in cells if not cell.valid},
    )


def _window_range(condition: Condition, method: Method, stream: int) -> Resampled:
    """Fullest less emptiest decode worker as a window begins, mean over windows, requests."""
    loads = [part.game.windows.load for _, part in sorted(condition.parts.items())]
    return bootstrap_mean(
        [np.ptp(load, axis=1).astype(np.float64) for load in loads],
        replicates=QUANTILE_REPLICATES,
        seed=method.seed,
        stream=stream,
    )


def _rates(condition: Condition, tier: EnginesTier, method: Method, stream: int) -> dict[str, Resampled]:
    """Requests a second within the objectives of the tier; none where it has none, or nothing counts."""
    if tier.slo is None or not condition.parts:
        return {}
    slo = tier.slo
    parts = [part for _, part in sorted(condition.parts.items())]
    launches = [rates_within(part.trace, slo.ttft_s, slo.itl_s) for part in parts]
    options = {"replicates": QUANTILE_REPLICATES, "seed": method.seed, "stream": stream}
    return {
        name: bootstrap_mean([rates[number] for rates in launches], **options)
        for number, name in enumerate(RATES)
    }


def _differences(
    found: Mapping[str, Mapping[int, Side]], tier: EnginesTier, method: Method
) -> tuple[list[Row], list[Comparison]]:
    """A row and a comparison for every quantity at every C that either set planned."""
    rows, compared = [], []
    for C in sorted({C for its in found.values() for C in its}):
        both = {name: found.get(name, {}).get(C) for name in (LIVE, VIRTUAL)}
        absent = "; ".join(
            f"{name}: {'not in this run' if side is None else side.absent}"
            for name, side in both.items()
            if side is None or side.absent
        )
        for quantity in tier.quantities:
            live, virtual = (side.row.get(quantity, NAN) if side else NAN for side in both.values())
            one = Comparison(quantity, C, live, virtual, tier.tolerances.of(quantity), absent)
            drawn = _drawn(one, both, method)
            if drawn is not None:
                one = replace(one, interval=_as_difference(drawn, both[LIVE], quantity))
            compared.append(one)
            rows.append(_difference_row(one, both, "" if drawn is None else drawn.kind))
    return rows, compared


def _as_difference(ratio: Interval, live: Side | None, quantity: str) -> tuple[float, float]:
    """The interval of virtual over live less 1; where a replicate of live is 0 it rules nothing out."""
    if live is not None and bool((live.draws[quantity].draws == 0.0).any()):
        return -1.0, math.inf
    return ratio.lo - 1.0, ratio.hi - 1.0


def _drawn(one: Comparison, both: Mapping[str, Side | None], method: Method) -> Interval | None:
    """Virtual over live with its interval; None where nothing is compared."""
    live, virtual = both[LIVE], both[VIRTUAL]
    if live is None or virtual is None or one.difference is None:
        return None
    return quotient(virtual.draws[one.quantity], live.draws[one.quantity], seed=method.seed).interval()


def _difference_row(one: Comparison, both: Mapping[str, Side | None], interval_kind: str) -> Row:
    """One comparison with the interval of its difference."""
    names = {f"{name}_engine": side.row["engine_name"] if side else "" for name, side in both.items()}
    row: Row = {
        **names,
        "concurrency": one.concurrency,
        "quantity": one.quantity,
        "live": one.live,
        "virtual": one.virtual,
        "difference": one.difference,
        "tolerance": one.allowed,
        "within": one.within,
        "n_launches": min(side.row["n_launches"] if side else 0 for side in both.values()),
        "valid": not one.reason,
        "reasons": one.open,
    }
    if one.interval is None:
        return row
    # An end that is not finite is no number to draw; the reason says what it means.
    low, high = one.interval if math.isfinite(one.interval[1]) else (NAN, NAN)
    return {**row, "difference_lo": low, "difference_hi": high, "interval_kind": interval_kind}
