"""Figures carry the engine's label, stay inside themselves, are told apart, and are the same file twice."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from anarchy.designs.ladder import figures
from anarchy.designs.ladder.cost_model import latency_against_load
from anarchy.designs.ladder.step import arrivals_over_time
from anarchy.designs.loading import load_systems
from anarchy.designs.sheet import Sheet
from anarchy.figures import style
from anarchy.ground.errors import UserError
from anarchy.ground.layout import FIGURE_SUFFIXES, NARROW, Layout
from anarchy.tables import System, number
from tests.helpers.drawings import draw_all
from tests.helpers.figure_checks import assert_legible, bars, error_bars, shown_ticks, words, x_of
from tests.helpers.synthetic_estimates import FULL, write_results


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> list[System]:
    return load_systems(write_results(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> list[System]:
    return load_systems(
        write_results(
            tmp_path_factory.mktemp("results"),
            tier="full",
            grid=FULL,
            workloads=("unique", "templates"),
            launches=3,
        )
    )


def changed(system: System, info: dict[str, Any], **frames: pd.DataFrame) -> System:
    """The same system with another document and other tables."""
    return dataclasses.replace(system, info=info, frames={**system.frames, **frames})


def system_with_uncounted_cell(systems: list[System]) -> System:
    return next(system for system in systems if not system.cells["valid"].all())


def test_every_figure_says_engine_dilation_tier_and_interval(quick: list[System]) -> None:
    for system in quick:
        for name, figure in draw_all(system).items():
            said = words(figure).replace("\n", " ")
            dilation = f"{system.info['dilation']:g}x"
            for part in (
                "simulated engine", f"model time dilated {dilation}", "predicted B200 timing table",
                "tier quick",
            ):  # fmt: skip
                assert part in said
            # The cost model and arrivals are drawn without intervals, so they promise none.
            assert ("intervals: 95 % within-run" in said) == (name not in ("costmodel", "step"))


@pytest.mark.parametrize("width", [style.SINGLE, style.DOUBLE])
@pytest.mark.parametrize(
    ("tier", "alone"),
    [
        ("quick", slice(None)),
        ("full", slice(1)),
        pytest.param("full", slice(1, None), marks=pytest.mark.nightly),
    ],
    ids=["quick", "one of full", "the others of full"],
)
def test_all_text_is_legible_inside_and_apart(
    quick: list[System], full: list[System], tier: str, alone: slice, width: float
) -> None:
    systems = {"quick": quick, "full": full}[tier]
    cells = pd.concat([system.cells for system in systems])
    drawn = [figures.overview(cells, [system.info for system in systems], width)]
    for system in systems[alone]:
        drawn += draw_all(system, width).values()
    for figure in drawn:
        assert_legible(figure, width)


def test_uncounted_cell_is_marked_with_its_reason_and_never_drawn_as_a_value(quick: list[System]) -> None:
    system = system_with_uncounted_cell(quick)
    for figure in draw_all(system).values():
        assert "C = 192: client_bound" in words(figure).replace("\n", " ")
    poa = figures.poa_against_concurrency(system, "unique")
    curve = error_bars(poa.axes[0])[0].lines[0]
    x, y = (np.asarray(values, dtype=float) for values in curve.get_data())
    assert np.isnan(y[x == 192]).all()
    assert np.isfinite(y[x != 192]).all()


def test_knee_and_first_post_knee_point_are_named_or_said_to_be_absent(quick: list[System]) -> None:
    for system in quick:
        said = words(figures.poa_against_concurrency(system, "unique"))
        knee = system.info["workloads"]["unique"]["knee"]
        if knee["exists"]:
            assert f"knee C = {knee['knee']:.0f} [" in said
            bars = figures.decomposition_against_concurrency(system, "unique")
            assert f"knee C = {knee['knee']:.0f} [" in words(bars)
            assert f"first post-knee point, C = {knee['first_post_knee']}" in said
        else:
            assert "no knee found on this grid" in said


def test_no_series_has_the_colour_of_the_knee(quick: list[System]) -> None:
    figure = figures.performance_against_concurrency(quick[0], "unique")
    lines = [group.lines[0] for axes in figure.axes for group in error_bars(axes)]
    assert len({line.get_color() for line in lines}) == len(lines) == 4
    assert style.PURPLE not in {line.get_color() for line in lines}


@pytest.mark.parametrize("width", [style.SINGLE, style.DOUBLE])
def test_ticks_of_the_overview_reach_the_deepest_point_and_the_top(quick: list[System], width: float) -> None:
    cells = pd.concat([system.cells for system in quick])
    figure = figures.overview(cells, [system.info for system in quick], width)
    figure.draw_without_rendering()
    said = [tick.get_text() for tick in shown_ticks(figure.axes[0])]
    assert "384" in said
    ticks = [float(tick.label1.get_text()) for tick in figure.axes[0].yaxis.get_major_ticks()
             if tick.label1 in shown_ticks(figure.axes[0])]  # fmt: skip
    assert max(ticks) >= cells["poa_hat_hi"].max()


def test_the_plateau_says_what_it_is(quick: list[System]) -> None:
    figure = figures.poa_against_concurrency(quick[0], "unique")
    assert "plateau, mean of its cells" in words(figure).replace("\n", " ")


def test_stack_of_factors_ends_at_poa_hat_also_where_a_factor_is_below_one(quick: list[System]) -> None:
    system = quick[0]
    cells = system.cells.copy()
    cells["dynamics"] = 0.4
    cells["poa_hat"] = cells["dynamics"] * cells["routing"] * cells["freezing"]
    axes = figures.decomposition_against_concurrency(
        changed(system, dict(system.info), cells=cells), "unique"
    ).axes[0]
    heights = [[bar.get_y() + bar.get_height() for bar in group.patches] for group in bars(axes)[:3]]
    top, bottom = np.max(heights, axis=0), np.min(heights, axis=0)
    valid = cells["valid"].to_numpy(dtype=bool)
    assert top * np.minimum(bottom, 1) == pytest.approx(cells["poa_hat"].to_numpy()[valid])


def cost_model(system: System, width: float = style.DOUBLE) -> Figure:
    return latency_against_load(system, "unique", width)


def test_both_curves_are_drawn_in_milliseconds_and_extrapolation_is_dashed(quick: list[System]) -> None:
    system = quick[0]
    curves = system.info["workloads"]["unique"]["curves"]["1"]
    lines = {str(line.get_label()).split(",")[0]: line for line in cost_model(system).axes[0].lines}
    for label, at in (
        ("affine l_A = 29.6 + 0.800\xa0x\xa0ms", system.curves["reference"]),
        ("full l_F", ...),
    ):
        x, y = (np.asarray(values, dtype=float) for values in lines[label].get_data())
        assert lines[label].get_linestyle() == "-"
        seen = system.curves["x"] if at is ... else system.curves["x"][at]
        assert (x.min(), x.max()) == pytest.approx((1 if at is ... else seen.min(), seen.max()))
        if at is ...:
            hinges = [s * np.maximum(0, x - float(k)) for k, s in curves["full"]["slopes"].items()]
            assert y == pytest.approx(1e3 * (curves["full"]["c0"] + np.sum(hinges, axis=0)))
        else:
            assert y == pytest.approx(1e3 * (curves["affine"]["alpha"] + curves["affine"]["beta"] * x))
    beyond = next(line for label, line in lines.items() if label.startswith("l_A beyond"))
    assert beyond.is_dashed()
    assert x_of(beyond).max() == pytest.approx(system.curves["x"].max())


def test_points_are_the_means_with_area_by_weight_and_one_colour_scale(quick: list[System]) -> None:
    system = quick[0]
    reference, others = cost_model(system).axes[0].collections
    expected = system.curves.groupby("reference")
    for drawn, (_, rows) in zip((others, reference), expected, strict=True):
        assert np.asarray(drawn.get_offsets())[:, 1] == pytest.approx(1e3 * rows["latency"].to_numpy())
        assert isinstance(drawn, PathCollection)
        assert drawn.get_sizes() / drawn.get_sizes().sum() == pytest.approx(
            (rows["weight"] / rows["weight"].sum()).to_numpy()
        )
    assert reference.norm is others.norm
    assert len(reference.get_paths()[0]) != len(others.get_paths()[0])


def test_cost_model_says_how_far_the_extrapolation_misses_and_how_well_the_curves_fit(
    quick: list[System],
) -> None:
    system = quick[0]
    said = words(cost_model(system)).replace("\n", " ").replace("\xa0", " ")
    deepest = system.curves[system.curves["concurrency"] == 384]
    curves = system.info["workloads"]["unique"]["curves"]["1"]["affine"]
    charged = (deepest["weight"] * (curves["alpha"] + curves["beta"] * deepest["x"])).sum()
    ratio = (deepest["weight"] * deepest["latency"]).sum() / charged
    assert f"at C = 384 the measured mean is {number(ratio)} times it" in said
    assert "R² 0.345, RMSE 6.10 ms" in said
    assert "full l_F, R² 0.967, RMSE 23.1 ms" in said
    assert "overlap" not in said


def test_overlap_credit_is_named_because_no_curve_holds_it(quick: list[System]) -> None:
    info = json.loads(json.dumps(quick[0].info))
    info["workloads"]["unique"]["curves"]["1"]["affine"]["kappa"] = 0.004
    said = words(cost_model(dataclasses.replace(quick[0], info=info), style.SINGLE))
    assert "the points hold a credit of 4.00 ms x omega x overlap" in said.replace("\n", " ").replace(
        "\xa0", " "
    )


def test_other_launches_are_thin_and_named(full: list[System]) -> None:
    figure = cost_model(full[0])
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() <= 0.5 and len(x_of(line))]
    assert len(thin) == 2 * 2
    assert "both curves of launches 2, 3" in words(figure).replace("\n", " ")


def test_cost_model_of_one_cell_and_without_quality_is_drawn(quick: list[System]) -> None:
    system = quick[0]
    info = json.loads(json.dumps(system.info))
    for curve in info["workloads"]["unique"]["curves"]["1"].values():
        curve["quality"] = None
    one = system.curves[system.curves["concurrency"] == 64]
    figure = cost_model(changed(system, info=info, curves=one))
    assert "measured mean is" not in words(figure)
    assert "R²" not in words(figure)
    assert len(style.render(figure, "png", system.cells)) > 5000
    without = cost_model(changed(system, info=info, curves=one.iloc[:0]))
    assert "no latency curve could be fitted" in words(without)


def test_every_cell_uncounted_still_draws_and_says_so(quick: list[System]) -> None:
    system = quick[0]
    cells = system.cells.copy()
    numbers = cells.select_dtypes("number").columns.difference(["concurrency", "dilation", "n_launches"])
    cells[numbers] = np.nan
    cells = cells.assign(valid=False, reasons="errors,short", regime=None, interval_kind=None)
    nothing = {
        "knee": {"exists": False, "knee": None},
        "plateau": None,
        "deepest": None,
        "title": "unique prompts",
    }
    info = {**system.info, "workloads": {"unique": nothing}}
    for figure in draw_all(changed(system, info=info, cells=cells)).values():
        assert "errors, short" in words(figure).replace("\n", " ")
        assert len(style.render(figure, "png", cells)) > 5000
    style.render(figures.overview(cells, [info]), "png", cells)


def test_unknown_workload_and_missing_engine_are_refused(quick: list[System]) -> None:
    system = quick[0]
    with pytest.raises(UserError, match=r"no cell of workload 'chat'\n.*unique"):
        figures.poa_against_concurrency(changed(system, {**system.info, "workloads": {"chat": {}}}), "chat")
    with pytest.raises(UserError, match="which engine"):
        figures.poa_against_concurrency(
            changed(system, dict(system.info), cells=system.cells.assign(engine=None)), "unique"
        )
    with pytest.raises(UserError, match="no system"):
        figures.overview(system.cells, [])


def test_label_tells_real_engines_several_dilations_and_launches(full: list[System]) -> None:
    cells = pd.concat([system.cells for system in full])
    assert "dilated 2x to 3x" in style.engine_label(cells)
    assert style.engine_label(cells).endswith("intervals: 95 % across 3 launches")
    real = style.engine_label(cells.assign(engine="B200", dilation=1.0))
    assert real.startswith("B200 engine, tier full")
    assert "dilated" not in real
    assert "predicted" not in real


def test_save_labels_a_bare_figure_embeds_fonts_and_repeats_itself(
    quick: list[System], tmp_path: Path
) -> None:
    cells = quick[0].cells
    first = [path.read_bytes() for path in _save_bare(cells, tmp_path / "a")]
    again = [path.read_bytes() for path in _save_bare(cells, tmp_path / "b")]
    assert first == again
    pdf, svg, png = first
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert b"<dc:date>" not in svg
    assert b"engine-label" in svg
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(path.name for path in (tmp_path / "a").parent.iterdir()) == [
        f"{name}.{suffix}" for name in ("a", "b") for suffix in ("pdf", "png", "svg")
    ]


def _save_bare(cells: pd.DataFrame, stem: Path) -> list[Path]:
    figure = style.new_figure(style.SINGLE, 2)
    figure.add_subplot().plot([1, 2], [1, 2])
    return style.save(figure, stem, cells)


def test_a_folder_in_the_way_is_a_user_error_or_os_error_and_leaves_no_half_file(
    quick: list[System], tmp_path: Path
) -> None:
    (tmp_path / "figure.pdf").mkdir()
    with pytest.raises((UserError, OSError)):
        _save_bare(quick[0].cells, tmp_path / "figure")
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".svg", ".png")]


def test_drawing_leaves_the_callers_settings_alone(quick: list[System]) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 17.0}):
        figures.poa_against_concurrency(quick[0], "unique")
        assert mpl.rcParams["font.size"] == 17.0


def test_colours_are_apart_for_colour_blind_readers() -> None:
    """Simulated deuteranopia and protanopia (Vienot 1999): neighbours in a figure stay apart."""
    for matrix in (
        np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
        np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    ):
        seen = [matrix @ _linear(colour) for colour, _, _ in style.SERIES[:3]]
        assert min(np.abs(a - b).max() for k, a in enumerate(seen) for b in seen[:k]) > 0.1
    looks = [(marker, line) for _, marker, line in style.SERIES]
    assert len(set(looks)) == len(looks)


def _linear(colour: str) -> np.ndarray[Any, Any]:
    assert re.fullmatch("#[0-9A-Fa-f]{6}", colour)
    return np.array([(int(colour[k : k + 2], 16) / 255) ** 2.2 for k in (1, 3, 5)])


def test_names_written_are_those_of_the_system(full: list[System], tmp_path: Path) -> None:
    """One call draws every workload, and each for a narrow screen too."""
    system = full[0]
    layout = Layout(tmp_path)
    shown = Sheet(layout, system, {}).figure("poa", figures.poa_against_concurrency)
    stem = "_".join(system.key)
    assert {path.name for path in layout.figures(system.experiment).iterdir()} == {
        f"{stem}_{name}.{suffix}"
        for name in ("poa", "poa_templates")
        for suffix in (*FIGURE_SUFFIXES, NARROW)
    }
    assert [path.name for path, _ in shown.images] == [f"{stem}_poa.png", f"{stem}_poa_templates.png"]


def test_a_wide_figure_is_drawn_again_for_a_narrow_screen(quick: list[System], tmp_path: Path) -> None:
    layout, stem = Layout(tmp_path), "_".join(quick[0].key)
    sheet = Sheet(layout, quick[0], {})
    sheet.figure("poa", figures.poa_against_concurrency)
    sheet.figure("performance", figures.performance_against_concurrency)
    folder = layout.figures(quick[0].experiment)

    def svgs(name: str) -> list[float]:
        texts = [(folder / f"{stem}_{name}.{end}").read_text() for end in ("svg", NARROW)]
        return [float(re.findall(r'width="([\d.]+)pt"', text)[0]) / 72 for text in texts]

    assert svgs("poa") == pytest.approx([style.SINGLE, style.SINGLE])
    assert svgs("performance") == pytest.approx([style.DOUBLE, style.SINGLE])


def test_arrivals_are_those_of_the_cell_that_marched_and_of_one_that_did_not(quick: list[System]) -> None:
    system = system_with_uncounted_cell(quick)
    figure = arrivals_over_time(system, "unique")
    said = words(figure).replace("\n", " ")
    assert "C = 64, in step: var/mean 57.6" in said
    assert "C = 32, not in step: var/mean 1.06" in said
    table = system.frames["arrivals"]
    above = [axes for axes in figure.axes if bars(axes)]
    for axes, (_, cell) in zip(above, table.groupby("concurrency", sort=False), strict=True):
        drawn = [bar.get_height() for group in bars(axes) for bar in group]
        assert drawn == cell["n_sent"].tolist()
    waits = figure.axes[2].lines[0]
    marched = table[table["in_step"]]
    assert np.asarray(waits.get_ydata(), dtype=float) == pytest.approx(
        1e3 * marched["ttft_mean"].to_numpy(), nan_ok=True
    )


def test_without_any_trace_the_figure_of_arrivals_says_so(quick: list[System]) -> None:
    system = quick[0]
    none = changed(system, dict(system.info), arrivals=system.frames["arrivals"].iloc[:0])
    assert "no trace tells how requests came" in words(arrivals_over_time(none, "unique"))
