"""PoA-hat of a ladder under another reading than the default: what prices it, what a trace must tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from anarchy.engines.profiles import Profile
from anarchy.estimate.game import CellGame, Pool, requests_of
from anarchy.estimate.ladder import Ladder, LadderEstimate, bootstrap_costs, find_ladder_knee
from anarchy.games.readings import (
    ReadCosts,
    Reading,
    both_sides_costs,
    idle_costs,
    idle_latency,
    table_costs,
)
from anarchy.games.requests import FloatArray
from anarchy.ground.errors import UserError
from anarchy.stats.intervals import Resampled
from anarchy.stats.knee import regime
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]

TABLED: Final[tuple[Reading, ...]] = ("table", "both-sides")
"""Readings that need a timing table."""
NO_TABLE: Final = "no timing table: what served it follows none"
POA_HAT: Final = {"poa_hat": ("SC", "OPTf")}
NAN: Final = float("nan")


def with_reading(
    game: CellGame, trace: CellTrace, reading: Reading, profile: Profile | None, pool: Pool
) -> CellGame:
    """A cell with the costs of its windows under a reading that needs a timing table; else as it is.

    Raises UserError where the trace does not tell the lengths of its prompts.
    """
    if reading not in TABLED or profile is None:
        return game
    tokens = trace.column("input_tokens").astype(np.int64)
    asked = tokens[game.windows.row] if reading == "table" else tokens[trace.column(f"{pool}_worker") >= 0]
    if (asked < 1).any():
        raise UserError(
            f"{int((asked < 1).sum())} requests have no number of prompt tokens, and reading {reading} asks "
            "the timing table about them",
            where=trace.directory,
            remedy="fill the column input_tokens, or take --reading fitted or idle",
        )
    prefill: FloatArray = profile.ttfts_s(tokens)
    if reading == "table":
        return replace(game, read=table_costs(game.windows, prefill[game.windows.row]))
    return replace(game, read=both_sides_costs(requests_of(trace, pool), prefill))


def estimate_reading(ladder: Ladder, done: Callable[[int], None] = lambda _: None) -> LadderEstimate:
    """Every estimate of a ladder under its reading, which is not `fitted`: PoA-hat, its knee and regimes.

    PoA-cal and the factors belong to the fitted curves and stay unknown. A launch that the reading cannot
    price is left out, with its reason.
    """
    launches = sorted({game.launch for cells in ladder.cells.values() for game in cells})
    price, without = _prices(ladder, launches)
    rows, draws = [], {}
    for stream, C in enumerate(ladder.grid):
        games = [game for game in ladder.cells[C] if game.launch in price]
        costs = [price[game.launch](game) for game in games]
        ids = [sorted(price).index(game.launch) for game in games]
        draws[C] = bootstrap_costs(costs, ladder, stream, ids, len(price), POA_HAT)["poa_hat"]
        rows.append(_row(C, games, costs, draws[C]))
        done(C)
    knee = find_ladder_knee(rows, draws)
    for row in rows:
        row["regime"] = regime(row["n_windows"], row["concurrency"], ladder.n_workers, knee.knee)
    return LadderEstimate(rows, knee, {}, without, draws, read=tuple(sorted(price)))


Price = Callable[[CellGame], ReadCosts]


def _prices(ladder: Ladder, launches: Sequence[int]) -> tuple[dict[int, Price], dict[int, str]]:
    """What prices the cells of each launch; for a launch that has nothing, why."""
    if ladder.reading in TABLED:
        unpriced = {game.launch for cells in ladder.cells.values() for game in cells if game.read is None}
        priced = [launch for launch in launches if launch not in unpriced]
        return dict.fromkeys(priced, _already), dict.fromkeys(sorted(unpriced), NO_TABLE)
    prices: dict[int, Price] = {}
    without = {}
    for launch in launches:
        try:
            prices[launch] = _idle(ladder, launch)
        except ValueError as error:
            without[launch] = f"no idle cell: {error}"
    return prices, without


def _already(game: CellGame) -> ReadCosts:
    assert game.read is not None, "a launch without its timing table is refused"
    return game.read


def _idle(ladder: Ladder, launch: int) -> Price:
    """Latencies over those of the launch's cell of the lowest C, which must leave every user a worker."""
    lowest = min(ladder.of_launch(launch), key=lambda game: game.manifest.concurrency)
    C = lowest.manifest.concurrency
    if ladder.n_workers < C:
        raise ValueError(f"the lowest C is {C}, more users than the pool has workers ({ladder.n_workers})")
    idle = idle_latency(lowest.summary)
    return lambda game: idle_costs(game.windows, idle)


def _row(C: int, games: Sequence[CellGame], costs: Sequence[ReadCosts], drawn: Resampled) -> Row:
    hat = drawn.interval()
    ttft = np.concatenate([game.ttft for game in games] or [np.empty(0)])
    ratios = np.concatenate([one.SC / one.OPTf for one in costs] or [np.empty(0)])
    median, p90 = np.quantile(ratios, [0.5, 0.9]) if ratios.size else (NAN, NAN)
    unknown = dict.fromkeys(("poa_cal", "poa_cal_lo", "poa_cal_hi", "dynamics", "routing", "freezing"), NAN)
    return {
        "concurrency": C,
        "n_launches": len(games),
        "n_requests": int(sum(game.windows.row.size for game in games)),
        "n_windows": int(ratios.size),
        "poa_hat": hat.value,
        "poa_hat_lo": hat.lo,
        "poa_hat_hi": hat.hi,
        **unknown,
        "median_window": float(median),
        "p90_window": float(p90),
        "interval_kind": hat.kind,
        "block_length": hat.block_length,
        "ttft_p99": float(np.quantile(ttft, 0.99)) if ttft.size else NAN,
        "valid": bool(games),
        "reasons": "",
    }
