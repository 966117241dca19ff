"""Claims: the file is whole, and every verdict is reached from both sides."""

from __future__ import annotations

import copy
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from anarchy import claims as module
from anarchy.claims import CLAIMS_FILE, Claim, Published, Verdict, against_range, judge, load, write
from anarchy.claims.model import Part
from anarchy.ground.errors import UserError

CLAIMS = load()
System = dict[str, Any]


def system(model: str = "llama-3.1-70b", topology: str = "1p2d", **changes: Any) -> System:
    """A system that shows just what the paper says."""
    titles = {"llama-3.1-70b": "Llama-3.1-70B", "nemotron-4-340b": "Nemotron-4-340B"}
    level = 18.7 if model.startswith("nemotron") else 12.0
    found = {
        "title": "unique prompts",
        "knee": {
            "exists": True,
            "knee": 110.0,
            "lo": 100.0,
            "hi": 126.0,
            "first_post_knee": 128,
            "slope_before": 0.0,
            "slope_after": 2.0,
            "kneedle": 112.0,
            "slo_crossing": 128,
            "note": "",
        },
        "plateau": {
            "poa_hat": level,
            "lo": level - 0.5,
            "hi": level + 0.5,
            "c_from": 8,
            "c_to": 96,
            "n_cells": 5,
        },
        "deepest": {"concurrency": 512, "poa_hat": 250.0, "lo": 240.0, "hi": 260.0},
        "regimes": [[1, "artifact"], [64, "plateau"], [128, "growth"], [512, "growth"]],
        "growth": {
            "ttft": {"value": 60.0, "lo": 50.0, "hi": 70.0},
            "itl": {"value": 1.2, "lo": 1.1, "hi": 1.3},
        },
    }
    return {
        "experiment": "equilibrium",
        "tier": "full",
        "model": model,
        "model_title": titles[model],
        "topology": topology,
        "topology_title": topology.upper(),
        "policy": "static",
        "engine": "simulated",
        "dilation": 3.0,
        "pool": 2,
        "workloads": {"unique": found},
        **changes,
    }


def all_systems() -> list[System]:
    return [
        system("nemotron-4-340b", "1p2d"),
        system("llama-3.1-70b", "1p2d"),
        system("llama-3.1-70b", "1p5d"),
    ]


def verdict_on(claim: str, systems: list[System]) -> Verdict:
    found = [verdict for verdict in judge(CLAIMS, systems) if verdict.id == claim]
    assert len(found) == 1
    return found[0]


def levels(verdict: Verdict) -> list[Part]:
    """The parts that count: what is scale-free stands beside them."""
    return [part for part in verdict.parts if not part.aside]


def spoiled(
    *path: str, value: Any, systems: list[System] | None = None, only: int | None = None
) -> list[System]:
    """All systems, or one of them, with one value of its workload changed."""
    systems = copy.deepcopy(systems or all_systems())
    for index, each in enumerate(systems):
        if only is None or index == only:
            inner = each["workloads"]["unique"]
            for part in path[:-1]:
                inner = inner[part]
            inner[path[-1]] = value
    return systems


# --- the file ---


def test_every_claim_is_there_in_order() -> None:
    own = ["P1", "P5", "Q1", "Q2"]
    assert [claim.id for claim in CLAIMS.claims] == [*(f"C{n}" for n in range(1, 14)), *own]


@pytest.mark.parametrize("claim", CLAIMS.claims, ids=lambda claim: claim.id)
def test_every_claim_says_how_it_is_judged(claim: Claim) -> None:
    assert claim.claim
    assert claim.published.text
    assert claim.judged
    assert (claim.tolerance > 0) == bool(claim.tolerance_reason)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d["claims"][0].update(tolerence=1), "did you mean 'tolerance'?"),
        (lambda d: d["claims"][0].update(rule="guess"), "claims.0.rule"),
        (lambda d: d["claims"][12].pop("rule"), "not_testable why"),
        (lambda d: d["claims"][2]["published"].pop("hi"), "lo and hi belong together"),
        (lambda d: d["claims"][2]["published"].update(lo=20), "lo not above hi"),
        (lambda d: d["claims"][1].update(id="C1"), "id stands there twice"),
        (lambda d: d.update(claims=[]), "'claims'"),
        (lambda d: d["claims"][0].update(experiment="equilibriun"), "key 'claims.0.experiment': there is no"),
        (lambda d: d["claims"][0].update(also=["nothing"]), "key 'claims.0.also.0'"),
        (lambda d: d["claims"][7]["systems"][0].update(model="llama-9"), "key 'claims.7.systems.0.model'"),
        (lambda d: d["claims"][7]["systems"][0].update(topology="9p9d"), "'9p9d' among the topologies"),
        (
            lambda d: d["claims"][2]["published"]["systems"][0].update(model="x"),
            "key 'claims.2.published.systems.0.model'",
        ),
        (lambda d: d["paper"].update(topologies=["9p9d"]), "key 'paper.topologies.0'"),
    ],
)
def test_a_spoiled_file_is_refused(tmp_path: Path, change: Callable[[Any], None], word: str) -> None:
    document = yaml.safe_load(CLAIMS_FILE.read_text())
    change(document)
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError) as caught:
        load(file)
    assert word in str(caught.value)
    assert caught.value.where == file


# --- an interval against a range ---


def published(lo: float, hi: float, *, lo_open: bool = False, tolerance: float = 0.0) -> Claim:
    return Claim(
        id="C99",
        claim="a",
        sentence="a",
        experiment="e",
        published=Published(text="p", lo=lo, hi=hi, lo_open=lo_open),
        tolerance=tolerance,
        judged="so",
        rule="deep_saturation",
    )


@pytest.mark.parametrize(
    ("lo", "hi", "outcome"),
    [
        (7, 19, "reproduced"),
        (8, 8, "reproduced"),
        (6.99, 8, "inconclusive"),
        (18, 19.01, "inconclusive"),
        (1, 30, "inconclusive"),
        (5, 7, "inconclusive"),
        (5, 6.99, "not reproduced"),
        (19.01, 25, "not reproduced"),
        (None, 8, "inconclusive"),
        (8, None, "inconclusive"),
    ],
)
def test_interval_against_range(lo: float | None, hi: float | None, outcome: str) -> None:
    assert against_range(published(7, 19), lo, hi)[0] == outcome


@pytest.mark.parametrize(
    ("lo", "hi", "outcome"),
    [
        (96, 120, "inconclusive"),
        (96.01, 128, "reproduced"),
        (90, 96, "not reproduced"),
        (90, 96.01, "inconclusive"),
    ],
)
def test_an_open_end_lies_outside(lo: float, hi: float, outcome: str) -> None:
    assert against_range(published(96, 128, lo_open=True), lo, hi)[0] == outcome


def test_tolerance_widens_both_ends_and_is_said() -> None:
    claim = published(200, 300, tolerance=0.1)
    assert against_range(claim, 180, 330)[0] == "reproduced"
    assert against_range(claim, 179, 330)[0] == "inconclusive"
    assert against_range(claim, 331, 340)[0] == "not reproduced"
    assert "widened by 10%" in against_range(claim, 180, 330)[1]


def test_a_point_of_its_own_replaces_the_range() -> None:
    claim = published(7, 19, tolerance=0.1)
    assert against_range(claim, 8, 9, 18.7)[0] == "not reproduced"
    assert against_range(claim, 17, 20, 18.7)[0] == "reproduced"


# --- claim by claim ---


def test_nothing_measured_is_not_testable() -> None:
    verdicts = judge(CLAIMS, [])
    assert [verdict.id for verdict in verdicts] == [claim.id for claim in CLAIMS.claims]
    assert {verdict.verdict for verdict in verdicts} == {"not testable here"}
    assert all(verdict.reason for verdict in verdicts)
    assert "equilibrium has not run" in verdicts[0].reason


def test_the_papers_own_values_reproduce_what_the_first_experiment_can_show() -> None:
    outcomes = {verdict.id: verdict.verdict for verdict in judge(CLAIMS, all_systems())}
    shown = {"C1", "C2", "C3", "C7", "C12"}
    assert {claim for claim, outcome in outcomes.items() if outcome == "reproduced"} == shown
    assert {outcomes[claim] for claim in outcomes.keys() - shown} == {"not testable here"}


def test_another_experiments_systems_do_not_count() -> None:
    other = [{**each, "experiment": "adaptive"} for each in all_systems()]
    assert verdict_on("C1", other).verdict == "not testable here"


C1_CASES: list[tuple[list[System], str, str]] = [
    (spoiled("knee", "exists", value=False), "inconclusive", "do not agree"),
    (
        spoiled(
            "deepest",
            value={"concurrency": 512, "poa_hat": 12.0, "lo": 11.0, "hi": 19.0},
            systems=spoiled("knee", "exists", value=False),
        ),
        "not reproduced",
        "no growth up to the deepest C",
    ),
    (spoiled("deepest", "lo", value=19.0), "inconclusive", "do not agree"),
    (spoiled("plateau", value=None), "inconclusive", "no plateau"),
    (spoiled("deepest", value=None), "inconclusive", "no plateau could be told"),
    (spoiled("plateau", "lo", value=None), "inconclusive", "without intervals"),
    (spoiled("deepest", "hi", value=None), "inconclusive", "without intervals"),
    (spoiled("regimes", value=[[8, "plateau"], [128, "growth"]]), "inconclusive", "regime artifact"),
    (spoiled("regimes", value=[]), "inconclusive", "artifact, plateau, growth"),
    (spoiled("knee", "slope_before", value=0.15), "reproduced", "exponent of C 0.15"),
    (spoiled("knee", "slope_before", value=0.16), "inconclusive", "not stable"),
    (spoiled("knee", "slope_before", value=-0.16), "inconclusive", "not stable"),
    (spoiled("knee", "slope_before", value=None), "inconclusive", "was not told"),
    (
        spoiled("plateau", "cells_hi", value=13.0, systems=spoiled("plateau", "cells_lo", value=11.0)),
        "reproduced",
        "its cells 11.0 to 13.0",
    ),
]


@pytest.mark.parametrize(("systems", "outcome", "word"), C1_CASES)
def test_three_regimes(systems: list[System], outcome: str, word: str) -> None:
    verdict = verdict_on("C1", systems)
    assert verdict.verdict == outcome
    assert any(word in part.reason for part in verdict.parts), verdict


def test_the_rise_has_its_interval_where_it_was_estimated() -> None:
    systems = spoiled("rise", value={"value": 20.0, "lo": 18.0, "hi": 22.0})
    verdict = verdict_on("C1", systems)
    assert "20.0 [18.0, 22.0]" in verdict.measured
    assert [(part.measured, part.lo, part.hi) for part in verdict.parts] == [(20.0, 18.0, 22.0)] * 3
    without = verdict_on("C1", all_systems()).parts[1]
    assert without.measured == pytest.approx(250 / 12)
    assert without.lo is None


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        ("C1", "fewer than 30 windows or C < m, our definition"),
        ("C1", "under 11 % a doubling), ours"),
        ("C3", "near 1 by construction, while the paper's cost model is uncalibrated"),
        ("C7", "how deep the paper went is not known to us"),
        ("C12", "in a closed loop decode cannot saturate once prefill has"),
    ],
)
def test_what_has_to_be_known_is_said_with_the_verdict(claim: str, word: str) -> None:
    verdict = verdict_on(claim, all_systems())
    assert any(word in note for note in verdict.notes)
    assert word not in verdict.reason


def test_regimes_may_stand_at_the_system() -> None:
    systems = spoiled("regimes", value=None)
    labels = all_systems()[0]["workloads"]["unique"]["regimes"]
    assert (
        verdict_on("C1", [{**each, "regimes": {"unique": labels}} for each in systems]).verdict
        == "reproduced"
    )


def test_one_system_against_the_claim_settles_it() -> None:
    flat = {"concurrency": 512, "poa_hat": 12.0, "lo": 11.0, "hi": 12.4}
    systems = spoiled("deepest", value=flat, only=2)
    systems[2]["workloads"]["unique"]["knee"]["exists"] = False
    verdict = verdict_on("C1", systems)
    assert verdict.verdict == "not reproduced"
    assert [part.verdict for part in verdict.parts] == ["reproduced", "reproduced", "not reproduced"]
    assert "of 3 systems: 2 reproduced, 1 not reproduced" in verdict.reason


def test_knee_in_the_same_place() -> None:
    verdict = verdict_on("C2", all_systems())
    assert verdict.verdict == "reproduced"
    assert "same for both models, C = 128" in verdict.reason


@pytest.mark.parametrize(
    ("lo", "hi", "outcome"),
    [(140.0, 180.0, "not reproduced"), (90.0, 120.0, "inconclusive"), (None, None, "inconclusive")],
)
def test_knee_elsewhere(lo: float | None, hi: float | None, outcome: str) -> None:
    systems = spoiled("knee", "hi", value=hi, systems=spoiled("knee", "lo", value=lo))
    assert verdict_on("C2", systems).verdict == outcome


@pytest.mark.parametrize(
    ("lo", "hi", "outcome", "word"),
    [
        (98.0, 120.0, "reproduced", "by how deep the grid goes, C = 109 (deepest 256) to 109 (deepest 256)"),
        (140.0, 150.0, "inconclusive", "in the published range and out of it"),
        (90.0, 120.0, "reproduced", "by how deep"),
    ],
)
def test_a_knee_that_hangs_on_the_depth_of_the_grid_is_open(
    lo: float, hi: float, outcome: str, word: str
) -> None:
    systems = all_systems()
    for each in systems:
        each["workloads"]["unique"]["knee_by_depth"] = [
            {"deepest": 96, "knee": 70.0, "lo": 65.0, "hi": 75.0},  # too shallow to tell
            {"deepest": 160, "knee": None, "lo": None, "hi": None},
            {"deepest": 256, "knee": 109.0, "lo": lo, "hi": hi},
        ]
    verdict = verdict_on("C2", systems)
    assert verdict.verdict == outcome
    assert word in verdict.parts[0].reason


def test_a_knee_elsewhere_but_shared_is_said() -> None:
    systems = all_systems()
    for each in systems:
        each["workloads"]["unique"]["knee"] |= {
            "knee": 200.0,
            "lo": 190.0,
            "hi": 220.0,
            "first_post_knee": 256,
        }
    verdict = verdict_on("C2", systems)
    assert verdict.verdict == "not reproduced"
    assert "same for both models, C = 256" in verdict.reason


def test_a_finer_grid_does_not_part_two_knees_of_the_same_interval() -> None:
    verdict = verdict_on("C2", spoiled("knee", "first_post_knee", value=112, only=0))
    assert verdict.verdict == "reproduced"
    assert "C = 112, C = 128" in verdict.reason


def test_one_model_alone_cannot_agree_with_another() -> None:
    verdict = verdict_on("C2", all_systems()[1:])
    assert verdict.verdict == "inconclusive"
    assert "only Llama-3.1-70B was measured" in verdict.reason


@pytest.mark.parametrize(("deepest", "outcome"), [(512, "not reproduced"), (128, "inconclusive")])
def test_no_knee_speaks_against_it_only_if_the_grid_went_past_it(deepest: int, outcome: str) -> None:
    systems = spoiled("deepest", "concurrency", value=deepest, systems=spoiled("knee", "exists", value=False))
    assert verdict_on("C2", systems).verdict == outcome


@pytest.mark.parametrize(
    ("value", "outcome"),
    [((10.0, 11.0), "reproduced"), ((20.0, 22.0), "inconclusive"), ((1.5, 1.7), "not reproduced")],
)
def test_plateau_level(value: tuple[float, float], outcome: str) -> None:
    systems = [system("llama-3.1-70b", "1p5d")]
    systems[0]["workloads"]["unique"]["plateau"] |= {"lo": value[0], "hi": value[1]}
    assert verdict_on("C3", systems).verdict == outcome


def test_the_plateau_of_the_340b_has_a_value_of_its_own() -> None:
    systems = spoiled("plateau", "hi", value=12.5, systems=spoiled("plateau", "lo", value=11.5))
    parts = levels(verdict_on("C3", systems))
    assert [part.verdict for part in parts] == ["not reproduced", "reproduced", "reproduced"]


def test_no_plateau_leaves_the_level_open() -> None:
    assert verdict_on("C3", spoiled("plateau", value=None)).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("deepest", "outcome"),
    [
        ({"concurrency": 512, "poa_hat": 40.0, "lo": 38.0, "hi": 43.0}, "inconclusive"),
        ({"concurrency": 512, "poa_hat": 140.0, "lo": 130.0, "hi": 150.0}, "inconclusive"),
        ({"concurrency": 512, "poa_hat": 390.0, "lo": 380.0, "hi": 398.0}, "reproduced"),
        ({"concurrency": 512, "poa_hat": 900.0, "lo": 890.0, "hi": 910.0}, "not reproduced"),
        ({"concurrency": 128, "poa_hat": 40.0, "lo": 38.0, "hi": 43.0}, "inconclusive"),
        (None, "inconclusive"),
    ],
)
def test_deep_saturation(deepest: dict[str, Any] | None, outcome: str) -> None:
    assert verdict_on("C7", spoiled("deepest", value=deepest)).verdict == outcome


@pytest.mark.parametrize(("value", "word"), [(40.0, "below it"), (900.0, "above it")])
def test_deep_saturation_says_on_which_side_it_lies(value: float, word: str) -> None:
    deepest = {"concurrency": 512, "poa_hat": value, "lo": value - 2, "hi": value + 2}
    parts = levels(verdict_on("C7", spoiled("deepest", value=deepest)))
    assert all(word in part.reason for part in parts)


def deep(n_launches: int, kind: str, *, planned: int = 3) -> list[System]:
    """All systems with a level that is open, by so many launches of those that were planned."""
    rests_on = {"n_launches": n_launches, "interval_kind": kind}
    found = {"concurrency": 512, "poa_hat": 180.0, "lo": 130.0, "hi": 250.0, **rests_on}
    deployments = [{"trial": trial} for trial in range(planned)]
    return [{**each, "deployments": deployments} for each in spoiled("deepest", value=found)]


def test_launches_that_would_decide_a_level() -> None:
    verdict = verdict_on("C7", deep(3, "across-launches"))
    assert verdict.verdict == "inconclusive"
    assert verdict.launches_to_decide is not None
    assert verdict.launches_to_decide > 3
    assert f"{verdict.launches_to_decide} launches would decide" in verdict.parts[0].decides
    assert verdict.decides == verdict.parts[0].decides


def test_launches_that_would_decide_are_reckoned_from_those_that_count_in_the_deepest_cell() -> None:
    three = verdict_on("C7", deep(3, "across-launches")).launches_to_decide
    assert verdict_on("C7", deep(3, "across-launches", planned=5)).launches_to_decide == three
    five = verdict_on("C7", deep(5, "across-launches", planned=5)).launches_to_decide
    assert three is not None
    assert five is not None
    assert five > three, "the same interval over five launches tells a larger spread"


@pytest.mark.parametrize(
    ("n_launches", "kind", "word"),
    [(2, "within-run", "fewer than 3 tell no spread"), (3, "within-run", "is not one across them")],
)
def test_an_interval_within_a_run_tells_no_number_of_launches(n_launches: int, kind: str, word: str) -> None:
    verdict = verdict_on("C7", deep(n_launches, kind, planned=5))
    assert verdict.verdict == "inconclusive"
    assert verdict.launches_to_decide is None
    assert word in verdict.decides


def test_no_launches_make_up_for_a_shallow_grid() -> None:
    verdict = verdict_on(
        "C7", spoiled("deepest", "hi", value=100.0, systems=spoiled("deepest", "lo", value=90.0))
    )
    assert verdict.launches_to_decide is None
    assert verdict.decides == "no number of launches decides, a deeper C would"


def test_without_a_knee_nothing_is_deep() -> None:
    assert verdict_on("C7", spoiled("knee", "exists", value=False)).verdict == "inconclusive"


def test_a_knee_past_the_grid_leaves_it_open() -> None:
    assert verdict_on("C7", spoiled("knee", "first_post_knee", value=None)).verdict == "inconclusive"


def growth(ttft: tuple[float | None, float | None], itl: tuple[float | None, float | None]) -> dict[str, Any]:
    return {name: {"value": 5.0, "lo": lo, "hi": hi} for name, (lo, hi) in {"ttft": ttft, "itl": itl}.items()}


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (growth((4, 6), (1, 2)), "reproduced"),
        (growth((1, 2), (4, 6)), "not reproduced"),
        (growth((1, 5), (4, 6)), "inconclusive"),
        (growth((None, None), (1, 2)), "inconclusive"),
        (None, "inconclusive"),
    ],
)
def test_prefill_first(found: dict[str, Any] | None, outcome: str) -> None:
    verdict = verdict_on("C12", spoiled("growth", value=found))
    assert verdict.verdict == outcome
    assert verdict.reason


def test_both_growths_are_given_with_their_intervals() -> None:
    reason = verdict_on("C12", all_systems()).parts[0].reason
    assert reason == "TTFT grows 60.0 [50.0, 70.0] times, ITL 1.20 [1.10, 1.30] times"


def test_a_system_file_without_growth_is_not_testable() -> None:
    systems = all_systems()
    for each in systems:
        del each["workloads"]["unique"]["growth"]
    assert verdict_on("C12", systems).verdict == "not testable here"


# --- engines and workloads ---


def test_a_simulated_engine_is_said_and_a_real_one_is_not() -> None:
    assert "simulated engines" in verdict_on("C1", all_systems()).notes[-1]
    real = [{**each, "engine": "B200"} for each in all_systems()]
    verdict = verdict_on("C1", real)
    assert not any("simulated" in note for note in verdict.notes)
    assert verdict.engine == "B200"


def test_a_topology_that_the_paper_did_not_measure_settles_nothing() -> None:
    ours = spoiled("knee", "hi", value=220.0, systems=spoiled("knee", "lo", value=210.0))[2]
    ours = {**ours, "topology": "2p4d", "topology_title": "2P4D"}
    verdict = verdict_on("C2", [*all_systems(), ours])
    assert verdict.verdict == "reproduced"
    assert [part.verdict for part in verdict.parts] == ["reproduced"] * 3 + ["not reproduced"]
    assert verdict.parts[3].notes[-1] == "the paper did not measure this topology, so it does not count"
    alone = verdict_on("C2", [ours])
    assert (alone.verdict, alone.reason) == ("not testable here", "no topology of the paper was measured")


def test_engines_and_workloads_are_judged_apart() -> None:
    systems = all_systems()
    other = spoiled("plateau", "hi", value=2.0, systems=spoiled("plateau", "lo", value=1.0))
    for each, different in zip(systems, other, strict=True):
        each["workloads"]["templates"] = {**different["workloads"]["unique"], "title": "5 templates"}
    systems += [{**each, "engine": "B200"} for each in all_systems()]
    found = [
        (verdict.workload, verdict.engine, verdict.verdict)
        for verdict in judge(CLAIMS, systems)
        if verdict.id == "C3"
    ]
    assert found == [
        ("unique", "simulated", "reproduced"),
        ("templates", "simulated", "not reproduced"),
        ("unique", "B200", "reproduced"),
    ]


def test_judging_changes_nothing() -> None:
    systems = all_systems()
    before = copy.deepcopy(systems)
    assert judge(CLAIMS, systems) == judge(CLAIMS, systems)
    assert systems == before


# --- files ---


def test_files(tmp_path: Path) -> None:
    verdicts = judge(CLAIMS, all_systems())
    files = write(verdicts, tmp_path / "results")
    assert [file.name for file in files] == ["claims.csv", "claims.json", "claims.md"]
    rows = list(csv.DictReader(files[0].open()))
    assert tuple(rows[0]) == module.COLUMNS
    assert len(rows) == sum(1 + len(verdict.parts) for verdict in verdicts)
    first = [row for row in rows if row["id"] == "C3" and "scale-free" not in row["quantity"]]
    assert [row["scope"] for row in first] == [
        "all systems",
        "Nemotron-4-340B 1P2D",
        "Llama-3.1-70B 1P2D",
        "Llama-3.1-70B 1P5D",
    ]
    assert (first[1]["measured"], first[1]["lo"], first[1]["hi"]) == ("18.7", "18.2", "19.2")
    assert "18.7 [18.2, 19.2]" in first[0]["measured"]
    documents = json.loads(files[1].read_text())
    assert [document["id"] for document in documents] == [verdict.id for verdict in verdicts]
    assert documents[2]["parts"][0]["hi"] == 19.2
    text = files[2].read_text()
    assert text.count("\n| C") == len(re.findall(r"\n## C\d", text)) == 13
    assert "(96, 128]" in text
    assert "Engine: simulated engine, model time dilated 3x, predicted B200 timing table, tier full." in text
    assert {(row["tier"], row["dilation"]) for row in rows if row["engine"]} == {("full", "3x")}
    assert first[0]["quantity"] == first[1]["quantity"] == "PoA-hat on the plateau"
    assert "Nemotron-4-340B 1P2D, PoA-hat on the plateau 18.7 [18.2, 19.2]: reproduced; " in text
    assert "PoA-hat on the plateau. Nemotron-4-340B 1P2D: 18.7 [18.2, 19.2]; " in first[0]["measured"]
    assert (
        first[0]["command"] == documents[2]["command"] == "make reproduce TIER=full EXPERIMENTS=equilibrium"
    )
    assert documents[2]["parts"][0]["published"] == [18.7, 18.7]


def test_no_sentence_stands_twice_for_people() -> None:
    other = [{**each, "workloads": {"hot": each["workloads"]["unique"]}} for each in all_systems()]
    text = module.render_markdown(judge(CLAIMS, [*all_systems(), *other]))
    # A bold line names the conditions of a verdict, which verdicts share.
    lines = [line for line in text.splitlines() if len(line) > 40 and not line.startswith("**")]
    assert len(lines) > 40
    assert sorted(set(lines)) == sorted(lines)
    assert text.count("our definition") == text.count("no measurement of the hardware") == 1


def test_what_a_verdict_took_and_how_it_is_made_again_is_told() -> None:
    deployments = [{"trial": 1, "wall_s": 90.0}, {"trial": 2, "wall_s": 30.0}]
    verdict = verdict_on("C2", [{**each, "deployments": deployments} for each in all_systems()])
    assert verdict.minutes == 6.0
    assert verdict.command == "make reproduce TIER=full EXPERIMENTS=equilibrium"
    untested = verdict_on("C10", all_systems())
    assert untested.minutes is None
    assert untested.command == "make reproduce TIER=full EXPERIMENTS=adaptive MODELS=llama-3.1-70b"
    assert untested.decides == "measuring it would decide"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"lo": 18.0, "hi": 25.0}, "a narrower interval would decide"),
        ({"lo": None, "hi": None}, "an interval would decide, so 3 launches"),
    ],
)
def test_whatever_is_left_open_says_what_would_decide(changes: dict[str, Any], word: str) -> None:
    systems = all_systems()
    for each in systems:
        each["workloads"]["unique"]["plateau"] |= changes
    verdict = verdict_on("C3", systems)
    assert verdict.verdict == "inconclusive"
    assert word in verdict.decides
    assert verdict_on("C3", all_systems()).decides == ""


@pytest.mark.parametrize(
    ("launches", "kind"), [(1, "95 % within-run"), (2, "95 % within-run"), (3, "95 % across 3 launches")]
)
def test_the_kind_of_interval_is_said(launches: int, kind: str) -> None:
    systems = [{**each, "deployments": [{"trial": k} for k in range(launches)]} for each in all_systems()]
    assert verdict_on("C1", systems).label.endswith(f"intervals: {kind}")


def test_a_bar_in_a_text_does_not_break_the_table() -> None:
    verdict = Verdict("C1", "c", "a|b", "p", "inconclusive", "r")
    assert "a\\|b" in module.render_markdown([verdict])


def test_empty_verdicts_are_written_as_such(tmp_path: Path) -> None:
    write([], tmp_path)
    assert json.loads((tmp_path / "claims.json").read_text()) == []
