"""Figures of E2 to E4 say what they show: intervals, labels, what is not counted; no text over another."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from anarchy.designs.detection import figures as detection_figures
from anarchy.designs.detection.findings import answer, parts
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import designs
from anarchy.designs.stages import figures
from anarchy.figures import style
from anarchy.tables import System
from tests.helpers.drawings import FIGURES, draw_all
from tests.helpers.figure_checks import assert_legible, error_bars, plain, x_of
from tests.helpers.synthetic_pareto import write_pareto
from tests.helpers.synthetic_staged import KNEE, write_staged

Drawn = dict[str, dict[str, Figure]]


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, System]:
    root = tmp_path_factory.mktemp("results")
    write_staged(root, "saturation")
    write_staged(root, "adaptive", systems=slice(2, 3))
    layout = write_pareto(root)
    return {system.experiment: system for system in load_systems(layout)}


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, System]:
    root = tmp_path_factory.mktemp("results")
    write_staged(root, "saturation", tier="full", launches=3)
    write_staged(root, "adaptive", tier="full", launches=3)
    layout = write_pareto(root, tier="full", launches=3)
    return {system.experiment: system for system in load_systems(layout)}


@pytest.fixture(scope="module")
def drawn(systems: dict[str, System]) -> Drawn:
    return {name: draw_all(system) for name, system in systems.items()}


def bars(figure: Figure) -> int:
    """Intervals drawn that have a length."""
    count = 0
    for axes in figure.axes:
        for group in axes.containers:
            if isinstance(group, ErrorbarContainer):
                for part in group.lines[2]:
                    assert isinstance(part, LineCollection)
                    ends = np.array([path.vertices for path in part.get_paths()], dtype=float)
                    count += int((np.ptp(ends, axis=1).max(axis=1) > 0).sum()) if len(ends) else 0
    return count


def changed(system: System, **frames: pd.DataFrame) -> System:
    return dataclasses.replace(system, frames={**system.frames, **frames})


def test_every_design_draws_the_figures_that_the_workflow_expects() -> None:
    for design in designs():
        assert list(design.figures) == list(FIGURES[design.name])


def test_every_figure_says_engine_dilation_and_tier(drawn: Drawn) -> None:
    without = {"series", "balance"}
    for each in drawn.values():
        for name, figure in each.items():
            said = plain(figure)
            for part in ("simulated engine", "model time dilated 3x", "predicted B200", "tier quick"):
                assert part in said
            assert ("intervals: 95 % within-run" in said) == (name not in without), name
            assert "unique prompts" in said


@pytest.mark.parametrize("width", [style.SINGLE, style.DOUBLE])
@pytest.mark.parametrize("experiment", ["saturation", "adaptive", "pareto"])
def test_all_text_is_legible_inside_and_apart(
    systems: dict[str, System], launches: dict[str, System], experiment: str, width: float
) -> None:
    of_several = width == style.SINGLE and experiment == "adaptive"
    system = (launches if of_several else systems)[experiment]
    for figure in draw_all(system, width).values():
        assert_legible(figure, width)


@pytest.mark.parametrize(
    ("experiment", "name", "least"),
    [
        ("saturation", "curvature", 8), ("adaptive", "ratios", 3 * 4 * 7), ("adaptive", "policies", 100),
        ("adaptive", "decomposition", 5 * 4), ("pareto", "pairs", 4 * 16 - 1), ("pareto", "front", 2 * 63),
        ("pareto", "spread", 2 * 9),
    ],
)  # fmt: skip
def test_numbers_have_their_intervals(drawn: Drawn, experiment: str, name: str, least: int) -> None:
    assert bars(drawn[experiment][name]) >= least


def test_uncounted_conditions_are_named_with_their_reason(drawn: Drawn) -> None:
    assert "not counted: random in past: errors" in plain(drawn["adaptive"]["policies"])
    for name in drawn["pareto"]:
        assert "not counted: (1, 1) pinned, saturated: not_steady" in plain(drawn["pareto"][name])


# --- E2 ---


def test_delays_false_alarm_and_knee_are_told(systems: dict[str, System], drawn: Drawn) -> None:
    figure = drawn["saturation"]["series"]
    said = plain(figure)
    assert "fires after 15.0 s" in said
    assert "fires after 10.0 s" in said
    assert said.count("false alarm") == 1
    assert f"knee, C = {KNEE}" in said
    assert "load crosses the knee, 75.0 s" in said
    at = [line.get_color() for line in figure.axes[1].lines if x_of(line).tolist() == [75.0, 75.0]]
    assert at.count(style.PURPLE) == 1
    assert systems["saturation"].frames["detection"]["false_alarms"].sum() == 1


def test_no_detector_is_judged_where_no_knee_is_known(systems: dict[str, System]) -> None:
    was = systems["saturation"]
    logs = was.frames["detection"].assign(knee=None, fired=False, false_alarms=None)
    unknown = dataclasses.replace(was, frames={**was.frames, "detection": logs})
    assert answer([unknown]) == "No knee is known that the load could cross, so no detector is judged."
    assert all("is not judged" in one for one in parts(unknown, "unique"))
    assert "never fires" not in " ".join(parts(unknown, "unique"))


def test_the_histograms_bracket_is_drawn_and_the_clients_p99_has_none(drawn: Drawn) -> None:
    groups = {
        group.get_label(): group
        for group in drawn["saturation"]["series"].axes[1].containers
        if isinstance(group, ErrorbarContainer)
    }
    spans = {
        name: np.nanmax(
            np.ptp(np.array([p.vertices for p in group.lines[2][0].get_paths()], dtype=float), axis=1)
        )
        for name, group in groups.items()
    }
    assert spans["P99 of a poll, frontends' histograms"] > 0
    assert spans["P99 of a poll, client's own TTFT"] == 0


def test_a_detector_that_never_fires_is_said(systems: dict[str, System]) -> None:
    system = systems["saturation"]
    logs = system.frames["detection"].assign(fired=False, fired_s=np.nan, delay_s=np.nan)
    said = plain(detection_figures.detectors_over_time(changed(system, detection=logs), "unique"))
    assert said.count("never fires") == 2


def test_no_log_at_all_still_draws(systems: dict[str, System]) -> None:
    system = systems["saturation"]
    empty = {name: system.frames[name].iloc[:0] for name in ("detection", "polls")}
    figure = detection_figures.detectors_over_time(changed(system, **empty), "unique")
    assert len(style.render(figure, "png", system.rows)) > 5000


# --- E3 ---


def test_regimes_are_strips_of_each_adaptive_policy_and_of_no_other(drawn: Drawn) -> None:
    frames = [
        len([line for line in axes.lines if len(x_of(line)) == 5])
        for axes in drawn["adaptive"]["series"].axes
        if axes.get_ylabel() == "regime"
    ]
    assert frames == [2, 1]


def test_launches_are_an_area_only_where_there_are_several(drawn: Drawn, launches: dict[str, System]) -> None:
    assert "lowest to highest launch" not in plain(drawn["adaptive"]["series"])
    assert "lowest to highest launch" in plain(figures.policies_over_time(launches["adaptive"], "unique"))


def test_a_figure_of_one_launch_says_which(drawn: Drawn, launches: dict[str, System]) -> None:
    assert "launches" not in plain(drawn["saturation"]["series"])
    for figure in (
        detection_figures.detectors_over_time(launches["saturation"], "unique"),
        figures.loads_over_time(launches["adaptive"], "unique"),
    ):
        assert "the first of 3 launches" in plain(figure)


def test_ratios_of_both_ways_are_told_apart_and_hold_the_line_at_one(drawn: Drawn) -> None:
    figure = drawn["adaptive"]["ratios"]
    said = plain(figure)
    for name in ("built-in: reference over adaptive,", "built-in: reference over adaptive-client,",
                 "pinned: reference over pinned-adaptive,"):  # fmt: skip
        assert name in said
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert low < 1 < high
        assert 1.0 in axes.get_xticks()
    looks = {(g.lines[0].get_color(), g.lines[0].get_markerfacecolor()) for g in error_bars(figure.axes[2])}
    assert len(looks) == 3


def test_every_worker_has_a_line(drawn: Drawn) -> None:
    said = plain(drawn["adaptive"]["balance"])
    assert all(f"decode worker {worker}" in said for worker in range(5))
    assert len(drawn["adaptive"]["balance"].axes) == 5


def test_a_baseline_comparison_without_adaptive_policy_is_drawn(systems: dict[str, System]) -> None:
    system = systems["adaptive"]
    kept = {
        name: system.frames[name][system.frames[name]["kind"] != "adaptive"] for name in ("stages", "series")
    }
    alone = changed(system, **kept, ratios=system.frames["ratios"].iloc[:0])
    for figure in draw_all(alone).values():
        assert len(style.render(figure, "png", alone.rows)) > 5000


# --- E4 ---


def test_the_band_is_the_range_of_the_repeats(systems: dict[str, System], drawn: Drawn) -> None:
    rows = systems["pareto"].rows
    again = rows[rows["reference"] & (rows["load"] == "below") & (rows["way"] == "builtin")]["poa_hat"]
    assert len(again) == 3
    axes = drawn["pareto"]["pairs"].axes[0]
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((again.min(), again.max()))
    assert "range of the repeats of the reference pair" in plain(drawn["pareto"]["pairs"])


def test_a_load_of_the_reference_alone_has_no_panel(drawn: Drawn) -> None:
    assert not [axes for axes in drawn["pareto"]["pairs"].axes if ", low" in axes.get_title(loc="left")]
    assert len(drawn["pareto"]["pairs"].axes) == 4


def test_no_effect_is_hollow_and_bounded(systems: dict[str, System], drawn: Drawn) -> None:
    said = plain(drawn["pareto"]["spread"])
    assert "95 % upper bound of the CV between pairs" in said
    assert "CV of the noise" in said
    assert "published for PoA-hat: 37 to 58" in said
    below = drawn["pareto"]["spread"].axes[0]
    shown: dict[Any, int] = {}
    for line in below.lines:
        if "pairs:" in str(line.get_label()):
            shown[line.get_markerfacecolor()] = shown.get(line.get_markerfacecolor(), 0) + int(
                np.isfinite(np.asarray(line.get_xdata(), dtype=float)).sum()
            )
    assert shown.pop("white") == 2 * 9
    assert set(shown.values()) == {0}


def test_rings_are_the_front(systems: dict[str, System], drawn: Drawn) -> None:
    rows = systems["pareto"].rows
    front = rows[rows["front"].astype(bool) & rows["valid"].astype(bool) & (rows["load"] != "low")]
    rings = [
        line
        for axes in drawn["pareto"]["front"].axes
        for line in axes.lines
        if line.get_label() == "on the Pareto front"
    ]
    assert sum(len(x_of(line)) for line in rings) == len(front)


# --- nothing counts ---


@pytest.mark.parametrize("experiment", ["saturation", "adaptive", "pareto"])
def test_every_condition_uncounted_still_draws_and_says_so(
    systems: dict[str, System], experiment: str
) -> None:
    system = systems[experiment]
    rows = system.rows.copy()
    keep = ["concurrency", "dilation", "n_launches", "stage_index", "knee_times", "tau", "omega", "repeat"]
    numbers = rows.select_dtypes("number").columns.difference(keep)
    rows[numbers] = np.nan
    rows = rows.assign(valid=False, reasons="errors,short", interval_kind="")
    frames = {name: system.frames[name].iloc[:0] for name in ("ratios", "spread") if name in system.frames}
    spoiled = changed(system, **{system.main: rows}, **frames)
    for figure in draw_all(spoiled).values():
        assert len(style.render(figure, "png", rows)) > 5000
