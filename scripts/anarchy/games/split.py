"""The P/D resource game: two pools share a budget of workers, and each would have the split that suits it.

Players are the prefill and the decode pool, a strategy is a number of workers, and together they hold the
whole budget: it binds, so a worker that one pool hands back is the other's. The prefill pool's utility is the
rate of requests within the TTFT objective, the decode pool's that within the ITL objective, society's that
within both; all three as they were measured at each split.

Which workers a pool may choose hangs on what the other holds: a generalized Nash game (source: the paper,
arXiv 2606.17081, game 1). It is analysed there on paper; how it is read on integers and on measured
utilities, the tie and the moves are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SplitGame:
    """Utilities of both pools and of society at each split, from the fewest prefill workers to the most.

    Shapes: (S,) each, S >= 2; entry k + 1 has one prefill worker more and one decode worker less than k.
    Units: requests a second. `tie`: a difference of at most this share of the largest utility is none.
    Errors: ValueError on other shapes, on what is not finite or negative, and on a tie outside [0, 1).
    """

    prefill: FloatArray
    decode: FloatArray
    society: FloatArray
    tie: float = 0.0

    def __post_init__(self) -> None:
        arrays = (self.prefill, self.decode, self.society)
        if any(one.shape != (self.prefill.size,) for one in arrays) or self.prefill.size < 2:
            raise ValueError("a game takes three utilities at each of two or more splits")
        if not all(np.isfinite(one).all() and (one >= 0.0).all() for one in arrays):
            raise ValueError("utilities are rates: want finite numbers of at least 0")
        if not 0.0 <= self.tie < 1.0:
            raise ValueError(f"the tie is {self.tie}: want a share of at least 0 and below 1")

    def __len__(self) -> int:
        return int(self.prefill.size)

    @property
    def slack(self) -> float:
        """The difference up to which utilities tie, requests a second."""
        return self.tie * float(max(self.prefill.max(), self.decode.max(), self.society.max()))


def marginal_gains(game: SplitGame) -> tuple[FloatArray, FloatArray]:
    """What the worker between split k and split k + 1 is worth to the prefill and to the decode pool.

    Shapes: (S - 1,) each, requests a second a worker. Both along the budget: the other pool has it otherwise.
    """
    return np.diff(game.prefill), -np.diff(game.decode)


def equilibria(game: SplitGame) -> Bools:
    """The splits at which neither pool would rather hold fewer workers: all equilibria of the game. (S,).

    A pool can only choose among what the other leaves, and the budget binds, so it can hand workers back and
    not take any. Where more workers never hurt their own pool every split is one. There may be none.
    """
    fewer_prefill = np.maximum.accumulate(game.prefill)
    fewer_decode = np.maximum.accumulate(game.decode[::-1])[::-1]
    stays: Bools = (game.prefill >= fewer_prefill - game.slack) & (game.decode >= fewer_decode - game.slack)
    return stays


def variational(game: SplitGame) -> Bools:
    """The variational equilibria on the integers: splits at which both pools' marginal gains cross. (S,).

    Of equal marginal gains (the paper's Proposition 1) integers leave this: the last worker of prefill is
    worth no less to it than to decode, and the next one no more. So they are the local maxima of the sum of
    both utilities, and there is always one. At the ends of the budget one side alone is asked.
    """
    prefill, decode = marginal_gains(game)
    worth_it = np.r_[True, prefill >= decode - game.slack]
    enough = np.r_[prefill <= decode + game.slack, True]
    return np.asarray(worth_it & enough)


def best_responses(game: SplitGame) -> npt.NDArray[np.int64]:
    """Where each split goes: the pool that gains more takes one worker; a tie, or no gain, stays. (S,)."""
    up = np.r_[np.diff(game.prefill), -np.inf]
    down = np.r_[-np.inf, -np.diff(game.decode)]
    gain = np.maximum(up, down)
    moves = (gain > game.slack) & (np.abs(up - down) > game.slack)
    step = np.where(moves, np.where(up > down, 1, -1), 0)
    return np.arange(len(game)) + step


def destinations(game: SplitGame) -> list[tuple[int, ...]]:
    """Where best responses end from each split: one split that stays, or those that they go round between."""
    following = best_responses(game)
    found = []
    for start in range(len(game)):
        seen = [start]
        while (then := int(following[seen[-1]])) not in seen:
            seen.append(then)
        found.append(tuple(sorted(seen[seen.index(then) :])))
    return found


def price(chosen_by: FloatArray, among: Bools, society: FloatArray | None = None) -> float:
    """Society's utility at the optimum over that at the worst of some splits.

    Optimum and worst are chosen by the first utilities and valued by `society`, without it by the same. The
    largest of several noisy numbers is too large, so numbers with noise want others to choose by. Shapes:
    (S,). Infinite where the worst has 0; NaN where the optimum has 0 too, or where there is no such split.
    """
    if not among.any() or chosen_by.max() == 0.0:
        return float("nan")
    values = chosen_by if society is None else society
    best = float(values[np.argmax(chosen_by)])
    worst = float(values[np.flatnonzero(among)[np.argmin(chosen_by[among])]])
    if worst > 0.0:
        return best / worst
    return float("inf") if best > 0.0 else float("nan")


def price_of_anarchy(game: SplitGame, society: FloatArray | None = None) -> float:
    """The social optimum over the worst equilibrium; chosen by the game, valued as `price` does.

    At least 1 where the game's own utilities value it.
    """
    return price(game.society, equilibria(game), society)


def price_of_stability(game: SplitGame, society: FloatArray | None = None) -> float:
    """The social optimum over the best equilibrium; as `price_of_anarchy`."""
    at = equilibria(game)
    best = at & (game.society == game.society[at].max()) if at.any() else at
    return price(game.society, best, society)


def price_of_variational(game: SplitGame, society: FloatArray | None = None) -> float:
    """The social optimum over the worst variational equilibrium; as `price_of_anarchy`."""
    return price(game.society, variational(game), society)


def prices_of_fixed(
    society: FloatArray,
    shares: Sequence[float] | FloatArray | None = None,
    chosen_by: FloatArray | None = None,
) -> FloatArray:
    """What each split costs that is kept while the load moves: the best split of each stage over it. (S,).

    `society` (T, S): utility at each stage and split; `shares` (T,): of the time, equal without; `chosen_by`
    (T, S): what the best split of a stage is chosen by, as in `price`. Each stage is taken as if it were
    steady. Infinite where a split serves no stage, NaN where the best ones serve none.
    Errors: ValueError on shapes that do not fit.
    """
    stages, splits = society.shape
    weights = np.full(stages, 1.0) if shares is None else np.asarray(shares, dtype=np.float64)
    chosen = society if chosen_by is None else chosen_by
    if weights.shape != (stages,):
        raise ValueError(f"{stages} stages take as many shares, not {weights.shape}")
    if chosen.shape != society.shape:
        raise ValueError(f"utilities of shape {society.shape} are not chosen by ones of {chosen.shape}")
    best = float(weights @ society[np.arange(stages), chosen.argmax(axis=1)])
    kept = weights @ society
    if best == 0.0:
        return np.full(splits, np.nan)
    prices: FloatArray = np.full(splits, np.inf)
    np.divide(best, kept, out=prices, where=kept > 0.0)
    return prices
