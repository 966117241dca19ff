"""The claims under every reading: the rules of E1, and a claim that holds under one reading alone says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.claims import judge, judge_readings, load, write_readings
from anarchy.claims.readings import HEAD, Read, readings_words, render_readings_csv
from anarchy.designs.loading import load_systems
from anarchy.games.readings import READINGS
from anarchy.tables import System
from tests.helpers.synthetic_estimates import write_results
from tests.helpers.synthetic_readings import LIMITED, SETS
from tests.helpers.synthetic_readings import write_readings as write_system

CLAIMS = ["C1", "C2", "C3", "C7", "C12"]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    (one,) = load_systems(write_system(tmp_path_factory.mktemp("w2"), launches=3))
    return one


@pytest.fixture(scope="module")
def found(system: System) -> list[Read]:
    return judge_readings(load(), [system.document])


def of(found: list[Read], claim: str, workload: str, reading: str) -> Read:
    (one,) = (
        each
        for each in found
        if (each.id, each.workload, each.reading, each.tau) == (claim, workload, reading, 0.0)
    )
    return one


def test_every_claim_on_a_ladder_is_asked_under_every_reading(found: list[Read]) -> None:
    assert list(dict.fromkeys(one.id for one in found)) == CLAIMS
    assert len(found) == len(CLAIMS) * 2 * 2 * len(READINGS)


def test_a_reading_that_the_tier_does_not_take_is_not_asked(system: System) -> None:
    ladders = [one for one in system.info["ladders"] if one["reading"] != "table"]
    found = judge_readings(load(), [{**system.document, "ladders": ladders}])
    assert {one.reading for one in found} == set(READINGS) - {"table"}


def test_fitted_as_e1_would_have_judged_it(found: list[Read], system: System) -> None:
    (facts,) = (
        one["found"]
        for one in system.info["ladders"]
        if (one["workload"], one["tau"], one["reading"]) == ("unique", 0.0, "fitted")
    )
    plateau = of(found, "C3", "unique", "fitted").parts[0]
    assert plateau.measured == facts["plateau"]["poa_hat"]


def test_sets_that_share_a_policy_are_judged_apart(tmp_path: Path) -> None:
    (both,) = load_systems(write_system(tmp_path, launches=3, sets=(*SETS, LIMITED)))
    found = judge_readings(load(), [both.document])
    assert len(found) == len(CLAIMS) * 3 * 2 * len(READINGS)
    for name in ("builtin", LIMITED):
        (facts,) = (
            one["found"]
            for one in both.info["ladders"]
            if (one["routing_set"], one["workload"], one["tau"], one["reading"])
            == (name, "unique", 0.0, "idle")
        )
        mine = [one for one in found if one.routing_set == name]
        assert of(mine, "C3", "unique", "idle").parts[0].measured == facts["plateau"]["poa_hat"]
    told = readings_words(found)
    assert len(told) == len(CLAIMS) * 3 * 2
    assert set(told["set"]) == {"builtin", LIMITED}


def test_one_set_is_not_named_in_words(found: list[Read]) -> None:
    assert "set" not in readings_words(found)
    assert render_readings_csv(found).startswith("id,workload,routing_set,policy,tau,")


def test_a_refused_reading_leaves_a_claim_open_and_is_named(found: list[Read]) -> None:
    one = of(found, "C3", "in-step", "fitted")
    assert one.verdict == "inconclusive"
    assert one.refused == ("Llama-3.1-70B 1P/2D",)
    assert not of(found, "C3", "in-step", "idle").refused


def test_a_claim_that_holds_under_one_reading_alone_says_so(found: list[Read]) -> None:
    words = readings_words(found)
    for _, row in words.iterrows():
        holds = [name for name in READINGS if str(row[name]).startswith("reproduced")]
        if len(holds) == 1:
            assert row["holds"] == f"under {holds[0]} alone"
        else:
            assert row["holds"] == (f"under {', '.join(holds)}" if holds else "under none")


def test_the_primary_verdicts_do_not_change(tmp_path: Path, system: System) -> None:
    ladders = [one.document for one in load_systems(write_results(tmp_path))]
    assert judge(load(), ladders) == judge(load(), [*ladders, system.document])
    assert judge_readings(load(), ladders) == []


def test_files_are_headed_exploratory_and_written_only_where_there_is_something(
    found: list[Read], tmp_path: Path
) -> None:
    assert write_readings([], tmp_path) == []
    assert [file.name for file in write_readings(found, tmp_path)] == [
        "claims-readings.csv",
        "claims-readings.md",
    ]
    assert (tmp_path / "claims-readings.md").read_text(encoding="utf-8").startswith(f"# {HEAD}")
    assert HEAD.startswith("Exploratory")
    assert render_readings_csv(found).count("all systems") == len(found)
