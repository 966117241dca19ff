"""Two runs side by side: ratios, their intervals, and what cannot be compared."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from anarchy.cli import main
from anarchy.compare import KEY, compare, load_cells, render
from anarchy.errors import UserError


def cells(values: list[tuple[int, float, float, float]], valid: bool = True) -> pd.DataFrame:
    named = dict.fromkeys(KEY, "x")
    rows = [
        {**named, "concurrency": c, "poa_hat": value, "poa_hat_lo": lo, "poa_hat_hi": hi, "valid": valid}
        for c, value, lo, hi in values
    ]
    return pd.DataFrame(rows)


def test_the_ratio_and_its_interval_by_hand() -> None:
    found = compare(cells([(8, 2.0, 1.0, 4.0)]), cells([(8, 6.0, 3.0, 6.0 * math.e)])).iloc[0]
    assert found["ratio"] == pytest.approx(3.0)
    assert math.log(found["ratio_lo"]) == pytest.approx(math.log(3) - math.sqrt(2) * math.log(2))
    assert math.log(found["ratio_hi"]) == pytest.approx(math.log(3) + math.hypot(1, math.log(2)))


def test_agreement_is_whether_the_interval_holds_one() -> None:
    first = cells([(2, 1.0, 0.99, 1.01), (8, 1.0, 0.9, 1.1), (16, 1.0, 0.99, 1.01)])
    second = cells([(2, 1.1, 1.09, 1.11), (8, 1.1, 1.0, 1.2), (16, 0.9, 0.89, 0.91)])
    found = compare(first, second)
    assert found["agrees"].tolist() == [False, True, False]
    said = render(found, "poa_hat")
    assert "1 of 3 cells agree" in said
    assert "largest 11.1 % (x/x at C = 16)" in said


def test_runs_swapped_give_the_inverse() -> None:
    first, second = cells([(8, 2.0, 1.5, 2.2)]), cells([(8, 3.0, 2.8, 3.9)])
    one, other = compare(first, second).iloc[0], compare(second, first).iloc[0]
    assert one["ratio"] * other["ratio"] == pytest.approx(1.0)
    assert one["ratio_lo"] * other["ratio_hi"] == pytest.approx(1.0)


def test_only_cells_that_both_count_with_an_interval() -> None:
    first = cells([(2, 1.0, 0.9, 1.1), (8, 1.0, 0.9, 1.1), (16, 1.0, math.nan, math.nan)])
    assert compare(first, first[first["concurrency"] != 2])["concurrency"].tolist() == [8]
    for other in (cells([(8, 1.0, 0.9, 1.1)], valid=False), cells([(32, 1.0, 0.9, 1.1)])):
        with pytest.raises(UserError, match="share no valid cell"):
            compare(first, other)


def test_a_metric_without_interval_and_a_folder_without_estimates(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no metric with an interval"):
        compare(cells([(2, 1.0, 0.9, 1.1)]), cells([(2, 1.0, 0.9, 1.1)]), "poa")
    with pytest.raises(UserError, match="holds no estimates"):
        load_cells(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("a", "b"):
        folder = tmp_path / run / "estimates" / "equilibrium" / "x_x"
        folder.mkdir(parents=True)
        cells([(8, 1.0, 0.9, 1.1)]).to_parquet(folder / "cells.parquet")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "1 of 1 cells agree" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "c")]) == 2
