"""The KV cache placement game: workers with little room choose which prompts to hold.

Players are the W workers of a pool, a strategy is a set of at most K templates that a worker holds, and a
request asks for template t with probability p_t. It is served from a cache where some worker holds its
template and it is sent there (affinity); of several holders each serves an equal share. A worker is paid the
requests that it serves from its cache, so what one holds lowers what another is paid: the externality. Any
worker can be reached from the router at one cost (a complete graph). That is the market sharing game with
prompts of one size (source: Goemans, Li, Mirrokni and Thottan 2006; the game of caches: the paper,
arXiv 2606.17081, game 2, whose hierarchy of memories is left out here: one level, ours).

Beside it stands routing that does not look at caches (balance): each worker then sees all templates, no
worker's choice touches another's, and each would hold the K that are asked for most.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Holds = npt.NDArray[np.bool_]
"""Which worker holds which template, shape (W, T)."""

MOST_PLACEMENTS: Final = 20_000
"""Placements, workers told apart or not, up to which a game is solved by enumeration."""
ROUNDING: Final = 1e-12
"""Two shares that differ by less are equal."""


@dataclass(frozen=True, eq=False)
class CacheGame:
    """Popularity of templates, workers, room of each in templates, and what a hit and a miss cost.

    `popularity`: shape (T,), any unit, at least 0 and not all 0; `shares` are its shares of 1. `hit` and
    `miss` in any one unit of cost, 0 < hit <= miss. Errors: ValueError on anything else.
    """

    popularity: FloatArray
    workers: int
    room: int
    hit: float = 1.0
    miss: float = 2.0

    def __post_init__(self) -> None:
        if self.popularity.ndim != 1 or not self.popularity.size:
            raise ValueError("a game takes the popularity of one or more templates")
        if not (np.isfinite(self.popularity).all() and (self.popularity >= 0.0).all()):
            raise ValueError("popularity: want finite numbers of at least 0")
        if self.popularity.sum() <= 0.0:
            raise ValueError("popularity: no template is ever asked for")
        if self.workers < 1 or self.room < 1:
            raise ValueError(f"{self.workers} workers with room for {self.room}: want at least 1 of both")
        if not 0.0 < self.hit <= self.miss < math.inf:
            raise ValueError(f"a hit costs {self.hit}, a miss {self.miss}: want 0 < hit <= miss")

    @property
    def shares(self) -> FloatArray:
        """Share of the requests that ask for each template, (T,)."""
        found: FloatArray = self.popularity / self.popularity.sum()
        return found

    @property
    def held(self) -> int:
        """Templates that one worker holds: as many as it has room for, or all."""
        return min(self.room, self.popularity.size)

    def cost(self, hit_share: float) -> float:
        """Mean cost of a request where this share of them is served from a cache."""
        return self.miss - (self.miss - self.hit) * hit_share


def zipf(templates: int, skew: float) -> FloatArray:
    """Popularity of templates 1 to T in proportion to 1 / t^skew; skew 0 is uniform. Shape (T,)."""
    return np.arange(1.0, templates + 1.0) ** -skew


def hit_share(game: CacheGame, holds: Holds) -> float:
    """Share of the requests that some worker can serve from its cache."""
    return float(game.shares[holds.any(axis=0)].sum())


def utilities(game: CacheGame, holds: Holds) -> FloatArray:
    """Share of all requests that each worker serves from its cache, (W,); they add up to `hit_share`."""
    paid: FloatArray = (holds * (game.shares / np.maximum(holds.sum(axis=0), 1))).sum(axis=1)
    return paid


def potential(game: CacheGame, holds: Holds) -> float:
    """Rosenthal's potential: sum over templates of p_t (1 + 1/2 + ... + 1/n_t), n_t of whom hold t.

    A worker that changes its set changes this by just what it changes its own utility.
    """
    harmonic = np.r_[0.0, np.cumsum(1.0 / np.arange(1, game.workers + 1))]
    return float(game.shares @ harmonic[holds.sum(axis=0)])


def best_response(game: CacheGame, holds: Holds, worker: int) -> Holds:
    """What a worker would hold while the others stay, (T,): the templates that pay it most."""
    others = holds.sum(axis=0) - holds[worker]
    worth = game.shares / (others + 1)
    chosen = np.zeros(game.popularity.size, dtype=bool)
    chosen[np.argsort(-worth, kind="stable")[: game.held]] = True
    return chosen


def is_equilibrium(game: CacheGame, holds: Holds) -> bool:
    """Whether no worker would be paid more with another set."""
    paid = utilities(game, holds)
    for worker in range(game.workers):
        changed = holds.copy()
        changed[worker] = best_response(game, holds, worker)
        if utilities(game, changed)[worker] > paid[worker] + ROUNDING:
            return False
    return True


def placements(game: CacheGame) -> Iterator[Holds]:
    """Every placement of full caches, each once up to renaming workers.

    Errors: ValueError where there are more than MOST_PLACEMENTS.
    """
    sets = math.comb(game.popularity.size, game.held)
    count = math.comb(sets + game.workers - 1, game.workers)
    if count > MOST_PLACEMENTS:
        raise ValueError(f"{count} placements: at most {MOST_PLACEMENTS} are enumerated")
    rows = []
    for chosen in itertools.combinations(range(game.popularity.size), game.held):
        row = np.zeros(game.popularity.size, dtype=bool)
        row[list(chosen)] = True
        rows.append(row)
    for of_workers in itertools.combinations_with_replacement(rows, game.workers):
        yield np.array(of_workers)


def best_hit_share(game: CacheGame) -> float:
    """The largest hit share of any placement: the W K templates asked for most, once each. Exact.

    With requests that are independent of each other no cache that does not know the future does better (Aho,
    Denning and Ullman 1971).
    """
    return _most_popular(game, game.workers * game.room)


def blind_hit_share(game: CacheGame) -> float:
    """The largest hit share where routing does not look at caches: all hold the K asked for most. Exact.

    It is also the only equilibrium there, up to ties: no worker's choice touches another's.
    """
    return _most_popular(game, game.room)


def _most_popular(game: CacheGame, count: int) -> float:
    return float(min(np.sort(game.shares)[::-1][:count].sum(), 1.0))


def spread(game: CacheGame) -> Holds:
    """The equilibrium that maximizes the potential, (W, T).

    Slots are given one by one to the template whose next copy pays most, of equal ones to that with more
    copies; they are then laid out in turn, so that no worker holds a template twice.
    """
    number = np.arange(1, game.workers + 1)
    worth = np.round(game.shares[:, None] / number, 12)
    order = np.lexsort((-np.broadcast_to(number, worth.shape).ravel(), -worth.ravel()))
    order = order[: game.workers * game.held]
    copies = np.bincount(order // game.workers, minlength=game.popularity.size)
    holds = np.zeros((game.workers, game.popularity.size), dtype=bool)
    holds[np.arange(copies.sum()) % game.workers, np.repeat(np.arange(copies.size), copies)] = True
    return holds


def price_of_anarchy(game: CacheGame) -> float:
    """Cost at the worst equilibrium over the least cost, by enumeration: exact, for small games.

    Errors: ValueError as `placements`.
    """
    shares = [hit_share(game, holds) for holds in placements(game) if is_equilibrium(game, holds)]
    return game.cost(min(shares)) / game.cost(best_hit_share(game))


def price_bounds(game: CacheGame) -> tuple[float, float]:
    """Two ends that the price of anarchy lies between: at least that of one equilibrium, and at most a bound.

    The lower end is the price at `spread`. The upper end is 1 where one cache holds everything; else every
    equilibrium serves at least W / (2 W - 1) of the best hit share: a worker that took its part of the best
    placement would be paid at least a W-th of what of it is held, and all of what is not. And each serves at
    least what the most popular set would pay all who hold it alike: `blind_hit_share`.
    """
    best = best_hit_share(game)
    least = max(best * game.workers / (2 * game.workers - 1), blind_hit_share(game))
    ends = (hit_share(game, spread(game)), least)
    low, high = (game.cost(share) / game.cost(best) for share in ends)
    return low, max(low, high)


def lru_hit_share(game: CacheGame, room: int | None = None) -> float:
    """Hit share of one least-recently-used cache with room for so many templates (without: a worker's).

    Che's approximation for independent requests: a template stays for a time s that is the same for all, at
    which as many are there as there is room for (Che, Tung and Wang 2002).
    """
    from scipy.optimize import brentq  # slow to load

    room = game.room if room is None else room
    asked = game.shares[game.shares > 0.0]
    if room >= asked.size:
        return 1.0
    high = 1.0
    while -np.expm1(-asked * high).sum() < room:
        high *= 2.0
    stays = brentq(lambda s: float(-np.expm1(-asked * s).sum()) - room, 0.0, high)
    return float(asked @ -np.expm1(-asked * stays))


def homes(game: CacheGame) -> IntArray:
    """One home for each template, (T,): the most popular first, to the worker that is asked least so far."""
    asked = np.zeros(game.workers)
    home = np.zeros(game.popularity.size, dtype=np.int64)
    for template in np.argsort(-game.shares, kind="stable"):
        home[template] = int(np.argmin(asked))
        asked[home[template]] += game.shares[template]
    return home


def fullest(game: CacheGame, home: IntArray) -> float:
    """Cost that the fullest worker has of each request of the pool, where a template goes to its home alone.

    A home holds the K of its templates that are asked for most.
    """
    costs = []
    for worker in range(game.workers):
        asked = np.sort(game.shares[home == worker])[::-1]
        costs.append(game.hit * asked[: game.room].sum() + game.miss * asked[game.room :].sum())
    return float(max(costs))


def least_fullest(game: CacheGame) -> tuple[float, bool]:
    """The least cost that the fullest worker can have with one home for each template, and if it is exact.

    Exact by enumeration where there are at most MOST_PLACEMENTS choices of homes; else a lower bound: no
    worker has less than an equal share of the least mean cost, and one has the most popular template.
    """
    templates = game.popularity.size
    if templates * math.log(game.workers) <= math.log(MOST_PLACEMENTS):
        every = itertools.product(range(game.workers), repeat=templates)
        return min(fullest(game, np.array(home)) for home in every), True
    return max(game.cost(best_hit_share(game)) / game.workers, float(game.shares.max()) * game.hit), False


def affinity_over_balance(game: CacheGame) -> float:
    """Cost on the fullest worker under affinity over that under balance; above 1 balance is better.

    Affinity: one home for each template (`homes`). Balance: requests are spread evenly and caches keep what
    was asked for last (`lru_hit_share`), so each worker has a W-th of the mean cost. Where it is 1 is the
    line between the two.
    """
    return fullest(game, homes(game)) * game.workers / game.cost(lru_hit_share(game))


def critical_skew(game: CacheGame, most: float = 4.0) -> float | None:
    """The Zipf exponent at which affinity and balance cost the fullest worker the same; None up to `most`.

    Of a game as this one, but for how popular its templates are. Below it affinity is better; 0 where it is
    not even with uniform popularity.
    """

    def ratio(skew: float) -> float:
        return affinity_over_balance(replace(game, popularity=zipf(game.popularity.size, skew)))

    low, high = 0.0, most
    if ratio(low) >= 1.0:
        return 0.0
    if ratio(high) < 1.0:
        return None
    while high - low > 0.01:
        middle = (low + high) / 2.0
        low, high = (middle, high) if ratio(middle) < 1.0 else (low, middle)
    return (low + high) / 2.0
