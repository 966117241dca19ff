"""The knee that the same cells tell where the grid ends sooner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anarchy.estimate.document import KneeAtDepth
from anarchy.estimate.ladder import (
    DEPTHS,
    LadderEstimate,
    deepest_of,
    ended_at,
    knee_by_depth,
    rises_of,
)
from anarchy.stats.intervals import Resampled
from anarchy.stats.knee import find_knee


def bent(grid: list[int], knee: float) -> LadderEstimate:
    """Flat up to the knee and growing with an exponent that falls as one goes deeper."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    draws = {}
    for C in grid:
        value = max(1.0, (C / knee) ** (2.0 if 4 * knee > C else 1.6))
        replicates = value * np.exp(0.01 * rng.standard_normal(300))
        draws[C] = Resampled(value, replicates, "within-run", 1, 300, 1.0)
        rows.append({"concurrency": C, "poa_hat": value})
    joint = np.column_stack([draws[C].draws for C in grid])
    whole = find_knee(np.array(grid), np.array([row["poa_hat"] for row in rows]), joint)
    return LadderEstimate(rows, whole, {}, {}, draws)


def test_the_deepest_is_the_knee_of_the_whole_grid_and_shallow_ones_have_none() -> None:
    grid = [2, 8, 16, 32, 64, 96, 128, 192, 256, 512, 1024]
    found = bent(grid, 100.0)
    depths = knee_by_depth(found)
    assert [one["deepest"] for one in depths] == [96, 128, 192, 256, 512, 1024]
    assert depths[0] == {"deepest": 96, "knee": None, "lo": None, "hi": None}
    assert depths[-1] == {"deepest": 1024, "knee": found.knee.knee, "lo": found.knee.lo, "hi": found.knee.hi}
    told = [one["knee"] for one in depths if one["knee"] is not None]
    assert len(set(told)) > 1, "it hangs on the depth"
    assert all(KneeAtDepth.model_validate(one) for one in depths)


@pytest.mark.parametrize("grid", [[8, 16, 32, 64], [1, 2, 4]])
def test_a_grid_of_few_cells_has_no_depths(grid: list[int]) -> None:
    assert knee_by_depth(bent(grid, 40.0)) == []


def test_a_dense_grid_is_fitted_at_so_many_depths_its_ends_among_them() -> None:
    depths = [one["deepest"] for one in knee_by_depth(bent(list(range(8, 208, 4)), 60.0))]
    assert len(depths) == DEPTHS
    assert (depths[0], depths[-1]) == (24, 204)


def test_a_grid_that_ends_sooner_has_its_own_knee_regimes_and_plateau() -> None:
    grid = [1, 8, 16, 32, 64, 96, 128, 192, 256, 512, 1024]
    whole = bent(grid, 100.0)
    for row in whole.rows:
        row["n_windows"], row["poa_hat_lo"], row["poa_hat_hi"] = 100, row["poa_hat"], row["poa_hat"]
        row["n_launches"], row["interval_kind"] = 3, "across-launches"
    for depth in (256, 512, 1024):
        found = ended_at(whole, depth, 2)
        (told,) = (one for one in knee_by_depth(whole) if one["deepest"] == depth)
        assert (
            [row["concurrency"] for row in found.rows] == list(found.draws) == grid[: grid.index(depth) + 1]
        )
        assert (found.knee.knee, found.knee.lo) == (told["knee"], told["lo"])
        assert found.knee.knee is not None
        regimes = {row["concurrency"]: row["regime"] for row in found.rows}
        assert regimes[1] == "artifact"
        assert {C for C, regime in regimes.items() if regime == "plateau"} == {
            C for C in grid if 2 <= C < found.knee.knee
        }
        assert rises_of(found)[-1]["concurrency"] == depth
        assert deepest_of(found.rows) == deepest_of([whole.rows[grid.index(depth)]])
    assert ended_at(whole, 64, 2).knee.exists is False
