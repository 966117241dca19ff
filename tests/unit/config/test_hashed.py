"""Hashes survive: keys that are added, renamed or get another default, against cells sealed already."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from anarchy.config import AdaptivePolicy, Controller, Model, Policy, Timing, Topology, Workload
from anarchy.config.files import load_study
from anarchy.config.hashed import FOR_PEOPLE, KEPT, LATER, hashed
from anarchy.ground.layout import CONFIG, PROJECT
from anarchy.plan.workbench import open_run

STUDY = load_study(CONFIG)
SAMPLE = PROJECT / "data" / "sample"
BLOCKS: tuple[type[BaseModel], ...] = (Model, Topology, Policy, Workload, Timing, Controller)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_every_key_of_a_block_says_what_it_does_to_sealed_cells(block: type[BaseModel]) -> None:
    known = KEPT[block].keys() | LATER.get(block, {}).keys() | FOR_PEOPLE
    assert block.model_fields.keys() <= known
    assert not KEPT[block].keys() & LATER.get(block, {}).keys()


@pytest.mark.parametrize("block", [Policy, Workload], ids=lambda block: block.__name__)
def test_no_two_keys_share_a_name(block: type[BaseModel]) -> None:
    names = [*KEPT[block].values(), *(name for name, _ in LATER[block].values())]
    assert len(names) == len(set(names))


def test_what_is_hashed_of_the_oldest_cells() -> None:
    """Of E1, sealed before there was pinned routing or a skew."""
    assert hashed(STUDY.policies["static"]) == {"name": "static", "kind": "kv", "tau": 0.0, "omega": 1.0}
    assert hashed(STUDY.workloads["unique"]).keys() == {
        *("name", "input_tokens", "output_tokens", "output_jitter", "templates")
    }


def document(block: BaseModel, **changes: Any) -> dict[str, Any]:
    return {**block.model_dump(), **changes}


def test_a_key_that_is_added_changes_nothing_at_the_value_it_came_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wider(Workload):
        burst: float = 0.0

    unique = STUDY.workloads["unique"]
    monkeypatch.setitem(KEPT, Wider, KEPT[Workload])
    monkeypatch.setitem(LATER, Wider, LATER[Workload])
    with pytest.raises(KeyError, match="burst"):
        hashed(Wider.model_validate(document(unique)))
    monkeypatch.setitem(LATER, Wider, {**LATER[Workload], "burst": ("burst", 0.0)})
    assert hashed(Wider.model_validate(document(unique))) == hashed(unique)
    assert hashed(Wider.model_validate(document(unique, burst=1.0))) == {**hashed(unique), "burst": 1.0}


def test_a_default_that_is_edited_makes_its_cells_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key came with 0: cells of before were measured so, whatever the default is now."""

    class Bursting(Workload):
        burst: float = 0.5

    unique = STUDY.workloads["unique"]
    monkeypatch.setitem(KEPT, Bursting, KEPT[Workload])
    monkeypatch.setitem(LATER, Bursting, {**LATER[Workload], "burst": ("burst", 0.0)})
    assert hashed(Bursting.model_validate(document(unique))) != hashed(unique)


@pytest.mark.parametrize(
    ("key", "introduced", "other"),
    [("think_s", 0.0, 0.5), ("unique_tail_tokens", 0, 128), ("send_every_s", 0.0, 0.5)],
)
def test_a_factor_of_a_workload_counts_only_where_it_is_used(
    key: str, introduced: object, other: object
) -> None:
    """Written out or left out: cells sealed before there was such a key keep their hash."""
    templates = STUDY.workloads["templates"]
    told = {**document(templates), "input_tokens": 1024}
    before = hashed(Workload.model_validate({name: value for name, value in told.items() if name != key}))
    assert key not in before
    assert hashed(Workload.model_validate({**told, key: introduced})) == before
    assert hashed(Workload.model_validate({**told, key: other})) == {**before, key: other}


def test_a_default_of_today_that_is_edited_makes_its_cells_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    class Longer(Timing):
        min_windows: int = 60

    monkeypatch.setitem(KEPT, Longer, KEPT[Timing])
    given = {"warmup_s": 1.0, "measure_s": 1.0, "measure_max_s": 2.0}
    before, after = hashed(Timing.model_validate(given)), hashed(Longer.model_validate(given))
    assert {key for key in before if before[key] != after[key]} == {"min_windows"}


def test_a_key_that_is_renamed_keeps_the_name_it_is_hashed_under(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(BaseModel):
        name: str
        title: str
        kind: str
        router: str
        tau: float | None
        omega: float | None

    monkeypatch.setitem(KEPT, Renamed, KEPT[Policy])
    later = {key: LATER[Policy][key] for key in ("tau", "omega")}
    monkeypatch.setitem(LATER, Renamed, {**later, "router": LATER[Policy]["way"]})
    for name in ("static", "pinned-static"):
        policy = STUDY.policies[name]
        renamed = Renamed(**document(policy, router=policy.way))
        assert hashed(renamed) == hashed(policy)


def test_a_better_title_costs_nothing() -> None:
    static = STUDY.policies["static"]
    assert hashed(static.model_copy(update={"title": "another"})) == hashed(static)


def test_a_controller_counts_where_a_policy_has_one() -> None:
    adaptive = STUDY.policies["adaptive"]
    assert isinstance(adaptive, AdaptivePolicy)
    assert hashed(adaptive)["controller"] == hashed(adaptive.controller)
    assert "controller" not in hashed(STUDY.policies["static"])


@pytest.mark.parametrize(
    ("run", "tier", "seed"),
    [("live", "live", None), ("live-repeats", "live-repeats", None), ("seed-1", "live", 1)],
)
def test_no_recorded_cell_is_orphaned(run: str, tier: str, seed: int | None) -> None:
    """By their manifests alone; `test_sample` reads the traces as well."""
    bench = open_run({"tier": tier, "experiments": ["all"], "seed": seed, "knees": "recorded"})
    planned = {cell.plan_hash for plan in bench.plans for cell in plan.cells}
    manifests = list((SAMPLE / run / "raw").glob("*/*/*/*/*/cells/*/manifest.json"))
    assert manifests
    for path in manifests:
        assert json.loads(path.read_text())["plan_hash"] in planned, path
