"""Cells of one system, grouped as they are estimated, and the labels of what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, Final, TypeVar

import pandas as pd

from anarchy.config import Policy
from anarchy.engines.devices import common_label, engine_label
from anarchy.estimate.columns import POLICY
from anarchy.estimate.conditions import CostModel, Estimate
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.ladder import describe_curves

Row = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")

LITTLE: Final = 0.1
"""R2 inside cells below which a latency curve says next to nothing of what routing can act on; ours."""


@dataclass(frozen=True, eq=False)
class Found:
    """What the estimates of one system give: tables by the stem of their file, and keys of system.json."""

    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by key, keys in the order of their first item."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def policy_row(cell: MeasuredCell) -> Row:
    """What labels a policy (`columns.POLICY`)."""
    policy = cell.policy
    values = (
        *(cell.routing, policy.name, policy.title, policy.kind, policy.way),
        *(policy.pair or (nan, nan)),
        cell.reference,
    )
    return dict(zip((column.name for column in POLICY), values, strict=True))


def engine_row(cells: Sequence[MeasuredCell]) -> Row:
    """What labels the rows of a set with its own engine and dilation; nothing where it measured nothing."""
    manifests = [cell.trace.manifest for cell in cells if cell.trace is not None]
    if not manifests:
        return {}
    labels = [engine_label(one.engine, one.device, one.versions) for one in manifests]
    return {"engine": common_label(labels), "dilation": manifests[0].dilation}


def describe_routing(cells: Sequence[MeasuredCell]) -> Row:
    """Sets of policies for system.json: each with its reference and its policies."""
    sets: Row = {}
    for cell in cells:
        one = sets.setdefault(cell.routing, {"reference": None, "policies": {}})
        if cell.reference:
            one["reference"] = cell.policy.name
        one["policies"][cell.policy.name] = _describe_policy(cell.policy)
    return {name: {**one, "policies": list(one["policies"].values())} for name, one in sets.items()}


def _describe_policy(policy: Policy) -> Row:
    tau, omega = policy.pair or (None, None)
    named = {name: getattr(policy, name) for name in ("name", "title", "kind", "way")}
    return {**named, "tau": tau, "omega": omega}


def describe_model(model: CostModel) -> Row:
    """The curves of each launch, as a ladder's system.json has them."""
    return {str(launch): describe_curves(curves) for launch, curves in model.curves.items()}


def model_notes(routing: str, model: CostModel) -> list[str]:
    """Which launches have no curves, and why; and whether curves explain anything where routing acts."""
    notes = [f"{routing}, launch {launch}: no cost model: {why}" for launch, why in model.without.items()]
    within = [curves.full.quality.r2_within for curves in model.curves.values() if curves.full.quality]
    least = min(filter(isfinite, within), default=nan)
    if least < LITTLE:
        of_several = ", the least of the launches" if len(within) > 1 else ""
        notes.append(
            f"{routing}: the load on the chosen worker explains next to nothing of the latency inside cells "
            f"(R² {least:.2f}{of_several}), so PoA-cal, routing and freezing rest on how cells differ"
        )
    return notes


def launch_rows(label: Row, concurrency: int, estimate: Estimate) -> list[Row]:
    """A condition's launches, labelled."""
    return [{**label, "concurrency": concurrency, **row} for row in estimate.launches]
