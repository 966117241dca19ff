"""The search against brute force: every setting on every trace, and what may be called better."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from anarchy.advise.replays import Objectives, Served
from anarchy.advise.search import FINALISTS, TIE, Question, search
from anarchy.advise.settings import Setting
from anarchy.ground.errors import UserError

OBJECTIVES = Objectives(ttft_s=0.5, itl_s=0.015, share=0.9)
SPLITS = [(prefill, 6 - prefill) for prefill in range(1, 6)]
OFFERED = 100.0


def came(goodput: float) -> Served:
    quantiles = {0.5: 0.1, 0.9: 0.2, 0.99: 0.4}
    return Served(goodput, goodput, goodput, OFFERED, quantiles, quantiles, 0, 0.1)


class World:
    """Goodput of every setting on the trace and on others, by a rule; what was replayed is counted."""

    def __init__(self, goodput: Callable[[Setting, int | None], float]) -> None:
        self.goodput = goodput
        self.asked: list[tuple[Setting, int | None]] = []

    def replay(self, wanted: Sequence[tuple[Setting, int | None]]) -> list[Served]:
        self.asked += wanted
        return [came(self.goodput(setting, number)) for setting, number in wanted]


def question(**changes: object) -> Question:
    told = {"splits": SPLITS, "taus": (0.0, 0.7), "omegas": (0.0, 1.0), "replications": 5}
    return Question(**told | changes)  # type: ignore[arg-type]


def noise(number: int | None, setting: Setting, size: float) -> float:
    """What a trace does to all alike, and a little to each setting."""
    shared = np.random.default_rng(0 if number is None else number + 1).normal(1.0, 0.1)
    own = np.random.default_rng(abs(hash((number, setting.prefill, setting.tau, setting.omega)))).normal(
        1.0, size
    )
    return float(shared * own)


@pytest.mark.parametrize("best", [Setting(2, 4), Setting(4, 2, 0.7, 0.0), Setting(1, 5, 0.7, 1.0)])
def test_a_setting_that_is_best_is_found_as_brute_force_finds_it(best: Setting) -> None:
    def goodput(setting: Setting, number: int | None) -> float:
        away = abs(setting.prefill - best.prefill) * 4 + 3 * (setting.pair != best.pair)
        return (99.0 - away) * noise(number, setting, 0.001)

    world = World(goodput)
    answer = search(question(), OBJECTIVES, world.replay)
    every = {s for split in SPLITS for s in question().settings(split)}
    means = {s: np.mean([goodput(s, number) for number in range(5)]) for s in every}
    assert answer.advice.setting == max(means, key=lambda s: means[s]) == best
    assert answer.advice.goodput[0] == pytest.approx(means[best])
    assert not [one for one in answer.finalists[1:] if one.tied]
    for one in answer.finalists:
        ratios = [goodput(best, number) / goodput(one.setting, number) for number in range(5)]
        assert one.price[0] == pytest.approx(np.exp(np.mean(np.log(ratios))))
        assert one.price[1] <= min(ratios) + 1e-12
        assert one.price[2] >= max(ratios) - 1e-12
    assert len(world.asked) <= question().most_replays()
    assert len(world.asked) == len(set(world.asked)), "nothing is replayed twice"


def test_what_all_traces_do_alike_cancels_from_prices_and_not_from_goodput() -> None:
    def goodput(setting: Setting, number: int | None) -> float:
        return (98.0 if setting.split == (3, 3) else 95.0) * noise(number, Setting(1, 1), 0.0)

    answer = search(question(taus=(0.0,), omegas=(1.0,)), OBJECTIVES, World(goodput).replay)
    best, other = answer.finalists[:2]
    assert best.goodput[2] - best.goodput[1] > 20.0
    assert other.price == pytest.approx((98.0 / 95.0,) * 3)
    assert not other.tied


@pytest.mark.parametrize("now", [Setting(1, 5), Setting(3, 3, 0.7, 0.0), Setting(1, 5, 0.3, 9.0)])
def test_what_runs_now_wins_every_tie(now: Setting) -> None:
    world = World(lambda setting, number: 95.0 * noise(number, setting, 0.02))
    answer = search(question(now=now), OBJECTIVES, world.replay)
    assert answer.advice is answer.now
    assert answer.now is not None
    assert answer.now.setting == now.acting
    assert all(one.tied for one in answer.finalists)


def test_of_a_tie_without_a_setting_now_dynamos_pair_is_advised() -> None:
    world = World(lambda setting, number: 95.0 + 0.1 * (setting.tau > 0))
    answer = search(question(), OBJECTIVES, world.replay)
    assert answer.advice.setting.pair == (0.0, 1.0)
    assert answer.advice.price[0] <= 1.0 + TIE


UNSTEADY = (88.0, 93.0, 85.0, 92.0, 85.0)
"""Goodput of a setting on five traces of 100 requests a second: 88.6 on average, and it ties with 91."""


def unsteady(other: Setting, best: float) -> World:
    """3P/3D has the best goodput, `other` ties with it; both do on the trace itself."""

    def goodput(setting: Setting, number: int | None) -> float:
        if setting.split == (3, 3) and setting.pair == (0.7, 0.0):
            return 91.0 if number is None else best
        if setting == other:
            return 90.5 if number is None else UNSTEADY[number]
        return 70.0 if setting.split == (3, 3) else 50.0

    return World(goodput)


@pytest.mark.parametrize(
    ("other", "now"), [(Setting(4, 2), Setting(4, 2)), (Setting(3, 3), None)], ids=["now", "default-pair"]
)
def test_a_tie_is_not_won_by_a_setting_that_serves_less_than_was_asked(
    other: Setting, now: Setting | None
) -> None:
    answer = search(question(now=now), OBJECTIVES, unsteady(other, 91.0).replay)
    fallen = next(one for one in answer.finalists if one.setting == other)
    assert fallen.tied
    assert fallen.share == pytest.approx(0.886)
    assert answer.advice.setting == Setting(3, 3, 0.7, 0.0)
    assert (answer.advice.attained, fallen.attained) == (True, False)
    enough = Objectives(ttft_s=0.5, itl_s=0.015, share=0.88)
    assert search(question(now=now), enough, unsteady(other, 91.0).replay).advice.setting == other


def test_where_nothing_that_ties_serves_what_was_asked_the_best_is_advised_and_marked() -> None:
    """The one replay of the trace itself reached it, the other traces do not."""
    now = Setting(4, 2)
    answer = search(question(now=now), OBJECTIVES, unsteady(now, 89.5).replay)
    assert answer.advice is answer.finalists[0]
    assert answer.advice.setting == Setting(3, 3, 0.7, 0.0)
    assert not any(one.attained for one in answer.finalists)


def test_a_setting_now_that_is_worse_has_its_price_and_is_replayed_however_bad() -> None:
    world = World(lambda setting, number: {1: 20.0, 2: 50.0}.get(setting.prefill, 97.0 - setting.prefill))
    answer = search(question(now=Setting(1, 5)), OBJECTIVES, world.replay)
    assert answer.advice.setting.split == (3, 3)
    assert answer.now is not None
    assert answer.now.price[0] == pytest.approx(94.0 / 20.0)
    assert not answer.now.tied
    assert len(answer.finalists) <= FINALISTS + 1


def test_a_setting_that_serves_nothing_has_an_unbounded_price() -> None:
    world = World(lambda setting, number: 0.0 if setting.prefill == 1 else 95.0)
    answer = search(question(now=Setting(1, 5)), OBJECTIVES, world.replay)
    assert answer.now is not None
    assert answer.now.price[0] == float("inf")
    assert not answer.now.tied


def test_close_settings_that_were_not_replayed_again_are_told() -> None:
    world = World(lambda setting, number: 95.0)
    answer = search(question(), OBJECTIVES, world.replay)
    told = {one.setting for one in answer.finalists} | set(answer.left_out)
    assert told == {setting for setting, _ in answer.screened}
    assert {one.setting.split for one in answer.finalists} == set(SPLITS[:FINALISTS]), "a split each first"


def test_an_objective_that_no_split_meets_is_refused_with_the_nearest() -> None:
    world = World(lambda setting, number: 60.0 if setting.prefill == 4 else 30.0)
    with pytest.raises(UserError, match="The nearest is 4P/2D, tau 0, omega 1: 60") as caught:
        search(question(), OBJECTIVES, world.replay)
    assert "TTFT of at most 200 ms" in caught.value.what
    assert "--attain 0" in caught.value.remedy
    assert all(number is None for _, number in world.asked), "before the costly part"
    anyhow = Objectives(ttft_s=0.5, itl_s=0.015, share=0.0)
    assert search(question(), anyhow, world.replay).advice.setting.split == (4, 2)
    with pytest.raises(UserError, match="The nearest is"):
        search(question(), anyhow, World(lambda setting, number: 0.0).replay)


def test_equal_settings_are_called_better_less_often_than_once_in_twenty() -> None:
    """Five settings of one goodput with noise of their own: the best by chance is not told as better."""
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(200):
        drawn = {pair: 95.0 * rng.normal(1.0, 0.03) for pair in itertools.product(SPLITS, (None, *range(5)))}
        world = World(lambda setting, number, drawn=drawn: drawn[setting.split, number])  # type: ignore[misc]
        answer = search(
            question(taus=(0.0,), omegas=(1.0,), now=Setting(1, 5)), Objectives(1, 1, 0), world.replay
        )
        wrong += answer.advice is not answer.now
    assert wrong <= 10
