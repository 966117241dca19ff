"""Two runs side by side: changes, their intervals, what cannot be compared, and what is said of it all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from anarchy.cli.main import main
from anarchy.compare import ALL, Comparison, Metric, Run, Source, compare, compare_runs, load_run, sources
from anarchy.compare import render as rendered
from anarchy.compare.render import ROWS_SHOWN
from anarchy.compare.sources import sources_of
from anarchy.config import StagePlan
from anarchy.config.loads import Stage
from anarchy.designs.cache.columns import DUELS, REGIMES
from anarchy.designs.engines.columns import DIFFERENCES, SIDES
from anarchy.designs.ladder import columns as ladder_columns
from anarchy.designs.metrics import DIFFERENCE
from anarchy.designs.pareto.columns import PAIRS, SPREAD
from anarchy.designs.readings import columns as readings_columns
from anarchy.designs.readings.columns import READ
from anarchy.designs.registry import design_of
from anarchy.designs.split.columns import PRICES, SPLITS
from anarchy.estimate import columns
from anarchy.estimate.staged import estimate_stages
from anarchy.ground.errors import UserError
from anarchy.trace.reader import read_cell
from tests.helpers import frames
from tests.helpers.condition_samples import HEAD, METHOD, STATIC, measured
from tests.helpers.places import PROJECT

DESIGNS = {
    "equilibrium": "ladder",
    "adaptive": "stages",
    "saturation": "detection",
    "pareto": "pareto",
    "step": "readings",
}
LADDERS, STEP = (sources_of(design_of(name)) for name in ("ladder", "readings"))
OF = {source.file.removesuffix(".parquet"): source for source in (*sources(), *LADDERS)}
"""By the stem of the file; cells.parquet is a ladder's."""
CELLS = OF["cells"]
Value = tuple[float, float, float]


def metric(source: Source, name: str = "poa_hat") -> Metric:
    return next(one for one in source.metrics if one.name == name)


def row(
    source: Source = CELLS, name: str = "poa_hat", value: Value = (1.0, 0.9, 1.1), **more: Any
) -> dict[str, Any]:
    """A row of an estimates file in which one metric alone has a number."""
    one = metric(source, name)
    labels = {"engine": "simulated", "dilation": 2.0, "tier": "quick", "n_launches": 1, "valid": True}
    numbers = {one.column + bound: of for bound, of in zip(("", "_lo", "_hi"), value, strict=True)}
    key = dict.fromkeys(source.key, "x") | {"concurrency": 8}
    kind = {"interval_kind": "within-run", "quantity": one.quantity}
    return dict.fromkeys(source.columns, math.nan) | key | labels | kind | numbers | more


def table(*rows: dict[str, Any], source: Source = CELLS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=source.columns)


def cells(values: dict[int, Value], **more: Any) -> pd.DataFrame:
    return table(*(row(value=value, concurrency=C, **more) for C, value in values.items()))


def run(name: str = "a", experiment: str = "equilibrium", **tables: pd.DataFrame) -> Run:
    files = {(experiment, OF[stem]): frame for stem, frame in tables.items()}
    return Run(Path(name), files)


def between(first: pd.DataFrame, second: pd.DataFrame) -> Comparison:
    return compare(first, second, CELLS, metric(CELLS), "equilibrium")


def said(first: pd.DataFrame, second: pd.DataFrame) -> str:
    runs = run("a", cells=first), run("b", cells=second)
    return rendered(compare_runs(*runs), *runs)


def test_the_ratio_and_its_interval_by_hand() -> None:
    found = between(cells({8: (2.0, 1.0, 4.0)}), cells({8: (6.0, 3.0, 6.0 * math.e)})).rows.iloc[0]
    assert found["change"] == pytest.approx(3.0)
    assert math.log(found["change_lo"]) == pytest.approx(math.log(3) - math.sqrt(2) * math.log(2))
    assert math.log(found["change_hi"]) == pytest.approx(math.log(3) + math.hypot(1, math.log(2)))
    assert found["size"] == pytest.approx(math.log(3))


def test_what_can_be_zero_is_subtracted() -> None:
    source = OF["stages"]
    first, second = (
        table(row(source, "load_range", value), source=source) for value in ((0.0, 0.0, 3.0), (5.0, 1.0, 7.0))
    )
    found = compare(first, second, source, metric(source, "load_range")).rows.iloc[0]
    assert (found["change"], found["change_lo"], found["change_hi"]) == (5.0, 0.0, 7.0)
    assert found["agrees"]
    runs = run("a", "adaptive", stages=first), run("b", "adaptive", stages=second)
    text = rendered(compare_runs(*runs, "load_range"), *runs)
    assert "adaptive, load_range (requests): second run less first, 95 %" in text
    assert "largest 5.00 requests" in text


def test_zero_has_no_place_on_the_scale_of_ratios() -> None:
    found = between(cells({2: (0.0, 0.0, 1.0), 8: (1.0, 0.0, 2.0), 16: (1.0, 0.5, 2.0)}),
                    cells(dict.fromkeys((2, 8, 16), (1.0, 0.5, 2.0))))  # fmt: skip
    assert found.rows["concurrency"].tolist() == [16]
    assert (found.only, found.neither) == (2, 0)


def test_agreement_is_whether_the_interval_holds_one() -> None:
    first = cells({2: (1.0, 0.99, 1.01), 8: (1.0, 0.9, 1.1), 16: (1.0, 0.99, 1.01)})
    second = cells({2: (1.1, 1.09, 1.11), 8: (1.1, 1.0, 1.2), 16: (0.9, 0.89, 0.91)})
    found = between(first, second)
    assert found.rows["agrees"].tolist() == [False, True, False]
    assert found.n_agree == 1
    text = said(first, second)
    assert "equilibrium, poa_hat: ratio, second run over first, 95 %\nx, x, x, x\n" in text
    assert "poa_hat: 1 of 3 cells agree; 0.2 would differ by chance if both runs had one truth." in text
    assert "largest 11.1 % (C = 16)" in text
    assert sum(line.endswith("differs") for line in text.splitlines()) == 2


def test_equal_numbers_without_width_agree_whatever_their_last_bit() -> None:
    first, second = cells({8: (1.0, 1.0, 1.0)}), cells({8: (1.0 + 2e-16,) * 3})
    assert between(first, second).n_agree == 1
    assert "In 1 cell a run's interval has no width" in said(first, second)


def test_runs_swapped_give_the_inverse() -> None:
    first, second = cells({8: (2.0, 1.5, 2.2)}), cells({8: (3.0, 2.8, 3.9)})
    one, other = between(first, second).rows.iloc[0], between(second, first).rows.iloc[0]
    assert one["change"] * other["change"] == pytest.approx(1.0)
    assert one["change_lo"] * other["change_hi"] == pytest.approx(1.0)


def test_what_only_one_run_counts_is_left_out_and_counted() -> None:
    value = (1.0, 0.9, 1.1)
    bad = table(row(concurrency=32, valid=False), row(concurrency=64, valid=False))
    first = pd.concat([cells({2: value, 8: value, 16: (1.0, math.nan, math.nan)}), bad])
    second = cells(dict.fromkeys((8, 16, 32), value))
    found = between(first, second)
    assert found.rows["concurrency"].tolist() == [8]
    # 2 is not in the second run, 16 has no interval and 32 is not valid in the first; 64 is in no run.
    assert (found.only, found.neither) == (3, 1)
    assert "Left out: 3 cells valid in one run only, 1 cell valid in neither" in said(first, second)
    assert "Left out" not in said(second, second)


@pytest.mark.parametrize(
    ("stem", "name", "column"),
    [
        ("cells", "poa_hat", "policy"),
        ("stages", "poa_hat", "stage"),
        ("stages", "curvature", "routing_set"),
        ("ratios", "ratio_ttft_p99", "against"),
        ("pairs", "poa_hat", "load"),
        ("pairs", "load_sd", "repeat"),
        ("spread", "variance_ratio_log_poa_hat", "factor"),
    ],
)
def test_every_file_has_a_key_of_its_own(stem: str, name: str, column: str) -> None:
    source = OF[stem]
    rows = [row(source, name, (value, value - 0.1, value + 0.1), **{column: place})
            for place, value in (("p", 1.0), ("q", 2.0))]  # fmt: skip
    first, second = table(*rows, source=source), table(*reversed(rows), source=source)
    found = compare(first, second, source, metric(source, name)).rows
    assert found[column].tolist() == ["p", "q"]
    assert found["value_first"].tolist() == found["value_second"].tolist() == [1.0, 2.0]


def test_a_quantity_takes_its_own_rows() -> None:
    source = OF["ratios"]
    both = table(
        row(source, "ratio_poa_hat", (1.0, 0.9, 1.1)), row(source, "ratio_ttft_p99", (3.0, 2.0, 4.0)),
        source=source,
    )  # fmt: skip
    assert compare(both, both, source, metric(source, "ratio_ttft_p99")).rows["value_first"].tolist() == [3.0]


def test_what_is_declared_is_what_the_estimates_hold() -> None:
    written = {
        "cells": ladder_columns.CELLS.names,
        "readings": READ.names,
        "splits": SPLITS.names,
        "prices": PRICES.names,
        "duels": DUELS.names,
        "regimes": REGIMES.names,
        "stages": columns.STAGES.names,
        "ratios": columns.RATIOS.names,
        "pairs": PAIRS.names,
        "spread": SPREAD.names,
        "sides": SIDES.names,
        "differences": DIFFERENCES.names,
    }
    # Design CELL_COLUMNS leaves out what figures do not need of a cell; `routing` is PoA-cal again.
    missing = {"policy"}
    for stem, source in OF.items():
        assert set(source.columns) - set(written[stem]) <= missing
        bounded = {name.removesuffix("_lo") for name in written[stem] if name.endswith("_lo")}
        assert bounded - {"routing"} == {one.column for one in source.metrics}
    for stems in (("stages", "ratios"), ("pairs", "spread"), ("sides", "differences")):
        names = [one.name for stem in stems for one in OF[stem].metrics]
        assert len(names) == len(set(names))
    assert {one.name for one in OF["stages"].metrics if one.scale is DIFFERENCE} == {
        "load_range", "load_sd", "curvature",
    }  # fmt: skip


def test_what_the_intervals_hold_is_said() -> None:
    value = (1.0, 0.9, 1.1)
    one = cells({8: value, 16: value})
    three = cells({8: value, 16: value}, n_launches=3, interval_kind="across-launches")
    mixed = pd.concat([three[:1], one[1:]])
    inside = "hold the noise inside a run, not what differs from launch to launch"
    assert f"Launches: 1 and 3. Intervals {inside}" in said(one, three)
    assert "Launches: 3 and 3. Intervals are across launches: they hold what" in said(three, three)
    text = said(three, mixed)
    assert "Launches: 3 and 1 to 3. 1 of 2 intervals are across launches in both runs" in text
    assert inside in text
    source = OF["spread"]
    spread = table(row(source, "variance_ratio_poa_hat"), source=source)
    runs = run("a", "pareto", spread=spread), run("b", "pareto", spread=spread)
    assert "F intervals over the levels" in rendered(compare_runs(*runs, "variance_ratio_poa_hat"), *runs)


def test_a_long_table_shows_first_what_differs() -> None:
    values = dict.fromkeys(range(1, ROWS_SHOWN + 11), (1.0, 0.99, 1.01))
    text = said(cells(values), cells({**values, 30: (2.0, 1.9, 2.1), 49: (3.0, 2.9, 3.1)}))
    listed = [line.split()[0] for line in text.splitlines() if line.endswith(("]", "differs"))]
    assert listed[:3] == ["49", "30", "1"]
    assert len(listed) == ROWS_SHOWN
    assert "10 more are not shown, all of them agree" in text


def folder(root: Path, **tables: pd.DataFrame) -> Path:
    """A results folder: `equilibrium__cells` is cells.parquet of that experiment's one system."""
    for name, frame in tables.items():
        experiment, stem = name.split("__")
        system = root / "estimates" / experiment / "x_x"
        system.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(system / f"{stem}.parquet")
        (system / "system.json").write_text(json.dumps({"design": DESIGNS[experiment]}))
    return root


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two runs of E1, E3 and E4, and one experiment that only the first has."""
    rows = {
        stem: table(*(row(OF[stem], name) for name in names), source=OF[stem])
        for stem, names in {
            "stages": ["poa_hat"], "ratios": ["ratio_poa_hat"], "spread": ["variance_ratio_poa_hat"],
        }.items()
    }  # fmt: skip
    pairs = table(*(row(OF["pairs"], "poa_hat", repeat=n) for n in (1, 2)), source=OF["pairs"])
    shared = {
        "equilibrium__cells": cells({8: (1.0, 0.9, 1.1)}),
        "adaptive__stages": rows["stages"],
        "adaptive__ratios": rows["ratios"],
        "pareto__pairs": pairs,
        "pareto__spread": rows["spread"],
    }
    first = folder(tmp_path / "a", saturation__stages=rows["stages"], **shared)
    empty = {"adaptive__ratios": rows["ratios"][:0]}
    return [str(first), str(folder(tmp_path / "b", **{**shared, **empty}))]


def test_the_command_shows_every_experiment_of_both_runs(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *runs]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"first: {runs[0]}: simulated engine, model time dilated 2x")
    assert "tier quick; in this run only: saturation\n" in text
    for line in (
        "equilibrium, poa_hat: ratio, second run over first, 95 %",
        "poa_hat: 1 of 1 cells agree",
        "adaptive, poa_hat: ratio",
        "poa_hat: 1 of 1 stages agree",
        "pareto, poa_hat: ratio",
        "poa_hat: 2 of 2 cells agree",
    ):
        assert line in text
    assert "saturation, poa_hat" not in text


def test_all_metrics_are_a_line_each(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *runs, "--metric", ALL]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "experiment metric n agree differ by chance median largest one run only neither" in lines
    assert "adaptive poa_hat 1 1 0 0.1 0 % 0 % 0 0" in lines
    assert "pareto poa_hat 2 2 0 0.1 0 % 0 % 0 0" in lines
    assert "pareto variance_ratio_poa_hat 1 1 0 0.1 0 % 0 % 0 0" in lines
    # An empty file is none, and a metric without a number no line.
    assert not any("ratio_ttft" in line or "adaptive ratio" in line for line in lines)
    assert any(line.startswith("adaptive (stages), equilibrium (cells), pareto (cells): ") for line in lines)


def test_one_experiment_alone(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *runs, "--experiment", "pareto"]) == 0
    text = capsys.readouterr().out
    assert "pareto, poa_hat" in text
    assert "equilibrium" not in text
    assert main(["compare", *runs, "--experiment", "saturation"]) == 2
    assert "not in both runs: saturation" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--metric", "poa_hat"), ("--experiment", "pareto")])
def test_verdicts_take_no_part_of_the_estimates(
    runs: list[str], option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *runs, "--verdicts", *option]) == 2
    assert f"{' '.join(option)}: chooses among estimates" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one, other = run(cells=cells({8: (1.0, 0.9, 1.1)})), run(cells=cells({32: (1.0, 0.9, 1.1)}))
    with pytest.raises(UserError, match="no metric with an interval"):
        compare_runs(one, one, "poa")
    invalid = run(cells=cells({8: (1.0, 0.9, 1.1)}, valid=False))
    for against in (other, invalid):
        with pytest.raises(UserError, match="share nothing valid"):
            compare_runs(one, against)
    with pytest.raises(UserError, match="share nothing valid that has curvature"):
        compare_runs(one, one, "curvature")
    with pytest.raises(UserError, match="share no experiment"):
        compare_runs(one, run(experiment="pareto", cells=one.tables["equilibrium", CELLS]))
    with pytest.raises(UserError, match="holds no estimates"):
        load_run(tmp_path)


def test_an_experiment_that_shares_nothing_does_not_hide_the_others() -> None:
    good, bad = cells({8: (1.0, 0.9, 1.1)}), cells({8: (1.0, 0.9, 1.1)}, valid=False)
    files = [{("a", CELLS): good, ("b", CELLS): of} for of in (good, bad)]
    one, other = (Run(Path("r"), tables) for tables in files)
    text = rendered(compare_runs(one, other), one, other)
    assert "b, poa_hat: nothing to compare.\nLeft out: 1 cell valid in one run only" in text


def test_a_file_that_two_designs_have_is_read_as_its_own_designs(tmp_path: Path) -> None:
    """cells.parquet of a ladder has PoA-hat, that of readings has none and says so in readings.parquet."""
    theirs = next(source for source in STEP if source.file == CELLS.file)
    assert theirs is not CELLS
    step = table(row(theirs, "throughput_rps", (5.0, 4.0, 6.0)), source=theirs)
    assert "poa_hat" not in step
    assert set(theirs.columns) <= {*readings_columns.CELLS.names, "policy"}
    both = {"equilibrium__cells": cells({8: (1.0, 0.9, 1.1)}), "step__cells": step}
    one, other = (load_run(folder(tmp_path / name, **both)) for name in "ab")
    assert set(one.tables) == {("equilibrium", CELLS), ("step", theirs)}
    found = compare_runs(one, other, "throughput_rps", "step")
    assert [float(only.rows["value_first"].iloc[0]) for only in found] == [5.0]
    assert "step, throughput_rps" in rendered(found, one, other)


def test_estimates_that_name_no_design_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", equilibrium__cells=cells({8: (1.0, 0.9, 1.1)}))
    next(root.rglob("system.json")).write_text('{"design": "unheard-of"}')
    with pytest.raises(UserError, match="there is no design 'unheard-of'") as caught:
        load_run(root)
    assert "system.json" in str(caught.value)
    assert "make it again" in str(caught.value.remedy)


def test_broken_estimates_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", equilibrium__cells=cells({8: (1.0, 0.9, 1.1)}).drop(columns="poa_cal"))
    with pytest.raises(UserError, match="lacks the columns poa_cal"):
        load_run(root)
    next(root.rglob("cells.parquet")).write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        load_run(root)


def test_two_kept_cells_of_one_policy_differ_as_docs_findings_says() -> None:
    """E3, one hot template: the controller never fired, so both cells were routed by the same rule."""
    found = []
    for policy in ("pinned-adaptive", "pinned-static"):
        path = "data/sample/live/raw/adaptive/llama-3.1-70b/1p2d/pinned/1/cells"
        trace = read_cell(PROJECT / path / f"hot-staged_{policy}")
        spans = trace.manifest.stages
        stages = tuple(Stage(span.name, span.concurrency, 0.0, 1.0) for span in spans)
        planned = [
            StagePlan(name=span.name, knee_times=span.concurrency / 162, settle_s=0.0, seconds=1.0)
            for span in spans
        ]
        head = {**HEAD, "engine": "simulated", "dilation": 3.0}
        cell = measured(trace, STATIC, stages=stages)
        found.append(estimate_stages([cell], planned, METHOD, head).tables["stages"])
    source = OF["stages"]
    rows = compare(found[0], found[1], source, metric(source, "throughput_rps")).rows.set_index("stage")
    held = frames.row(rows, "held")[["change", "change_lo", "change_hi"]].tolist()
    assert held == pytest.approx([0.86, 0.79, 0.94], abs=0.01)
    assert not rows.loc["held", "agrees"]
    loads = compare(found[0], found[1], source, metric(source, "load_range"))
    assert not loads.rows.set_index("stage").loc["held", "agrees"]
    both = run("a", "adaptive", stages=found[0]), run("b", "adaptive", stages=found[1])
    assert "simulated engine, model time dilated 3x" in rendered(compare_runs(*both), *both)
