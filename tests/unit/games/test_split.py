"""The P/D resource game against every deviation enumerated, and what scaling and renaming leave of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anarchy.games.split import (
    FloatArray,
    SplitGame,
    best_responses,
    destinations,
    equilibria,
    marginal_gains,
    price_of_anarchy,
    price_of_stability,
    price_of_variational,
    prices_of_fixed,
    variational,
)

RATES = st.integers(0, 12).map(float)  # few values: many ties


@st.composite
def games(draw: st.DrawFn, tie: float = 0.0) -> SplitGame:
    size = draw(st.integers(2, 7))
    one, other, both = (draw(st.lists(RATES, min_size=size, max_size=size)) for _ in range(3))
    return SplitGame(np.array(one), np.array(other), np.array(both), tie)


def other_way(game: SplitGame) -> SplitGame:
    """The same game with the pools' names exchanged."""
    return SplitGame(game.decode[::-1], game.prefill[::-1], game.society[::-1], game.tie)


def enumerated(game: SplitGame) -> list[bool]:
    """Every strategy of each pool that the other one's leaves room for, tried one by one."""
    budget = len(game) + 1
    utility = {(k + 1, budget - k - 1): (game.prefill[k], game.decode[k]) for k in range(len(game))}
    stable = []
    for p, d in utility:
        own_prefill = [utility[q, budget - q][0] for q in range(1, budget) if q + d <= budget]
        own_decode = [utility[budget - e, e][1] for e in range(1, budget) if p + e <= budget]
        stable.append(utility[p, d][0] == max(own_prefill) and utility[p, d][1] == max(own_decode))
    return stable


@given(games())
def test_equilibria_are_those_of_every_deviation_enumerated(game: SplitGame) -> None:
    assert equilibria(game).tolist() == enumerated(game)


@given(games())
def test_variational_equilibria_are_local_maxima_of_the_sum_and_there_is_one(game: SplitGame) -> None:
    total = game.prefill + game.decode
    around = np.r_[-math.inf, total, -math.inf]
    assert variational(game).tolist() == ((total >= around[:-2]) & (total >= around[2:])).tolist()
    assert variational(game)[np.argmax(total)]


@given(games())
def test_prices_are_at_least_one_and_in_order(game: SplitGame) -> None:
    anarchy, stability = price_of_anarchy(game), price_of_stability(game)
    if math.isnan(anarchy):
        assert math.isnan(stability)
        assert game.society.max() == 0.0 or not equilibria(game).any()
    else:
        assert 1.0 <= stability <= anarchy
        worst = min(game.society[k] for k in range(len(game)) if enumerated(game)[k])
        assert anarchy == (game.society.max() / worst if worst else math.inf)


@given(games(), games())
def test_other_utilities_choose_and_its_own_value(chosen: SplitGame, valued: SplitGame) -> None:
    if len(chosen) != len(valued):
        return
    found = price_of_anarchy(chosen, valued.society)
    at = [k for k in range(len(chosen)) if enumerated(chosen)[k]]
    if not at or chosen.society.max() == 0.0:
        assert math.isnan(found)
        return
    best = valued.society[int(np.argmax(chosen.society))]
    worst = valued.society[min(at, key=lambda k: chosen.society[k])]
    if worst:
        assert found == best / worst
    else:
        assert math.isnan(found) if best == 0.0 else found == math.inf


@given(games(tie=0.1), st.floats(1e-3, 1e3))
def test_scaling_rates_changes_nothing_but_gains(game: SplitGame, factor: float) -> None:
    scaled = SplitGame(game.prefill * factor, game.decode * factor, game.society * factor, 0.1 + 1e-12)
    game = SplitGame(game.prefill, game.decode, game.society, 0.1 + 1e-12)
    assert marginal_gains(scaled)[0] == pytest.approx(marginal_gains(game)[0] * factor)
    assert price_of_anarchy(scaled) == pytest.approx(price_of_anarchy(game), nan_ok=True)
    assert price_of_variational(scaled) == pytest.approx(price_of_variational(game), nan_ok=True)
    assert best_responses(scaled).tolist() == best_responses(game).tolist()


@given(games(tie=0.05))
def test_renaming_the_pools_mirrors_the_game(game: SplitGame) -> None:
    mirrored, last = other_way(game), len(game) - 1
    assert equilibria(mirrored).tolist() == equilibria(game)[::-1].tolist()
    assert variational(mirrored).tolist() == variational(game)[::-1].tolist()
    assert best_responses(mirrored).tolist() == (last - best_responses(game)[::-1]).tolist()
    assert price_of_anarchy(mirrored) == pytest.approx(price_of_anarchy(game), nan_ok=True)


@given(games())
def test_without_externality_the_price_is_one(game: SplitGame) -> None:
    """Pools that are paid what society is leave nothing that one does to the other uncounted."""
    common = SplitGame(game.society, game.society, game.society)
    if game.society.max() > 0.0:
        assert price_of_anarchy(common) == price_of_stability(common) == 1.0


@given(games(), RATES.filter(bool))
def test_where_workers_do_not_matter_every_split_is_an_equilibrium_of_price_one(
    game: SplitGame, rate: float
) -> None:
    flat = np.full(len(game), rate)
    same = SplitGame(flat, flat, flat)
    assert equilibria(same).all()
    assert variational(same).all()
    assert price_of_anarchy(same) == price_of_variational(same) == 1.0
    assert best_responses(same).tolist() == list(range(len(game)))


@given(games())
def test_best_responses_end_where_they_stay_or_go_round(game: SplitGame) -> None:
    following = best_responses(game)
    for ends in destinations(game):
        assert sorted(int(following[k]) for k in ends) == list(ends)


def test_more_workers_that_never_hurt_make_every_split_an_equilibrium() -> None:
    game = SplitGame(np.array([1.0, 5.0, 6.0]), np.array([6.0, 5.0, 1.0]), np.array([1.0, 5.0, 0.0]))
    assert equilibria(game).tolist() == [True, True, True]
    assert variational(game).tolist() == [False, True, False]
    assert best_responses(game).tolist() == [1, 1, 1]
    assert destinations(game) == [(1,), (1,), (1,)]
    assert price_of_anarchy(game) == math.inf
    assert price_of_stability(game) == price_of_variational(game) == 1.0


def test_pools_that_both_want_fewer_have_no_equilibrium() -> None:
    game = SplitGame(np.array([2.0, 1.0]), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    assert not equilibria(game).any()
    assert math.isnan(price_of_anarchy(game))
    assert math.isnan(price_of_stability(game))


def test_a_tie_is_a_share_of_the_largest_utility() -> None:
    rates: FloatArray = np.array([100.0, 99.5])
    game = SplitGame(rates, rates[::-1], rates, tie=0.01)
    assert equilibria(game).all()
    assert best_responses(game).tolist() == [0, 1]
    assert not equilibria(SplitGame(rates, rates[::-1], rates)).all()


def test_a_split_that_is_kept_costs_what_each_stage_would_have_given_more() -> None:
    society = np.array([[10.0, 4.0, 0.0], [2.0, 8.0, 0.0]])
    assert prices_of_fixed(society).tolist() == [18 / 12, 18 / 12, math.inf]
    assert prices_of_fixed(society, [3.0, 1.0])[0] == 38 / 32
    assert np.isnan(prices_of_fixed(np.zeros((2, 3)))).all()
    with pytest.raises(ValueError, match="as many shares"):
        prices_of_fixed(society, [1.0])
    other = np.array([[4.0, 10.0, 0.0], [2.0, 8.0, 0.0]])
    assert prices_of_fixed(society, chosen_by=other).tolist() == [1.0, 1.0, math.inf]
    with pytest.raises(ValueError, match="not chosen by"):
        prices_of_fixed(society, chosen_by=society[:1])


@given(games())
def test_out_and_back_is_each_stage_twice(game: SplitGame) -> None:
    there = np.vstack([game.society, game.prefill, game.decode])
    assert prices_of_fixed(np.vstack([there, there[::-1]])) == pytest.approx(
        prices_of_fixed(there), nan_ok=True
    )


@pytest.mark.parametrize(
    ("prefill", "tie", "why"),
    [
        ([1.0], 0.0, "two or more splits"),
        ([1.0, 2.0, 3.0], 0.0, "three utilities"),
        ([1.0, math.nan], 0.0, "finite"),
        ([1.0, -2.0], 0.0, "at least 0"),
        ([1.0, 2.0], 1.0, "below 1"),
    ],
)
def test_what_is_no_game_is_refused(prefill: list[float], tie: float, why: str) -> None:
    rates = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match=why):
        SplitGame(np.array(prefill), rates, rates, tie)
