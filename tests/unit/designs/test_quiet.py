"""Cells of one policy at several dilations are carried on to a quiet host; what cannot be is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from anarchy.designs.pareto.quiet import quiet_table, quiet_words
from anarchy.ground.errors import UserError
from anarchy.tables import System

TRUTH, SLOPE = 0.3, -0.28
"""Seconds on a quiet host, and what a dilation of 1 would take off."""
HALF = float(stats.t.ppf(0.975, 2)) * 0.02


def cell(dilation: float, **more: Any) -> dict[str, Any]:
    """A cell on the line, of three launches that differ by some percent."""
    value = TRUTH + SLOPE / dilation
    ends = {"": value, "_lo": value * np.exp(-HALF), "_hi": value * np.exp(HALF)}
    key = {"workload": "in-step", "policy": "kv-t0-w1", "concurrency": 64, "engine": "simulated"}
    counted = {"valid": True, "repeat": 1, "n_launches": 3, "dilation": dilation}
    numbers = {f"ttft_mean{end}": bound for end, bound in ends.items()}
    nothing = dict.fromkeys(("poa_hat", "poa_hat_lo", "poa_hat_hi"), np.nan)
    return {**key, **counted, **numbers, **nothing, **more}


def system(*cells: dict[str, Any]) -> System:
    info = {"model": "nemotron-4-340b", "topology": "1p2d"}
    return System(info, {"pairs": pd.DataFrame(cells)}, "pareto", "pairs", Path("estimates"))


def test_a_line_is_carried_on_to_a_host_without_noise() -> None:
    (row,) = quiet_table([system(*map(cell, (16.0, 2.0, 4.0, 8.0)))]).to_dict("records")
    assert row["value"] == pytest.approx(1000.0 * TRUTH)
    assert row["lo"] < 1000.0 * TRUTH < row["hi"]
    assert row["at_most"] == pytest.approx(1000.0 * (TRUTH + SLOPE / 16.0))
    assert (row["dilations"], row["quantity"]) == ("2, 4, 8, 16", "ttft_mean, ms")
    assert row["p_line"] > 0.9
    words = quiet_words(quiet_table([system(*map(cell, (2.0, 4.0, 8.0)))]))
    assert "| nemotron-4-340b 1p2d | in-step | kv-t0-w1 | 64 | ttft_mean, ms | 2, 4, 8 |" in words


def test_users_policies_and_engines_are_kept_apart() -> None:
    others = [{"workload": "one-token"}, {"policy": "kv-t0.7-w1"}, {"engine": "simulated in virtual time"}]
    cells = [cell(d, **more) for more in ({}, *others) for d in (2.0, 4.0, 8.0)]
    assert len(quiet_table([system(*cells)])) == 4


@pytest.mark.parametrize(
    "lacks", [{"valid": False}, {"n_launches": 2}, {"repeat": 2}, {"ttft_mean_lo": np.nan}]
)
def test_a_dilation_that_does_not_count_makes_no_line(lacks: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="at 3 dilations or more") as caught:
        quiet_table([system(cell(2.0), cell(4.0), cell(8.0, **lacks))])
    assert "EXPERIMENTS=quiet" in str(caught.value.remedy)


def test_two_dilations_make_no_line_however_many_cells() -> None:
    with pytest.raises(UserError, match="at 3 dilations or more"):
        quiet_table([system(cell(2.0), cell(4.0), cell(4.0))])
