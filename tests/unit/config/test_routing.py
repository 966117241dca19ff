"""Policies, controllers, sets of policies, loads and stages: what does not add up is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anarchy.config import (
    AdaptivePolicy,
    Controller,
    Experiment,
    Grid,
    RoutingSet,
    StagePlan,
    Study,
    reference_of,
)
from anarchy.config.files import load_study, validate
from anarchy.config.loads import Knee, reference_limit
from anarchy.config.staged import StagedTier
from anarchy.control.detector import Detector
from anarchy.control.thresholds import BASELINE_POLLS, Multiples
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG
from anarchy.routing.baselines.batched_optimal import BatchedOptimal
from tests.helpers.config_samples import edit, refused

STUDY = load_study(CONFIG)
STATIC, ADAPTIVE, LEAST = (f"policies/{name}.yaml" for name in ("static", "adaptive", "least-loaded"))
E1, E2, E3, E4 = (f"experiments/{name}.yaml" for name in ("equilibrium", "saturation", "adaptive", "pareto"))
V1 = "experiments/engines.yaml"

Change = Callable[[dict[str, Any]], object]


# --- what is shipped ---


def test_the_shipped_policies_are_those_of_the_paper_and_its_baselines() -> None:
    kinds = {name: (policy.kind, policy.way) for name, policy in STUDY.policies.items()}
    assert kinds == {
        "static": ("kv", "builtin"),
        "adaptive": ("adaptive", "builtin"),
        "adaptive-client": ("adaptive", "builtin"),
        "pinned-static": ("kv", "pinned"),
        "pinned-unshared": ("kv", "pinned"),
        "pinned-adaptive": ("adaptive", "pinned"),
        "round-robin": ("round_robin", "pinned"),
        "dynamo-round-robin": ("round_robin", "builtin"),
        "random": ("random", "pinned"),
        "least-loaded": ("least_loaded", "pinned"),
        "power-of-two": ("power_of_two", "pinned"),
        "batched-optimal": ("batched_optimal", "pinned"),
        "static-active-requests": ("kv", "builtin"),
        "transition": ("kv", "builtin"),
        **{f"events-{late}-late": ("kv", "builtin") for late in ("100ms", "1s", "10s")},
        "sticky-until-saturated": ("sticky_until_saturated", "pinned"),
    }
    assert STUDY.policies["batched-optimal"].model_dump()["batch_s"] == 0.005
    adaptive = STUDY.policies["adaptive"]
    assert isinstance(adaptive, AdaptivePolicy)
    assert adaptive.controller == Controller(source="prometheus")


def test_the_paper_sixteen_pairs_are_swept_in_both_ways_at_tier_full() -> None:
    sets = STUDY.experiments["pareto"].sets("full")
    for way, stem in (("builtin", "kv"), ("pinned", "pinned")):
        pairs = sets[way].resolve(STUDY.policies)
        assert len(pairs) == len({policy.name for policy in pairs}) == 16
        assert {policy.pair for policy in pairs} == {
            (tau, omega) for tau in (0.0, 0.3, 0.7, 1.0) for omega in (0.0, 0.3, 0.7, 1.0)
        }
        assert {policy.way for policy in pairs} == {way}
        assert f"{stem}-t0.7-w0.3" in {policy.name for policy in pairs}


@pytest.mark.parametrize("experiment", ["saturation", "adaptive", "pareto"])
@pytest.mark.parametrize("tier", ["smoke", "live", "full"])
def test_every_experiment_has_every_tier(experiment: str, tier: str) -> None:
    one = STUDY.experiments[experiment]
    assert tier in one.tiers
    systems = {(system.model, system.topology) for system in one.systems_of(tier)}
    assert len(systems) == (3 if tier == "full" else 1)
    if tier == "full":
        settings = one.tiers[tier]
        assert settings.launches == 3
        assert {"unique", "templates", "hot", "hot-long"} == set(settings.workloads)
        assert settings.watching is None or settings.watching.poll_s == 5.0
        assert settings.routing is None


@pytest.mark.parametrize("experiment", ["saturation", "adaptive"])
@pytest.mark.parametrize("tier", ["smoke", "live", "full"])
def test_past_the_knee_a_controller_has_k_and_three_polls(experiment: str, tier: str) -> None:
    settings = STUDY.experiments[experiment].tiers[tier]
    assert settings.watching is not None
    deepest = max(settings.stage_plans, key=lambda stage: stage.knee_times or 0.0)
    assert deepest.settle_s + deepest.seconds >= (Controller().confirm + 3) * settings.watching.poll_s


@pytest.mark.parametrize("experiment", ["saturation", "adaptive", "pareto"])
@pytest.mark.parametrize("tier", ["live", "full"])
def test_the_affine_curve_has_two_loads_of_the_reference(experiment: str, tier: str) -> None:
    one = STUDY.experiments[experiment]
    parts = one.tiers[tier].levels
    for knee in (40, 87, 162, 400):
        at = {Knee(knee).concurrency(part) for part in parts}
        below = [C for C in at if 8 <= C <= reference_limit(one.c_ref, knee)]
        assert len(below) >= 2
        assert max(below) < knee


def test_defaults_of_a_controller_are_those_of_the_detector() -> None:
    given = Controller()
    assert not given.in_seconds
    assert Multiples(*given.thresholds) == Multiples()
    assert Detector(1.0, 2.0, given.weight, given.confirm, given.hysteresis) == Detector(1.0, 2.0)
    assert StagedTier.model_fields["baseline_polls"].default == BASELINE_POLLS


# --- policies ---


@pytest.mark.parametrize("symbol", ["tau", "omega"])
@pytest.mark.parametrize(
    ("value", "word", "remedy"),
    [
        (-0.1, "greater than or equal to 0", "at least 0"),
        (math.nan, "finite", "a finite number"),
        (math.inf, "finite", "a finite number"),
        ("1", "valid number", "correct"),
        (None, "valid number", "correct"),
    ],
)
def test_a_kv_policy_without_a_sensible_pair(
    config: Path, symbol: str, value: object, word: str, remedy: str
) -> None:
    edit(config, STATIC, lambda document: document.update({symbol: value}))
    error = refused(config, STATIC, symbol, word)
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (LEAST, {"way": "builtin"}, ("Dynamo's router has no least_loaded", "set way: pinned")),
        (LEAST, {"tau": 0.5}, ("'tau' belongs to kv", "take tau out")),
        (LEAST, {"batch_s": 0.1}, ("'batch_s' belongs to batched_optimal",)),
        (LEAST, {"kind": "least-loaded"}, ("key 'kind'", "least_loaded")),
        (LEAST, {"kind": ["least_loaded"]}, ("key 'kind'", "least_loaded")),
        (STATIC, {"controller": {}}, ("'controller' belongs to adaptive",)),
        (STATIC, {"way": "elsewhere"}, ("'way'", "'builtin' or 'pinned'")),
        (ADAPTIVE, {"omega": 1.0}, ("'omega' belongs to kv",)),
        (ADAPTIVE, {"controller": {"source": "guess"}}, ("'controller.source'",)),
        (ADAPTIVE, {"controller": {"theta": 1.0}}, ("unknown key 'controller.theta'",)),
        ("policies/batched-optimal.yaml", {"batch_s": 0.0}, ("'batch_s'", "above 0")),
    ],
)
def test_a_policy_that_does_not_fit_its_kind(
    config: Path, file: str, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    edit(config, file, lambda document: document.update(change))
    refused(config, file, *words)


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        ({"theta1_times": 30.0, "theta2_times": 3.0}, ("theta1 is 30", "1 < theta1 < theta2")),
        ({"theta1_times": 3.0, "theta2_times": 3.0}, ("1 < theta1 < theta2",)),
        ({"theta1_times": 0.5}, ("1 < theta1 < theta2",)),
        ({"theta1_times": None}, ("a threshold is missing", "theta1_times and theta2_times")),
        ({"theta1_s": 10.0, "theta2_s": 1.0}, ("theta1 is 10 s", "0 < theta1 < theta2")),
        ({"theta1_s": 1.0}, ("a threshold is missing", "theta1_s and theta2_s")),
        ({"theta1_s": 1.0, "theta2_s": 9.0, "theta1_times": 3.0}, ("in seconds and as multiples",)),
        ({"theta1_s": math.nan, "theta2_s": 1.0}, ("'controller.theta1_s'", "finite")),
        ({"theta1_times": -3.0}, ("'controller.theta1_times'",)),
        ({"weight": 0.0}, ("the EWMA's weight is 0",)),
        ({"weight": 1.5}, ("the EWMA's weight is 1.5",)),
        ({"confirm": 0}, ("'controller.confirm'",)),
        ({"hysteresis": 1.0}, ("the hysteresis is 1",)),
    ],
)
def test_a_controller_without_sense(config: Path, controller: dict[str, Any], words: tuple[str, ...]) -> None:
    edit(config, ADAPTIVE, lambda document: document.update(controller=controller))
    refused(config, ADAPTIVE, "'controller", *words)


def test_thresholds_in_seconds_replace_the_default_multiples() -> None:
    controller = Controller(theta1_s=1.0, theta2_s=10.0)
    assert (controller.theta1_times, controller.theta2_times) == (None, None)
    assert controller.in_seconds
    assert controller.thresholds == (1.0, 10.0)
    assert Controller.model_validate(controller.model_dump()) == controller


def test_defaults_of_a_kind_survive_a_round_trip() -> None:
    for policy in STUDY.policies.values():
        assert type(policy).model_validate(policy.model_dump()) == policy
    assert AdaptivePolicy(name="a", title="a").controller == Controller()
    assert BatchedOptimal(name="b", title="b", way="pinned").batch_s == 0.005


# --- grids and sets ---


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"tau": []}, ("the grid has no tau",)),
        ({"tau": [0.7, 0.7]}, ("0.7 stands there twice",)),
        ({"omega": [-1.0]}, ("'routing.builtin.grid.omega.0'", "greater than or equal to 0")),
        ({"omega": [math.nan]}, ("'routing.builtin.grid.omega.0'", "finite")),
        ({"tau": [0.12345678]}, ("tau 0.12345678 makes no plain name", "6 digits")),
        ({"tau": [1e-7]}, ("makes no plain name",)),
        ({"way": "both"}, ("'routing.builtin.grid.way'",)),
    ],
)
def test_a_grid_without_sense(config: Path, grid: dict[str, Any], words: tuple[str, ...]) -> None:
    edit(config, E4, lambda document: document["routing"]["builtin"]["grid"].update(grid))
    refused(config, E4, "routing.builtin.grid", *words)


def test_a_list_of_policies_is_short_for_a_set_of_each() -> None:
    document = STUDY.experiments["equilibrium"].model_dump()
    short = Experiment.model_validate(document | {"routing": ["static", "pinned-static"]})
    assert short.routing == {
        "static": RoutingSet(policies=("static",)),
        "pinned-static": RoutingSet(policies=("pinned-static",)),
    }
    assert Study.model_validate(STUDY.model_dump()) == STUDY


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(routing={}), ("'routing'", "no routing")),
        (lambda d: d["routing"].update(more={}), ("'routing.more'", "holds no policy")),
        (
            lambda d: d["routing"]["builtin"]["policies"].append("adaptiv"),
            ("'routing.builtin'", "there is no 'adaptiv'", "did you mean 'adaptive"),
        ),
        (
            lambda d: d["tiers"]["live"]["routing"]["pinned"]["policies"].append("randon"),
            ("'tiers.live.routing.pinned'", "there is no 'randon'", "did you mean 'random'"),
        ),
        (
            lambda d: d["routing"]["builtin"]["policies"].append("random"),
            ("'routing.builtin'", "both ways", "pinned: random", "a set of each way"),
        ),
        (
            lambda d: d["routing"]["builtin"]["policies"].remove("static"),
            ("'routing.builtin'", "which policy's cells", "reference:"),
        ),
        (lambda d: d.update(reference="statik"), ("'reference'", "did you mean 'static'")),
        (
            lambda d: d["routing"]["builtin"].update(
                policies=["kv-t0-w1"], grid={"tau": [0.0], "omega": [1.0], "way": "builtin"}
            ),
            ("there is no 'kv-t0-w1'",),
        ),
    ],
)
def test_sets_that_do_not_add_up(config: Path, change: Change, words: tuple[str, ...]) -> None:
    edit(config, E3, change)
    refused(config, E3, *words)


def test_a_named_policy_that_is_also_a_pair_of_the_grid(config: Path) -> None:
    static = (config / STATIC).read_text()
    (config / "policies" / "kv-t0-w1.yaml").write_text(static.replace("name: static", "name: kv-t0-w1"))
    edit(config, E4, lambda d: d["routing"]["builtin"].update(policies=["kv-t0-w1"]))
    refused(config, E4, "kv-t0-w1 is also a pair of the grid", "leave it out")


def test_the_reference_is_the_one_named_the_only_one_or_the_static_default() -> None:
    known = STUDY.policies
    static, adaptive, random = known["static"], known["adaptive"], known["random"]
    assert reference_of([adaptive, static], None) is static
    assert reference_of([adaptive, static], "adaptive") is adaptive
    assert reference_of([adaptive], None) is adaptive
    assert reference_of([adaptive, known["adaptive-client"]], None) is None
    assert reference_of([random, known["pinned-static"]], "static") is known["pinned-static"]
    grid = Grid(tau=(0.7, 0.0), omega=(0.0, 1.0), way="pinned").policies()
    found = reference_of(grid, None)
    assert found is not None
    assert found.name == "pinned-t0-w1"


# --- loads, stages, and what a tier is made of ---


def tier(document: dict[str, Any], name: str = "live") -> dict[str, Any]:
    found = document["tiers"][name]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (E1, lambda d: d.update(routing=["static", "static-2"]), ("there is no 'static-2'",)),
        (E1, lambda d: d.update(design="laddr"), ("there is no design 'laddr'", "ladder")),
        (E1, lambda d: d.update(design=[]), ("there is no design []", "ladder")),
        (E1, lambda d: d.pop("design"), ("key 'design' is missing", "ladder")),
        (
            E1,
            lambda d: d.update(routing={"two": {"policies": ["static", "adaptive"]}}),
            ("'tiers.bench'", "adaptive takes its baseline in a first stage"),
        ),
        (
            E1,
            lambda d: d.update(
                routing={"two": {"grid": {"tau": [0.0, 0.7], "omega": [1.0], "way": "builtin"}}}
            ),
            ("'routing'", "2 policies over a grid of C"),
        ),
        (E2, lambda d: tier(d).pop("watch"), ("'tiers.live.watch' is missing",)),
        (E2, lambda d: d.update(routing=["static", "adaptive"]), ("'routing'", "adaptive follows")),
        (
            E1,
            lambda d: tier(d).update(repeats=2),
            ("'tiers.live.repeats' belongs to pareto", "take repeats out"),
        ),
        (
            E1,
            lambda d: tier(d).update(watch=["client"]),
            ("'tiers.live.watch' belongs to detection and stages",),
        ),
        (E1, lambda d: tier(d).update(poll_s=1.0), ("'tiers.live.poll_s' belongs to detection and stages",)),
        (E1, lambda d: tier(d)["timing"].pop("measure_s"), ("timing.measure_s must be above 0",)),
        (
            E1,
            lambda d: tier(d).update(systems=[{"model": "llama-3.1-70b", "topology": "2p2d"}]),
            ("'tiers.live.systems.0'", "there is no 'llama-3.1-70b on 2p2d'", "llama-3.1-70b on 1p2d"),
        ),
        (E2, lambda d: tier(d).update(timing={"measure_s": 5, "measure_max_s": 5}), ("deadline_s alone",)),
        (
            E2,
            lambda d: tier(d).update(concurrency=[8]),
            ("'tiers.live.concurrency' belongs to cache and engines and ladder and readings and split",),
        ),
        (E2, lambda d: tier(d).update(watch=["client", "client"]), ("client stands there twice",)),
        (E2, lambda d: tier(d).update(poll_s=0), ("'tiers.live.poll_s'", "above 0")),
        (
            E2,
            lambda d: tier(d)["stages"].append(tier(d)["stages"][0]),
            ("'tiers.live.stages'", "up-0.4 stands there twice"),
        ),
        (
            E2,
            lambda d: tier(d)["stages"][0].update(seconds=0),
            ("'tiers.live.stages.0.seconds'", "above 0"),
        ),
        (
            E2,
            lambda d: tier(d)["stages"][0].update(knee_times=1.0),
            ("'tiers.live.stages.0.knee_times'", "watch prometheus takes its baseline", "below the knee"),
        ),
        (
            E3,
            lambda d: tier(d)["stages"][0].update(seconds=1.0),
            (
                "'tiers.live.stages.0.seconds'",
                "1 s, but the baseline of adaptive takes 4 polls",
                "every 0.5 s, and one to spare: 2.5 s",
            ),
        ),
        (
            E3,
            lambda d: tier(d).update(
                stages=[{"name": "s", "knee_times": 0.9, "settle_s": 0.0, "seconds": 9.0}]
            ),
            ("'tiers.live.stages'", "no C between 8 and c_ref = 65"),
        ),
        (
            E3,
            lambda d: d.pop("knee_from"),
            ("'knee_from' is missing", "stages are multiples of a knee"),
        ),
        (E3, lambda d: d.update(knee_from="pareto"), ("'knee_from'", "pareto is no grid of C")),
        (E3, lambda d: d.update(knee_from="equilibrum"), ("'knee_from'", "did you mean 'equilibrium'")),
        (E3, lambda d: d["systems"][1].update(knee=87), ("unknown key 'systems.1.knee'",)),
        (
            E3,
            lambda d: tier(d)["stages"][0].update(concurrency=64),
            ("'tiers.live.stages.0'", "below needs knee_times", "or concurrency", "one of them"),
        ),
        (
            E4,
            lambda d: tier(d)["loads"][0].update(on_grid=True),
            ("'tiers.live.loads.0'", "on_grid is for loads past the knee, but low is not"),
        ),
        (
            E4,
            lambda d: tier(d, "full")["loads"][2].update(on_grid=True),
            ("'tiers.full.loads.3.on_grid'", "two loads on E1's grid"),
        ),
        (
            E3,
            lambda d: d["systems"].append(dict(d["systems"][1])),
            ("'systems'", "llama-3.1-70b on 1p2d stands there twice"),
        ),
        (
            E4,
            lambda d: tier(d)["routing"]["builtin"].update(policies=["adaptive"]),
            ("'tiers.live'", "adaptive takes its baseline in a first stage"),
        ),
        (
            E4,
            lambda d: tier(d)["loads"][1].update(knee_times=0.199),
            ("'tiers.live.loads.1'", "below and low are both C = 2 at a knee of 8"),
        ),
        (E4, lambda d: tier(d).update(loads=[]), ("'tiers.live.loads'", "is empty")),
        (E4, lambda d: tier(d)["loads"][0].update(knee_times=-1), ("'tiers.live.loads.0.knee_times'",)),
        (
            E4,
            lambda d: tier(d).update(loads=[{"name": "at", "knee_times": 1.3}]),
            ("'tiers.live.loads'", "no cell to fit its affine latency curve"),
        ),
        (
            E4,
            lambda d: (tier(d).pop("loads"), tier(d).update(concurrency=[8], repeats=1)),
            (
                "'tiers.live.loads' is missing",
                "'tiers.live.concurrency' belongs to cache and engines and ladder and readings and split",
            ),
        ),
    ],
)
def test_tiers_that_do_not_add_up(config: Path, file: str, change: Change, words: tuple[str, ...]) -> None:
    edit(config, file, change)
    refused(config, file, *words)


def _deadline(seconds: float) -> Change:
    return lambda d: tier(d, "full")["timing"].update(deadline_s=seconds)


def _only(*policies: str) -> Change:
    """One set, of these policies, at every tier."""

    def change(document: dict[str, Any]) -> None:
        document.update(routing={"one": {"policies": list(policies)}}, reference=policies[0])
        for each in document["tiers"].values():
            each.pop("routing", None)

    return change


@pytest.mark.parametrize(("file", "policy"), [(E3, "pinned-static"), (E4, "pinned-t0-w0")])
def test_no_pinned_request_outlives_its_reservation(config: Path, file: str, policy: str) -> None:
    """Dilation is 3 for the slowest of the models, so a reservation of 300 s lasts 100."""
    edit(config, file, _deadline(99.9))
    assert load_study(config)
    edit(config, file, _deadline(100.0))
    error = refused(
        config,
        file,
        "'tiers.full.timing.deadline_s'",
        "100 s at llama-3.1-70b's dilation of 3 are 300 s of wall time",
        f"forgets what {policy} has reserved after 300 s",
    )
    assert "set it under 100, or lower the model's dilation" in error.remedy
    edit(config, "models/llama-3.1-70b.yaml", lambda document: document.update(dilation=2.5))
    assert load_study(config)


def test_a_slower_set_outlives_its_reservation_sooner(config: Path) -> None:
    edit(config, E3, _deadline(60.0))
    edit(config, E3, lambda d: d["routing"]["pinned"].update(dilation_times=2.0))
    refused(
        config,
        E3,
        "'tiers.full.timing.deadline_s'",
        "60 s at llama-3.1-70b's dilation of 6 are 360 s of wall time",
    )


def test_a_slower_system_outlives_its_reservation_sooner(config: Path) -> None:
    edit(config, E3, _deadline(60.0))
    edit(config, E3, lambda d: d["systems"][2].update(dilation_times=2.0))
    refused(
        config,
        E3,
        "'tiers.full.timing.deadline_s'",
        "60 s at llama-3.1-70b's dilation of 6 are 360 s of wall time",
    )


@pytest.mark.parametrize("policies", [("static", "adaptive"), ("round-robin", "batched-optimal")])
def test_what_reserves_nothing_may_wait_longer(config: Path, policies: tuple[str, ...]) -> None:
    """Dynamo's own router, and baselines that count for themselves."""
    edit(config, E3, _only(*policies))
    edit(config, E3, _deadline(500.0))
    assert load_study(config)


def test_thresholds_in_seconds_need_no_baseline(config: Path) -> None:
    seconds = {"theta1_s": 1.0, "theta2_s": 10.0}
    for name in ("adaptive", "pinned-adaptive"):
        edit(config, f"policies/{name}.yaml", lambda document: document.update(controller=seconds))
    edit(config, E3, lambda document: tier(document)["stages"][0].update(seconds=1.0))
    edit(config, E3, lambda document: tier(document, "full")["stages"][0].update(seconds=35.0))
    assert load_study(config)


def test_policies_cannot_differ_on_one_worker(config: Path) -> None:
    (config / "topologies" / "1p1d.yaml").write_text("name: 1p1d\ntitle: 1P/1D\nprefill: 1\ndecode: 1\n")
    for file in (E1, E3):
        edit(config, file, lambda d: d["systems"][0].update(topology="1p1d"))
    edit(config, E3, lambda d: tier(d, "smoke").pop("systems"))
    words = "1p1d has one prefill and one decode worker", "two workers in one pool"
    refused(config, E3, "'systems.0.topology'", *words)


def test_one_policy_of_several_sets_may_run_on_one_worker(config: Path) -> None:
    """V1 measures one policy with two engines."""
    (config / "topologies" / "1p1d.yaml").write_text("name: 1p1d\ntitle: 1P/1D\nprefill: 1\ndecode: 1\n")
    edit(config, V1, lambda d: d["systems"][0].update(topology="1p1d"))
    edit(config, V1, lambda d: tier(d, "smoke").pop("systems"))
    assert load_study(config)


def test_a_reference_of_its_own_makes_up_for_the_static_default(config: Path) -> None:
    edit(config, E3, lambda d: d["routing"]["builtin"]["policies"].remove("static"))
    edit(config, E3, lambda d: d.update(reference="adaptive"))
    assert load_study(config).experiments["adaptive"].reference == "adaptive"


def test_an_unknown_key_inside_a_stage_names_the_nearest(config: Path) -> None:
    edit(config, E2, lambda d: tier(d)["stages"][0].update(knee_time=1.0))
    assert "'knee_times'" in refused(config, E2, "unknown key 'tiers.live.stages.0.knee_time'").remedy


def test_a_stage_is_a_block_of_its_own() -> None:
    with pytest.raises(UserError, match="settle_s"):
        validate({"name": "a", "knee_times": 1.0, "seconds": 1.0}, StagePlan, where="f")
