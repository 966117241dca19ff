"""Quantiles of the requests of a cell: their draws are those of the resamples, whatever is pooled."""

from __future__ import annotations

import numpy as np
import pytest

from anarchy.stats import blocks, quantiles
from anarchy.stats import launches as upper
from anarchy.stats.blocks import block_length
from anarchy.stats.quantiles import bootstrap_quantile, bootstrap_quantiles


@pytest.mark.parametrize("q", [0.0, 0.5, 0.99, 1.0])
def test_quantile_draws_are_quantiles_of_the_resamples(q: float) -> None:
    values = np.random.default_rng(3).gamma(2.0, 1.0, 300)
    length = block_length(values)
    result = bootstrap_quantile([values], q, replicates=20, seed=8)
    assert result.value == np.quantile(values, q)
    starts, ends = blocks.draw_blocks(blocks.generator(8, 0, 0, 0), 300, length, 20)
    for r in range(20):
        at = np.concatenate([np.arange(a, b) % 300 for a, b in zip(starts[r], ends[r], strict=True)])
        assert result.draws[r] == pytest.approx(np.quantile(values[at], q), rel=1e-12)


def test_quantile_over_launches_pools_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upper, "spread_as_student", lambda value, draws, times, sizes: draws)
    launches = [np.full(n, level) for n, level in ((100, 1.0), (200, 2.0), (50, 9.0))]
    result = bootstrap_quantile(launches, 0.5, replicates=500)
    assert (result.kind, result.n_launches, result.n_windows) == ("across-launches", 3, 350)
    assert result.value == 2.0
    # Halves where a replicate's middle falls between two launches.
    assert {1.0, 2.0, 9.0} <= set(result.draws) <= {1.0, 1.5, 2.0, 5.0, 5.5, 9.0}


def test_quantiles_of_one_call_are_those_of_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    launches = [np.random.default_rng(n).gamma(2.0, 1.0, n) for n in (80, 120, 100)]
    alone = [bootstrap_quantile(launches, q, replicates=60) for q in (0.5, 0.99)]
    monkeypatch.setattr(quantiles, "_CACHED", 1000)  # three replicates at once
    for one, other in zip(alone, bootstrap_quantiles(launches, (0.5, 0.99), replicates=60), strict=True):
        assert one.value == other.value
        np.testing.assert_array_equal(one.draws, other.draws)
