"""What the report computes itself, and that it holds every experiment that is on disk."""

from __future__ import annotations

import dataclasses
import re
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from anarchy import report
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import designs
from anarchy.ground.layout import NARROW, Layout
from anarchy.report.facts import attempts, idle_gpu_hours, reasons
from anarchy.report.findings import answer, find
from anarchy.report.page import _once, _one_budget, _simulated, remarks
from anarchy.report.pictures import _path, data_uri, pictures
from anarchy.report.summary import by_experiment
from anarchy.tables import System
from tests.helpers.drawings import drawn_results
from tests.helpers.synthetic_estimates import write_results
from tests.helpers.synthetic_pareto import write_pareto
from tests.helpers.synthetic_staged import write_staged


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """One system of E2, E3, E4, G1, G2, V1 and W2 each."""
    return drawn_results(
        tmp_path_factory,
        tmp_path_factory.mktemp("results"),
        "saturation",
        "adaptive",
        "pareto",
        "engines",
        "split",
        "cache",
        "step",
    )


@pytest.fixture(scope="module")
def systems(layout: Layout) -> dict[str, System]:
    return {system.experiment: system for system in load_systems(layout)}


@pytest.fixture(scope="module")
def html(layout: Layout) -> str:
    report.write_summary(layout)
    return report.render(layout, {"systems": [["pareto", "llama-3.1-70b", "1p2d"]]}, [])


def said(html: str) -> str:
    """The page without its pictures and its library."""
    return re.sub(r'(src|srcset)="[^"]*"|<script type="module">.*?</script>', "", html, flags=re.DOTALL)


def test_gpu_hours_that_are_held_and_not_measuring() -> None:
    held = {"gpus": 24, "wall_s": 3600.0, "measuring_s": 900.0}
    assert idle_gpu_hours(held) == pytest.approx(18.0)
    assert idle_gpu_hours({**held, "gpus": 0}) is None
    assert idle_gpu_hours({"wall_s": 10.0}) is None


def test_every_figure_of_every_design_has_a_reading() -> None:
    for design in designs():
        assert all(reading.endswith(".") for reading in design.figures.values()), design.name


def test_every_experiment_has_a_section_in_order(html: str) -> None:
    text = said(html)
    heads = re.findall(r"<h2>(.*?)</h2>", text)
    assert [head[:2] for head in heads if re.match(r"[EGVW]\d", head)] == [
        "E2",
        "E3",
        "E4",
        "G1",
        "G2",
        "V1",
        "W2",
    ]
    topologies = {"split": "1p5d", "cache": "3p3d"}
    for experiment in ("saturation", "adaptive", "pareto", "split", "cache", "engines", "step"):
        topology = topologies.get(experiment, "1p2d")
        assert f'<section id="{experiment}">' in text
        assert f'<section id="{experiment}_llama-3.1-70b_{topology}">' in text
        assert f'href="#{experiment}"' in text
    assert text.count('class="mark">not part of this run') == 6


def test_a_run_without_a_ladder_has_no_overview(layout: Layout, html: str) -> None:
    assert {path.name.partition(".")[0] for path in report.write_summary(layout)} == {"overview_march"}
    assert "overview_poa" not in html
    assert "Plateau, knee and deepest point" not in html


def test_every_figure_and_table_is_on_the_page(html: str) -> None:
    of_all_systems = 1
    assert html.count("<figure ") == of_all_systems + sum(len(design.figures) for design in designs()[1:])
    text = said(html)
    for what in ("Policies and stages of", "Ratios between policies of", "Detectors of", "Pairs of tau and",
                 "Spread over the pairs of"):  # fmt: skip
        assert what in text
    assert "not counted: (1, 1) pinned" not in text  # in the pictures
    assert text.count("no: errors") >= 1
    assert text.count("no: not_steady") >= 1


def test_a_figure_that_nobody_drew_is_said_to_be_missing(html: str, tmp_path: Path) -> None:
    assert "was not drawn" not in html
    page = report.render(write_pareto(tmp_path), {}, None)
    assert page.count("was not drawn") == page.count("<figure ") > 0


def test_the_page_shows_the_files_that_notebooks_saved(layout: Layout, html: str) -> None:
    shown = re.findall(r'<img src="([^"]*)"', html)
    saved = [file for file in layout.root.glob("figures/*/*.svg") if not file.name.endswith(NARROW)]
    assert len(saved) > 5
    assert len(shown) == len(saved)
    # The figure that answers an experiment's question is wide, the others are narrow.
    broad, narrow = (
        {data_uri(file.with_name(file.name.replace("svg", suffix)).read_bytes()) for file in saved}
        for suffix in ("svg", NARROW)
    )
    assert set(shown) <= broad | narrow
    assert len(set(shown) & (broad - narrow)) >= 4
    assert len(set(shown) & narrow) > len(saved) / 2


def test_a_picture_is_the_same_in_fewer_characters(layout: Layout) -> None:
    """No element is lost, and every class has its style."""
    (file,) = layout.root.glob("figures/pareto/*_pairs.svg")
    svg = file.read_text(encoding="utf-8")
    uri = data_uri(file.read_bytes())
    text = unquote(uri.partition(",")[2])
    assert '"' not in uri
    assert "&" not in uri
    root = ElementTree.fromstring(text)
    sheet = dict(re.findall(r"\.(s[0-9a-f]+)\{([^}]*)\}", text))
    classes = [element.get("class") for element in root.iter() if element.get("class")]
    assert set(classes) == set(sheet)
    kinds = [re.sub(r".*}", "", element.tag) for element in ElementTree.fromstring(svg).iter()]
    for kind in ("path", "use", "text"):
        assert kinds.count(kind) == sum(element.tag.endswith(f"}}{kind}") for element in root.iter())


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("M 0 0 L 1.5 -2 L 3 4 z ", "m0 0 1.5-2 1.5 6z"),
        ("M 1 1 Q 1 2 3 4 Q -5 6 7 8", "m1 1q0 1 2 3-8 2 4 4"),
        ("M 0 0 M 1 1 L 2 2", "m0 0m1 1 1 1"),
        ("M 1 1 L 1.5 1 L 1.5 .25 L 9 9 z M 5 5 L 6 6", "m1 1h.5v-.75l7.5 8.75zm4 4 1 1"),
        ("M 0 0 A 1 1 0 0 1 2 2", "M 0 0 A 1 1 0 0 1 2 2"),
    ],
)
def test_a_path_is_told_from_point_to_point(data: str, short: str) -> None:
    assert _path(data) == short


def test_pictures_weigh_what_they_did(layout: Layout) -> None:
    """Bytes on the page, and over bytes of the file: letters and points are told short."""
    weights = {
        file.name: (len(data_uri(file.read_bytes())), file.stat().st_size)
        for file in layout.root.glob(f"figures/*/*.{NARROW}")
    }
    assert len(weights) > 10
    assert {name: on_page for name, (on_page, _) in weights.items() if on_page > 105_000} == {}
    assert {name: pair for name, pair in weights.items() if pair[0] > 0.55 * pair[1]} == {}
    assert sorted(on_page for on_page, _ in weights.values())[len(weights) // 2] < 65_000


def test_a_cell_of_a_table_weighs_little_more_than_its_words(html: str) -> None:
    tables = re.findall(r'<table [^>]*class="num.*?</table>', said(html), re.DOTALL)
    words = sum(len(re.sub(r"<[^>]*>", "", table)) for table in tables)
    cells = sum(table.count("<td") + table.count("<th") for table in tables)
    assert cells > 2000
    assert (sum(map(len, tables)) - words) / cells < 16


def test_of_attempts_in_virtual_time_those_that_tell_something_are_listed(
    systems: dict[str, System],
) -> None:
    """A run of tier quick has two thousand others."""
    live = systems["pareto"]
    rows = live.attempts.iloc[[0, 0, 0, 0]].reset_index(drop=True)
    rows["host_cpu_share"] = [None, None, None, 0.5]
    rows["valid"] = [True, False, True, True]
    rows["attempt"] = [1, 1, 2, 1]
    virtual = dataclasses.replace(live, frames={**live.frames, "attempts": rows})
    assert [one["smooth"] for one in attempts([virtual])] == [True, False, False, False]


def test_sets_at_several_dilations_are_all_told(systems: dict[str, System]) -> None:
    live = systems["pareto"]
    rows = live.rows.copy()
    rows["dilation"] = rows["routing_set"].map({"builtin-grid": 2.0, "pinned-grid": 8.0})
    found = _simulated([dataclasses.replace(live, frames={**live.frames, "pairs": rows})])
    assert found["dilations"] == [(live.title, 2.0), (live.title, 8.0)]


def test_a_long_table_that_systems_share_stands_once() -> None:
    def section(name: str, *tables: tuple[str, int, bool]) -> dict[str, Any]:
        shown = [
            {"name": what, "words": {"rows": [[rows]]}, "folded": folded} for what, rows, folded in tables
        ]
        return {"id": name, "tables": shown}

    first = section("a", ("game", 1, True), ("", 1, True), ("prices", 1, False))
    second = section("b", ("game", 1, True), ("", 2, True), ("prices", 1, False))
    _once([first, second])
    assert [table["same_as"] for table in first["tables"]] == [None, None, None]
    assert [table["same_as"] for table in second["tables"]] == [first, None, None]


def test_figures_of_a_budget_stand_with_its_first_split(systems: dict[str, System]) -> None:
    system = systems["split"]
    sections: list[dict[str, Any]] = [
        {"id": name, "key": ["goodput"], "pictures": ["gains"]} for name in "ab"
    ]
    _one_budget([system, system], sections)
    assert sections[0] == {"id": "a", "key": ["goodput"], "pictures": ["gains"]}
    assert sections[1]["key"] == sections[1]["pictures"] == []
    assert sections[1]["elsewhere"] == {"owner": sections[0], "pictures": ["goodput", "gains"]}


def test_a_figure_is_wide_where_it_answers_alone(layout: Layout, systems: dict[str, System]) -> None:
    (alone,), _ = pictures(layout, systems["pareto"], alone=True)
    (beside,), _ = pictures(layout, systems["pareto"], alone=False)
    assert alone.double
    assert not beside.double
    assert alone.narrow == beside.wide


def test_the_library_of_tables_comes_with_its_licences(html: str) -> None:
    assert "const DataTable=" in html
    assert "MIT" in html
    assert "export{" not in html


def test_a_remark_stands_once_with_what_it_is_of(tmp_path: Path) -> None:
    first, *others = load_systems(write_results(tmp_path, grid=(8, 64), workloads=("unique", "templates")))
    info = {**first.info, "deviations": [*first.info["deviations"], "of one"]}
    of_one = dataclasses.replace(first, info=info)
    found = remarks([of_one, *others])
    assert len({remark for remark, _ in found}) == len(found)
    assert dict(found)["of one"] == first.title
    everywhere = [
        remark for remark in first.info["deviations"] if all(remark in s.info["deviations"] for s in others)
    ]
    assert everywhere
    assert {dict(found)[remark] for remark in everywhere} == {""}
    of_workload = [of for remark, of in found if of and of != first.title]
    assert all(", " in of for of in of_workload)


def test_every_experiment_is_answered_in_a_sentence(html: str, systems: dict[str, System]) -> None:
    text = said(html)
    for design in designs():
        assert design.question.endswith("?"), design.name
        assert (design.key or next(iter(design.figures))) in design.figures
    for experiment, system in systems.items():
        told = answer([system])
        assert told.endswith(".")
        assert re.search(r"\d", told), experiment
        assert escape(told, quote=False) in unescape(text)


def test_long_tables_are_folded_and_unfold_in_print(html: str) -> None:
    assert len(re.findall(r"<details><summary>[^<]*: \d+ rows</summary>", html)) == 7
    assert "beforeprint" in html


def test_the_address_of_a_network_is_nowhere(html: str) -> None:
    assert "http://" not in said(html)
    assert "https://" not in said(html)


def test_what_detectors_did_is_said_with_numbers(systems: dict[str, System]) -> None:
    words = str(find(systems["saturation"], "unique"))
    assert "frontends' histograms fires 15.0 s after the load crosses the knee, with 1 false alarm" in words
    assert "client's TTFT fires 10.0 s after the load crosses the knee, with no false alarms" in words


def test_ratios_are_said_with_intervals_and_the_way(systems: dict[str, System]) -> None:
    words = str(find(systems["adaptive"], "unique"))
    assert re.search(
        r"past, C = 192, builtin: static over adaptive: PoA-hat [\d.]+ \[[\d.]+, [\d.]+\]", words
    )
    assert re.search(r"pinned: pinned-static over pinned-adaptive: PoA-hat", words)
    assert "1 of 40 cells not counted" in words


def test_a_reason_is_explained_whichever_launches_it_is_of(systems: dict[str, System]) -> None:
    system = systems["pareto"]
    rows = system.rows.assign(reasons="not_steady (launch 1 and 3)")
    found = dict(reasons([dataclasses.replace(system, frames={**system.frames, "pairs": rows})]))
    assert found["not_steady"]
    assert not [name for name in found if "launch" in name]


def test_no_effect_is_said_as_a_bounded_one(systems: dict[str, System]) -> None:
    words = str(find(systems["pareto"], "unique"))
    assert "noise 0.600 %, at most 1.04 % (95 %): no difference seen" in words
    assert "they differ, variance 44.0 [17.6, 75.7] times that of below" in words


def test_a_bound_that_bounds_nothing_and_sets_of_one_way_are_said(systems: dict[str, System]) -> None:
    """Two pairs bound their spread by billions of per cent; several sets may be routed in one way."""
    pareto = systems["pareto"]
    spread = pareto.frames["spread"].assign(cv_bound=1e10, way="builtin")
    words = str(find(dataclasses.replace(pareto, frames={**pareto.frames, "spread": spread}), "unique"))
    assert "builtin (pinned-grid), below (C = 48): CV" in words
    assert "without a bound (95 %)" in words


def test_how_much_of_the_rise_is_routing_is_said(systems: dict[str, System]) -> None:
    words = " ".join(find(systems["adaptive"], "unique").notes)
    assert (
        "pinned-static: PoA-hat at past is 3.10 [3.00, 3.20] times that at below, routing alone 1.02" in words
    )
    assert ": 2.00 [1.00, 3.10] % of the rise, of logarithms" in words


def test_where_latency_bends_is_said(systems: dict[str, System]) -> None:
    words = " ".join(find(systems["saturation"], "unique").notes)
    assert "mean TTFT bends most at C = 128, by 0.0800 [0.0400, 0.1200] ms a user²" in words


def test_terminal_summary_names_every_experiment(layout: Layout, tmp_path: Path) -> None:
    text = report.terminal_summary(load_systems(layout), tmp_path / "report.html")
    for head in ("E2, when detectors", "E3, adaptive against", "E4, what tau and omega"):
        assert head in text
    assert "cells are not counted; the report says why." in text
    assert text.endswith("report.html")


def test_experiments_come_in_the_papers_order(tmp_path: Path) -> None:
    write_results(tmp_path, grid=(8, 64))
    write_pareto(tmp_path)
    write_staged(tmp_path, "saturation")
    layout = write_results(tmp_path, grid=(8, 64), experiment="another-sweep")
    found = [(design.id, name, len(systems)) for design, name, systems in by_experiment(load_systems(layout))]
    assert found == [("E1", "equilibrium", 3), ("E1", "another-sweep", 3), ("E2", "saturation", 1),
                     ("E4", "pareto", 1)]  # fmt: skip
