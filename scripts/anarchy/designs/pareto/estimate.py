"""Pairs of (tau, omega) at named loads: estimates of each pair, how far pairs differ, and the Pareto front.

"No effect" is a bounded effect: the pairs' spread is held against what repeating a measurement gives, and its
upper bound stands beside the test (docs/estimator.md, `stats.variance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from anarchy.config.loads import times_of
from anarchy.designs.pareto.columns import PAIRS, SPREAD
from anarchy.designs.pareto.tier import ParetoTier
from anarchy.estimate.columns import CURVES, LAUNCHES
from anarchy.estimate.conditions import Condition, Estimate, Method, Part, cost_model, estimate_condition
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import (
    Found,
    describe_model,
    describe_routing,
    engine_row,
    grouped,
    launch_rows,
    model_notes,
    policy_row,
)
from anarchy.estimate.rise import rise
from anarchy.estimate.spread import spread_rows
from anarchy.games.requests import BoolArray, FloatArray

Row = dict[str, Any]

OBJECTIVES: Final = {"ttft_p99": 1.0, "throughput_rps": -1.0, "poa_hat": 1.0}
"""What the front is about: 1 = less is better, -1 = more is."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One policy at one load, one of its repeats: its cells, one a launch, and their estimate."""

    cells: Sequence[MeasuredCell]
    estimate: Estimate

    @property
    def head(self) -> MeasuredCell:
        """A cell that speaks for all of them."""
        return self.cells[0]


def load_condition(cells: Sequence[MeasuredCell]) -> Condition:
    """One policy's cells at one load, one cell a launch."""
    return Condition(
        cells[0].concurrency,
        {cell.launch: Part(cell.trace) for cell in cells if cell.valid and cell.trace is not None},
        {cell.launch: cell.reason for cell in cells if not cell.valid},
    )


def estimate(cells: Sequence[MeasuredCell], tier: ParetoTier, method: Method, head: Row) -> Found:
    """Every table and fact of a system measured at named loads; `head` labels all rows."""
    planned = tier.loads
    tables: dict[str, list[Row]] = {name: [] for name in ("pairs", "launches", "spread", "curves")}
    at = {cell.load: cell.concurrency for cell in cells}
    times = {load.name: times_of(load, at[load.name], method.knee) for load in planned}
    workloads: Row = {}
    stream = 0
    for workload, mine in grouped(cells, lambda cell: cell.workload.name).items():
        label = {**head, "workload": workload, "workload_title": mine[0].workload.title}
        facts: Row = {"title": mine[0].workload.title, "curves": {}, "notes": [], "rise": {}}
        for routing, of_set in grouped(mine, lambda cell: cell.routing).items():
            of_rows = {**label, **engine_row(of_set)}
            groups = grouped(of_set, lambda cell: (cell.load, cell.policy.name, cell.repeat))
            conditions = {key: load_condition(its) for key, its in groups.items()}
            model = cost_model([one for key, one in conditions.items() if groups[key][0].reference], method)
            facts["curves"][routing] = describe_model(model)
            facts["notes"] += model_notes(routing, model)
            tables["curves"] += [
                {"workload": workload, "routing_set": routing, **point} for point in model.points
            ]
            pairs = []
            for key, condition in conditions.items():
                pairs.append(Pair(groups[key], estimate_condition(condition, model, method, stream)))
                stream += 1
            for row, pair in zip(_pair_rows(pairs, times), pairs, strict=True):
                tables["pairs"].append({**of_rows, **row})
                named = {**policy_row(pair.head), "condition": pair.head.load, "repeat": pair.head.repeat}
                tables["launches"] += launch_rows({**of_rows, **named}, pair.head.concurrency, pair.estimate)
            facts["rise"][routing] = _rises(pairs)
            tables["spread"] += [{**of_rows, **row} for row in spread_rows(pairs, times)]
        workloads[workload] = facts
    return Found(
        {
            "pairs": frame(tables["pairs"], PAIRS),
            "launches": frame(tables["launches"], LAUNCHES),
            "spread": frame(tables["spread"], SPREAD),
            "curves": frame(tables["curves"], CURVES),
        },
        {
            "loads": [
                {
                    "name": load.name,
                    "concurrency": at[load.name],
                    "knee_times": times[load.name],
                    "reference_only": load.reference_only,
                }
                for load in sorted(planned, key=lambda load: at[load.name])
            ],
            "routing": describe_routing(cells),
            "repeats": max(cell.repeat for cell in cells),
            "workloads": workloads,
        },
    )


def _rises(pairs: Sequence[Pair]) -> Row:
    """By policy, from its load of the smallest C to that of the largest; of repeat 1."""
    found = {}
    first = [pair for pair in pairs if pair.head.repeat == 1]
    for name, its in grouped(first, lambda pair: pair.head.policy.name).items():
        low, *_, high = sorted([*its, its[0]], key=lambda pair: pair.head.concurrency)
        one = rise(low.estimate, high.estimate)
        found[name] = one and {"from": low.head.load, "to": high.head.load, **one}
    return found


def _pair_rows(pairs: Sequence[Pair], times: Mapping[str, float]) -> list[Row]:
    """Rows of pairs.parquet of one set, in the order of the pairs."""
    fronts: dict[int, tuple[bool, float]] = {}
    for at_load in grouped(
        [pair for pair in pairs if pair.head.repeat == 1], lambda pair: pair.head.load
    ).values():
        if len(at_load) < 2:  # a load for the curves alone
            continue
        on_front, share = front_of(at_load)
        fronts |= {id(pair): (bool(on_front[i]), float(share[i])) for i, pair in enumerate(at_load)}
    rows = []
    for pair in pairs:
        on, often = fronts.get(id(pair), (False, float("nan")))
        rows.append(
            {
                **policy_row(pair.head),
                "load": pair.head.load,
                "knee_times": times[pair.head.load],
                "concurrency": pair.head.concurrency,
                "repeat": pair.head.repeat,
                **pair.estimate.row,
                "front": on,
                "front_share": often,
            }
        )
    return rows


def front_of(pairs: Sequence[Pair]) -> tuple[BoolArray, FloatArray]:
    """Which policies are on the Pareto front of one load, and in which share of the replicates each is."""
    values = np.array([[pair.estimate.row[name] for name in OBJECTIVES] for pair in pairs])
    signs = np.array(list(OBJECTIVES.values()))
    replicates = min(pair.estimate.draws[name].draws.size for pair in pairs for name in OBJECTIVES)
    draws = np.array(
        [[pair.estimate.draws[name].draws[:replicates] for name in OBJECTIVES] for pair in pairs]
    )
    drawn = pareto_front(np.moveaxis(draws, 2, 0) * signs)
    share = np.where(np.isfinite(values).all(axis=1), drawn.mean(axis=0), np.nan)
    return pareto_front(values[None] * signs)[0], share


def pareto_front(costs: FloatArray) -> BoolArray:
    """Which of n points no other dominates (no more in every cost and less in one), row by row.

    Shapes: (R, n, k) -> (R, n). A point with an unknown cost is on no front and dominates none.
    """
    front: BoolArray = np.asarray(np.isfinite(costs).all(axis=2), dtype=np.bool_)
    for i in range(costs.shape[1]):
        no_worse: BoolArray = np.asarray((costs <= costs[:, i : i + 1]).all(axis=2), dtype=np.bool_)
        better: BoolArray = np.asarray((costs < costs[:, i : i + 1]).any(axis=2), dtype=np.bool_)
        front[:, i] &= ~(no_worse & better).any(axis=1)
    return front
