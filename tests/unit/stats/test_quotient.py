"""Ratios of two sides that were resampled over the same launches, and of sides that can be 0."""

from __future__ import annotations

import numpy as np
import pytest

from anarchy.stats.bootstrap import bootstrap_ratio
from anarchy.stats.intervals import Resampled, quotient


def test_what_two_sides_share_of_their_launches_cancels_when_paired() -> None:
    rng = np.random.default_rng(1)
    luck = (1.0, 1.4, 0.8)
    ones = [np.ones(200)] * 3
    static, adaptive = (
        bootstrap_ratio(
            [level * x * rng.normal(1.0, 0.02, 200) for x in luck], ones, replicates=500, stream=stream
        )
        for stream, level in enumerate((6.0, 3.0))
    )
    paired = quotient(static, adaptive, paired=True).interval()
    apart = quotient(static, adaptive).interval()
    assert paired.kind == apart.kind == "across-launches"
    assert paired.lo < 2.0 < paired.hi
    assert paired.value == apart.value == pytest.approx(2.0, rel=0.01)
    assert apart.hi - apart.lo > 10.0 * (paired.hi - paired.lo)


def test_a_side_that_can_be_zero_gives_no_interval() -> None:
    over = Resampled(1.0, np.ones(4), "within-run", 1, 10, 1.0)
    under = Resampled(0.5, np.array([0.5, 0.0, 0.5, 0.5]), "within-run", 1, 10, 1.0)
    found = quotient(over, under).interval()
    assert found.value == 2.0
    assert np.isnan([found.lo, found.hi]).all()
    assert np.isnan(quotient(over, Resampled(0.0, np.zeros(4), "within-run", 1, 10, 1.0)).value)
