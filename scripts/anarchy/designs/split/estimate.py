"""One split's cells, and the game that it is a strategy of: all splits of the budget that a run measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from anarchy.config import Topology, Workload
from anarchy.config.objectives import RATES, Objectives
from anarchy.designs.split.columns import GAME, MOVING, PRICES, SPLITS
from anarchy.designs.split.play import Measured, Played, play
from anarchy.designs.split.tier import SplitTier
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import Found, grouped
from anarchy.estimate.objectives import backlog, rates_within
from anarchy.estimate.performance import (
    QUANTILE_REPLICATES,
    bounded,
    performance_draws,
    typical_latencies,
)
from anarchy.games.requests import FloatArray
from anarchy.games.split import prices_of_fixed
from anarchy.stats.bootstrap import bootstrap_mean
from anarchy.stats.student import kind_over, mean_over_launches
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]
Peers: TypeAlias = Mapping[Topology, Sequence[MeasuredCell]]
"""Cells of every topology of the model that the run measures, this system's own among them."""
Place: TypeAlias = tuple[str, int]
"""Name of a workload, and C."""

FEWEST: Final = 2
"""Splits that make a game."""


@dataclass(frozen=True, eq=False)
class Split:
    """What was measured of one split: rates of both pools and of society, by place and launch."""

    topology: Topology
    rates: Mapping[Place, Mapping[int, FloatArray]]
    """Shapes: (3, bins) each."""
    traces: Mapping[Place, Sequence[CellTrace]]
    reasons: Mapping[Place, str]
    """Why a launch does not count, where one does not."""


def estimate(
    cells: Sequence[MeasuredCell], tier: SplitTier, method: Method, head: Row, peers: Peers
) -> Found:
    """Every table and fact of a system; `head` labels all rows."""
    slo = tier.objectives(head["model"])
    splits = [_read(topology, peers[topology], slo) for topology in _budget(head["topology"], peers)]
    own = next(split for split in splits if split.topology.name == head["topology"])
    titles = {cell.workload.name: cell.workload.title for cell in cells}
    label = {name: {**head, "workload": name, "workload_title": title} for name, title in titles.items()}
    places = [(name, C) for name in titles for C in tier.concurrency]
    mixes = {cell.workload.name: cell.workload for cell in cells}
    rows: dict[str, list[Row]] = {
        "splits": [{**label[place[0]], **_cell_row(own, place, method, n)} for n, place in enumerate(places)]
    }
    rows |= {"game": [], "prices": [], "moving": []}
    if len(splits) >= FEWEST:
        workers = [_workers(split, own) for split in splits]
        games = {place: _play(splits, place, tier) for place in places}
        for stream, (place, played) in enumerate(games.items()):
            common = {**label[place[0]], "concurrency": place[1]}
            alike = _without_sharing(place[0], mixes)
            unshared = games[alike, place[1]].best if alike else ""
            row = played.price_row(own.topology.name, _nearest(splits, place, slo), unshared)
            rows["prices"].append({**common, **row})
            rates = _bounded_rates(splits, place, method, stream)
            rows["game"] += [
                {**common, **one, **rate, **game}
                for one, rate, game in zip(workers, rates, played.split_rows(), strict=True)
            ]
        rows["moving"] = [
            {**head, **one, **price} for one, price in zip(workers, _moving(splits, tier), strict=True)
        ]
    tables = {"splits": SPLITS, "game": GAME, "prices": PRICES, "moving": MOVING}
    return Found(
        {name: frame(rows[name], schema) for name, schema in tables.items()},
        {
            "policy": cells[0].policy.title,
            "slo": slo.model_dump(),
            "budget": own.topology.prefill + own.topology.decode,
            "splits": [split.topology.name for split in splits],
            "moving": [stage.model_dump() for stage in tier.moving],
            "workloads": {name: {"title": title, "notes": _notes(splits)} for name, title in titles.items()},
        },
    )


def _budget(own: str, peers: Peers) -> list[Topology]:
    """Topologies of the same budget, by prefill workers, each next to one that is taken: no gap between."""
    here = next(topology for topology in peers if topology.name == own)
    alike = {one.prefill: one for one in peers if one.prefill + one.decode == here.prefill + here.decode}
    low = high = here.prefill
    while low - 1 in alike:
        low -= 1
    while high + 1 in alike:
        high += 1
    return [alike[count] for count in range(low, high + 1)]


def _without_sharing(name: str, mixes: Mapping[str, Workload]) -> str:
    """The mix that differs from this one in nothing but that its prompts share no prefix; empty with none."""
    own = mixes[name]
    if not own.templates:
        return ""
    plain = own.model_copy(update={"templates": 0, "skew": 0.0, "unique_tail_tokens": 0})
    named = ((one, plain.model_copy(update={"name": one.name, "title": one.title})) for one in mixes.values())
    return next((one.name for one, alike in named if one == alike), "")


def _read(topology: Topology, cells: Sequence[MeasuredCell], slo: Objectives) -> Split:
    rates: dict[Place, dict[int, FloatArray]] = {}
    traces: dict[Place, list[CellTrace]] = {}
    reasons = {}
    for place, its in grouped(cells, lambda cell: (cell.workload.name, cell.concurrency)).items():
        counting = [cell for cell in sorted(its, key=lambda cell: cell.launch) if cell.valid]
        traces[place] = [cell.trace for cell in counting if cell.trace is not None]
        rates[place] = {
            trace.manifest.launch: rates_within(trace, slo.ttft_s, slo.itl_s) for trace in traces[place]
        }
        reasons[place] = ", ".join(dict.fromkeys(cell.reason for cell in its if not cell.valid))
    return Split(topology, rates, traces, reasons)


def _workers(split: Split, own: Split) -> Row:
    one = split.topology
    named = {"split": one.name, "split_title": one.title, "prefill": one.prefill, "decode": one.decode}
    return {**named, "here": split is own}


def _cell_row(split: Split, place: Place, method: Method, stream: int) -> Row:
    """What users of this split felt at one place."""
    traces = split.traces.get(place, [])
    row: Row = {
        "concurrency": place[1],
        "n_launches": len(traces),
        "n_requests": int(sum(trace.measured.sum() for trace in traces)),
        "valid": bool(traces),
        "reasons": split.reasons.get(place, ""),
    }
    if not traces:
        return row
    draws = performance_draws(traces, method.seed, stream)
    for name, drawn in draws.items():
        row |= bounded(name, drawn)
    grown = dict(zip(_ends("backlog_rps"), mean_over_launches([backlog(one) for one in traces]), strict=True))
    kind = draws["ttft_p50"].kind
    return {**row, **grown, "interval_kind": kind, **_rate_row(split, place, method, stream)}


def _ends(name: str) -> tuple[str, str, str]:
    """A column and those of its interval."""
    return name, f"{name}_lo", f"{name}_hi"


def _rate_row(split: Split, place: Place, method: Method, stream: int) -> Row:
    """The rates of both pools and of society at one place, each with its interval."""
    row: Row = {}
    launches = list(split.rates.get(place, {}).values())
    for number, name in enumerate(RATES if launches else ()):
        drawn = bootstrap_mean(
            [rates[number] for rates in launches],
            replicates=QUANTILE_REPLICATES,
            seed=method.seed,
            stream=stream,
        )
        row |= {**bounded(name, drawn), "interval_kind": drawn.kind}
    return row


def _bounded_rates(splits: Sequence[Split], place: Place, method: Method, stream: int) -> list[Row]:
    return [_rate_row(split, place, method, stream) for split in splits]


def _play(splits: Sequence[Split], place: Place, tier: SplitTier) -> Played:
    """The game of one place, launch by launch, of those that every split has."""
    found = [
        Measured(
            split.topology.name,
            {
                launch: rates.mean(axis=1)
                for launch, rates in split.rates.get(place, {}).items()
                if rates.size
            },
            split.reasons.get(place, ""),
        )
        for split in splits
    ]
    return play(found, tier.tie)


def _moving(splits: Sequence[Split], tier: SplitTier) -> list[Row]:
    """What each split costs that is kept while the load moves, launch by launch."""
    stages = [_play(splits, (stage.workload, stage.concurrency), tier) for stage in tier.moving]
    launches = sorted(set.intersection(*(set(stage.games) for stage in stages)))
    common: Row = {
        "n_launches": len(launches),
        "n_stages": len(stages),
        "interval_kind": kind_over(len(launches)),
    }
    if not launches:
        lacking = "a stage of the load has no launch that counts in every split"
        return [{**common, "unbounded": False, "valid": False, "reasons": lacking} for _ in splits]
    prices = np.array(
        [
            prices_of_fixed(
                np.array([stage.society[launch] for stage in stages]),
                chosen_by=np.array([stage.others[launch].society for stage in stages]),
            )
            for launch in launches
        ]
    )
    rows = []
    for its in prices.T:
        value, lo, hi = mean_over_launches(its.tolist(), ratio=True)
        served = bool(np.isfinite(value))
        row = {"price": value, "price_lo": lo, "price_hi": hi} if served else {}
        why = "" if served or np.isinf(value) else "no split serves any stage within both objectives"
        rows.append({**common, **row, "unbounded": bool(np.isinf(value)), "valid": not why, "reasons": why})
    return rows


def _nearest(splits: Sequence[Split], place: Place, slo: Objectives) -> str:
    """The split whose median TTFT and mean ITL are nearest to the objectives, and what they are, in words."""
    found = []
    for split in splits:
        if traces := split.traces.get(place):
            ttft, itl = typical_latencies(traces)
            words = f"{split.topology.title}: median TTFT {1e3 * ttft:.0f} ms, mean ITL {1e3 * itl:.1f} ms"
            found.append((max(ttft / slo.ttft_s, itl / slo.itl_s), words))
    return min(found, default=(0.0, ""))[1]


def _notes(splits: Sequence[Split]) -> list[str]:
    """What is to know of the game: which splits it lacks, or that two are a comparison."""
    own = splits[0].topology
    there, whole = len(splits), own.prefill + own.decode - 1
    if there < FEWEST:
        return ["this run measures no other split of the budget next to this one: there is no game"]
    if there < whole:
        return [f"the game is of {there} splits of {whole}: the others were not measured"]
    return ["two splits are a comparison, and hardly a game"] if whole == FEWEST else []
