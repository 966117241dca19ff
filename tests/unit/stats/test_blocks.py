"""Blocks of one launch: their length, how they are drawn, sums over them, how often they hold an element."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length
from scipy import stats

from anarchy.stats import blocks
from anarchy.stats.blocks import block_length
from tests.helpers.series import ar1


def test_blocks_hold_n_elements_of_geometric_length() -> None:
    rng = np.random.default_rng(0)
    n, mean = 1000, 12.5
    starts, ends = blocks.draw_blocks(rng, n, mean, 500)
    lengths = ends - starts
    assert (lengths.sum(axis=1) == n).all()
    assert starts.min() >= 0
    assert starts.max() < n
    assert lengths.min() >= 0
    count = (lengths > 0).sum(axis=1)  # 1 + Binomial(n - 1, 1/mean)
    assert count.mean() == pytest.approx(1 + (n - 1) / mean, rel=0.02)
    assert count.std() == pytest.approx(((n - 1) / mean * (1 - 1 / mean)) ** 0.5, rel=0.15)


def test_blocks_of_mean_length_one_are_single_elements() -> None:
    starts, ends = blocks.draw_blocks(np.random.default_rng(0), 50, 1.0, 3)
    assert (ends - starts == 1).all()
    assert starts.shape == (3, 50)


def test_block_lengths_are_geometric() -> None:
    rng, mean = np.random.default_rng(4), 4.0
    lengths = np.diff(blocks._reach(rng, mean, (1, 100_000))[0], prepend=0)
    seen = np.bincount(lengths, minlength=30)[1:30] / lengths.size
    np.testing.assert_allclose(seen, stats.geom.pmf(np.arange(1, 30), 1.0 / mean), atol=0.004)


def test_blocks_are_topped_up_when_the_first_draw_was_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "enough_blocks", lambda n, mean: 2)
    starts, ends = blocks.draw_blocks(np.random.default_rng(0), 300, 10.0, 20)
    assert ((ends - starts).sum(axis=1) == 300).all()


def test_sums_are_those_of_the_blocks_on_the_circle() -> None:
    rng = np.random.default_rng(1)
    launch = rng.random((2, 50))
    draws = blocks.launch_sums(launch, 7.0, 30, (3, 4, 5))
    starts, ends = blocks.draw_blocks(blocks.generator(3, 4, 5, 0), 50, 7.0, 30)
    for r in range(30):
        at = np.concatenate([np.arange(a, b) % 50 for a, b in zip(starts[r], ends[r], strict=True)])
        np.testing.assert_allclose(draws[:, r], launch[:, at].sum(axis=1))


def test_counts_are_those_of_the_blocks_on_the_circle() -> None:
    counts = blocks.drawn_counts(blocks.generator(0, 0, 0, 0), 40, 5.0, np.array([1, 0, 3]))
    assert counts.sum(axis=1).tolist() == [40, 0, 120]
    starts, ends = blocks.draw_blocks(blocks.generator(0, 0, 0, 0), 40, 5.0, 4)
    first = np.concatenate([np.arange(a, b) % 40 for a, b in zip(starts[0], ends[0], strict=True)])
    assert counts[0].tolist() == np.bincount(first, minlength=40).tolist()


def test_a_constant_column_is_summed_without_rounding() -> None:
    launch = np.stack([np.random.default_rng(2).random(60), np.ones(60)])
    draws = blocks.launch_sums(launch, 4.0, 25, (0, 0, 0))
    assert draws[1].tolist() == [60.0] * 25
    np.testing.assert_array_equal(draws[:1], blocks.launch_sums(launch[:1], 4.0, 25, (0, 0, 0)))


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.5, 0.98])
@pytest.mark.parametrize("n", [16, 25, 300, 2000])
def test_block_length_is_archs_to_the_bit(rho: float, n: int) -> None:
    for seed in range(5):
        series = ar1(np.random.default_rng([seed, n]), n, rho)
        for shape in (series, np.exp(series), np.round(series), np.cumsum(series)):
            with np.errstate(invalid="ignore"):
                theirs = float(optimal_block_length(shape)["stationary"].iloc[0])
            assert block_length(shape) == (max(1.0, theirs) if np.isfinite(theirs) else 1.0)


def test_block_length_survives_what_arch_does_not() -> None:
    for plain in (np.empty(0), np.array([1.0]), np.arange(5.0), np.full(200, 3.7), np.full(200, 0.0)):
        assert block_length(plain) == 1.0
    assert 1.0 <= block_length(np.tile([1.0, -1.0], 200)) <= 400
    assert 1.0 <= block_length(np.linspace(0.0, 1.0, 30)) <= 30
    with pytest.raises(ValueError, match="finite"):
        block_length(np.array([1.0, np.nan]))


def test_what_a_worker_raises_is_raised() -> None:
    def fail(chunk: object, part: object) -> None:
        raise RuntimeError(f"chunk {chunk}")

    with pytest.raises(RuntimeError, match="chunk 0"):
        blocks.each(fail, [slice(0, 1), slice(1, 2)], 2)
