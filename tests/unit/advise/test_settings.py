"""What can be chosen: splits of a budget, pairs that differ in what they do, and what is typed."""

from __future__ import annotations

import pytest

from anarchy.advise.settings import (
    Setting,
    parse_setting,
    parse_split,
    settings_of,
    splits_of,
    weight,
    workers_of,
)
from anarchy.ground.errors import UserError


def test_a_budget_is_split_in_every_way() -> None:
    assert workers_of(26, 4, "m") == 6
    assert splits_of(6) == [(1, 5), (2, 4), (3, 3), (4, 2), (5, 1)]
    assert splits_of(6, [(3, 3), (1, 5), (3, 3)]) == [(1, 5), (3, 3)]


@pytest.mark.parametrize("gpus", [1, 4, 7])
def test_a_budget_that_no_split_fits_is_refused(gpus: int) -> None:
    with pytest.raises(UserError, match=f"{gpus} GPUs hold {gpus // 4} workers of m") as caught:
        workers_of(gpus, 4, "m")
    assert "at least 8" in caught.value.remedy


def test_many_workers_want_their_splits_named() -> None:
    with pytest.raises(UserError, match="24 workers have 23 splits") as caught:
        splits_of(24)
    assert "--splits 6P/18D 12P/12D" in caught.value.remedy
    assert splits_of(24, [(6, 18)]) == [(6, 18)]


@pytest.mark.parametrize("split", [(0, 6), (6, 0), (3, 4), (2, 2)])
def test_what_is_no_split_of_the_budget_is_refused(split: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="is no split of 6 workers"):
        splits_of(6, [split])


def test_pairs_that_do_the_same_are_tried_once() -> None:
    pairs = [(tau, omega) for tau in (0.0, 0.7) for omega in (0.0, 1.0)]
    assert settings_of((1, 1), pairs) == [Setting(1, 1)]
    assert [s.pair for s in settings_of((1, 2), pairs)] == [(0.0, 1.0), (0.7, 1.0)]
    assert [s.pair for s in settings_of((1, 2), pairs, (0.7, 0.0))] == [(0.7, 1.0), (0.0, 1.0)]
    assert sorted(s.pair for s in settings_of((2, 1), pairs)) == pairs
    assert Setting(1, 5, 0.3, 0.5).acting == Setting(1, 5, 0.3, 1.0)


def test_changes_count_from_what_runs_now_or_from_dynamos_pair() -> None:
    now = Setting(1, 5, 0.7, 1.0)
    assert [s.changes(now) for s in (now, Setting(1, 5), Setting(2, 4))] == [(0, 0), (1, 0), (2, 1)]
    assert [s.changes(None) for s in (Setting(2, 4), Setting(1, 5, 0.7, 0.0))] == [(0, 0), (2, 0)]


def test_of_two_new_splits_the_one_that_moves_fewer_workers_changes_less() -> None:
    now = Setting(1, 5)
    assert min((Setting(4, 2), Setting(3, 3)), key=lambda one: one.changes(now)) == Setting(3, 3)


def test_settings_are_typed_as_they_are_shown() -> None:
    assert parse_setting("1P/5D") == Setting(1, 5, 0.0, 1.0)
    assert parse_setting("2p/4d, tau=0.7, omega=0.5") == Setting(2, 4, 0.7, 0.5)
    assert parse_setting(str(Setting(2, 4, 0.7, 0.5)).replace(" ", "=").replace(",=", ",")) == Setting(
        2, 4, 0.7, 0.5
    )


@pytest.mark.parametrize(
    "text", ["", "1/5", "1P/5D,temp=1", "1P/5D,tau=x", "1P/5D,tau=-1", "1P/5D,omega=inf", "99999P/1D"]
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_setting(text)


@pytest.mark.parametrize("text", ["nan", "-0.1", "x"])
def test_what_is_no_weight_or_split_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        weight(text)
    with pytest.raises(ValueError, match="is no split"):
        parse_split(text)
