"""Tables hold the numbers of the estimates, raw in CSV and rounded in words, and refuse broken estimates."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.text import Text

from anarchy import report, tables
from anarchy.designs import tables as design_tables
from anarchy.designs.detection import tables as detection_tables
from anarchy.designs.ladder import tables as ladder_tables
from anarchy.designs.loading import load_system, load_systems
from anarchy.designs.pareto import tables as pareto_tables
from anarchy.designs.registry import design_of, designs
from anarchy.estimate.columns import LADDER_CURVES
from anarchy.ground.errors import UserError
from anarchy.ground.layout import Layout
from anarchy.tables import System
from tests.helpers.drawings import draw_all, make_all
from tests.helpers.frames import row
from tests.helpers.synthetic_estimates import spoil, write_results, write_table
from tests.helpers.synthetic_pareto import write_pareto
from tests.helpers.synthetic_staged import write_staged


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return write_results(tmp_path)


@pytest.fixture
def systems(layout: Layout) -> list[System]:
    return load_systems(layout)


@pytest.mark.parametrize(
    ("value", "lo", "hi", "text"),
    [
        (12.345, 11.9, 12.8, "12.3 [11.9, 12.8]"),
        (284.4, 251.2, 320.0, "284 [251, 320]"),
        (0.968, 0.95, 0.99, "0.968 [0.950, 0.990]"),
        (1659.4, 1500.0, 1975.0, "1659 [1500, 1975]"),
        (0.0, 0.0, 0.1, "0.000 [0.000, 0.100]"),
        (0.0, 0.0, 0.0, "0 [0, 0]"),
        (7.0, None, None, "7.00"),
        (7.0, float("nan"), 8.0, "7.00"),
        (None, 1.0, 2.0, tables.MISSING),
        (float("nan"), 1.0, 2.0, tables.MISSING),
        (float("inf"), 1.0, 2.0, tables.MISSING),
    ],
)
def test_interval_in_words(value: float | None, lo: float | None, hi: float | None, text: str) -> None:
    assert tables.interval(value, lo, hi) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (6.12, "6.1 s"),
        (42, "42 s"),
        (228.3, "3 min 48 s"),
        (7500, "2 h 5 min"),
        (None, tables.MISSING),
    ],
)
def test_duration_in_words(seconds: float | None, text: str) -> None:
    assert tables.duration(seconds) == text


def test_equilibrium_table_keeps_every_cell_and_turns_seconds_into_milliseconds(
    systems: list[System],
) -> None:
    for system in systems:
        table = ladder_tables.equilibrium_table(system.cells)
        assert list(table["concurrency"]) == list(system.cells["concurrency"])
        assert table["ttft_p99_ms"].to_numpy() == pytest.approx(
            1000 * system.cells["ttft_p99"].to_numpy(), nan_ok=True
        )
        assert table["poa_hat"].to_numpy() == pytest.approx(system.cells["poa_hat"].to_numpy(), nan_ok=True)
        assert set(table["engine"]) == {"simulated"}


def test_uncounted_cell_has_no_number_and_its_reason(systems: list[System]) -> None:
    system = next(system for system in systems if system.key[0] == "nemotron-4-340b")
    words = ladder_tables.equilibrium_words(ladder_tables.equilibrium_table(system.cells))
    row = words[words["C"] == "192"].iloc[0]
    assert row["counted"] == "no: client_bound"
    assert row["PoA-hat"] == row["TTFT P99, ms"] == row["windows"] == tables.MISSING


def test_summary_row_for_each_system_with_and_without_knee(systems: list[System]) -> None:
    summary = ladder_tables.summary_table(systems).set_index(["model", "topology"])
    assert len(summary) == 3
    with_knee, without = row(summary, ("llama-3.1-70b", "1p2d")), row(summary, ("llama-3.1-70b", "1p5d"))
    assert with_knee["first_post_knee"] == 128
    assert pd.isna(without["knee"])
    assert pd.isna(without["first_post_knee"])
    words = ladder_tables.summary_words(summary.reset_index())
    assert list(words["knee at C"]).count("none found") == 1
    assert list(words["valid cells"]).count("9 of 10") == 1


def test_csv_holds_raw_numbers(systems: list[System], tmp_path: Path) -> None:
    table = ladder_tables.equilibrium_table(systems[0].cells)
    again = pd.read_csv(tables.write_csv(table, tmp_path / "deep" / "table.csv"))
    assert again["poa_hat"].to_numpy() == pytest.approx(table["poa_hat"].to_numpy(), rel=1e-12)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["table.csv"]


def test_latex_is_balanced_escaped_and_names_the_engine(systems: list[System], tmp_path: Path) -> None:
    system = next(system for system in systems if system.key[0] == "nemotron-4-340b")
    words = ladder_tables.equilibrium_words(ladder_tables.equilibrium_table(system.cells))
    caption = tables.caption("Equilibrium.", "simulated engine, intervals: 95 % within-run")
    text = tables.write_latex(words, tmp_path / "table.tex", caption=caption).read_text(encoding="utf-8")
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert r"\toprule" in text
    assert r"\bottomrule" in text
    assert r"Simulated engine, intervals: 95 \% within-run" in text
    assert r"client\_bound" in text
    assert text.isascii()
    body = re.search(r"\\midrule\n(.*?)\s*\\bottomrule", text, re.DOTALL)
    assert body is not None
    rows = body.group(1).splitlines()
    assert len(rows) == len(words)
    assert {row.count("&") for row in rows} == {words.shape[1] - 1}
    assert not re.search(r"(?<!\\)[%#]", text)


def test_workloads_keep_the_order_of_the_system(tmp_path: Path) -> None:
    layout = write_results(tmp_path, grid=(8, 64), workloads=("unique", "templates"))
    system = load_system(layout, "equilibrium", "llama-3.1-70b", "1p2d")
    words = ladder_tables.equilibrium_words(ladder_tables.equilibrium_table(system.cells))
    assert list(words["workload"]) == ["unique", "unique", "templates", "templates"]


def test_no_estimates_is_no_system(tmp_path: Path) -> None:
    assert load_systems(Layout(tmp_path)) == []


@pytest.mark.parametrize("file", ["cells.parquet", "attempts.parquet", "curves.parquet", "system.json"])
@pytest.mark.parametrize("fault", ["missing", "truncated"])
def test_broken_estimates_are_refused_with_where_and_remedy(layout: Layout, file: str, fault: str) -> None:
    path = layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / file
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"llama-3\.1-70b_1p2d(.|\n)*remedy: .*make reproduce"):
        load_system(layout, "equilibrium", "llama-3.1-70b", "1p2d")


@pytest.mark.parametrize(("file", "column"), [("cells", "poa_cal_lo"), ("curves", "weight")])
def test_lacking_column_is_named(layout: Layout, file: str, column: str) -> None:
    path = layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / f"{file}.parquet"
    pd.read_parquet(path).drop(columns=column).to_parquet(path)
    with pytest.raises(UserError, match=rf"{file}.parquet: lacks the columns {column}"):
        load_systems(layout)


def test_no_curve_at_all_is_read_but_not_a_table_without_its_columns(layout: Layout) -> None:
    path = layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / "curves.parquet"
    write_table(pd.DataFrame(), LADDER_CURVES, path)
    system = load_system(layout, "equilibrium", "llama-3.1-70b", "1p2d")
    assert system.curves.empty
    assert list(system.curves) == LADDER_CURVES.names
    pd.DataFrame().to_parquet(path)
    with pytest.raises(UserError, match="lacks the columns workload"):
        load_system(layout, "equilibrium", "llama-3.1-70b", "1p2d")


def test_system_of_which_no_cell_counts_is_shown_all_the_same(layout: Layout) -> None:
    spoil(layout, "llama-3.1-70b", "1p2d")
    system = load_system(layout, "equilibrium", "llama-3.1-70b", "1p2d")
    words = ladder_tables.equilibrium_words(ladder_tables.equilibrium_table(system.cells))
    assert set(words["counted"]) == {"no: errors, short"}
    assert set(words["PoA-hat"]) == set(words["windows"]) == {tables.MISSING}
    row = ladder_tables.summary_words(ladder_tables.summary_table([system])).iloc[0]
    assert row["plateau"] == row["PoA-hat at deepest C"] == tables.MISSING
    assert row["valid cells"] == "0 of 10"
    for figure in draw_all(system).values():
        said = "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
        assert "errors, short" in said.replace("\n", " ")
    systems = load_systems(layout)
    assert "11 of 30 cells are not counted" in report.terminal_summary(systems)
    assert len(report.write_summary(layout)) == 6
    html = report.render(layout, {}, None)
    assert "no: errors, short" in html
    for said in ("no plateau", "no knee found on this grid", "10 of 10 cells not counted"):
        assert said in html


def test_lacking_label_is_named_also_where_no_cell_counts(layout: Layout) -> None:
    spoil(layout, "llama-3.1-70b", "1p2d")
    path = layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / "cells.parquet"
    pd.read_parquet(path).drop(columns="engine").to_parquet(path)
    with pytest.raises(UserError, match=r"lacks the columns engine$|lacks the columns engine\n"):
        load_systems(layout)


def test_attempt_that_passed_and_is_not_counted_says_so(layout: Layout) -> None:
    path = layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / "attempts.parquet"
    attempts = pd.read_parquet(path)
    attempts.assign(counted=[False, *[True] * (len(attempts) - 1)]).to_parquet(path)
    assert report.render(layout, {}, None).count("valid, not counted") == 1


def test_captions_name_the_workloads(layout: Layout, systems: list[System]) -> None:
    assert design_tables.workload_titles(systems) == "unique prompts"
    files = {path.name: path for path in report.write_summary(layout)}
    assert "every system, unique prompts." in files["summary.tex"].read_text(encoding="utf-8")


def test_of_many_workloads_a_caption_tells_the_number(systems: list[System]) -> None:
    def titles(count: int) -> str:
        workloads = {f"w{place}": {"title": f"title {place}"} for place in range(count)}
        return design_tables.workload_titles([replace(systems[0], info={"workloads": workloads})])

    assert titles(design_tables.MANY).count("title") == design_tables.MANY
    assert titles(design_tables.MANY + 1) == f"{design_tables.MANY + 1} workloads"


def test_terminal_summary_has_every_system_its_numbers_and_the_report(systems: list[System]) -> None:
    text = report.terminal_summary(systems, Path("results/quick/report.html"))
    for system in systems:
        found = system.info["workloads"]["unique"]
        line = next(line for line in text.splitlines() if system.title in line)
        assert tables.interval(*(found["plateau"][key] for key in ("poa_hat", "lo", "hi"))) in line
        assert tables.interval(*(found["deepest"][key] for key in ("poa_hat", "lo", "hi"))) in line
        assert str(found["knee"]["first_post_knee"] or tables.MISSING) in line
    assert "1 of 30 cells are not counted" in text
    assert "simulated engine" in text
    assert text.endswith("report: results/quick/report.html")
    assert "\x1b" not in text


def test_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no estimates"):
        report.render(Layout(tmp_path), {}, None)


def test_summary_files_are_written(layout: Layout) -> None:
    names = [path.name for path in report.write_summary(layout)]
    assert names == [
        *(f"overview_poa.{s}" for s in ("pdf", "svg", "png", "narrow.svg")),
        "summary.csv",
        "summary.tex",
    ]
    assert json.loads((layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / "system.json").read_text())


# --- E2 to E4 ---


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, System]:
    """One system of each experiment on policies."""
    root = tmp_path_factory.mktemp("results")
    write_staged(root, "saturation", launches=3)
    write_staged(root, "adaptive")
    return {system.experiment: system for system in load_systems(write_pareto(root))}


def test_designs_are_told_by_what_was_measured(policies: dict[str, System]) -> None:
    assert {name: design_of(system.design).id for name, system in policies.items()} == {
        "saturation": "E2", "adaptive": "E3", "pareto": "E4",
    }  # fmt: skip


def test_every_design_has_the_tables_that_the_workflow_expects() -> None:
    for design in designs():
        assert list(design.tables) == list(design.part("tables").TABLES)


def test_every_row_of_the_estimates_is_in_a_table(policies: dict[str, System]) -> None:
    for system in policies.values():
        for name, made in make_all(system).items():
            source = {"": system.main}.get(name, name)
            assert len(made.raw) == len(system.frames[source])
            assert system.title in made.what
            assert "unique prompts" in made.what


def test_stages_have_milliseconds_intervals_and_the_share_of_each_regime(policies: dict[str, System]) -> None:
    made = make_all(policies["adaptive"])[""]
    rows = policies["adaptive"].rows
    assert made.raw["ttft_p99_ms_hi"].to_numpy() == pytest.approx(1e3 * rows["ttft_p99_hi"], nan_ok=True)
    words = made.words.set_index(["policy", "stage"])
    past = row(words, ("adaptive", "past"))
    assert past["below / transition / saturated, %"] == "10 / 30 / 60"
    assert row(words, ("static", "past"))["below / transition / saturated, %"] == tables.MISSING
    assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", past["TTFT P99, ms"])
    uncounted = row(words, ("random", "past"))
    assert uncounted["counted"] == "no: errors"
    assert uncounted["PoA-hat"] == uncounted["load range"] == tables.MISSING


def test_ratios_are_a_row_for_each_pair_of_policies_and_stage(policies: dict[str, System]) -> None:
    words = make_all(policies["adaptive"])["ratios"].words
    adaptive, others, stages = 3, 7, 4
    assert len(words) == adaptive * others * stages
    row = words[
        (words["against / policy"] == "static (builtin) / adaptive (builtin)") & (words["stage"] == "past")
    ]
    assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", row["PoA-hat"].iloc[0])
    assert row["paired"].iloc[0] == "yes"
    across = words[words["against / policy"] == "round-robin (pinned) / adaptive (builtin)"]
    assert set(across["paired"]) == {"no"}
    assert set(words.loc[words["against / policy"].str.startswith("random"), "counted"]) == {
        "valid",
        "no: errors",
    }


def test_detectors_are_a_row_a_launch_and_source(policies: dict[str, System]) -> None:
    words = make_all(policies["saturation"])["detection"].words
    assert len(words) == 3 * 2
    first = words[words["launch"] == "1"].set_index("source")
    assert first.loc["prometheus", "fired after, s"] == "15.0"
    assert first.loc["prometheus", "false alarms"] == "1"
    assert first.loc["client", "theta1, theta2, ms"] == "200, 2000"


def test_a_detector_that_never_fired_says_never(policies: dict[str, System]) -> None:
    system = policies["saturation"]
    table = detection_tables.detection_table(system).assign(fired=False, delay_s=float("nan"), fired_to="")
    assert set(detection_tables.detection_words(table)["fired after, s"]) == {"never"}


def test_pairs_say_load_levels_and_front(policies: dict[str, System]) -> None:
    words = make_all(policies["pareto"])[""].words
    assert set(words["load"]) == {"low, C = 24", "below, C = 48", "saturated, C = 192"}
    assert set(words["omega"]) == {"0", "0.3", "0.7", "1"}
    assert "yes (80.0 %)" in set(words["on the front (share of replicates)"])
    assert (words["repeat"] == "3").sum() == 2 * 3


def test_spread_gives_the_bound_and_the_noise(policies: dict[str, System]) -> None:
    made = make_all(policies["pareto"])["spread"]
    below = made.words[(made.words["load"] == "below, C = 48") & (made.words["quantity"] == "PoA-hat")].iloc[
        0
    ]
    assert below["between"] == "pairs (16)"
    assert (below["CV"], below["CV of the noise"], below["at most (95 %)"]) == (
        "0.400 %",
        "0.600 %",
        "1.04 %",
    )
    assert set(pareto_tables.spread_words(made.raw.assign(cv_bound=1e12))["at most (95 %)"]) == {"no bound"}
    unknown = pareto_tables.spread_words(made.raw.assign(noise=""))
    assert set(unknown["CV of the noise"]) == {"not known"}


def test_tables_are_written_under_the_names_of_the_workflow(
    policies: dict[str, System], tmp_path: Path
) -> None:
    for system in policies.values():
        made = make_all(system)
        saved = design_tables.save(made, Layout(tmp_path), system, "simulated engine")
        stem = "_".join(system.key)
        assert [path.name for path in saved] == [
            f"{stem}{f'_{name}' if name else ''}.{suffix}"
            for name in design_of(system.design).tables
            for suffix in ("csv", "tex")
        ]
        assert all(path.read_text(encoding="utf-8").isascii() for path in saved if path.suffix == ".tex")


def test_a_lacking_column_of_a_policy_table_is_named(tmp_path: Path) -> None:
    layout = write_pareto(tmp_path)
    path = layout.estimates("pareto", "llama-3.1-70b", "1p2d") / "spread.parquet"
    pd.read_parquet(path).drop(columns="cv_bound").to_parquet(path)
    with pytest.raises(UserError, match=r"spread.parquet: lacks the columns cv_bound"):
        load_systems(layout)
