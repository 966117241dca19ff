"""Settings of a sample judged together: the rules of E1, one system against a setting settles it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

from anarchy.claims import judge_readings, judge_settings, load, write_settings
from anarchy.claims.model import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Outcome, System
from anarchy.claims.settings import (
    HEAD,
    Settled,
    counts_words,
    render_settings,
    render_settings_csv,
    settings_words,
    together,
)

NAN: Final = float("nan")
HELD: Final = {
    **dict.fromkeys(("knee", "knee_lo", "knee_hi"), 110.0),
    "first_post_knee": 128,
    "slope_before": 0.05,
    "plateau": 1.0,
    "plateau_lo": 0.99,
    "plateau_hi": 1.01,
    "deepest": 13.0,
    "deepest_lo": 12.9,
    "deepest_hi": 13.1,
    "rise": 13.0,
    "rise_lo": 12.8,
    "rise_hi": 13.2,
    "regimes": "artifact, plateau, growth",
}
"""A row of `depths` under which all that is asked comes out as published."""
NONE: Final = dict.fromkeys(("knee", "knee_lo", "knee_hi", "first_post_knee", "slope_before"), NAN)


def system(model: str, *rows: dict[str, Any], sampled: bool = True) -> System:
    """A system whose table `depths` has these rows; what a row does not say is as in `HELD`."""
    label = {"workload": "p00-unique", "reading": "fitted", "deepest_c": 1024, "synchrony": "spread"}
    factors = {"output_tokens": 90, "shared_tokens": 0, "max_num_batched_tokens": 8192}
    table = pd.DataFrame([{**label, **factors, **HELD, **row} for row in rows])
    return {
        "design": "readings",
        "sampled": sampled,
        "model": model,
        "model_title": model,
        "topology": "1p2d",
        "topology_title": "1P/2D",
        "experiment": "map",
        "ladders": [],
        "workloads": {},
        "frames": {"depths": table},
    }


def judged(*systems: System) -> Settled:
    (one,) = judge_settings(load(), systems)
    return one


BIG, SMALL = "nemotron-4-340b", "llama-3.1-70b"


def test_a_setting_holds_together_where_all_come_out_on_all_systems() -> None:
    found = judged(system(BIG, {}), system(SMALL, {}))
    assert found.outcome == REPRODUCED
    assert {name for name, _ in found.parts} == {"C1", "C2", "growth"}
    assert len(found.parts) == 5, "growth is published of the 340B alone"
    assert found.systems == 2


@pytest.mark.parametrize(
    ("change", "which", "outcome"),
    [
        ({"knee": 70.0, "knee_lo": 69.0, "knee_hi": 71.0}, "C2", NOT_REPRODUCED),
        ({"knee": 96.5, "knee_lo": 95.0, "knee_hi": 98.0}, "C2", INCONCLUSIVE),
        ({"slope_before": 0.3}, "C1", INCONCLUSIVE),
        ({"regimes": "plateau, growth"}, "C1", INCONCLUSIVE),
        ({"rise": 40.0, "rise_lo": 39.0, "rise_hi": 41.0}, "growth", NOT_REPRODUCED),
        ({"rise": 10.0, "rise_lo": 9.0, "rise_hi": 11.0}, "growth", INCONCLUSIVE),
        ({**NONE, "rise": NAN, "rise_lo": NAN, "rise_hi": NAN}, "C2", NOT_REPRODUCED),
    ],
)
def test_one_thing_that_does_not_come_out_is_enough(
    change: dict[str, Any], which: str, outcome: Outcome
) -> None:
    found = judged(system(BIG, change), system(SMALL, {}))
    assert found.of(which) == outcome
    assert found.outcome == outcome


def test_growth_of_a_system_of_which_none_is_published_is_not_asked() -> None:
    change = {"rise": 40.0, "rise_lo": 39.0, "rise_hi": 41.0}
    assert judged(system(BIG, {}), system(SMALL, change)).outcome == REPRODUCED


def test_a_reading_that_could_not_be_taken_leaves_a_setting_open() -> None:
    nothing = {name: NAN for name in HELD if name != "regimes"}
    found = judged(system(BIG, {**nothing, "regimes": ""}), system(SMALL, {}))
    assert found.outcome == INCONCLUSIVE


def test_a_setting_that_tells_nothing_is_not_listed() -> None:
    nothing = {**{name: NAN for name in HELD if name != "regimes"}, "regimes": ""}
    found = judge_settings(load(), [system(BIG, nothing)])
    assert found[0].outcome == INCONCLUSIVE
    assert settings_words(found).empty
    assert "and something for\n\nNone.\n" in render_settings(found)


def test_a_depth_that_one_system_lacks_holds_on_none() -> None:
    shallow = {"deepest_c": 192}
    found = {one.deepest: one for one in judge_settings(load(), [system(BIG, {}), system(SMALL, shallow)])}
    assert {one.systems for one in found.values()} == {1}
    assert {one.outcome for one in found.values()} == {INCONCLUSIVE}
    assert {one.of("C1") for one in found.values()} == {INCONCLUSIVE}


def test_a_depth_is_judged_by_itself() -> None:
    shallow = {"deepest_c": 192, "rise": 3.0, "rise_lo": 2.9, "rise_hi": 3.1}
    found = judge_settings(load(), [system(BIG, shallow, {})])
    assert [(one.deepest, one.outcome) for one in found] == [(192, NOT_REPRODUCED), (1024, REPRODUCED)]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([REPRODUCED, REPRODUCED], REPRODUCED),
        ([REPRODUCED, INCONCLUSIVE], INCONCLUSIVE),
        ([NOT_REPRODUCED, INCONCLUSIVE], NOT_REPRODUCED),
        ([], INCONCLUSIVE),
    ],
)
def test_together(outcomes: list[Outcome], expected: Outcome) -> None:
    assert together(outcomes) == expected


def test_only_samples_are_judged_and_they_stay_out_of_the_claims_by_reading() -> None:
    assert judge_settings(load(), [system(BIG, {}, sampled=False)]) == []
    assert judge_readings(load(), [system(BIG, {})]) == []


def test_tables_count_and_list_what_nothing_speaks_against(tmp_path: Path) -> None:
    rows: tuple[dict[str, Any], ...] = (
        {},
        {"workload": "p01-unique", "knee": 70.0, "knee_lo": 69.0, "knee_hi": 71.0},
        {"workload": "p02-unique", "slope_before": 0.3},
    )
    found = judge_settings(load(), [system(BIG, *rows), system(SMALL, {}, *rows[1:])])
    (count,) = counts_words(found).to_dict("records")
    assert count["settings"] == 3
    assert count["systems"] == 2
    assert (count["three regimes"], count["knee"]) == ("2 (open: 1)", "2")
    assert (count["growth"], count["all together"]) == ("3", "1 (open: 1)")
    listed = settings_words(found)
    assert list(listed["together"]) == [REPRODUCED, INCONCLUSIVE]
    assert "inconclusive" in listed["three regimes"][1]
    table = list(csv.DictReader(io.StringIO(render_settings_csv(found))))
    assert len(table) == 3 * 5
    assert {row["verdict"] for row in table if row["asked"] == "growth"} == {REPRODUCED}
    assert [file.name for file in write_settings(found, tmp_path)] == [
        "claims-settings.csv",
        "claims-settings.md",
    ]
    assert (tmp_path / "claims-settings.md").read_text(encoding="utf-8").startswith(f"# {HEAD}")
    assert write_settings([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
