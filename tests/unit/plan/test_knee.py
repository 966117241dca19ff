"""The knee between E1 and the loads of E2 to E4: rounded, kept, refused, recorded, on E1's grid."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from anarchy.config import Choices, Level, Study
from anarchy.config.checks import KNEE_POINTS
from anarchy.config.files import load_study
from anarchy.config.knees import KNEES_FILE, load_knees, standing_in
from anarchy.config.loads import LOWEST_KNEE, Knee, at_knee, on_grid, reference_limit
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG, Layout
from anarchy.plan.knee import (
    PLAN_FILE,
    Estimated,
    Failed,
    estimated,
    read_loads,
    sealed_knees,
    settled,
    write_loads,
)
from anarchy.plan.resolve import resolve
from anarchy.plan.workbench import open_run
from anarchy.stats.knee import C_MIN, MIN_POINTS
from anarchy.tables.knees import knee_words
from anarchy.trace.packed import INDEX_FILE
from tests.helpers.knee_samples import PROVENANCE, recorded_knee

STUDY = load_study(CONFIG)
LLAMA, NEMOTRON = "llama-3.1-70b", "nemotron-4-340b"
SERVED = {"engine": "mocker", "version": "ai-dynamo 1.5.1", "served": "d0"}


# --- rounding, and why a sealed knee is kept ---


def test_a_knee_is_used_as_a_whole_c() -> None:
    assert settled(Estimated(87.3, 80.0, 95.0), []) == 87
    assert settled(Estimated(0.2, 0.1, 0.3), []) == 1


def test_a_sealed_knee_is_kept_while_the_interval_holds_it() -> None:
    found = Estimated(90.6, 86.0, 95.0)
    assert settled(found, [87]) == 87
    assert settled(found, [85]) == 91
    assert settled(found, [87, 92, 60]) == 92, "of several the nearest"
    assert settled(Estimated(90.6), [91]) == 91, "without an interval only the value itself"
    assert settled(Estimated(90.6), [90]) == 91


def test_no_knee_is_no_load_whatever_was_sealed() -> None:
    assert settled(Estimated(None, reason="flat"), [87]) is None


@given(st.floats(8, 500), st.floats(0.5, 50), st.floats(-1, 1))
def test_an_estimate_made_again_inside_its_interval_measures_nothing_again(
    value: float, half: float, moved: float
) -> None:
    first = settled(Estimated(value, value - half, value + half), [])
    assert first is not None
    again = value + moved * half / 2
    assert settled(Estimated(again, again - half - 0.5, again + half + 0.5), [first]) == first


# --- loads.json, and the seals in plan.json ---


def test_loads_hold_the_knee_and_nothing_else(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    path = write_loads(layout, "m", "t", Knee(87), {**SERVED, "value": 87.2, "run": "r"})
    assert json.loads(path.read_text()) == {"knee": 87}
    assert read_loads(layout, "m", "t", (64, 128)) == Knee(87, (64, 128))
    path = write_loads(layout, "m", "t", Knee(None, reason="flat"), SERVED)
    assert json.loads(path.read_text()) == {"knee": None, "reason": "flat"}
    assert read_loads(layout, "m", "t", ()) == Knee(None, reason="flat")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "has not told the knee of this system yet"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"knee": -1}', "key 'knee': -1 is no C"),
        ('{"knee": "87"}', "key 'knee': '87' is no C"),
    ],
)
def test_loads_that_are_gone_or_spoiled(tmp_path: Path, text: str | None, what: str) -> None:
    path = Layout(tmp_path).loads("m", "t")
    if text is not None:
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with pytest.raises(UserError, match=what) as caught:
        read_loads(Layout(tmp_path), "m", "t", ())
    assert caught.value.where == path
    assert "run snakemake" in caught.value.remedy


def seal_plan(layout: Layout, routing: str, knee: int | None, *, cell: bool = True, **origin: str) -> None:
    folder = layout.deployment("adaptive", "m", "t", routing, 1)
    (folder / "cells" / "c").mkdir(parents=True)
    document = {"knee": {"value": knee, "origin": {**SERVED, **origin}}}
    (folder / PLAN_FILE).write_text(json.dumps(document))
    if cell:
        (folder / "cells" / "c" / "manifest.json").write_text("{}")


def test_sealed_knees_are_those_of_measured_loads_of_the_same_stack(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    seal_plan(layout, "builtin", 87)
    seal_plan(layout, "pinned", 90)
    seal_plan(layout, "unmeasured", 91, cell=False)
    seal_plan(layout, "other", 92, engine="vllm")
    seal_plan(layout, "newer", 93, version="ai-dynamo 1.6.1")
    seal_plan(layout, "none", None)
    seal_plan(layout, "packed", 94, cell=False)
    packed = layout.deployment("adaptive", "m", "t", "packed", 1)
    (packed / INDEX_FILE).write_text(json.dumps({"cells": [{"cell": "c"}]}))
    assert sealed_knees(layout, "m", "t", SERVED) == [87, 94, 90]
    assert sealed_knees(layout, "other", "t", SERVED) == []


# --- what E1 tells ---


def ladder(*, exists: bool, **knee: Any) -> dict[str, Any]:
    return {"workloads": {"unique": {"knee": {"exists": exists, "reason": "one line does", **knee}}}}


def test_a_knee_that_e1_found() -> None:
    found = estimated(ladder(exists=True, knee=87.2, lo=80.0, hi=95.0), [], Path("system.json"))
    assert found == Estimated(87.2, 80.0, 95.0)


def test_no_bend_is_a_finding() -> None:
    assert estimated(ladder(exists=False), [], Path("s")) == Estimated(None, reason="one line does")


def test_cells_that_failed_for_what_they_showed_are_part_of_it() -> None:
    found = estimated(ladder(exists=False), [Failed(384, ("not_steady",))], Path("s"))
    assert found.value is None
    assert "C = 384 (not_steady)" in found.reason


@pytest.mark.parametrize("reasons", [("client_bound",), ("errors", "short")])
def test_cells_that_failed_because_of_the_machine_leave_it_open(reasons: tuple[str, ...]) -> None:
    failed = [Failed(192, ("not_steady",)), Failed(384, reasons)]
    with pytest.raises(UserError, match="cells failed because of the machine") as caught:
        estimated(ladder(exists=False), failed, Path("e/system.json"), [Path("r/deployment.json")])
    assert "`rm r/deployment.json e/system.json`" in caught.value.remedy
    assert estimated(ladder(exists=True, knee=87.2), failed, Path("s")).value == 87.2


def test_e1_without_the_workload_of_knees() -> None:
    with pytest.raises(UserError, match="holds no workload unique"):
        estimated({"workloads": {"hot": {}}}, [], Path("s"))


# --- recorded knees ---


def written(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "knees.yaml"
    path.write_text(yaml.safe_dump({"knees": list(entries)}))
    return path


def loaded(path: Path) -> Any:
    return load_knees(path, STUDY.models, STUDY.topologies)


ENTRY = {**PROVENANCE, "interval": [156.3, 167.6], "served": "d0"}


@pytest.mark.parametrize(
    ("change", "what", "remedy"),
    [
        ({"model": "llama-3"}, "key 'knees.0.model': there is no model 'llama-3'", LLAMA),
        ({"topology": "9p1d"}, "key 'knees.0.topology': there is no topology '9p1d'", "1p5d"),
        ({"value": 200}, "value 200 lies outside its interval", "knees.0"),
        ({"workload": "hot"}, "a knee under hot serves no run", "take this entry out"),
        ({"engine": "cuda"}, "there is no engine 'cuda'", "known engines: mocker, virtual, vllm"),
        ({"run": ""}, "'knees.0.run'", "knees.0.run"),
        ({"date": "yesterday"}, "'knees.0.date'", "knees.0.date"),
        *(
            ({key: None}, f"key 'knees.0.{key}' is missing", f"add {key}:")
            for key in ("interval", "engine", "version", "served", "workload", "run", "date")
        ),
    ],
)
def test_a_recorded_knee_that_does_not_hold(
    tmp_path: Path, change: dict[str, Any], what: str, remedy: str
) -> None:
    entry = {key: value for key, value in {**ENTRY, **change}.items() if value is not None}
    path = written(tmp_path, entry)
    with pytest.raises(UserError) as caught:
        loaded(path)
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert caught.value.where == path


def test_one_system_has_one_knee_of_a_stack(tmp_path: Path) -> None:
    other = {**ENTRY, "version": "ai-dynamo 1.6.1"}
    assert len(loaded(written(tmp_path, ENTRY, other)).knees) == 2
    with pytest.raises(UserError, match="a second knee of llama"):
        loaded(written(tmp_path, ENTRY, {**ENTRY, "value": 160}))


def test_the_shipped_knees_are_of_the_shipped_study() -> None:
    shipped = loaded(KNEES_FILE)
    assert {(knee.model, knee.topology, knee.value) for knee in shipped.knees} == {
        *((NEMOTRON, "1p2d", 87), (LLAMA, "1p2d", 162), (LLAMA, "1p5d", 141))
    }
    assert open_run({"experiments": ["all"], "tier": "full", "knees": "recorded"}).run.knees == shipped.knees


@pytest.mark.parametrize(
    ("wanted", "difference"),
    [
        (("vllm", "ai-dynamo 1.5.1", "d0"), "engine mocker, here vllm"),
        (("mocker", "ai-dynamo 0.9.0", "d0"), "version ai-dynamo 1.5.1, here ai-dynamo 0.9.0"),
        (("mocker", "ai-dynamo 1.5.1", "d1"), "served d0, here d1"),
    ],
)
def test_a_knee_of_something_else_stands_in_for_nothing(
    wanted: tuple[str, str, str], difference: str
) -> None:
    knees = [recorded_knee("d0")]
    assert standing_in(knees, LLAMA, "1p2d", "mocker", "ai-dynamo 1.5.1", "d0") is knees[0]
    with pytest.raises(UserError, match="no recorded knee may stand in") as caught:
        standing_in(knees, LLAMA, "1p2d", *wanted)
    assert difference in caught.value.what
    assert "let E1 measure it (knees=measured" in caught.value.remedy
    with pytest.raises(UserError, match="none is recorded"):
        standing_in(knees, NEMOTRON, "1p2d", "mocker", "ai-dynamo 1.5.1", "d0")


def test_a_real_engine_takes_no_simulated_knee(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(json.dumps({"partition": "p", "interface": "lo", "models": {LLAMA: "/w"}}))
    choices = {"engine": "vllm", "experiments": ["adaptive"], "tier": "live", "site": str(site)}
    with pytest.raises(UserError, match="engine mocker, here vllm"):
        open_run({**choices, "knees": "recorded"})
    planned = open_run(choices).run.deployments
    assert [one.experiment for one in planned if one.prerequisite] == ["equilibrium"]


E3_AND_E4: dict[str, Any] = {"tier": "quick", "models": (LLAMA,), "topologies": ("1p2d",)}
"""Of which E3 is measured live and E4 in virtual time."""


@pytest.mark.parametrize("experiments", [("pareto", "adaptive"), ("adaptive", "pareto")])
def test_no_order_lets_one_engine_take_the_knee_of_another(experiments: tuple[str, ...]) -> None:
    """Live knees alone are recorded."""
    with pytest.raises(UserError, match="engine mocker, here virtual"):
        open_run({**E3_AND_E4, "experiments": experiments, "knees": "recorded"})


def test_each_engine_of_a_system_is_loaded_by_its_own_knee() -> None:
    choices = {**E3_AND_E4, "experiments": ("adaptive", "pareto")}
    bench = open_run(choices)
    values = {"mocker": 160, "virtual": 165}
    served = {one.engine: bench.served(one) for one in bench.deployments if one.hangs_on_knee}
    knees = [recorded_knee(**facts, value=values[engine]) for engine, facts in served.items()]
    run = resolve(STUDY, Choices(**choices, knees="recorded"), bench.profiles, bench.stacks, knees)
    assert {(one.engine, one.predicted.knee) for one in run.deployments} == {*values.items()}
    loaded_by = dataclasses.replace(bench, run=run)
    assert {(one.engine, loaded_by.knee(one).value) for one in loaded_by.deployments} == {*values.items()}


def test_a_tier_at_which_e1_tells_no_knee_is_refused() -> None:
    """Before anything is measured; the limits are those of the fit."""
    assert (LOWEST_KNEE, KNEE_POINTS) == (C_MIN, MIN_POINTS)
    document = STUDY.model_dump()
    document["experiments"]["equilibrium"]["tiers"]["live"]["concurrency"] = (2, 16, 32, 64)
    few = Study.model_validate(document)
    document["experiments"]["equilibrium"]["tiers"].pop("live")
    none = Study.model_validate(document)
    profiles = open_run({}).profiles
    for study, what in ((few, "has 3 C from 8 on, a knee takes 4"), (none, "has no tier 'live'")):
        with pytest.raises(UserError, match="a knee that nothing measures") as caught:
            resolve(study, Choices(experiments=("adaptive",), tier="live"), profiles)
        assert what in caught.value.what
        assert "knees=recorded" in caught.value.remedy


# --- loads and the grid of E1 ---


@pytest.mark.parametrize(
    ("wanted", "knee", "grid", "C"),
    [
        (324, 162, (128, 192, 384), 384),
        (218, 87, (128, 192, 384), 192),
        (174, 87, (64, 128, 256), 128),
        (324, 162, (128,), 324),
        (960, 160, (192, 384), 960),
        (324, 162, (), 324),
    ],
)
def test_a_load_moves_to_a_c_of_e1_that_is_near(
    wanted: int, knee: int, grid: tuple[int, ...], C: int
) -> None:
    assert on_grid(wanted, knee, grid) == C


@pytest.mark.parametrize("tier", ["smoke", "live", "repeats", "full"])
@pytest.mark.parametrize("experiment", ["adaptive", "pareto"])
def test_e1_and_e3_or_e4_measure_one_saturated_point(tier: str, experiment: str) -> None:
    """Claim C13 compares it between experiments; at every knee that these systems may have."""
    one, ladder_ = STUDY.experiments[experiment], STUDY.experiments["equilibrium"]
    grid = ladder_.tiers[tier].grid
    systems = [(system.model, system.topology) for system in one.systems_of(tier)]
    for recorded in (knee for knee in loaded(KNEES_FILE).knees if (knee.model, knee.topology) in systems):
        for value in range(int(0.85 * recorded.value), int(1.15 * recorded.value)):
            knee = Knee(value, grid)
            loads = [knee.concurrency(level) for level in one.tiers[tier].levels]
            assert [C for C in loads if C in grid and 1.2 * value < C], (recorded.model, value)
            names = {
                level.name: C for level, C in zip(one.tiers[tier].named_loads.values(), loads, strict=False)
            }
            assert len(set(names.values())) == len(names), "loads are told apart by their C"


def test_a_recorded_knee_keeps_the_multiples_as_they_are() -> None:
    bench = open_run({"experiments": ["adaptive"], "tier": "live", "knees": "recorded"})
    (stages, *_) = (cell.stages for plan in bench.plans for cell in plan.cells)
    assert [stage.concurrency for stage in stages] == [65, 162, 324, 324, 32]


def test_a_load_may_be_a_c_of_its_own() -> None:
    level = Level(name="at", concurrency=218)
    assert Knee(87, (192,)).concurrency(level) == Knee(None).concurrency(level) == 218
    assert Knee(None).concurrency(Level(name="at", knee_times=2.5)) == 0


@pytest.mark.parametrize(
    ("knee", "limit"), [(87, 65), (162, 65), (141, 65), (400, 160), (40, 30), (None, 65)]
)
def test_the_affine_fit_ends_below_the_knee(knee: int | None, limit: int) -> None:
    """At the recorded knees where it always ended; at others between 0.4 and 0.75 of them."""
    assert reference_limit(65, knee) == limit
    assert knee is None or at_knee(knee, 0.4) <= limit <= at_knee(knee, 0.75)


# --- before E1, and afterwards ---


def test_a_part_of_the_study_brings_e1_of_its_systems_along() -> None:
    bench = open_run({"experiments": ["adaptive"], "tier": "full", "models": LLAMA, "topologies": "1p5d"})
    before = [one for one in bench.run.deployments if one.prerequisite]
    assert {(one.experiment, one.model, one.topology) for one in before} == {("equilibrium", LLAMA, "1p5d")}
    assert len(before) == 3, "every launch"
    assert bench.systems() == (("adaptive", LLAMA, "1p5d"),)
    whole = open_run({"experiments": ["all"], "tier": "full"})
    assert not any(one.prerequisite for one in whole.run.deployments)
    alone = open_run({"experiments": ["pareto"], "tier": "live", "sets": "pinned"})
    assert {one.routing for one in alone.run.deployments if one.prerequisite} == {"static"}


def test_the_limit_of_a_job_holds_at_every_knee_that_e1_can_tell() -> None:
    bench = open_run({"experiments": ["saturation", "adaptive", "pareto"], "tier": "live"})
    grid = STUDY.experiments["equilibrium"].tiers["live"].grid
    from anarchy.plan.binding import wall_s

    for one in bench.asked:
        profile = bench.profiles[one.model.profile]
        longest = max(wall_s(one, Knee(C, grid), profile) for C in range(8, 385, 8))
        predicted = bench.predicted(one)
        assert predicted.wall_s <= longest <= 1.02 * predicted.at_most_s


def test_a_prediction_says_what_it_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    (first, *_) = open_run({"experiments": ["adaptive"], "tier": "live"}).run.deployments
    assert (first.predicted.knee, first.predicted.knee_from[:16]) == (162, "the recorded one")
    monkeypatch.setattr("anarchy.plan.workbench.load_knees", lambda *_: type("None_", (), {"knees": ()}))
    (first, *_) = open_run({"experiments": ["adaptive"], "tier": "live"}).run.deployments
    assert first.predicted.knee_from == "timing table llama-3.1-70b-tp4, until E1 tells it"
    assert 162 < (first.predicted.knee or 0) < 300


def test_words_of_a_knee() -> None:
    knee = {"used": 97, "value": 97.3, "interval": [87.6, 108.0], "run": "2585c302", "label": "simulated"}
    knee |= {"source": "measured", "version": "ai-dynamo 1.5.1", "date": "2026-11-28"}
    words = knee_words({"knee_from": knee}, "unique")
    for part in ("C = 97", "97.3 [87.6, 108.0]", "run 2585c302", "engine simulated", "2026-11-28"):
        assert part in words
    assert knee_words({"knee_from": knee}, "hot") == f"{words}; it is that of workload unique"
    assert knee_words({"knee_from": None}, "unique") == knee_words({}, "unique") == ""
    assert "E1 found no knee (flat)" in knee_words({"knee_from": {"used": None, "reason": "flat"}}, "unique")
