"""The bootstrap's mechanics: blocks, seeds, launches, degenerate input. Coverage is a property test."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from arch.bootstrap import StationaryBootstrap
from scipy import stats

from anarchy.stats import blocks, quantiles
from anarchy.stats import launches as upper
from anarchy.stats.blocks import block_length
from anarchy.stats.bootstrap import bootstrap_mean, bootstrap_ratio, bootstrap_ratios, resampled_sums
from anarchy.stats.intervals import Resampled, quotient
from anarchy.stats.launches import launch_counts
from anarchy.stats.quantiles import bootstrap_quantile
from tests.helpers.series import ar1

Floats = npt.NDArray[np.float64]


def costs(n: int = 400, seed: int = 0, shift: float = 0.0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    z = ar1(rng, n)
    return 20.0 + shift + 3.0 * z + rng.normal(size=n), 5.0 + 0.5 * z


def test_interval_agrees_with_arch() -> None:
    over, under = costs(1500)
    ours = bootstrap_ratio([over], [under], replicates=4000).interval()
    theirs = StationaryBootstrap(ours.block_length, over, under, seed=0)  # type: ignore[arg-type]
    lo, hi = theirs.conf_int(lambda a, b: a.sum() / b.sum(), reps=2000, method="percentile").ravel()
    width = hi - lo
    assert abs(ours.lo - lo) < 0.12 * width
    assert abs(ours.hi - hi) < 0.12 * width


def test_value_is_the_ratio_of_sums() -> None:
    (a, b), (c, d) = costs(100), costs(300, seed=1)
    result = bootstrap_ratio([a, c], [b, d], replicates=50).interval(0.9)
    assert result.value == pytest.approx((a.sum() + c.sum()) / (b.sum() + d.sum()))
    assert result.lo < result.value < result.hi
    assert (result.kind, result.n_launches, result.n_windows) == ("within-run", 2, 400)
    assert (result.level, result.replicates) == (0.9, 50)
    assert result.block_length == pytest.approx((block_length(a) + block_length(c)) / 2)


def test_the_seed_makes_the_draws_and_the_chunks_do_not_reorder_them() -> None:
    over, under = costs()
    first = bootstrap_ratio([over], [under], replicates=300, seed=5).draws
    np.testing.assert_array_equal(first, bootstrap_ratio([over], [under], replicates=300, seed=5).draws)
    assert not np.array_equal(first, bootstrap_ratio([over], [under], replicates=300, seed=6).draws)
    assert not np.array_equal(first, bootstrap_ratio([over], [under], replicates=300, seed=5, stream=1).draws)


def test_small_chunks_give_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    over, under = costs()
    whole = bootstrap_ratio([over], [under], replicates=2000)
    monkeypatch.setattr(blocks, "_CHUNK", 500)
    monkeypatch.setattr(quantiles, "_CHUNK", 5000)
    parts = bootstrap_ratio([over], [under], replicates=2000)
    assert parts.draws.std() == pytest.approx(whole.draws.std(), rel=0.1)
    assert len(np.unique(parts.draws)) == 2000
    assert len(np.unique(bootstrap_quantile([over], 0.5, replicates=50).draws)) > 20


def test_three_launches_are_resampled_and_two_are_not() -> None:
    levels = [costs(200, seed=s, shift=shift) for s, shift in enumerate((0.0, 40.0, 80.0))]
    three = bootstrap_ratio([a for a, _ in levels], [b for _, b in levels], replicates=2000)
    two = bootstrap_ratio([a for a, _ in levels[:2]], [b for _, b in levels[:2]], replicates=2000)
    assert (three.kind, two.kind) == ("across-launches", "within-run")
    assert three.draws.std() > 5 * two.draws.std()
    times = launch_counts([200] * 3, range(3), 3, 2000, 0)
    sums = resampled_sums([np.stack(pair) for pair in levels], [5.0] * 3, times)
    drawn = sums[0] / sums[1]
    # 1 in 27 replicates takes the first launch three times, 1 in 27 the last.
    assert (drawn < 5.0).mean() == pytest.approx(1 / 27, abs=0.02)
    assert (drawn > 19.0).mean() == pytest.approx(1 / 27, abs=0.02)


@pytest.mark.parametrize("n_launches", [3, 5, 12])
def test_spread_between_launches_is_students(n_launches: int) -> None:
    levels = np.exp(np.random.default_rng(n_launches).normal(0.0, 0.02, n_launches))
    launches = [np.full(50, level) for level in levels]  # no spread inside
    draws = bootstrap_mean(launches, replicates=20_000).draws
    wide = stats.t.ppf(0.975, n_launches - 1) / stats.norm.ppf(0.975)
    expected = wide * levels.std(ddof=1) / levels.mean() / n_launches**0.5
    assert np.log(draws).std() == pytest.approx(expected, rel=0.02)
    assert np.log(draws).mean() == pytest.approx(np.log(levels.mean()), abs=0.1 * expected)


def test_launches_of_unequal_size_have_fewer_degrees_of_freedom() -> None:
    equal = stats.t.ppf(0.975, 4) / stats.norm.ppf(0.975) * (5 / 4) ** 0.5
    assert upper._student_width(np.full(5, 70)) == pytest.approx(equal)
    assert upper._student_width(np.array([70, 71, 69, 70, 70])) == pytest.approx(equal, rel=1e-3)
    three = upper._student_width(np.full(3, 70))
    assert equal < upper._student_width(np.array([1, 1, 1, 4, 8])) < three
    assert three < upper._student_width(np.array([1000, 10, 10])) < 50.0


def test_values_that_are_not_positive_are_spread_on_their_own_scale() -> None:
    launches = [np.full(50, level) for level in (-1.0, 0.0, 1.5)]
    up = bootstrap_mean(launches, replicates=500)
    moved = bootstrap_mean([launch - 10.0 for launch in launches], replicates=500)
    assert up.draws.min() < -1.0
    assert up.draws.max() > 1.5
    np.testing.assert_allclose(moved.draws, up.draws - 10.0)


def test_what_cannot_be_negative_has_no_negative_end() -> None:
    """Requests within an objective: one launch had none."""
    rates = [np.full(50, level) for level in (0.0, 0.1, 1.5)]
    found = bootstrap_mean(rates, replicates=500)
    assert found.draws.min() == 0.0
    assert found.draws.max() > 1.5


def test_what_cells_share_of_their_launches_cancels_in_their_quotient() -> None:
    levels = (1.0, 1.1, 1.3)
    ones = [np.ones(80)] * 3
    shallow, deep = (
        bootstrap_ratio([np.full(80, depth * x) for x in levels], ones, replicates=300, stream=stream)
        for stream, depth in enumerate((2.0, 9.0))
    )
    np.testing.assert_allclose(deep.draws / shallow.draws, 4.5)


@pytest.mark.parametrize("n_launches", [1, 3])
@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, n_launches: int, workers: int
) -> None:
    monkeypatch.setattr(blocks, "_CHUNK", 2000)  # dozens of chunks
    monkeypatch.setattr(quantiles, "_CHUNK", 20_000)
    pairs = [costs(250, seed=s) for s in range(n_launches)]
    over, under = [a for a, _ in pairs], [b for _, b in pairs]
    stacked, lengths = [np.stack(pair) for pair in pairs], [6.0] * n_launches
    times = launch_counts([250] * n_launches, range(n_launches), n_launches, 400, 0)
    columns, ratios = {"SC": over, "OPTf": under}, {"hat": ("SC", "OPTf")}
    drawn: tuple[Callable[[int], Floats], ...] = (
        lambda w: resampled_sums(stacked, lengths, times, workers=w),
        lambda w: bootstrap_ratio(over, under, replicates=400, workers=w).draws,
        lambda w: bootstrap_ratios(columns, ratios, series="SC", replicates=400, workers=w)["hat"].draws,
        lambda w: bootstrap_mean(over, replicates=400, workers=w).draws,
        lambda w: bootstrap_quantile(over, 0.9, replicates=400, workers=w).draws,
    )
    for draw in drawn:
        np.testing.assert_array_equal(draw(workers), draw(1))


def test_cells_of_one_ladder_share_launches_but_not_blocks() -> None:
    same = [np.full(100, level) for level in (1.0, 2.0, 4.0)]  # no spread inside: only launches move
    ones = [np.ones(100)] * 3
    a = bootstrap_ratio(same, ones, replicates=200, seed=9, stream=0).draws
    b = bootstrap_ratio(same, ones, replicates=200, seed=9, stream=7).draws
    np.testing.assert_allclose(a, b)
    assert len(np.unique(a.round(9))) > 5


def test_ratios_of_one_call_share_their_draws() -> None:
    rng = np.random.default_rng(0)
    columns = {name: [rng.gamma(5.0, 1.0, 200) for _ in range(3)] for name in ("SC", "SCm", "OPTf", "OPTc")}
    pairs = {"hat": ("SC", "OPTf"), "a": ("SC", "SCm"), "b": ("SCm", "OPTc"), "c": ("OPTc", "OPTf")}
    out = bootstrap_ratios(columns, pairs, series="SC", replicates=100)
    np.testing.assert_allclose(out["hat"].draws, out["a"].draws * out["b"].draws * out["c"].draws)
    alone = bootstrap_ratio(columns["SCm"], columns["OPTc"], series=columns["SC"], replicates=100)
    np.testing.assert_array_equal(alone.draws, out["b"].draws)


def test_nothing_to_resample_gives_no_number() -> None:
    for launches in ([], [np.empty(0)], [np.empty(0)] * 4):
        for result in (
            bootstrap_ratio(launches, launches, replicates=10),
            bootstrap_quantile(launches, 0.5, replicates=10),
            bootstrap_mean(launches, replicates=10),
        ):
            interval = result.interval()
            assert np.isnan([interval.value, interval.lo, interval.hi, interval.block_length]).all()
            assert (interval.n_launches, interval.n_windows) == (0, 0)


def test_one_window_has_a_value_and_no_interval() -> None:
    result = bootstrap_ratio([np.array([6.0])], [np.array([2.0])], replicates=10).interval()
    assert result.value == 3.0
    assert np.isnan([result.lo, result.hi]).all()
    # Three launches of one window do tell something: how launches differ.
    three = bootstrap_ratio(
        [np.array([x]) for x in (6.0, 7.0, 8.0)], [np.ones(1)] * 3, replicates=500
    ).interval()
    assert three.lo < 7.0 < three.hi


def test_empty_launches_do_not_count_as_launches() -> None:
    over, under = costs(100)
    none = np.empty(0)
    result = bootstrap_ratio([over, none, none], [under, none, none], replicates=10)
    assert (result.kind, result.n_launches) == ("within-run", 1)


def test_a_denominator_of_zero_gives_no_number() -> None:
    result = bootstrap_ratio([np.ones(50)], [np.zeros(50)], replicates=10)
    assert np.isnan(result.value)
    assert np.isnan(result.draws).all()


@pytest.mark.parametrize(
    ("over", "under", "message"),
    [
        ([np.ones(5)], [np.ones(6)], "same launches"),
        ([np.ones(5)], [np.ones(5), np.ones(5)], "same launches"),
        ([np.ones(5)], [np.full(5, np.nan)], "finite"),
    ],
)
def test_columns_that_do_not_pair_up_are_refused(over: Any, under: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_ratio(over, under, replicates=10)


def test_quotient_of_two_sides_breaks_the_pairing_of_equal_seeds() -> None:
    over, under = costs()
    side = bootstrap_ratio([over], [under], replicates=2000)
    result = quotient(side, side)
    assert result.value == 1.0
    # Paired draws of the same data would all be 1; independent sides have sqrt(2) of one side's spread.
    assert np.log(result.draws).std() == pytest.approx(2**0.5 * np.log(side.draws).std(), rel=0.1)
    assert (result.kind, result.n_windows) == ("within-run", 400)


def test_quotient_is_across_launches_only_where_both_sides_are() -> None:
    across = Resampled(2.0, np.full(10, 2.0), "across-launches", 3, 90, 5.0)
    within = Resampled(4.0, np.full(10, 4.0), "within-run", 1, 40, 9.0)
    mixed = quotient(across, within)
    assert (mixed.kind, mixed.n_launches, mixed.n_windows, mixed.block_length) == ("within-run", 1, 40, 9.0)
    assert (mixed.value, mixed.draws.tolist()) == (0.5, [0.5] * 10)
    assert quotient(across, across).kind == "across-launches"
    with pytest.raises(ValueError, match="replicates"):
        quotient(across, Resampled(1.0, np.ones(9), "within-run", 1, 1, 1.0))
    assert np.isnan(quotient(across, Resampled(np.nan, np.full(10, np.nan), "within-run", 0, 0, 1.0)).value)


def test_mean_is_that_of_all_requests() -> None:
    launches = [np.array([1.0, 2.0, 3.0]), np.array([10.0])]
    assert bootstrap_mean(launches, replicates=20).value == 4.0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_quantile([np.ones(5)], 1.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_mean([np.arange(50.0)], replicates=5).interval(95.0)


def test_sums_need_only_the_chunks_memory() -> None:
    launch = np.random.default_rng(0).random((2, 100_000))
    tracemalloc.start()
    draws = resampled_sums([launch], [50.0], np.ones((2000, 1), dtype=np.int64), workers=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert draws.shape == (2, 2000)
    np.testing.assert_allclose(draws.mean(axis=1), launch.sum(axis=1), rtol=1e-3)
    assert peak < 24 * 2**20  # the series four times over and two workers' chunks; all blocks would be 64 MiB


def test_a_cell_that_lacks_a_launch_still_draws_the_others_together() -> None:
    levels = np.array([1.0, 0.6, 0.8, 1.2, 1.4, 1.1])  # the two that will be missing are no outliers
    ones = [np.ones(100)] * 6

    def draws(ids: Sequence[int], stream: int) -> Resampled:
        made = [np.full(100, levels[l]) for l in ids]
        pair = {"over": made, "under": ones[: len(ids)]}
        options: dict[str, Any] = {
            "series": "over",
            "replicates": 2000,
            "seed": 1,
            "stream": stream,
            "ids": ids,
            "of": 6,
        }
        return bootstrap_ratios(pair, {"r": ("over", "under")}, **options)["r"]

    whole, same = draws(range(6), 0), draws(range(6), 1)
    np.testing.assert_allclose(whole.draws, same.draws)
    for lacking in ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5]):
        other = draws(lacking, 1)
        assert np.corrcoef(whole.draws, other.draws)[0, 1] > 0.8
        assert other.n_launches == 5
    counts = upper.launch_counts([100] * 5, [1, 2, 3, 4, 5], 6, 4000, 0)
    assert (counts.sum(axis=1) == 5).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.06)


def test_a_launch_that_is_nearly_alone_is_not_resampled() -> None:
    sizes = (20_000, 2, 2)
    rng = np.random.default_rng(0)
    result = bootstrap_ratio(
        [rng.gamma(5.0, 1.0, n) for n in sizes], [np.ones(n) for n in sizes], replicates=200
    )
    assert (result.kind, result.n_launches) == ("within-run", 3)
    interval = result.interval()
    assert 4.8 < interval.lo < interval.hi < 5.2
