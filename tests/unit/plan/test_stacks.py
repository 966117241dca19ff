"""The word `stack` of a run, a tier or a set: what is planned with it, hashed, frozen and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anarchy.config import Experiment, KvPolicy, Limits, RoutingSet
from anarchy.config.files import load_study
from anarchy.config.hashed import hashed
from anarchy.ground.errors import UserError
from anarchy.plan.launches import DeploymentPlan
from anarchy.plan.run import Run, read_run
from anarchy.plan.workbench import Workbench, open_frozen, open_run
from anarchy.trace.starts import StackStart, note_start, recorded_start_s

E1 = "equilibrium"
LLAMA = {"models": ("llama-3.1-70b",), "topologies": ("1p2d",)}
NEMOTRON = {"models": ("nemotron-4-340b",)}


def bench(**choices: Any) -> Workbench:
    return open_run({"tier": "live", "experiments": (E1,), **LLAMA, **choices})


def plans(**choices: Any) -> tuple[DeploymentPlan, ...]:
    return bench(**choices).plans


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change an experiment of the study as it is loaded: keys of a tier, and its sets there."""

    def change(name: str, sets: dict[str, RoutingSet] | None = None, at: str = "live", **tier: Any) -> None:
        def changed_study(folder: Path) -> Any:
            study = load_study(folder)
            one: Experiment = study.experiments[name]
            keys = {**tier, **({"routing": sets} if sets else {})}
            tiers = {**one.tiers, at: one.tiers[at].model_copy(update=keys)}
            experiment = one.model_copy(update={"tiers": tiers})
            return study.model_copy(update={"experiments": {**study.experiments, name: experiment}})

        monkeypatch.setattr("anarchy.plan.workbench.load_study", changed_study)

    return change


def test_without_a_word_the_usual_stack_serves_and_saying_so_changes_nothing() -> None:
    (silent,), (said,) = plans(), plans(stack="1.5.1")
    assert (silent.stack.dynamo, silent.stack.version) == ("1.5.1", "ai-dynamo 1.5.1")
    assert silent.plan_hash == said.plan_hash
    assert [cell.seed for cell in silent.cells] == [cell.seed for cell in said.cells]


def test_another_stack_is_other_cells_with_the_same_seeds() -> None:
    (ours,), (papers,) = plans(), plans(stack="0.9.0")
    assert (papers.stack.dynamo, papers.stack.version) == ("0.9.0", "ai-dynamo 0.9.0")
    assert papers.start_s > ours.start_s
    assert [cell.name for cell in papers.cells] == [cell.name for cell in ours.cells]
    assert [cell.seed for cell in papers.cells] == [cell.seed for cell in ours.cells]
    assert not {cell.plan_hash for cell in papers.cells} & {cell.plan_hash for cell in ours.cells}


def test_a_set_names_its_stack_before_the_run_and_the_run_before_the_tier(
    changed: Callable[..., None],
) -> None:
    sets = {
        "papers": RoutingSet(policies=("static",), stack="0.9.0"),
        "any": RoutingSet(policies=("static",)),
    }
    changed(E1, sets, stack="0.9.0")
    assert {one.routing: one.stack.dynamo for one in plans()} == {"papers": "0.9.0", "any": "0.9.0"}
    assert {one.routing: one.stack.dynamo for one in plans(stack="1.5.1")} == {
        "papers": "0.9.0",
        "any": "1.5.1",
    }


def test_reuse_counts_in_the_hash_only_where_it_is_not_what_the_stack_does(
    changed: Callable[..., None],
) -> None:
    def hashes(asked: bool | None) -> list[str]:
        changed(E1, {"static": RoutingSet(policies=("static",), stack="0.9.0", assume_kv_reuse=asked)})
        (one,) = plans()
        assert one.assume_kv_reuse is (False if asked is False else None)
        return [cell.plan_hash for cell in one.cells]

    silent, yes, no = hashes(None), hashes(True), hashes(False)
    assert silent == yes
    assert not {*silent} & {*no}


def test_a_frozen_run_keeps_its_stacks(changed: Callable[..., None], tmp_path: Path) -> None:
    sets = {"static": RoutingSet(policies=("static",), stack="0.9.0", assume_kv_reuse=False)}
    changed(E1, sets)
    before = bench(results=str(tmp_path / "results"))
    path = before.freeze()
    after = open_frozen(path)
    assert [one.plan_hash for one in after.plans] == [one.plan_hash for one in before.plans]
    run: Run = read_run(path)
    assert [(one.stack, one.assume_kv_reuse) for one in run.deployments] == [("0.9.0", False)]
    assert run.versions["serving"] == "ai-dynamo 0.9.0"


@pytest.mark.parametrize(
    ("choices", "what", "remedy"),
    [
        (
            {"stack": "0.9.0", "engine": "virtual"},
            "engine virtual cannot be served with stack 0.9.0",
            "mocker",
        ),
        ({"stack": "0.8.0"}, "there is no stack '0.8.0'", "1.5.1, 0.9.0"),
    ],
)
def test_what_a_stack_cannot_run_is_refused(choices: dict[str, Any], what: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        plans(**choices)
    assert what in str(caught.value)
    assert remedy in str(caught.value.remedy)


def test_what_a_set_asks_of_the_wrong_stack_is_refused(changed: Callable[..., None]) -> None:
    changed(E1, {"static": RoutingSet(policies=("static",), assume_kv_reuse=True)})
    with pytest.raises(UserError, match=r"stack 1\.5\.1 cannot assume KV reuse") as caught:
        plans()
    assert "0.9.0" in str(caught.value.remedy)
    changed(E1, limits=Limits(kv_link_gb_s=12.0))
    plans()
    with pytest.raises(UserError, match="would ignore the limit kv_link_gb_s"):
        plans(stack="0.9.0")


PINNED = {"policies": ("pinned-static", "pinned-unshared")}


def test_a_policy_that_says_how_shared_blocks_count_is_other_cells(changed: Callable[..., None]) -> None:
    changed(E1, {"pinned": RoutingSet(**PINNED)})
    (one,) = plans()
    hashes = {
        policy: {cell.plan_hash for cell in one.cells if cell.policy.name == policy}
        for policy in PINNED["policies"]
    }
    assert not hashes["pinned-static"] & hashes["pinned-unshared"]
    unset = KvPolicy(name="p", title="a title", way="pinned", tau=0.0, omega=1.0)
    said = unset.model_copy(update={"assume_kv_reuse": False})
    assert hashed(said) == {**hashed(unset), "assume_kv_reuse": False}


@pytest.mark.parametrize(
    ("one", "what", "remedy"),
    [
        ({**PINNED, "stack": "0.9.0"}, "0.9.0 would ignore assume_kv_reuse in the override", "to the set"),
        (
            {"policies": ("pinned-static",), "assume_kv_reuse": False},
            r"of a set does nothing for its pinned policies with stack 1\.5\.1",
            "to the policies",
        ),
    ],
)
def test_how_shared_blocks_count_is_refused_where_nobody_would_hear_it(
    changed: Callable[..., None], one: dict[str, Any], what: str, remedy: str
) -> None:
    changed(E1, {"pinned": RoutingSet(**one)})
    with pytest.raises(UserError, match=what) as caught:
        plans()
    assert "policy pinned-" in str(caught.value)
    assert remedy in str(caught.value.remedy)


def test_the_papers_version_runs_pinned_policies_and_is_told_how_blocks_count(
    changed: Callable[..., None],
) -> None:
    for asked in (None, False):
        sets = {"pinned": RoutingSet(policies=("pinned-static",), stack="0.9.0", assume_kv_reuse=asked)}
        changed(E1, sets)
        (one,) = plans()
        assert (one.stack.dynamo, one.assume_kv_reuse) == ("0.9.0", asked)
        assert {cell.policy.way for cell in one.cells} == {"pinned"}


def test_the_limit_of_decode_workers_is_planned_for_it(changed: Callable[..., None]) -> None:
    (free,) = plans(stack="0.9.0")
    changed(E1, limits=Limits(decode_max_num_seqs=32))
    (limited,) = plans(stack="0.9.0")
    assert limited.settings.limits.decode_max_num_seqs == 32
    assert not {cell.plan_hash for cell in limited.cells} & {cell.plan_hash for cell in free.cells}


def test_sets_that_are_compared_by_latency_have_one_stack(changed: Callable[..., None]) -> None:
    sets = {
        "live": RoutingSet(policies=("static",), engine="mocker", stack="0.9.0"),
        "virtual": RoutingSet(policies=("static",), engine="virtual"),
    }
    changed("engines", sets, at="quick")
    with pytest.raises(UserError, match="would be compared by their latencies") as caught:
        plans(experiments=("engines",), tier="quick")
    assert caught.value.remedy


def test_a_knee_is_of_the_stack_that_measured_it(changed: Callable[..., None]) -> None:
    changed("saturation", stack="0.9.0")
    with pytest.raises(UserError, match=r"multiples of the knee of stack 1\.5\.1") as caught:
        bench(experiments=("saturation",), **NEMOTRON)
    assert "one stack for both" in str(caught.value.remedy)
    both = bench(experiments=("saturation",), stack="0.9.0", **NEMOTRON)
    assert {one.stack.dynamo for one in both.deployments} == {"0.9.0"}


def test_starts_of_each_stack_are_remembered_apart(tmp_path: Path) -> None:
    for trial, (stack, seconds) in enumerate((("", 5.0), ("0.9.0", 20.0))):
        folder = tmp_path / "t" / "raw" / "e" / "m" / "1p2d" / "static" / str(trial)
        folder.mkdir(parents=True)
        note_start(
            folder, StackStart("2026-11-29", "h", start_s=seconds, sealed=1, engine="mocker", stack=stack)
        )
    assert recorded_start_s(tmp_path, "mocker", "m") == 5.0
    assert recorded_start_s(tmp_path, "mocker", "m", "0.9.0") == 20.0


WEIGHTED = {"static": RoutingSet(policies=("static", "static-active-requests"))}


def test_a_weight_of_active_requests_is_other_cells(changed: Callable[..., None]) -> None:
    changed(E1, WEIGHTED)
    (one,) = plans()
    hashes = {
        policy: {cell.plan_hash for cell in one.cells if cell.policy.name == policy}
        for policy in ("static", "static-active-requests")
    }
    assert not hashes["static"] & hashes["static-active-requests"]
    unset = KvPolicy(name="static", title="another title", tau=0.0, omega=1.0)
    weight = unset.model_copy(update={"decode_active_request_weight": 8.0})
    assert "decode_active_request_weight" not in hashed(unset)
    assert hashed(weight) == {**hashed(unset), "decode_active_request_weight": 8.0}


@pytest.mark.parametrize(
    ("choices", "what", "remedy"),
    [
        ({"stack": "0.9.0"}, "stack 0.9.0 has no decode_active_request_weight", "1.5.1"),
        ({"engine": "virtual"}, "engine virtual would ignore decode_active_request_weight", "served engine"),
    ],
)
def test_a_weight_of_active_requests_is_refused_where_it_would_do_nothing(
    changed: Callable[..., None], choices: dict[str, Any], what: str, remedy: str
) -> None:
    changed(E1, WEIGHTED)
    with pytest.raises(UserError, match=what) as caught:
        plans(**choices)
    assert "static-active-requests" in f"{caught.value}"
    assert remedy in str(caught.value.remedy)


LATE = {"static": RoutingSet(policies=("static", "events-1s-late"))}


def test_late_kv_events_are_other_cells_and_have_their_stack(changed: Callable[..., None]) -> None:
    changed(E1, LATE, engine="virtual", stack="1.6.1")
    (one,) = plans()
    assert (one.engine, one.stack.dynamo) == ("virtual", "1.6.1")
    assert "ai-dynamo-runtime 1.6.1" in one.stack.version
    in_time = KvPolicy(name="static", title="another title", tau=0.0, omega=1.0)
    late = in_time.model_copy(update={"kv_event_lag_s": 1.0})
    assert hashed(late) == {**hashed(in_time), "kv_event_lag_s": 1.0}
    assert "kv_event_lag_s" not in hashed(in_time)


@pytest.mark.parametrize(
    ("choices", "what", "remedy"),
    [
        ({"stack": "1.5.1"}, "stack 1.5.1 cannot hold KV events back", "in virtual time: 1.6.1"),
        (
            {"stack": "1.6.1", "engine": "mocker"},
            "engine mocker cannot be served with stack 1.6.1",
            "virtual",
        ),
    ],
)
def test_late_kv_events_are_refused_where_none_would_be_late(
    changed: Callable[..., None], choices: dict[str, Any], what: str, remedy: str
) -> None:
    changed(E1, LATE, engine="virtual")
    with pytest.raises(UserError, match=what) as caught:
        plans(**choices)
    assert remedy in str(caught.value.remedy)


# --- limits and workloads of a set ---


def test_a_set_has_limits_and_workloads_of_its_own(changed: Callable[..., None]) -> None:
    sets = {
        "narrow": RoutingSet(
            policies=("static",), limits=Limits(max_num_batched_tokens=2048), workloads=("templates",)
        ),
        "wide": RoutingSet(policies=("static",)),
    }
    changed(E1, sets, workloads=("unique", "templates"))
    narrow, wide = plans()
    assert (narrow.limits.max_num_batched_tokens, wide.limits.max_num_batched_tokens) == (2048, 8192)
    assert {cell.workload.name for cell in narrow.cells} == {"templates"}
    assert {cell.workload.name for cell in wide.cells} == {"unique", "templates"}
    changed(E1, {"narrow": sets["narrow"].model_copy(update={"limits": None})}, workloads=("templates",))
    (unlimited,) = plans()
    assert [cell.seed for cell in unlimited.cells] == [cell.seed for cell in narrow.cells]
    assert not {cell.plan_hash for cell in unlimited.cells} & {cell.plan_hash for cell in narrow.cells}


def test_a_limit_of_a_set_that_its_stack_would_ignore_is_refused(changed: Callable[..., None]) -> None:
    changed(E1, {"static": RoutingSet(policies=("static",), limits=Limits(kv_link_gb_s=12.0))})
    plans()
    with pytest.raises(UserError, match="would ignore the limit kv_link_gb_s"):
        plans(stack="0.9.0")
