"""The cache placement game against every deviation enumerated, and a cache that is really run."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anarchy.games.cache import (
    CacheGame,
    Holds,
    affinity_over_balance,
    best_hit_share,
    best_response,
    blind_hit_share,
    critical_skew,
    fullest,
    hit_share,
    homes,
    is_equilibrium,
    least_fullest,
    lru_hit_share,
    placements,
    potential,
    price_bounds,
    price_of_anarchy,
    spread,
    utilities,
    zipf,
)

ENUMERATED = settings(max_examples=40, deadline=None)
ASKED = st.lists(st.integers(1, 12), min_size=1, max_size=5)  # few values: many ties


@st.composite
def games(draw: st.DrawFn, hit: float = 1.0) -> CacheGame:
    popularity = np.array(draw(ASKED), dtype=float)
    workers, room = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return CacheGame(popularity, workers, room, hit, draw(st.floats(hit, 9.0)))


@st.composite
def placed(draw: st.DrawFn) -> tuple[CacheGame, Holds]:
    game = draw(games())
    return game, draw(st.sampled_from(list(placements(game))))


def stable(game: CacheGame, holds: Holds) -> bool:
    """Every set of every worker tried one by one."""
    for worker in range(game.workers):
        for chosen in itertools.combinations(range(game.popularity.size), game.held):
            other = holds.copy()
            other[worker] = False
            other[worker, list(chosen)] = True
            if utilities(game, other)[worker] > utilities(game, holds)[worker] + 1e-12:
                return False
    return True


@ENUMERATED
@given(placed())
def test_equilibria_are_those_of_every_deviation_enumerated(one: tuple[CacheGame, Holds]) -> None:
    game, holds = one
    assert is_equilibrium(game, holds) == stable(game, holds)


@ENUMERATED
@given(placed())
def test_workers_are_paid_all_that_is_served_from_caches(one: tuple[CacheGame, Holds]) -> None:
    game, holds = one
    assert utilities(game, holds).sum() == pytest.approx(hit_share(game, holds))


@ENUMERATED
@given(placed(), st.integers(0, 2))
def test_a_change_of_one_worker_moves_the_potential_by_what_it_is_paid_more(
    one: tuple[CacheGame, Holds], worker: int
) -> None:
    game, holds = one
    worker %= game.workers
    changed = holds.copy()
    changed[worker] = best_response(game, holds, worker)
    gained = utilities(game, changed)[worker] - utilities(game, holds)[worker]
    assert gained >= -1e-12
    assert potential(game, changed) - potential(game, holds) == pytest.approx(gained)


@ENUMERATED
@given(games())
def test_the_best_hit_share_is_that_of_all_placements(game: CacheGame) -> None:
    best = max(hit_share(game, holds) for holds in placements(game))
    assert best_hit_share(game) == pytest.approx(best)


@ENUMERATED
@given(games())
def test_the_spread_placement_is_an_equilibrium_of_the_largest_potential(game: CacheGame) -> None:
    holds = spread(game)
    assert (holds.sum(axis=1) == game.held).all()
    assert stable(game, holds)
    assert potential(game, holds) == pytest.approx(max(potential(game, one) for one in placements(game)))


@ENUMERATED
@given(games())
def test_the_price_lies_between_its_bounds(game: CacheGame) -> None:
    low, high = price_bounds(game)
    assert low >= 1.0 - 1e-9
    assert low - 1e-9 <= price_of_anarchy(game) <= high + 1e-9


@ENUMERATED
@given(games(), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_scaling_popularity_or_costs_changes_no_price(game: CacheGame, factor: float) -> None:
    scaled = CacheGame(
        game.popularity * factor, game.workers, game.room, game.hit * factor, game.miss * factor
    )
    assert price_of_anarchy(scaled) == pytest.approx(price_of_anarchy(game))
    assert affinity_over_balance(scaled) == pytest.approx(affinity_over_balance(game))


@ENUMERATED
@given(games(), st.integers(0, 99))
def test_renaming_templates_changes_no_price(game: CacheGame, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(game.popularity.size)
    renamed = CacheGame(game.popularity[order], game.workers, game.room, game.hit, game.miss)
    assert price_of_anarchy(renamed) == pytest.approx(price_of_anarchy(game))
    assert price_bounds(renamed) == pytest.approx(price_bounds(game))


@ENUMERATED
@given(ASKED, st.integers(1, 3))
def test_one_worker_has_no_externality_and_a_price_of_one(asked: list[int], room: int) -> None:
    game = CacheGame(np.array(asked, dtype=float), 1, room)
    assert price_of_anarchy(game) == pytest.approx(1.0)
    assert best_hit_share(game) == blind_hit_share(game)


@ENUMERATED
@given(games())
def test_where_one_cache_holds_all_the_price_is_one(game: CacheGame) -> None:
    whole = CacheGame(game.popularity, game.workers, game.popularity.size, game.hit, game.miss)
    assert price_bounds(whole) == pytest.approx((1.0, 1.0))
    assert price_of_anarchy(whole) == pytest.approx(1.0)


def test_uniform_popularity_spreads_without_copies_and_costs_nothing() -> None:
    game = CacheGame(zipf(6, 0.0), 2, 3)
    assert price_of_anarchy(game) == 1.0
    assert spread(game).sum(axis=0).tolist() == [1] * 6


def test_a_template_that_is_asked_for_more_than_twice_as_often_is_held_twice() -> None:
    game = CacheGame(np.array([5.0, 2.0]), 2, 1, hit=1.0, miss=3.0)
    assert spread(game).sum(axis=0).tolist() == [2, 0]
    assert price_of_anarchy(game) == pytest.approx((3 - 2 * 5 / 7) / 1)
    even = CacheGame(np.array([5.0, 3.0]), 2, 1, hit=1.0, miss=3.0)
    assert price_of_anarchy(even) == 1.0


def test_too_many_placements_are_refused_and_bounds_are_not() -> None:
    game = CacheGame(zipf(60, 1.0), 3, 20, 1.0, 4.0)
    with pytest.raises(ValueError, match="placements"):
        price_of_anarchy(game)
    low, high = price_bounds(game)
    assert 1.0 < low < high


def lru(game: CacheGame, asked: list[int]) -> float:
    """Share of hits of a least-recently-used cache that is run, the first half of requests left out."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = []
    for template in asked:
        hits.append(template in cache)
        cache.pop(template, None)
        cache[template] = None
        if len(cache) > game.room:
            cache.popitem(last=False)
    return float(np.mean(hits[len(hits) // 2 :]))


@pytest.mark.parametrize("skew", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("room", [5, 20, 60])
def test_the_approximation_of_lru_is_that_of_a_cache_that_is_run(skew: float, room: int) -> None:
    game = CacheGame(zipf(100, skew), 1, room)
    asked = np.random.default_rng(7).choice(100, 40_000, p=game.shares).tolist()
    assert lru_hit_share(game) == pytest.approx(lru(game, asked), abs=0.015)


@ENUMERATED
@given(games())
def test_a_cache_that_keeps_the_last_is_no_better_than_the_best(game: CacheGame) -> None:
    assert lru_hit_share(game) <= blind_hit_share(game) + 1e-9
    assert lru_hit_share(game, game.popularity.size) == 1.0


@ENUMERATED
@given(games())
def test_homes_are_within_the_bound_of_the_least_and_the_bound_holds(game: CacheGame) -> None:
    least, exact = least_fullest(game)
    assert exact
    asked = np.bincount(homes(game), weights=game.shares, minlength=game.workers)
    evenly = min(
        np.bincount(list(one), weights=game.shares, minlength=game.workers).max()
        for one in itertools.product(range(game.workers), repeat=game.popularity.size)
    )
    assert asked.max() <= evenly * (4 / 3 - 1 / (3 * game.workers)) + 1e-9  # Graham 1969
    assert fullest(game, homes(game)) >= least - 1e-12
    bound = max(game.cost(best_hit_share(game)) / game.workers, float(game.shares.max()) * game.hit)
    assert bound <= least + 1e-9


def test_affinity_wins_where_room_is_short_and_loses_where_one_template_is_hot() -> None:
    short = CacheGame(zipf(120, 0.0), 3, 40, 9.0, 32.0)
    assert affinity_over_balance(short) == pytest.approx(9.0 / (32.0 - 23.0 / 3), rel=0.01)
    hot = CacheGame(zipf(12, 3.0), 3, 40, 9.0, 32.0)
    assert affinity_over_balance(hot) == pytest.approx(3 * hot.shares[0])
    assert not least_fullest(short)[1]


def test_the_line_is_where_affinity_costs_what_balance_does() -> None:
    short = CacheGame(zipf(120, 0.0), 3, 40, 9.0, 32.0)
    skew = critical_skew(short)
    assert skew is not None
    for away, better in ((-0.05, True), (0.05, False)):
        near = CacheGame(zipf(120, skew + away), 3, 40, 9.0, 32.0)
        assert (affinity_over_balance(near) < 1.0) == better
    assert critical_skew(CacheGame(zipf(4, 0.0), 3, 40, 9.0, 32.0)) == 0.0
    assert critical_skew(CacheGame(zipf(120, 0.0), 1, 40, 9.0, 32.0)) is None


@pytest.mark.parametrize(
    ("popularity", "workers", "room", "hit", "why"),
    [
        ([], 1, 1, 1.0, "one or more templates"),
        ([math.nan], 1, 1, 1.0, "finite"),
        ([-1.0, 2.0], 1, 1, 1.0, "at least 0"),
        ([0.0], 1, 1, 1.0, "no template"),
        ([1.0], 0, 1, 1.0, "at least 1 of both"),
        ([1.0], 1, 0, 1.0, "at least 1 of both"),
        ([1.0], 1, 1, 3.0, "hit <= miss"),
    ],
)
def test_what_is_no_game_is_refused(
    popularity: list[float], workers: int, room: int, hit: float, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        CacheGame(np.array(popularity), workers, room, hit)
