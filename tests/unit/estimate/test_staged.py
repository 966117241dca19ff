"""Staged cells: a stage is a constant cell; ratios, series and curvature against known truth."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anarchy.config import StagePlan
from anarchy.estimate import columns
from anarchy.estimate.conditions import Condition, CostModel, Part, cost_model, estimate_condition
from anarchy.estimate.curvature import branches, curvature, largest
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.game import cell_game
from anarchy.estimate.grouping import Found, model_notes
from anarchy.estimate.ladder import Curves
from anarchy.estimate.series import trace_series
from anarchy.estimate.staged import estimate_stages, stage_conditions, stage_trace
from anarchy.estimate.traces import read_any
from anarchy.games.latency import AffineLatency, FitQuality, FullLatency
from anarchy.ground.errors import UserError
from anarchy.stats.intervals import Resampled
from anarchy.trace.importers import Facts
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import GateResult
from tests.helpers.condition_samples import (
    ADAPTIVE,
    HEAD,
    METHOD,
    STATIC,
    constant,
    measured,
    pair,
    staged,
    staged_cell,
    stages_of,
    trace_of,
)
from tests.helpers.frames import at
from tests.helpers.ladder_samples import write_trace

GRID = (16, 32, 96, 32)


def plans(grid: tuple[int, ...] = GRID) -> list[StagePlan]:
    return [
        StagePlan(name=stage.name, knee_times=stage.concurrency / 64, settle_s=1.0, seconds=10.0)
        for stage in stages_of(grid)
    ]


def estimated(*cells: MeasuredCell, grid: tuple[int, ...] = GRID) -> Found:
    return estimate_stages(cells, plans(grid), METHOD, HEAD)


def test_a_stage_is_the_constant_cell_of_the_same_rows() -> None:
    cell = staged_cell(GRID)
    conditions = stage_conditions([cell])
    model = cost_model(conditions, METHOD)
    for index, C in enumerate(GRID):
        alone = trace_of(constant(C, 1 + 100 * index), concurrency=C)
        # What the staged cell calls warm-up after its stage the constant one calls cool-down.
        constant_cell = Condition(C, {1: Part(alone)}, {})
        one = estimate_condition(conditions[index], model, METHOD, stream=0)
        other = estimate_condition(constant_cell, model, METHOD, stream=0)
        assert one.row["n_windows"] == other.row["n_windows"] > 30
        for name in ("poa_hat", "poa_hat_lo", "poa_hat_hi", "poa_cal", "dynamics", "ttft_p99", "itl_mean"):
            assert one.row[name] == pytest.approx(other.row[name], rel=1e-9), name
        assert one.row["throughput_rps"] == pytest.approx(other.row["throughput_rps"], rel=1e-6)


def test_all_rows_of_a_staged_cell_are_load() -> None:
    table, spans = staged((16, 32))
    trace = trace_of(table, stages=spans)
    game = cell_game(stage_trace(trace, 1))
    before = table[table["request_id"].str.startswith("s0")]
    lasting = table.assign(
        t_last_token=np.where(table.index.isin(before.index[-5:]), 1e6, table["t_last_token"])
    )
    loaded = cell_game(stage_trace(trace_of(lasting, stages=spans, duration_s=2e6), 1))
    assert (loaded.windows.load.sum(axis=1) == game.windows.load.sum(axis=1) + 5).all()


def test_rows_hold_every_column_and_the_decomposition() -> None:
    found = estimated(staged_cell(GRID), staged_cell(GRID, ADAPTIVE, regime="below"))
    stages = found.tables["stages"]
    assert list(stages.columns) == list(columns.STAGES.names)
    assert len(stages) == 2 * len(GRID)
    np.testing.assert_allclose(
        stages["dynamics"] * stages["routing"] * stages["freezing"], stages["poa_hat"], rtol=1e-9
    )
    assert (stages["poa_cal"] >= 1.0).all()
    assert stages["direction"].tolist()[:4] == ["up", "up", "up", "down"]
    assert stages["regime"].tolist()[:4] == ["plateau", "plateau", "growth", "plateau"]
    adaptive = stages[stages["policy"] == "adaptive"]
    assert adaptive["share_below"].tolist() == [1.0] * 4
    assert stages[stages["policy"] == "static"]["share_below"].isna().all()
    assert (stages["load_range"] > 0).all()
    assert (stages["load_mean"] * 2 <= stages["concurrency"] + 1e-9).all()
    assert (stages["interval_kind"] == "within-run").all()
    for name, wanted in (("launches", columns.LAUNCHES.names), ("series", columns.SERIES.names)):
        assert list(found.tables[name].columns) == list(wanted)
        assert len(found.tables[name])


def slowed(dilation: float, routing: str) -> MeasuredCell:
    """A staged cell of a set of this name, measured at this dilation."""
    trace = staged_cell(GRID).trace
    assert trace is not None
    manifest = trace.manifest.model_copy(update={"dilation": dilation})
    trace = CellTrace(trace.directory, manifest, trace.table)
    return measured(trace, stages=stages_of(GRID), concurrency=max(GRID), routing=routing)


def test_every_set_is_labelled_with_its_own_dilation() -> None:
    tables = estimated(slowed(2.0, "a"), slowed(6.0, "b")).tables
    for name in ("stages", "launches", "series"):
        told = tables[name].groupby("routing_set")["dilation"].unique().explode()
        assert told.to_dict() == {"a": 2.0, "b": 6.0}, name


def test_the_factors_shares_of_a_rise_sum_to_one() -> None:
    found = estimated(staged_cell(GRID))
    stages = found.tables["stages"].set_index("stage")
    rise = found.facts["workloads"]["unique"]["rise"]["set"]["static"]
    assert set(rise) == set(columns.RISE_KEYS)
    assert (rise["from"], rise["to"]) == ("s0", "s2")
    assert rise["poa_hat"] == pytest.approx(at(stages, "s2", "poa_hat") / at(stages, "s0", "poa_hat"))
    assert rise["poa_hat_lo"] < rise["poa_hat"] < rise["poa_hat_hi"]
    shares = [rise[f"{name}_share"] for name in ("dynamics", "routing", "freezing")]
    assert sum(shares) == pytest.approx(1.0)
    # Saturation, and hardly routing: requests are sent to the worker with fewer of them.
    assert rise["routing_share_hi"] < 0.2 < rise["freezing_share_lo"]


def test_adaptive_that_does_nothing_has_ratios_about_one_across_launches() -> None:
    cells = [staged_cell((16, 96), launch=launch) for launch in (1, 2, 3)]
    cells += [staged_cell((16, 96), ADAPTIVE, launch=launch, seed=10 + launch) for launch in (1, 2, 3)]
    found = estimated(*cells, grid=(16, 96))
    ratios = found.tables["ratios"]
    assert list(ratios.columns) == list(columns.RATIOS.names)
    assert set(ratios["quantity"]) == {*columns.QUANTITIES, "load_range"}
    assert ratios["against_reference"].all()
    assert ratios["paired"].all()
    assert (ratios["interval_kind"] == "across-launches").all()
    holds = (ratios["ratio_lo"] <= 1.0) & (ratios["ratio_hi"] >= 1.0)
    assert holds.mean() > 0.8
    assert ratios.loc[ratios["quantity"] == "poa_hat", "ratio"].between(0.98, 1.02).all()
    cv = found.tables["stages"]["poa_hat_cv"]
    assert (cv > 0).all()
    assert (cv < 0.3).all()


def test_a_policy_that_halves_latency_is_found_where_it_does() -> None:
    static = [staged_cell((16, 96), launch=launch, slower=(1.0, 2.0)) for launch in (1, 2, 3)]
    adaptive = [staged_cell((16, 96), ADAPTIVE, launch=launch, seed=20 + launch) for launch in (1, 2, 3)]
    ratios = estimated(*static, *adaptive, grid=(16, 96)).tables["ratios"]
    ttft = ratios[ratios["quantity"] == "ttft_p50"].set_index("stage")
    assert at(ttft, "s0", "ratio_lo") < 1.0 < at(ttft, "s0", "ratio_hi")
    assert 1.0 < at(ttft, "s1", "ratio_lo") < 2.0 < at(ttft, "s1", "ratio_hi") * 1.1
    assert at(ttft, "s1", "ratio") == pytest.approx(2.0, rel=0.15)


def test_without_an_adaptive_policy_the_others_are_held_against_the_reference() -> None:
    other = pair(0.7, 0.3)
    ratios = estimated(staged_cell((16, 32)), staged_cell((16, 32), other), grid=(16, 32)).tables["ratios"]
    assert set(zip(ratios["policy"], ratios["against"], strict=True)) == {(other.name, "static")}
    assert (ratios["interval_kind"] == "within-run").all()


def test_sets_are_deployments_of_their_own() -> None:
    pinned = ADAPTIVE.model_copy(update={"name": "pinned", "way": "pinned"})
    alone = replace(staged_cell((16, 32), pinned), routing="pinned", reference=True)
    found = estimated(staged_cell((16, 32)), alone, grid=(16, 32))
    ratios = found.tables["ratios"]
    assert not ratios["paired"].any()
    assert not ratios["against_reference"].any()
    assert set(found.facts["routing"]) == {"set", "pinned"}
    assert set(found.facts["workloads"]["unique"]["curves"]) == {"set", "pinned"}


def test_what_was_not_measured_or_is_not_valid_is_told() -> None:
    gone = measured(None, ADAPTIVE, stages=stages_of(GRID))
    found = estimated(staged_cell(GRID), gone)
    rows = found.tables["stages"].set_index("policy").loc["adaptive"]
    assert not rows["valid"].any()
    assert set(rows["reasons"]) == {"not measured"}
    assert rows["poa_hat"].isna().all()
    ratios = found.tables["ratios"]
    assert not ratios["valid"].any()
    assert ratios["ratio"].isna().all()
    assert set(ratios["reasons"]) == {"adaptive: not measured"}
    launches = found.tables["launches"]
    assert set(launches.loc[launches["policy"] == "adaptive", "reasons"]) == {"not measured"}


def test_one_launch_of_three_that_is_not_valid_is_told() -> None:
    bad = staged_cell((16, 32), launch=2)
    assert bad.trace is not None
    gates = GateResult(valid=False, reasons=("errors",))
    spoiled = replace(bad.trace, manifest=bad.trace.manifest.model_copy(update={"gates": gates}))
    bad = replace(bad, trace=spoiled, reason="errors")
    good = [staged_cell((16, 32), launch=launch) for launch in (1, 3)]
    found = estimated(good[0], bad, good[1], grid=(16, 32)).tables["stages"]
    assert found["valid"].all()
    assert set(found["n_launches"]) == {2}
    assert set(found["reasons"]) == {"errors (launch 2)"}


def test_without_a_cost_model_latencies_stand_and_the_reason_is_told() -> None:
    gone = measured(None, stages=stages_of((96, 96)))
    found = estimated(gone, staged_cell((96, 96), ADAPTIVE), grid=(96, 96))
    rows = found.tables["stages"].set_index("policy").loc["adaptive"]
    assert rows["poa_hat"].isna().all()
    assert (rows["ttft_p99"] > 0).all()
    assert rows["valid"].all()
    assert rows["reasons"].str.startswith("no cost model: no valid cell").all()
    assert any("no cost model" in note for note in found.facts["workloads"]["unique"]["notes"])


def test_curves_that_explain_nothing_inside_cells_are_told() -> None:
    def fitted(*within: float) -> list[str]:
        affine = AffineLatency(0.1, 0.01)
        qualities = [FitQuality(r2=0.97, r2_within=one, rmse=0.1, n_rows=9, n_cells=3) for one in within]
        curves = {launch: Curves(affine, FullLatency(0.1, quality=q)) for launch, q in enumerate(qualities)}
        return model_notes("pinned", CostModel(curves, {}, ()))

    assert fitted(0.6) == fitted(float("nan")) == fitted() == []
    (told,) = fitted(float("nan"), 0.6, -0.01)
    assert "(R² -0.01, the least of the launches), so PoA-cal" in told


def test_a_stage_in_which_nothing_was_measured_is_told() -> None:
    table, spans = staged((16, 32))
    silent = table.assign(phase=table["phase"].where(~table["request_id"].str.startswith("s1"), "warmup"))
    cell = measured(trace_of(silent, stages=spans), stages=stages_of((16, 32)))
    rows = estimated(cell, grid=(16, 32)).tables["stages"]
    assert rows["valid"].tolist() == [True, False]
    assert rows["reasons"].tolist() == ["", "nothing was measured in this stage"]


def late(cell: MeasuredCell, seconds: float) -> MeasuredCell:
    """The same cell, whose last stage began to measure so much later and ended so much later."""
    assert cell.trace is not None
    *before, last = cell.trace.manifest.stages
    late = replace(last, settled_s=last.settled_s + seconds, end_s=last.end_s + seconds)
    manifest = cell.trace.manifest.model_copy(update={"stages": (*before, late)})
    return replace(cell, trace=CellTrace(cell.trace.directory, manifest, cell.trace.table))


def test_launches_share_the_bins_of_a_series_though_their_stages_took_unlike_long() -> None:
    stages = tuple(replace(stage, settle_s=0.5, seconds=2.0) for stage in stages_of(GRID))
    cells = [replace(late(staged_cell(GRID, launch=n), 0.1 * n), stages=stages) for n in (1, 2, 3)]
    series = estimated(*cells).tables["series"]
    assert set(series["seconds"]) == {2.5 / 4}
    assert series.groupby("t")["launch"].nunique().iloc[:10].eq(3).all()


def test_stages_are_told_as_they_came() -> None:
    cells = [late(staged_cell(GRID, launch=n), 0.1 * n) for n in (1, 2, 3)]
    last = [cell.trace.manifest.stages[-1] for cell in cells if cell.trace is not None]
    told = estimated(*cells).facts["stages"][-1]
    assert told["end_s"] == np.median([span.end_s for span in last])
    assert told["settled_s"] == np.median([span.settled_s for span in last])
    unmeasured = measured(None, stages=stages_of(GRID), concurrency=max(GRID))
    times = [[one[name] for name in ("start_s", "settled_s", "end_s")] for one in
             estimated(unmeasured).facts["stages"]]  # fmt: skip
    assert times == [[11.0 * n, 11.0 * n + 1.0, 11.0 * (n + 1)] for n in range(len(GRID))]


def test_a_series_counts_every_request_once() -> None:
    table, spans = staged((16, 32))
    rows = pd.DataFrame(trace_series(trace_of(table.assign(regime="transition"), stages=spans)))
    assert rows["n_sent"].sum() == len(table)
    assert rows["t"].tolist() == list(range(len(rows)))
    assert rows["stage"].iloc[0] == "s0"
    assert set(rows["regime"]) <= {"", "transition"}
    load = np.array(rows["load"].tolist())
    assert load.shape == (len(rows), 2)
    # All users of a closed loop are in flight, but for a moment between two requests.
    inside = rows["stage"].eq("s0").to_numpy() & (np.arange(len(rows)) > 1)
    assert load[inside].sum(axis=1)[:-2] == pytest.approx(16, abs=0.2)
    busy = rows["n_sent"] > 0
    assert (rows.loc[busy, "ttft_p50"] > 0).all()
    assert rows.loc[~busy, "ttft_p50"].isna().all()


def drawn(value: float) -> Resampled:
    return Resampled(value, np.full(50, value), "within-run", 1, 100, 1.0)


def test_curvature_is_the_second_derivative_of_a_parabola() -> None:
    C = [10, 30, 40, 80, 120, 60, 20, 10]
    assert branches(C) == ["up"] * 5 + ["down"] * 3
    bends = [one.value for one in curvature(C, [drawn(3.0 + 0.5 * c + 0.25 * c * c) for c in C])]
    assert np.isnan([bends[0], bends[4], bends[7]]).all()
    np.testing.assert_allclose([bends[i] for i in (1, 2, 3, 5, 6)], 0.5)
    straight = [one.value for one in curvature(C, [drawn(1.0 + c) for c in C])]
    np.testing.assert_allclose([straight[i] for i in (1, 2, 3, 5, 6)], 0.0, atol=1e-12)


def test_the_largest_bend_is_where_latency_turns_up() -> None:
    C = [16, 32, 64, 96, 128]
    latency = [0.1, 0.1, 0.11, 0.5, 0.9]
    found = largest(C, curvature(C, [drawn(y) for y in latency]))
    assert found is not None
    assert found["concurrency"] == 64
    assert largest([16, 16], curvature([16, 16], [drawn(1.0), drawn(1.0)])) is None


def test_a_policy_without_parameters_is_estimated() -> None:
    baseline = STATIC.model_copy(
        update={"name": "random", "kind": "random", "way": "pinned", "tau": None, "omega": None}
    )
    found = estimated(staged_cell((16, 32)), staged_cell((16, 32), baseline), grid=(16, 32))
    rows = found.tables["stages"].set_index("policy").loc["random"]
    assert rows["tau"].isna().all()
    assert (rows["poa_hat"] > 0).all()


def test_a_staged_trace_is_no_cell_of_a_ladder(tmp_path: Path) -> None:
    table, spans = staged((16, 32), n=60)
    folder = write_trace(tmp_path / "a", table, stages=[asdict(span) for span in spans])
    with pytest.raises(UserError, match="2 stages of different concurrency"):
        read_any(folder, Facts())
