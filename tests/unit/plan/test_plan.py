"""The plan: pure, deterministic, complete; and which changes of the configuration cost a measurement."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anarchy.config import Choices, Study
from anarchy.config.files import load_study
from anarchy.config.loads import Knee, Stage, at_knee
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG
from anarchy.measure.manifest import manifest_of
from anarchy.measure.requests import stagger_s
from anarchy.plan import predict
from anarchy.plan.binding import bind
from anarchy.plan.conditions import cell_name
from anarchy.plan.deployments import plan
from anarchy.plan.launches import Cell, DeploymentPlan, derive_seed
from anarchy.plan.workbench import open_run


@dataclass(frozen=True)
class Table:
    """A timing table of straight lines, in the shape of a Profile."""

    digest: str = "d0"
    prefill_token_s: float = 1e-5

    def ttft_s(self, tokens: float) -> float:
        assert isinstance(tokens, int | float)
        return 0.004 + self.prefill_token_s * tokens

    def ttfts_s(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(0.004 + self.prefill_token_s * tokens, dtype=np.float64)

    def itl_s(self, active_kv_tokens: float, context_length: float) -> float:
        return 0.005 + 1e-8 * active_kv_tokens


STUDY = load_study(CONFIG)
PROFILES: Any = {"llama-3.1-70b-tp4": Table(), "nemotron-4-340b-tp8": Table(prefill_token_s=5e-5)}
EXPERIMENT = ("experiments", "equilibrium")
LLAMA, NEMOTRON = "llama-3.1-70b", "nemotron-4-340b"
KNEES = {(NEMOTRON, "1p2d"): 87, (LLAMA, "1p2d"): 162, (LLAMA, "1p5d"): 141}
"""Those that the recorded runs were loaded by."""


def planned(
    study: Study = STUDY, profiles: Any = PROFILES, knees: Any = KNEES, **choices: Any
) -> tuple[DeploymentPlan, ...]:
    """Every deployment, its loads bound to a knee; of tier live, if the choices name none."""
    return tuple(
        bind(one, Knee(knees[one.key[1:3]]), profiles[one.model.profile])
        for one in plan(study, Choices(**{"tier": "live", **choices}), profiles)
    )


def hashes(deployments: tuple[DeploymentPlan, ...]) -> dict[tuple[Any, ...], str]:
    return {(*d.key, cell.name): cell.plan_hash for d in deployments for cell in d.cells}


def altered(path: tuple[str, ...], value: Any) -> Study:
    """The study with one value changed, whatever depth it lies at."""
    document = STUDY.model_dump()
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    assert inner[path[-1]] != value
    inner[path[-1]] = value
    return Study.model_validate(document)


# --- what is planned ---


@pytest.mark.parametrize(("tier", "launches"), [("live", 1), ("full", 3)])
def test_every_system_routing_and_launch_once(tier: str, launches: int) -> None:
    deployments = planned(tier=tier)
    assert [d.key for d in deployments] == [
        ("equilibrium", model, topology, "static", trial)
        for model, topology in ((NEMOTRON, "1p2d"), (LLAMA, "1p2d"), (LLAMA, "1p5d"))
        for trial in range(1, launches + 1)
    ]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**40),
    grid=st.lists(st.integers(1, 5000), min_size=1, max_size=12, unique=True).map(sorted),
    workloads=st.sampled_from([["unique"], ["templates"], ["templates", "unique"]]),
)
def test_every_concurrency_of_the_grid_exactly_once_and_the_same_again(
    seed: int, grid: list[int], workloads: list[str]
) -> None:
    document = STUDY.model_dump()
    document["experiments"]["equilibrium"]["tiers"]["live"] |= {
        "concurrency": tuple(grid),
        "workloads": tuple(workloads),
    }
    study = Study.model_validate(document)
    deployments = planned(study, seed=seed)
    for deployment in deployments:
        measured = [(cell.workload.name, cell.concurrency) for cell in deployment.cells]
        assert sorted(measured) == sorted((name, C) for name in workloads for C in grid)
        assert len({cell.name for cell in deployment.cells}) == len(measured)
    assert deployments == planned(study, seed=seed)


def test_the_order_is_shuffled_and_differs_between_deployments_and_seeds() -> None:
    orders = [
        tuple(cell.concurrency for cell in deployment.cells)
        for seed in (1, 2)
        for deployment in planned(tier="full", seed=seed)
    ]
    assert all(order != tuple(sorted(order)) for order in orders)
    assert len(set(orders)) == len(orders)


def test_the_order_of_one_seed_never_changes() -> None:
    """Written down: another order would be another experiment."""
    study = altered((*EXPERIMENT, "tiers", "live", "concurrency"), (1, 2, 4, 8, 16, 32, 64, 128))
    first = planned(study, seed=7, models=LLAMA)[0]
    assert [cell.concurrency for cell in first.cells] == [2, 16, 64, 1, 32, 4, 8, 128]
    assert first.cells[0].seed == 7582457300233803828


def test_order_is_no_part_of_a_deployments_hash() -> None:
    deployment = planned()[0]
    turned = DeploymentPlan(**{**deployment.__dict__, "cells": deployment.cells[::-1]})
    assert turned.plan_hash == deployment.plan_hash


def test_every_cell_has_a_seed_of_its_own() -> None:
    seeds = [cell.seed for deployment in planned(tier="full") for cell in deployment.cells]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_none_is_the_experiments_own() -> None:
    own = STUDY.experiments["equilibrium"].seed
    assert hashes(planned()) == hashes(planned(seed=own)) != hashes(planned(seed=own + 1))


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.integers()), min_size=1, max_size=4))
def test_derived_seeds_depend_on_every_part(parts: list[Any]) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(*parts)
    for index in range(len(parts)):
        changed = [*parts[:index], f"{parts[index]}x", *parts[index + 1 :]]
        assert derive_seed(*changed) != seed


def test_seeds_keep_parts_apart() -> None:
    assert derive_seed("ab", "c") != derive_seed("a", "bc")


def test_cell_names_sort_as_their_concurrency() -> None:
    names = [cell_name("unique", C) for C in (1, 2, 16, 128, 1024)]
    assert names == sorted(names)
    assert names[3] == "unique-c0128"


def test_names_of_cells_tell_policy_stages_and_repeat() -> None:
    assert cell_name("unique", 128, policy="kv-t0.7-w0.3") == "unique-c0128_kv-t0.7-w0.3"
    assert cell_name("hot", 128, policy="kv-t0.7-w0.3", repeat=2) == "hot-c0128_kv-t0.7-w0.3_r2"
    assert cell_name("unique", 405, staged=True) == "unique-staged"
    assert cell_name("unique", 405, policy="adaptive", staged=True) == "unique-staged_adaptive"


# --- loads, stages and sets of policies ---


def cells_of(deployment: DeploymentPlan) -> dict[str, Cell]:
    return {cell.name: cell for cell in deployment.cells}


@pytest.mark.parametrize(("times", "C"), [(1.0, 87), (0.4, 35), (2.5, 218), (0.001, 1)])
def test_loads_are_multiples_of_the_knee(times: float, C: int) -> None:
    assert at_knee(87, times) == C


def test_a_staged_cell_has_its_stages_and_the_largest_c() -> None:
    (deployment,) = planned(experiments="saturation")
    assert deployment.key == ("saturation", NEMOTRON, "1p2d", "static", 1)
    (cell,) = deployment.cells
    assert cell.name == "unique-staged"
    assert [stage.concurrency for stage in cell.stages] == [35, 61, 130, 218, 61, 17]
    assert cell.concurrency == 218
    assert cell.stages[0] == Stage("up-0.4", 35, 1.0, 7.0)
    assert cell.timing.measure_s == sum(stage.seconds for stage in cell.stages)
    assert (cell.load, cell.repeat, cell.policy.name) == ("", 1, "static")


def test_every_set_is_a_deployment_and_every_policy_a_cell() -> None:
    builtin, pinned = planned(experiments="adaptive")
    assert [deployment.routing for deployment in (builtin, pinned)] == ["builtin", "pinned"]
    assert builtin.title == "llama-3.1-70b/1p2d/builtin/1"
    assert set(cells_of(builtin)) == {
        f"{workload}-staged_{policy}"
        for workload in ("unique", "templates", "hot")
        for policy in ("static", "adaptive")
    }
    assert builtin.reference.name == "static"
    assert pinned.reference.name == "pinned-static"
    for cell in builtin.cells:
        assert cell.name.endswith(cell.policy.name)
        assert cell.policy in builtin.policies


def test_at_tier_full_everything_is_crossed() -> None:
    deployments = planned(experiments="adaptive", tier="full")
    assert len(deployments) == 3 * 2 * 3
    assert {len(deployment.cells) for deployment in deployments} == {4 * 3, 4 * 8}
    assert {deployment.trial for deployment in deployments} == {1, 2, 3}


def test_the_reference_is_repeated_and_alone_at_its_own_load() -> None:
    builtin, pinned = planned(experiments="pareto")
    assert set(cells_of(builtin)) == {
        "unique-c0017_kv-t0-w1",
        *(f"unique-c{C}_kv-t{t}-w{w}" for C in ("0035", "0218") for t in ("0", "0.7") for w in ("0", "1")),
        *(f"unique-c{C}_kv-t0-w1_r{repeat}" for C in ("0035", "0218") for repeat in (2, 3)),
    }
    assert {(cell.load, cell.concurrency) for cell in builtin.cells} == {
        ("low", 17),
        ("below", 35),
        ("at", 218),
    }
    assert cells_of(builtin)["unique-c0218_kv-t0-w1_r3"].repeat == 3
    assert cells_of(pinned)["unique-c0035_pinned-t0.7-w0"].policy.way == "pinned"
    assert len({cell.seed for cell in (*builtin.cells, *pinned.cells)}) == 26


def test_all_is_every_experiment_that_has_the_tier() -> None:
    def named(tier: str) -> list[str]:
        return list(dict.fromkeys(d.experiment.name for d in planned(experiments="all", tier=tier)))

    assert named("live") == named("full") == ["equilibrium", "saturation", "adaptive", "pareto"]
    assert named("live-repeats") == ["equilibrium", "adaptive", "pareto"]
    both = planned(experiments="equilibrium,pareto")
    assert both == (*planned(experiments="equilibrium"), *planned(experiments="pareto"))
    with pytest.raises(UserError, match="no experiment has a tier 'huge'"):
        planned(experiments="all", tier="huge")


STAGES = ("experiments", "adaptive", "tiers", "live")


@pytest.mark.parametrize(
    ("path", "value", "changed"),
    [
        ((*STAGES, "poll_s"), 0.25, {"adaptive"}),
        ((*STAGES, "baseline_polls"), 5, {"adaptive"}),
        ((*STAGES, "watch"), ("client",), {"adaptive", "static"}),
        (("policies", "adaptive", "controller", "confirm"), 4, {"adaptive"}),
        (("policies", "static", "title"), "default", set()),
        (("workloads", "hot", "skew"), 1.0, {"adaptive", "static"}),
    ],
)
def test_what_decides_a_staged_cell(path: tuple[str, ...], value: Any, changed: set[str]) -> None:
    before, after = (planned(study, experiments="adaptive")[0] for study in (STUDY, altered(path, value)))
    differs = {
        cell.policy.name
        for cell in before.cells
        if cell.workload.name == "hot" and cell.plan_hash != cells_of(after)[cell.name].plan_hash
    }
    assert differs == changed


def test_longer_stages_and_another_knee_change_the_hash() -> None:
    before = hashes(planned(experiments="adaptive"))
    stages = tuple(
        stage.model_dump() for stage in STUDY.experiments["adaptive"].tiers["live"].stage_plans[:3]
    )
    for after in (
        hashes(planned(altered((*STAGES, "stages"), stages), experiments="adaptive")),
        hashes(planned(knees={**KNEES, (LLAMA, "1p2d"): 100}, experiments="adaptive")),
    ):
        assert set(before) == set(after)
        assert all(before[key] != after[key] for key in before)


def test_repeats_are_measurements_of_their_own() -> None:
    first, second = (
        cells_of(planned(experiments="pareto")[0])[f"unique-c0218_kv-t0-w1{end}"] for end in ("", "_r2")
    )
    assert first.plan_hash != second.plan_hash
    assert first.seed != second.seed


# --- what a change costs ---


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("models", LLAMA, "tensor_parallel"), 2),
        (("models", LLAMA, "quantization"), "bf16"),
        (("models", LLAMA, "kv_bytes_per_token"), 1),
        (("models", LLAMA, "dilation"), 5.0),
        (("topologies", "1p2d", "prefill"), 2),
        (("topologies", "1p2d", "decode"), 3),
        (("policies", "static", "tau"), 0.7),
        (("policies", "static", "omega"), 0.1),
        (("workloads", "unique", "input_tokens"), 256),
        (("workloads", "unique", "output_tokens"), 32),
        (("workloads", "unique", "output_jitter"), 0.1),
        (("workloads", "unique", "templates"), 5),
        ((*EXPERIMENT, "seed"), 1),
        *(
            ((*EXPERIMENT, "tiers", "live", "timing", key), value)
            for key, value in {
                "warmup_s": 3.0,
                "measure_s": 6.0,
                "min_windows": 31,
                "measure_max_s": 9.0,
                "deadline_s": 61.0,
            }.items()
        ),
    ],
)
def test_a_key_that_decides_changes_the_hash(path: tuple[str, ...], value: Any) -> None:
    key = ("equilibrium", LLAMA, "1p2d", "static", 1)
    before, after = (
        {d.key: d for d in planned(study, models=LLAMA)}[key] for study in (STUDY, altered(path, value))
    )
    assert before.plan_hash != after.plan_hash
    assert {c.name: c.plan_hash for c in before.cells}.items().isdisjoint(
        {c.name: c.plan_hash for c in after.cells}.items()
    )


def test_another_timing_table_changes_the_hash_of_its_model_alone() -> None:
    other = {**PROFILES, "llama-3.1-70b-tp4": Table(digest="d1")}
    before, after = hashes(planned()), hashes(planned(profiles=other))
    assert {key[1] for key in before if before[key] != after[key]} == {LLAMA}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("models", LLAMA, "title"), "Llama"),
        (("topologies", "1p2d", "title"), "one and two"),
        (("policies", "static", "title"), "default"),
        (("workloads", "unique", "title"), "diverse"),
        ((*EXPERIMENT, "title"), "E1"),
        ((*EXPERIMENT, "c_ref"), 32),
        ((*EXPERIMENT, "attempts"), 3),
        (("cluster", "nodes"), 4),
    ],
)
def test_what_only_people_or_the_analysis_read_costs_no_measurement(
    path: tuple[str, ...], value: Any
) -> None:
    assert hashes(planned(altered(path, value))) == hashes(planned())


def test_another_grid_leaves_the_cells_of_the_old_one_alone() -> None:
    study = altered((*EXPERIMENT, "tiers", "live", "concurrency"), (2, 32, 48, 512))
    before, after = hashes(planned()), hashes(planned(study))
    shared = before.keys() & after.keys()
    assert {key[-1] for key in shared} == {"unique-c0002", "unique-c0032"}
    assert all(before[key] == after[key] for key in shared)


@settings(deadline=None)
@given(models=st.sampled_from([LLAMA, NEMOTRON, f"{LLAMA},{NEMOTRON}"]), seed=st.integers(0, 5))
def test_a_model_filter_leaves_out_and_touches_nothing_else(models: str, seed: int) -> None:
    whole, part = planned(seed=seed), planned(seed=seed, models=models)
    assert part == tuple(d for d in whole if d.model.name in models.split(","))


def test_topologies_and_sets_are_left_out_alike() -> None:
    whole = planned(experiments="all", tier="live-repeats")
    part = planned(experiments="all", tier="live-repeats", topologies="1p5d", sets="builtin")
    assert part == tuple(d for d in whole if (d.topology.name, d.routing) == ("1p5d", "builtin"))
    assert {d.experiment.name for d in part} == {"adaptive", "pareto"}


def test_hashes_are_those_of_the_content() -> None:
    """Not of the process: no hash randomisation, no addresses."""
    digest = planned()[0].cells[0].plan_hash
    assert re.fullmatch("[0-9a-f]{64}", digest)
    json.dumps(digest)


# --- bad selections ---


@pytest.mark.parametrize(
    ("choices", "what", "remedy"),
    [
        ({"models": "gpt"}, "no model 'gpt'", LLAMA),
        ({"topologies": "9p1d"}, "no topology '9p1d'", "1p5d"),
        ({"sets": "pined", "experiments": "pareto"}, "no set of policies 'pined'", "builtin, pinned"),
        ({"topologies": "1p5d", "experiments": "saturation"}, "holds no deployment", "topologies: 1p5d"),
        ({"experiments": "e9"}, "no experiment 'e9'", "equilibrium"),
        ({"tier": "huge"}, "no tier 'huge'", "live"),
        ({"experiments": []}, "holds no deployment", "experiments: none"),
    ],
)
def test_selections_that_hold_nothing(choices: dict[str, Any], what: str, remedy: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        planned(**choices)
    assert remedy in caught.value.remedy
    assert caught.value.where == "--config"


def test_a_model_that_no_experiment_uses() -> None:
    document = STUDY.model_dump()
    document["models"]["other"] = document["models"][LLAMA] | {"name": "other"}
    with pytest.raises(UserError, match="holds no deployment") as caught:
        planned(Study.model_validate(document), models="other")
    assert "models: other" in caught.value.remedy


def test_a_missing_timing_table_names_model_and_known_tables() -> None:
    with pytest.raises(UserError, match="no timing table 'nemotron-4-340b-tp8'") as caught:
        planned(profiles={"llama-3.1-70b-tp4": Table()})
    assert caught.value.where == "model nemotron-4-340b"
    assert "llama-3.1-70b-tp4" in caught.value.remedy


# --- what it costs ---


def test_sizes_and_costs() -> None:
    deployment = next(d for d in planned() if d.key[1:3] == (LLAMA, "1p5d"))
    assert (deployment.pool, deployment.gpus) == (5, 24)
    assert deployment.wall_s == pytest.approx(
        predict.start_s("mocker") + sum(cell.cost.wall_s for cell in deployment.cells)
    )
    assert deployment.title == "llama-3.1-70b/1p5d/static/1"
    for cell in deployment.cells:
        assert cell.cost.requests > cell.concurrency
        assert cell.cost.disk_bytes == cell.cost.requests * predict.BYTES_PER_REQUEST
        assert cell.cost.residence_s * cell.cost.throughput == pytest.approx(cell.concurrency)


def test_throughput_rises_to_the_prefill_capacity_and_stays() -> None:
    deployment = planned(models=NEMOTRON, tier="full")[0]
    unique = sorted(
        (cell for cell in deployment.cells if cell.workload.name == "unique"), key=lambda c: c.concurrency
    )
    capacity = predict.prefill_capacity(PROFILES["nemotron-4-340b-tp8"], 128)
    assert capacity == pytest.approx(64 / (0.004 + 5e-5 * 8192))
    rates = [cell.cost.throughput for cell in unique]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(capacity)
    assert rates[0] < capacity / 10


def test_cached_templates_do_not_saturate_prefill() -> None:
    deepest = {
        cell.workload.name: cell.cost.throughput
        for cell in planned(models=NEMOTRON, tier="full")[0].cells
        if cell.concurrency == 512
    }
    assert deepest["templates"] > 2 * deepest["unique"]


def test_tails_load_prefill_with_the_blocks_that_are_not_shared() -> None:
    topology, profile = STUDY.topologies["1p2d"], PROFILES["nemotron-4-340b-tp8"]
    workload = STUDY.workloads["templates"].model_copy(
        update={"input_tokens": 1024, "unique_tail_tokens": 500}
    )
    assert workload.new_tokens == 512, "the head of 524 tokens fills 32 blocks"
    deep = predict.residence_s(topology, workload, 4096, profile)
    assert 4096 / deep == pytest.approx(predict.prefill_capacity(profile, 512))
    assert workload.model_copy(update={"unique_tail_tokens": 0}).new_tokens == 0
    assert STUDY.workloads["unique"].new_tokens == 128


def test_dilation_stretches_the_wall_and_nothing_else() -> None:
    slow = altered(("models", LLAMA, "dilation"), 6.0)
    before, after = (planned(study, models=LLAMA)[0].cells[0].cost for study in (STUDY, slow))
    assert after.requests == before.requests
    assert after.wall_s - predict.SETTLE_S == pytest.approx(2 * (before.wall_s - predict.SETTLE_S))


def test_a_set_may_be_slower_where_its_engine_can_slow_time() -> None:
    """The live set of design `engines`: the host's noise weighs less, and the virtual clock has none."""
    slower = altered(
        ("experiments", "engines", "tiers", "smoke", "routing"),
        {
            "live": {"policies": ["static"], "dilation_times": 2.0},
            "virtual": {"policies": ["static"], "engine": "virtual", "dilation_times": 2.0},
        },
    )
    dilations = {
        one.routing: one.model.dilation for one in planned(slower, tier="smoke", experiments=["engines"])
    }
    assert dilations == {"live": 2.0 * STUDY.models[NEMOTRON].dilation, "virtual": 1.0}


@pytest.mark.parametrize("place", [("systems",), ("tiers", "quick", "systems")])
def test_a_system_may_be_slower_than_its_set_says(place: tuple[str, ...]) -> None:
    """Its own word counts, of the experiment or of a tier."""
    systems = [
        {"model": NEMOTRON, "topology": "1p2d", "dilation_times": 1.5},
        {"model": LLAMA, "topology": "1p2d"},
    ]
    slower = altered(("experiments", "engines", *place), systems)
    deployments = planned(slower, tier="quick", experiments=["engines"])
    dilations = {one.key[1:4]: one.model.dilation for one in deployments}
    assert dilations == {
        (NEMOTRON, "1p2d", "live"): 1.5 * STUDY.models[NEMOTRON].dilation,
        (LLAMA, "1p2d", "live"): 2.0 * STUDY.models[LLAMA].dilation,
        (NEMOTRON, "1p2d", "virtual"): 1.0,
        (LLAMA, "1p2d", "virtual"): 1.0,
    }


def test_a_prompt_longer_than_a_batch_is_a_batch_of_one() -> None:
    assert predict.prefill_capacity(PROFILES["llama-3.1-70b-tp4"], 10_000) == pytest.approx(1 / 0.104)


def test_a_staged_cell_costs_what_its_stages_do() -> None:
    model, topology, workload = STUDY.models[LLAMA], STUDY.topologies["1p2d"], STUDY.workloads["unique"]
    profile = PROFILES[LLAMA + "-tp4"]

    def cost(*stages: tuple[int, float]) -> predict.CellCost:
        return predict.staged_cost(model, topology, workload, stages, profile)

    short, long = cost((16, 5.0), (405, 5.0), (16, 5.0)), cost((16, 5.0), (405, 10.0), (16, 5.0))
    assert long.wall_s - short.wall_s == pytest.approx(5.0 * model.dilation)
    assert long.requests - short.requests == pytest.approx(5.0 * short.throughput, abs=1)
    assert short.residence_s == predict.residence_s(topology, workload, 405, profile)


def test_users_who_think_send_less_and_fill_less() -> None:
    """The response-time law: C = X (R + Z). Thinking delays the C from which prefill is full."""
    thinking = altered(("workloads", "unique", "think_s"), 1.0)
    before, after = (cells_of(planned(study, models=LLAMA)[0]) for study in (STUDY, thinking))
    for name, cell in after.items():
        assert cell.cost.throughput * (cell.cost.residence_s + 1.0) == pytest.approx(cell.concurrency)
        assert cell.cost.residence_s < before[name].cost.residence_s
        assert cell.cost.throughput <= before[name].cost.throughput * (1 + 1e-9)
        assert stagger_s(cell) > stagger_s(before[name])
    model, topology, profile = STUDY.models[LLAMA], STUDY.topologies["1p2d"], PROFILES[LLAMA + "-tp4"]
    plain, slow = (
        predict.staged_cost(model, topology, study.workloads["unique"], [(64, 10.0)], profile)
        for study in (STUDY, thinking)
    )
    assert (slow.requests - 64) * (slow.residence_s + 1.0) == pytest.approx(640, abs=2)
    assert slow.throughput < plain.throughput
    knees = [predict.knee(topology, study.workloads["unique"], profile) for study in (STUDY, thinking)]
    assert knees[1] - knees[0] == pytest.approx(predict.prefill_capacity(profile, 128) * 1.0, rel=0.25)


def test_what_a_manifest_says_of_the_loop() -> None:
    thinking = altered(("workloads", "unique", "think_s"), 1.0)
    opened = altered(("workloads", "unique", "send_every_s"), 0.5)
    for study, told in (
        (STUDY, ("closed", 0.0, None)),
        (thinking, ("think", 1.0, None)),
        (opened, ("open", 0.0, 0.5)),
    ):
        plan = planned(study, models=LLAMA, engine="virtual")[0]
        of = manifest_of(plan, plan.cells[0])
        assert (of.loop, of.think_s, of.send_every_s) == told
        assert of.unbounded == (study is opened)


def test_an_open_loop_sends_at_its_rate_and_an_engine_that_cannot_is_refused() -> None:
    opened = altered(("workloads", "unique", "send_every_s"), 0.5)
    for cell in cells_of(planned(opened, models=LLAMA, engine="virtual")[0]).values():
        if cell.workload.name == "unique":
            assert cell.cost.throughput == cell.concurrency / 0.5
    with pytest.raises(UserError, match=r"engine mocker cannot run workload unique.*send_every_s") as refused:
        planned(opened, models=LLAMA)
    assert "an engine that can: virtual" in str(refused.value)


def test_more_frontends_and_pinned_routing_take_longer_to_start() -> None:
    (static,) = planned(models=NEMOTRON)
    builtin, pinned = planned(experiments="pareto")
    assert static.start_s == predict.start_s("mocker")
    assert builtin.start_s == predict.start_s("mocker") + 3 * predict.FRONTEND_S
    assert pinned.start_s == predict.start_s("mocker") + predict.PINNED_S


def test_e2_to_e4_take_some_seventeen_minutes_at_tier_live() -> None:
    """By the timing tables; E1 takes 14 more."""
    choices = {"experiments": "saturation,adaptive,pareto", "tier": "live", "knees": "recorded"}
    deployments = open_run(choices).plans
    assert sum(deployment.wall_s for deployment in deployments) <= 17.5 * 60
