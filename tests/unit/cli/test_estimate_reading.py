"""`anarchy estimate --reading` and what it says of step: numbers by hand, refusals, a default that stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment

from anarchy.cli.main import main
from anarchy.engines.profiles import load_profile
from anarchy.ground.layout import PROFILES
from tests.helpers.estimate_command import FEW, refused
from tests.helpers.ladder_samples import closed_loop, in_step, write_trace

TABLE = PROFILES / "llama-3.1-70b-tp4"
GRID = (1, 8, 32, 96)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who keep apart, from a user alone on."""
    folder = tmp_path_factory.mktemp("traces") / "apart"
    for C in GRID:
        write_trace(folder / f"c{C:04d}", closed_loop(C, apart_s=0.35 / C), concurrency=C)
    return folder


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users in perfect step."""
    folder = tmp_path_factory.mktemp("traces") / "step"
    for C in (1, 8, 32, 64):
        write_trace(folder / f"c{C:04d}", in_step(C), concurrency=C)
    return folder


def estimated(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[int, dict[str, Any]]:
    assert main(["estimate", *map(str, arguments), *FEW, "--format", "json"]) == 0
    return {row["concurrency"]: row for row in json.loads(capsys.readouterr().out)}


def measured(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["phase"] == "measure") & (table["status"] == "ok")].sort_values("t_sent")


def mean_latency(table: pd.DataFrame, m: int = 2) -> float:
    """Over the requests of whole windows."""
    mine = measured(table)
    mine = mine.iloc[: len(mine) // m * m]
    return float((mine["t_first_token"] - mine["t_intended"]).mean())


def both_sides(table: pd.DataFrame, prefill: float, m: int = 2) -> float:
    """PoA-hat with both sides modelled, prompts all alike, with plain loops."""

    def resident(worker: int, at: float) -> float:
        here = (table["decode_worker"] == worker) & (table["t_sent"] < at) & (table["t_last_token"] > at)
        return prefill * int(here.sum())

    mine, paid, best = measured(table), 0.0, 0.0
    for start in range(0, len(mine), m):
        window = mine.iloc[start : start + m]
        paid += sum(
            prefill * (1 + resident(worker, at))
            for worker, at in zip(window["decode_worker"], window["t_sent"], strict=True)
        )
        costs = [prefill * (1 + resident(j, window["t_sent"].iloc[0])) for j in range(m)]
        matrix = np.tile(costs, (len(window), 1))
        best += float(matrix[linear_sum_assignment(matrix)].sum())
    return paid / best


def test_idle_is_the_mean_latency_over_that_of_a_user_alone(
    capsys: pytest.CaptureFixture[str], ladder: Path
) -> None:
    found = estimated(capsys, ladder, "--reading", "idle")
    alone = mean_latency(closed_loop(1, apart_s=0.35))
    for C in GRID:
        expected = mean_latency(closed_loop(C, apart_s=0.35 / C)) / alone
        assert found[C]["poa_hat"] == pytest.approx(expected)
        assert found[C]["poa_hat_lo"] < expected < found[C]["poa_hat_hi"]
        assert found[C]["reading"] == "idle"
        assert found[C]["poa_cal"] is found[C]["routing"] is found[C]["affine_r2"] is None
        assert found[C]["valid"]
    assert found[1]["poa_hat"] == pytest.approx(1.0)


def test_table_is_the_mean_latency_over_the_tables_prefill_time(
    capsys: pytest.CaptureFixture[str], ladder: Path
) -> None:
    found = estimated(capsys, ladder, "--reading", "table", "--timing", TABLE)
    prefill = load_profile(TABLE).ttft_s(128)
    for C in GRID:
        assert found[C]["poa_hat"] == pytest.approx(mean_latency(closed_loop(C, apart_s=0.35 / C)) / prefill)


def test_both_sides_are_modelled(capsys: pytest.CaptureFixture[str], ladder: Path) -> None:
    found = estimated(capsys, ladder, "--reading", "both-sides", "--timing", TABLE)
    prefill = load_profile(TABLE).ttft_s(128)
    for C in GRID:
        expected = both_sides(closed_loop(C, apart_s=0.35 / C), prefill)
        assert found[C]["poa_hat"] == pytest.approx(expected)
        # The last window may be shorter, and counts.
        assert found[C]["n_windows"] == -(-len(measured(closed_loop(C, apart_s=0.35 / C))) // 2)


def test_the_default_reading_is_what_it_was(capsys: pytest.CaptureFixture[str], ladder: Path) -> None:
    assert estimated(capsys, ladder) == estimated(capsys, ladder, "--reading", "fitted")


def test_in_step_the_default_is_refused_and_other_readings_are_not(
    capsys: pytest.CaptureFixture[str], stepped: Path
) -> None:
    told = refused(capsys, stepped)
    assert "tells no slope" in told
    assert "take --reading idle" in told
    idle = estimated(capsys, stepped, "--reading", "idle")
    table = estimated(capsys, stepped, "--reading", "table", "--timing", TABLE)
    both = estimated(capsys, stepped, "--reading", "both-sides", "--timing", TABLE)
    prefill = load_profile(TABLE).ttft_s(128)
    for C in (8, 32, 64):
        assert idle[C]["poa_hat"] == pytest.approx((0.02 + 0.002 * C) / 0.022)
        assert table[C]["poa_hat"] == pytest.approx((0.02 + 0.002 * C) / prefill)
        assert both[C]["poa_hat"] == pytest.approx(1.0)
        assert idle[C]["in_step"] is True
        assert idle[C]["arrivals_dispersion"] > 0.9 * C * (1 - 0.022 / (0.32 + 0.002 * C))


def test_step_is_told_with_every_cell_and_noted_where_users_marched(
    capsys: pytest.CaptureFixture[str], ladder: Path, stepped: Path
) -> None:
    apart = estimated(capsys, ladder)
    assert not any(row["in_step"] for row in apart.values())
    assert not any("in step" in note for row in apart.values() for note in row["notes"])
    shortest = min(row["step_s"] for row in apart.values())
    assert {row["step_s"] for row in apart.values()} == {shortest}
    assert main(["estimate", str(stepped), *FEW, "--reading", "idle"]) == 0
    told = capsys.readouterr().out
    assert "arrivals," in told
    assert "reading idle" in told
    assert "arrivals, var/mean: in bins of 22.0 ms, a prefill step; 1 by chance, C in perfect step" in told
    assert (
        "note: C = 64: users marched in step: the variance of arrivals in 22 ms, a prefill step, is" in told
    )


def test_a_reading_without_what_it_asks_is_refused(
    capsys: pytest.CaptureFixture[str], ladder: Path, tmp_path: Path
) -> None:
    for reading in ("table", "both-sides"):
        told = refused(capsys, ladder, "--reading", reading)
        assert "a trace holds none" in told
        assert "--timing" in told
        told = refused(capsys, ladder, "--reading", reading, "--timing", TABLE, "--metric", "e2e")
        assert "ends with the first token" in told
    assert "would not be asked" in refused(capsys, ladder, "--reading", "idle", "--timing", TABLE)
    assert "would not be asked" in refused(capsys, ladder, "--timing", TABLE)
    assert "no such timing profile" in refused(
        capsys, ladder, "--reading", "table", "--timing", tmp_path / "no"
    )
    assert "on the fitted curves" in refused(capsys, ladder, "--reading", "idle", "--explain", "c0008")


def test_without_an_idle_cell_idle_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for C in (8, 32):
        write_trace(tmp_path / "busy" / str(C), closed_loop(C), concurrency=C)
    told = refused(capsys, tmp_path / "busy", "--reading", "idle")
    assert "no idle cell: the lowest C is 8, more users than the pool has workers (2)" in told
    assert "give a cell of the same deployment with at most one user a worker" in told
    write_trace(tmp_path / "short" / "1", closed_loop(1, n=8), concurrency=1)
    write_trace(tmp_path / "short" / "8", closed_loop(8), concurrency=8)
    assert "requests found their worker idle: it takes 10" in refused(
        capsys, tmp_path / "short", "--reading", "idle", "--ungated"
    )


def test_prompts_of_unknown_length_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = closed_loop(8)
    lengths = table["input_tokens"].astype("Int32")
    lengths.iloc[5] = None  # of the warm-up, which only loads workers
    write_trace(tmp_path / "a", table.assign(input_tokens=lengths), concurrency=8)
    options = ("--timing", TABLE, "--reading")
    assert "1 requests have no number of prompt tokens" in refused(
        capsys, tmp_path / "a", *options, "both-sides"
    )
    assert estimated(capsys, tmp_path / "a", *options, "table")[8]["poa_hat"] > 0
