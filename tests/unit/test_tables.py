"""Tables hold the numbers of the estimates, raw in CSV and rounded in words, and refuse broken estimates."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.text import Text

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))
from synthetic_estimates import spoil, write_results

from anarchy import figures, report, tables
from anarchy.errors import UserError
from anarchy.layout import Layout
from anarchy.tables import System, load_system, load_systems


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
        (0.0, 0.0, 0.1, "0 [0, 0]"),
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
        table = tables.equilibrium_table(system.cells)
        assert list(table["concurrency"]) == list(system.cells["concurrency"])
        assert table["ttft_p99_ms"].to_numpy() == pytest.approx(
            1000 * system.cells["ttft_p99"].to_numpy(), nan_ok=True
        )
        assert table["poa_hat"].to_numpy() == pytest.approx(system.cells["poa_hat"].to_numpy(), nan_ok=True)
        assert set(table["engine"]) == {"simulated"}


def test_uncounted_cell_has_no_number_and_its_reason(systems: list[System]) -> None:
    system = next(system for system in systems if system.key[0] == "nemotron-4-340b")
    words = tables.equilibrium_words(tables.equilibrium_table(system.cells))
    row = words[words["C"] == "192"].iloc[0]
    assert row["counted"] == "no: client_bound"
    assert row["PoA-hat"] == row["TTFT P99, ms"] == row["windows"] == tables.MISSING


def test_summary_row_for_each_system_with_and_without_knee(systems: list[System]) -> None:
    summary = tables.summary_table(systems).set_index(["model", "topology"])
    assert len(summary) == 3
    with_knee, without = summary.loc[("llama-3.1-70b", "1p2d")], summary.loc[("llama-3.1-70b", "1p5d")]
    assert with_knee["first_post_knee"] == 128
    assert pd.isna(without["knee"])
    assert pd.isna(without["first_post_knee"])
    words = tables.summary_words(summary.reset_index())
    assert list(words["knee at C"]).count("none found") == 1
    assert list(words["valid cells"]).count("9 of 10") == 1


def test_csv_holds_raw_numbers(systems: list[System], tmp_path: Path) -> None:
    table = tables.equilibrium_table(systems[0].cells)
    again = pd.read_csv(tables.write_csv(table, tmp_path / "deep" / "table.csv"))
    assert again["poa_hat"].to_numpy() == pytest.approx(table["poa_hat"].to_numpy(), rel=1e-12)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["table.csv"]


def test_latex_is_balanced_escaped_and_names_the_engine(systems: list[System], tmp_path: Path) -> None:
    system = next(system for system in systems if system.key[0] == "nemotron-4-340b")
    words = tables.equilibrium_words(tables.equilibrium_table(system.cells))
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
    words = tables.equilibrium_words(tables.equilibrium_table(system.cells))
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


def test_no_curve_at_all_is_read_with_or_without_columns(layout: Layout) -> None:
    path = layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / "curves.parquet"
    pd.DataFrame().to_parquet(path)
    system = load_system(layout, "equilibrium", "llama-3.1-70b", "1p2d")
    assert system.curves.empty
    assert set(tables.CURVE_COLUMNS) <= set(system.curves)


def test_system_of_which_no_cell_counts_is_shown_all_the_same(layout: Layout) -> None:
    spoil(layout, "llama-3.1-70b", "1p2d")
    system = load_system(layout, "equilibrium", "llama-3.1-70b", "1p2d")
    words = tables.equilibrium_words(tables.equilibrium_table(system.cells))
    assert set(words["counted"]) == {"no: errors, short"}
    assert set(words["PoA-hat"]) == set(words["windows"]) == {tables.MISSING}
    row = tables.summary_words(tables.summary_table([system])).iloc[0]
    assert row["plateau"] == row["PoA-hat at deepest C"] == tables.MISSING
    assert row["valid cells"] == "0 of 10"
    for figure in figures.draw(system).values():
        said = "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
        assert "errors, short" in said.replace("\n", " ")
    systems = load_systems(layout)
    assert "11 of 30 cells are not counted" in report.terminal_summary(systems)
    assert len(report.write_summary(layout)) == 5
    html = report.render(layout, {}, None)
    assert "no: errors, short" in html
    assert "no plateau; no knee found on this grid; 10 of 10 cells not counted" in html


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
    assert tables.workload_titles(systems) == "unique prompts"
    files = {path.name: path for path in report.write_summary(layout)}
    assert "every system, unique prompts." in files["summary.tex"].read_text(encoding="utf-8")


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
    assert names == [*(f"overview_poa.{s}" for s in ("pdf", "svg", "png")), "summary.csv", "summary.tex"]
    assert json.loads((layout.estimates("equilibrium", "llama-3.1-70b", "1p2d") / "system.json").read_text())
