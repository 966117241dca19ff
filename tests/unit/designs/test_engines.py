"""Two engines on the same cells: estimates of each by its own curves, differences, figures and words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.container import ErrorbarContainer

from anarchy.config import Experiment, Policy
from anarchy.config.files import load_study
from anarchy.config.objectives import RATES
from anarchy.designs.engines import comparison
from anarchy.designs.engines.agreement import COMPARED, Tolerance
from anarchy.designs.engines.columns import DIFFERENCES, SIDES
from anarchy.designs.engines.document import Agreement
from anarchy.designs.engines.estimate import estimate
from anarchy.designs.engines.findings import answer
from anarchy.designs.engines.tier import EnginesTier, Tolerances
from anarchy.designs.ladder.estimate import estimate as estimate_ladder
from anarchy.designs.ladder.tier import LadderTier
from anarchy.designs.loading import load_systems
from anarchy.designs.system import estimate_system
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.game import cell_game
from anarchy.estimate.grouping import Found
from anarchy.figures import style
from anarchy.games.requests import FloatArray
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG
from anarchy.plan.workbench import open_run
from anarchy.report.findings import find
from anarchy.tables import System
from tests.helpers.condition_samples import HEAD, METHOD, STATIC, constant, measured, pair, trace_of
from tests.helpers.drawings import draw_all, make_all
from tests.helpers.figure_checks import assert_legible, plain
from tests.helpers.made_up_run import seal_everything
from tests.helpers.synthetic_engines import GRID as SYNTHETIC_GRID
from tests.helpers.synthetic_engines import write_engines

GRID = (16, 48, 96)
PLAN: dict[str, Any] = {
    "launches": 1,
    "workloads": ["unique"],
    "timing": {"measure_s": 1, "measure_max_s": 1},
}
TIER = EnginesTier.model_validate({"concurrency": GRID, **PLAN})
SETS = {"live": "mocker", "virtual": "virtual"}


def cell(
    routing: str,
    C: int,
    launch: int = 1,
    *,
    slower: float = 1.0,
    reason: str = "",
    engine: str = "",
    policy: Policy = STATIC,
) -> MeasuredCell:
    table = constant(C, 10 * launch + (routing == "virtual"), slower=slower, n=240)
    trace = trace_of(
        table,
        policy.name,
        launch=launch,
        concurrency=C,
        engine=engine or SETS.get(routing, "mocker"),
        dilation=3.0 if routing == "live" else 1.0,
    )
    return measured(trace, policy, routing=routing, launch=launch, concurrency=C, reason=reason)


def sweep(launches: int = 1, slower: float = 1.0, past: float = 1.0) -> list[MeasuredCell]:
    """Both engines; the virtual one is slower by a factor, and past C_ref by another one."""
    return [
        cell(name, C, launch, slower=1.0 if name == "live" else slower * (past if METHOD.c_ref < C else 1.0))
        for name in SETS
        for launch in range(1, launches + 1)
        for C in GRID
    ]


def estimated(cells: list[MeasuredCell], tier: EnginesTier = TIER) -> Found:
    found = estimate(cells, tier, METHOD, {**HEAD, "engine": "simulated"})
    for entry in found.facts["agreement"]:
        assert Agreement.model_validate(entry)
    return found


def of(found: Found, quantity: str, C: int) -> dict[str, Any]:
    rows = found.tables["differences"]
    (row,) = rows[(rows["quantity"] == quantity) & (rows["concurrency"] == C)].to_dict("records")
    return {str(name): value for name, value in row.items()}


@pytest.fixture(scope="module")
def alike() -> Found:
    return estimated(sweep())


def test_every_cell_and_every_comparison_has_its_row(alike: Found) -> None:
    sides, differences = alike.tables["sides"], alike.tables["differences"]
    assert list(sides.columns) == list(SIDES.names)
    assert list(differences.columns) == list(DIFFERENCES.names)
    assert len(sides) == len(SETS) * len(GRID)
    assert len(differences) == len(COMPARED) * len(GRID)
    assert dict(zip(sides["routing_set"], sides["engine_name"], strict=True)) == SETS
    assert dict(zip(sides["routing_set"], sides["dilation"], strict=True)) == {"live": 3.0, "virtual": 1.0}
    assert differences["valid"].all()
    assert (differences["difference_lo"] <= differences["difference_hi"]).all()
    assert alike.facts["engines"] == SETS
    assert alike.facts["policy"] == "static"


def test_a_live_rate_that_may_be_zero_rules_nothing_out() -> None:
    """One live launch of three serves nothing in time: virtual over live has no upper end."""
    cells = [one for one in sweep(launches=3) if (one.routing, one.launch) != ("live", 3)]
    cells += [cell("live", C, 3, slower=1000.0) for C in GRID]
    slo = {"ttft_s": 2.0, "itl_s": 9.0}
    plan = {"concurrency": GRID, **PLAN, "launches": 3, "slo": slo}
    row = of(estimated(cells, EnginesTier.model_validate(plan)), "within_ttft", GRID[0])
    assert row["live"] > 0.0
    assert row["within"] is None
    assert row["reasons"] == "too noisy: the live number may be 0"
    assert np.isnan([row["difference_lo"], row["difference_hi"]]).all(), "nothing that a figure could draw"


def test_objectives_add_rates_with_a_tolerance_of_their_own() -> None:
    """All requests keep the first objectives, none the second: then a few a second count as none."""
    for ttft_s, kept in ((9.0, True), (1e-9, False)):
        slo = {"ttft_s": ttft_s, "itl_s": 9.0}
        found = estimated(sweep(), EnginesTier.model_validate({"concurrency": GRID, **PLAN, "slo": slo}))
        assert len(found.tables["differences"]) == len((*COMPARED, *RATES)) * len(GRID)
        assert set(found.facts["tolerances"]) == {*COMPARED, *RATES}
        for C in GRID:
            row = of(found, "goodput", C)
            assert row["within"], row
            assert (row["live"] > 0.0) == kept
            by_itl = of(found, "within_itl", C)["live"]
            assert by_itl > 0.0
            assert (by_itl == of(found, "within_ttft", C)["live"] == row["live"]) == kept
            assert np.isnan(row["difference"]) == (not kept)
    assert Tolerances().of("goodput") == Tolerance(0.10, 5.0)


def test_rates_have_panels_and_columns_where_a_tier_has_objectives(tmp_path: Path) -> None:
    layout = write_engines(tmp_path, quantities=(*COMPARED, *RATES))
    (system,) = load_systems(layout)
    for width in (style.SINGLE, style.DOUBLE):
        for figure in draw_all(system, width).values():
            assert_legible(figure, width)
            assert "within both" in plain(figure)
    assert "within both, requests/s" in make_all(system)[""].words


def test_each_engine_is_estimated_as_a_ladder_of_its_own(alike: Found) -> None:
    ladder_tier = LadderTier.model_validate({"concurrency": GRID, **PLAN})
    for name in SETS:
        own = [one for one in sweep() if one.routing == name]
        head = {**HEAD, "engine": "simulated"}
        ladder = estimate_ladder(own, ladder_tier, METHOD, head)
        sides = alike.tables["sides"]
        mine = sides[sides["routing_set"] == name].reset_index(drop=True)
        for column in ("poa_hat", "poa_cal", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps"):
            expected = ladder.tables["cells"][column].to_numpy(dtype=float)
            assert mine[column].to_numpy(dtype=float) == pytest.approx(expected, rel=1e-12)
        curves = alike.facts["workloads"]["unique"]["curves"][name]
        assert curves == ladder.facts["workloads"]["unique"]["curves"]


def test_the_load_range_is_that_of_windows_as_they_begin(alike: Found) -> None:
    trace = cell("live", GRID[0]).trace
    assert trace is not None
    load: FloatArray = cell_game(trace).windows.load.astype(np.float64)
    sides = alike.tables["sides"].set_index(["routing_set", "concurrency"])
    assert sides.loc[("live", GRID[0]), "window_range"] == pytest.approx(np.mean(load.max(1) - load.min(1)))


def test_a_planted_difference_is_told_where_it_is() -> None:
    found = estimated(sweep(past=3.0))
    row = of(found, "ttft_p99", 96)
    assert row["difference"] == pytest.approx(2.0, abs=0.5)
    assert row["difference_lo"] < row["difference"] < row["difference_hi"]
    assert row["within"] is False
    assert row["tolerance"] == 0.25
    (told,) = found.facts["agreement"]
    assert told["past"]["within"] is False
    outside = {(one["quantity"], one["concurrency"]): one["tolerance"] for one in told["past"]["outside"]}
    assert outside[("ttft_p99", 96)] == 0.25
    assert "ttft_p99" not in {one["quantity"] for one in told["below"]["outside"]}
    assert told["below"]["concurrency"] == [16, 48]


def test_intervals_are_over_launches_where_there_are_three() -> None:
    found = estimated(sweep(launches=3))
    assert set(found.tables["differences"]["interval_kind"]) == {"across-launches"}
    assert set(found.tables["differences"]["n_launches"]) == {3}
    assert set(found.facts["workloads"]["unique"]["curves"]["virtual"]) == {"1", "2", "3"}


@pytest.mark.parametrize("side", list(SETS))
def test_a_cell_that_fails_a_gate_is_not_compared(side: str) -> None:
    cells = [one for one in sweep() if (one.routing, one.concurrency) != (side, 96)]
    found = estimated([*cells, cell(side, 96, reason="client_bound, short")])
    rows = found.tables["differences"].query("concurrency == 96")
    assert set(rows["reasons"]) == {f"{side}: client_bound, short"}
    assert not rows["valid"].any()
    assert rows["within"].isna().all()
    (told,) = found.facts["agreement"]
    assert told["past"]["within"] is None
    assert told["past"]["concurrency"] is None
    assert told["below"]["not_compared"] == []


def test_one_engine_alone_is_told_and_no_crash() -> None:
    found = estimated([one for one in sweep() if one.routing == "virtual"])
    assert set(found.tables["differences"]["reasons"]) == {"live: not in this run"}
    assert found.facts["engines"] == {"live": "", "virtual": "virtual"}
    missing = [measured(None, routing=name, concurrency=C) for name in SETS for C in GRID]
    nothing = estimated(missing)
    assert set(nothing.tables["differences"]["reasons"]) == {"live: not measured; virtual: not measured"}


@pytest.mark.parametrize(
    ("engines", "reason"),
    [
        ({"live": "virtual", "virtual": "virtual"}, "live: measured on a virtual clock too"),
        ({"live": "mocker", "virtual": "mocker"}, "virtual: not measured on a virtual clock"),
    ],
)
def test_an_engine_is_not_compared_with_itself(engines: dict[str, str], reason: str) -> None:
    """As `--config engine=virtual` would do, which replaces the live engine."""
    found = estimated([cell(name, C, engine=engine) for name, engine in engines.items() for C in GRID])
    assert set(found.tables["differences"]["reasons"]) == {reason}


def test_without_a_cell_to_fit_to_only_poa_hat_is_missing() -> None:
    found = estimated([cell(name, C) for name in SETS for C in (96, 192)])
    differences = found.tables["differences"]
    lacking = differences[~differences["valid"]]
    assert set(lacking["quantity"]) == {"poa_hat"}
    assert set(lacking["reasons"]) == {"no number: live and virtual"}


def test_other_sets_and_several_policies_are_refused() -> None:
    with pytest.raises(UserError, match="'builtin' is neither live nor virtual"):
        estimated([*sweep(), cell("builtin", 16)])
    with pytest.raises(UserError, match="differ in more than their engine"):
        estimated([*sweep(), cell("virtual", 16, policy=pair(0.7, 1.0))])


# --- the tier and the experiment ---


def test_the_tier_refuses_a_grid_that_falls_and_sets_under_different_policies() -> None:
    with pytest.raises(ValueError, match="must be rising"):
        EnginesTier.model_validate({**PLAN, "concurrency": [64, 16]})
    assert not list(TIER.problems([STATIC, STATIC]))
    (problem,) = TIER.problems([STATIC, pair(0.7, 1.0)])
    assert problem.key == "/routing"


def test_the_experiment_measures_both_engines_and_names_its_tolerances() -> None:
    experiment: Experiment = load_study(CONFIG).experiments["engines"]
    for tier in experiment.tiers.values():
        assert isinstance(tier, EnginesTier)
        assert tier.tolerances == TIER.tolerances
    plans = open_run({"experiments": ["engines"], "tier": "quick"}).plans
    assert {(plan.routing, plan.engine) for plan in plans} == set(SETS.items())
    assert len(plans) == 6


def test_every_file_is_written_read_drawn_and_compared(tmp_path: Path) -> None:
    bench = open_run({"experiments": ["engines"], "tier": "smoke", "results": str(tmp_path)})
    seal_everything(bench)
    (system,) = bench.systems()
    estimate_system(bench, *system, replicates=100).write(bench.layout.estimates(*system))
    (read,) = load_systems(bench.layout)
    assert read.frames["differences"]["valid"].all()
    assert read.info["engines"] == SETS
    assert all("live: mocker" in plain(figure) for figure in draw_all(read).values())
    for source in comparison.SOURCES:
        assert set(source.columns) <= set(read.frames[source.file.partition(".")[0]].columns)


def test_tolerances_are_those_that_were_set_before_the_first_run() -> None:
    assert Tolerances().model_dump() == {
        "ttft_p50": 0.15,
        "ttft_p99": 0.25,
        "itl_mean": 0.10,
        "throughput_rps": 0.05,
        "poa_hat": 0.15,
        "window_range": 0.25,
        "window_range_requests": 2.0,
        "within_ttft": 0.10,
        "within_itl": 0.10,
        "goodput": 0.10,
        "rate_rps": 5.0,
    }
    assert Tolerances().of("window_range") == Tolerance(0.25, 2.0)
    assert Tolerances().of("poa_hat") == Tolerance(0.15)


# --- figures, tables, words ---


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    layout = write_engines(tmp_path_factory.mktemp("results"), workloads=("unique", "templates"))
    return load_systems(layout)[0]


@pytest.mark.parametrize("width", [style.SINGLE, style.DOUBLE])
def test_all_text_is_legible_and_every_figure_names_both_engines(system: System, width: float) -> None:
    for figure in draw_all(system, width).values():
        assert_legible(figure, width)
        said = plain(figure)
        assert "live: mocker" in said
        assert "virtual" in said
        for part in ("simulated engine", "dilated 1x to 3x", "predicted B200", "tier quick", "within-run"):
            assert part in said


def test_the_band_is_the_tolerance_and_a_point_outside_it_looks_different(system: System) -> None:
    panels = draw_all(system)["differences"].axes
    rows = system.of("unique", "differences")
    for quantity, axes in zip(COMPARED, panels, strict=True):
        bands = [one for one in axes.collections if isinstance(one, FillBetweenPolyCollection)]
        heights = [float(np.max(np.asarray(band.get_paths()[0].vertices)[:, 1])) for band in bands]
        assert heights == pytest.approx(
            100.0 * rows.loc[rows["quantity"] == quantity, "tolerance"].to_numpy()
        )
        drawn = [one for one in axes.containers if isinstance(one, ErrorbarContainer)]
        colours = [one.lines[0].get_color() for one in drawn]
        outside = [style.BLUE, style.VERMILLION] if quantity == "ttft_p99" else [style.BLUE]
        assert colours == outside


def test_a_cell_that_is_not_counted_is_named_with_its_reason(system: System) -> None:
    drawn = draw_all(system)
    assert "live, C = 192: client_bound" in plain(drawn["sides_templates"])
    assert "C = 192: live: client_bound" in plain(drawn["differences_templates"])


def test_tables_name_the_engines_and_what_is_within(system: System) -> None:
    made = make_all(system)
    assert set(made[""].raw["engine"]) == set(SETS.values())
    assert list(made[""].words["engine"].unique()) == ["live: mocker", "virtual"]
    assert list(made[""].words["workload"].unique()) == ["unique", "templates"]
    words = made["differences"].words.set_index(["workload", "C", "quantity"])
    assert words.loc[("unique", "192", "TTFT P99, ms"), "within"] == "no"
    assert words.loc[("unique", "16", "TTFT P99, ms"), "within"] == "yes"
    assert words.loc[("templates", "192", "ITL, ms"), "within"] == "not compared: live: client_bound"
    assert words.loc[("unique", "192", "TTFT P99, ms"), "tolerance, %"] == "25.0"


def test_what_is_too_noisy_to_tell_is_neither_within_nor_outside(system: System) -> None:
    rows = system.frames["differences"].copy()
    one = (rows["workload"] == "unique") & (rows["quantity"] == "itl_mean") & (rows["concurrency"] == 192)
    rows["within"] = rows["within"].astype(object)
    rows.loc[one, "within"] = None
    noisy = replace(system, frames={**system.frames, "differences": rows})
    words = make_all(noisy)["differences"].words.set_index(["workload", "C", "quantity"])
    assert words.loc[("unique", "192", "ITL, ms"), "within"] == "too noisy to tell"
    panels = dict(zip(COMPARED, draw_all(noisy)["differences"].axes, strict=False))
    drawn = [one for one in panels["itl_mean"].containers if isinstance(one, ErrorbarContainer)]
    assert [one.lines[0].get_color() for one in drawn] == [style.BLUE, style.GREY]


def test_an_answer_counts_what_is_known_to_be_within() -> None:
    def told(*within: bool | None) -> str:
        sides = [
            {"concurrency": [16, 64], "within": one, "outside": [], "not_compared": []} for one in within
        ]
        agreement = [{"below": side, "past": {"concurrency": None}} for side in sides]
        return answer([SimpleNamespace(info={"agreement": agreement})])  # type: ignore[list-item]

    assert told(True, True) == "All numbers lie within their tolerances in 2 of 2 comparisons."
    assert told(True, None, False).endswith("in 1 of 3 comparisons, and in 1 not all of them can be told.")


def test_findings_say_where_engines_agree(system: System) -> None:
    unique, templates = find(system, "unique"), find(system, "templates")
    assert unique.parts[0] == "virtual against mocker up to C_ref = 64: C = 16 to 64, all within tolerance"
    assert unique.parts[1].startswith("past it: C = 192, outside tolerance: TTFT P99 at C = 192 (+")
    assert templates.parts[1] == "past it: nothing compared"
    assert templates.notes == (f"Not compared at C = {SYNTHETIC_GRID[-1]}: all of it (live: client_bound)",)
