"""What a pool's caches did with working sets of several sizes, held against the game of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from anarchy.config.workloads import Workload
from anarchy.designs.cache.caches import copies, hit_share, new_tokens, shareable_tokens
from anarchy.designs.cache.columns import CELLS, DUELS, GAMES, LINE, REGIMES
from anarchy.designs.cache.tier import CacheTier, family, popularity, prompt_blocks
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import Found, describe_routing, grouped, policy_row
from anarchy.estimate.performance import completion_rates
from anarchy.games import cache as games
from anarchy.ground.errors import UserError
from anarchy.stats.student import kind_over, mean_over_launches
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]
Launches: TypeAlias = Mapping[int, Mapping[str, float]]
"""Numbers of one cell by launch and name."""

DIFFERENCES: Final = frozenset({"hit_share", "copies", "hits"})
"""Numbers whose mean is arithmetic; of the others, which are above 0, it is geometric."""
SIZES: Final = 12
"""Of the working set, at which the line of the model is told."""


@dataclass(frozen=True)
class Pool:
    """The prefill pool and its caches: workers, templates that one holds, prefill times alone, model s."""

    workers: int
    room: int
    hit_s: float | None
    miss_s: float | None

    def game(self, templates: int, skew: float) -> games.CacheGame:
        """The game that a working set makes of it; without prefill times a miss costs twice a hit."""
        costs = (self.hit_s, self.miss_s) if self.hit_s and self.miss_s else (1.0, 2.0)
        return games.CacheGame(games.zipf(templates, skew), self.workers, self.room, *costs)

    def share(self, templates: int) -> float:
        """A working set over what all workers hold together."""
        return templates / (self.workers * self.room)


@dataclass(frozen=True, eq=False)
class Measured:
    """One working set at one C under one policy."""

    cell: MeasuredCell
    """Any of its cells."""
    launches: Launches
    n_requests: int
    reason: str

    @property
    def templates(self) -> int:
        """Size of the working set."""
        return self.cell.workload.templates


def estimate(cells: Sequence[MeasuredCell], tier: CacheTier, method: Method, head: Row) -> Found:
    """Every table and fact of a system; `head` labels all rows.

    Raises UserError for several sets of policies: each has workers of its own, and the game is that of one
    pool.
    """
    sets = list(dict.fromkeys(cell.routing for cell in cells))
    if len(sets) > 1:
        raise UserError(
            f"working sets under several sets of policies ({', '.join(sets)}) are no game of one pool",
            where=f"experiment {head['experiment']}",
            remedy="put the policies into one set, or make an experiment of each",
        )
    pool = _pool(cells, method)
    read = {
        key: _read(its, pool, method)
        for key, its in grouped(
            cells, lambda c: (_family(c.workload), c.concurrency, c.policy.name, c.workload.templates)
        ).items()
    }
    by_skew = sorted(read.values(), key=lambda one: one.cell.workload.skew)
    titles = {_family(one.cell.workload): popularity(one.cell.workload.skew) for one in by_skew}
    label = {name: {**head, "workload": name, "workload_title": title} for name, title in titles.items()}
    of_cells, of_regimes, of_duels = [], [], []
    for (name, C, _), its in grouped(read.items(), lambda item: item[0][:3]).items():
        series = sorted((one for _, one in its), key=lambda one: one.templates)
        common = {**label[name], **policy_row(series[0].cell), "concurrency": C}
        of_cells += [{**common, **_set_row(one, pool), **_cell_row(one)} for one in series]
        of_regimes.append({**common, **_regime_row(series, pool)})
    for (name, C, _), its in grouped(read.items(), lambda i: (i[0][0], i[0][1], i[0][3])).items():
        policies = {key[2]: one for key, one in its}
        row = _duel_row(policies[tier.affinity], policies[tier.balance])
        of_duels.append({**label[name], **_set_row(its[0][1], pool), "concurrency": C, **row})
    rows = {
        "cells": of_cells,
        "duels": of_duels,
        "games": [{**label[name], **row} for name, row in _games(read.values(), pool)],
        "line": [{**head, **row} for row in _line(tier, pool)],
        "regimes": of_regimes,
    }
    schemas = {"cells": CELLS, "duels": DUELS, "games": GAMES, "line": LINE, "regimes": REGIMES}
    named = {cell.policy.name: cell.policy.title for cell in cells}
    return Found(
        {name: frame(rows[name], schema) for name, schema in schemas.items()},
        {
            "routing": describe_routing(cells),
            "workers": pool.workers,
            "room": pool.room,
            "hit_s": pool.hit_s,
            "miss_s": pool.miss_s,
            "affinity": named[tier.affinity],
            "balance": named[tier.balance],
            "workloads": {name: {"title": title, "notes": []} for name, title in titles.items()},
        },
    )


def _family(workload: Workload) -> str:
    stem = workload.name.removesuffix(f"-s{workload.skew:g}-t{workload.templates}")
    return family(stem, workload.skew)


def _pool(cells: Sequence[MeasuredCell], method: Method) -> Pool:
    workload = cells[0].workload
    workers = next((one.trace.manifest.n_workers.prefill for one in cells if one.trace is not None), 0)
    room = cells[0].limits.num_gpu_blocks // prompt_blocks(workload)
    if method.profile is None:
        return Pool(workers, room, None, None)
    whole = workload.input_tokens
    hit, miss = method.profile.ttfts_s(np.array([whole - shareable_tokens(workload), whole]))
    return Pool(workers, room, float(hit), float(miss))


def _read(cells: Sequence[MeasuredCell], pool: Pool, method: Method) -> Measured:
    counting = {cell.launch: cell.trace for cell in cells if cell.valid and cell.trace is not None}
    return Measured(
        cells[0],
        {launch: _numbers(trace, cells[0].workload, pool, method) for launch, trace in counting.items()},
        int(sum(trace.measured.sum() for trace in counting.values())),
        ", ".join(dict.fromkeys(cell.reason for cell in cells if not cell.valid)),
    )


def _numbers(trace: CellTrace, workload: Workload, pool: Pool, method: Method) -> dict[str, float]:
    """What one launch tells of a cell."""
    shareable, ttft = shareable_tokens(workload), trace.ttft
    found = {
        "hit_share": hit_share(trace, shareable),
        "copies": copies(trace, shareable),
        "ttft_mean": float(ttft.mean()),
        "ttft_p50": float(np.quantile(ttft, 0.5)),
        "ttft_p99": float(np.quantile(ttft, 0.99)),
        "throughput_rps": float(completion_rates(trace)[0].mean()),
    }
    if method.profile is not None:
        game = pool.game(workload.templates, workload.skew)
        found["cost"] = float(method.profile.ttfts_s(new_tokens(trace).astype(np.int64)).mean())
        found["price"] = found["cost"] / game.cost(games.best_hit_share(game))
    return found


def _set_row(one: Measured, pool: Pool) -> Row:
    share = pool.share(one.templates) if pool.workers else None
    return {"templates": one.templates, "working_set": share, "skew": one.cell.workload.skew}


def _cell_row(one: Measured) -> Row:
    row: Row = {
        "n_launches": len(one.launches),
        "n_requests": one.n_requests,
        "interval_kind": kind_over(len(one.launches)),
        "valid": bool(one.launches),
        "reasons": one.reason,
    }
    names = next(iter(one.launches.values()), {})
    for name in names:
        row |= _ends(name, [numbers[name] for numbers in one.launches.values()])
    return row


def _ends(name: str, values: Sequence[float]) -> Row:
    """A number of each launch as a mean with its interval.

    Launches that do not tell it are left out, and then there is no interval: it would be over fewer launches
    than the row says.
    """
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return {}
    ends = mean_over_launches(known, ratio=name not in DIFFERENCES)
    if len(known) < len(values):
        ends = (ends[0], float("nan"), float("nan"))
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), ends, strict=True))


def _paired(one: Measured, other: Measured) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    """Numbers of both in each launch that they share."""
    both = sorted(set(one.launches) & set(other.launches))
    return [(one.launches[launch], other.launches[launch]) for launch in both]


def _duel_row(affinity: Measured, balance: Measured) -> Row:
    pairs = _paired(affinity, balance)
    row: Row = {
        "affinity": affinity.cell.policy.title,
        "balance": balance.cell.policy.title,
        "n_launches": len(pairs),
        "interval_kind": kind_over(len(pairs)),
        "winner": "",
        "valid": bool(pairs),
        "reasons": "; ".join(filter(None, (affinity.reason, balance.reason))),
    }
    if not pairs:
        return row
    row |= _ends("ttft", [b["ttft_mean"] / a["ttft_mean"] for a, b in pairs])
    row |= _ends("throughput", [a["throughput_rps"] / b["throughput_rps"] for a, b in pairs])
    row |= _ends("hits", [a["hit_share"] - b["hit_share"] for a, b in pairs])
    lo, hi = row.get("ttft_lo", np.nan), row.get("ttft_hi", np.nan)
    row["winner"] = "affinity" if lo > 1.0 else "balance" if hi < 1.0 else ""
    return row


def _regime_row(series: Sequence[Measured], pool: Pool) -> Row:
    """The price up to the largest size below capacity, and from there to the smallest at or above it."""
    there = [one for one in series if one.launches]
    below = [one for one in there if pool.share(one.templates) < 1.0]
    above = [one for one in there if pool.share(one.templates) >= 1.0]
    row: Row = {"n_launches": 0, "interval_kind": kind_over(0), "valid": False}
    if len(below) < 2 or not above:
        return {**row, "reasons": "takes two working sets below the pool's capacity and one at or above it"}
    first, last, over = below[0], below[-1], above[0]
    if not all("price" in numbers for one in (first, last, over) for numbers in one.launches.values()):
        return {**row, "reasons": "takes a timing table: what served follows none"}
    common = set(first.launches) & set(last.launches) & set(over.launches)
    if not common:
        return {**row, "reasons": "no launch counts at all three"}
    prices = np.array([[one.launches[launch]["price"] for one in (first, last, over)] for launch in common])
    shares = {"smallest": first, "below": last, "above": over}
    return {
        **row,
        "n_launches": len(common),
        "interval_kind": kind_over(len(common)),
        "valid": True,
        "reasons": "",
        **{name: pool.share(one.templates) for name, one in shares.items()},
        **_ends("before", (prices[:, 1] / prices[:, 0]).tolist()),
        **_ends("step", (prices[:, 2] / prices[:, 1]).tolist()),
    }


def _games(read: Iterable[Measured], pool: Pool) -> Iterator[tuple[str, Row]]:
    """The game of each working set, once."""
    if not pool.workers:
        return
    seen = {(_family(one.cell.workload), one.templates): one for one in read}
    for (name, templates), one in seen.items():
        game = pool.game(templates, one.cell.workload.skew)
        least, exact = games.least_fullest(game)
        even = game.cost(games.best_hit_share(game)) / game.workers
        row: Row = {
            **_set_row(one, pool),
            "room": pool.room,
            "best_hit_share": games.best_hit_share(game),
            "lru_hit_share": games.lru_hit_share(game),
            "pooled_hit_share": games.lru_hit_share(game, game.workers * game.room),
            "fullest": games.fullest(game, games.homes(game)) / even,
            "least_fullest": least / even,
            "least_exact": exact,
            "affinity_over_balance": games.affinity_over_balance(game),
        }
        yield name, {**row, **_price_row(game)}


def _price_row(game: games.CacheGame) -> Row:
    """The price of anarchy, exact where it can be enumerated, else what it lies between."""
    try:
        low = high = games.price_of_anarchy(game)
    except ValueError:  # too many placements
        low, high = games.price_bounds(game)
        return {"price_low": low, "price_high": high, "price_exact": low == high}
    return {"price_low": low, "price_high": high, "price_exact": True}


def _line(tier: CacheTier, pool: Pool) -> Iterator[Row]:
    """Where the model of homes puts the line between affinity and balance."""
    if not pool.workers:
        return
    least, most = np.log(min(tier.templates)), np.log(max(tier.templates))
    for templates in dict.fromkeys(np.rint(np.exp(np.linspace(least, most, SIZES))).astype(int).tolist()):
        skew = games.critical_skew(pool.game(templates, 0.0))
        yield {"templates": templates, "working_set": pool.share(templates), "skew": skew}
