"""Settings that a quasi-random sequence draws: always the same ones, spread evenly, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from anarchy.config import Limits, RoutingSet, Study
from anarchy.config.files import load_study, validate
from anarchy.config.sample import Sample, by_limit
from anarchy.designs.readings.tier import Read, ReadingsTier
from anarchy.games.readings import READINGS
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG
from anarchy.plan.launches import DeploymentPlan
from anarchy.plan.run import read_run
from anarchy.plan.workbench import open_frozen, open_run
from tests.helpers.config_samples import edit, refused

MAP = "experiments/map.yaml"
WORDS: dict[str, Any] = {
    "points": 32,
    "seed": 7,
    "output_tokens": [32, 256],
    "shared_blocks": [0, 8],
    "templates": 5,
    "max_num_batched_tokens": [2048, 4096, 8192, 16384],
}


def sample(**changes: Any) -> Sample:
    return validate({**WORDS, **changes}, Sample, where="test")


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(CONFIG)


@pytest.fixture(scope="module")
def tier(study: Study) -> ReadingsTier:
    found = study.experiments["map"].tiers["why"]
    assert isinstance(found, ReadingsTier)
    return found


# --- what is drawn ---


def test_one_seed_draws_one_sample() -> None:
    assert sample().settings == sample().settings
    assert sample().settings != sample(seed=8).settings
    assert sample(points=64).settings[:32] == sample().settings, "a longer sequence begins like a shorter one"


def test_every_part_of_every_factor_is_drawn_equally_often() -> None:
    drawn = sample().settings
    assert set(Counter(one.max_num_batched_tokens for one in drawn).values()) == {8}
    # Four equal parts of the logarithm, 32 to 256.
    edges = [32 * 8 ** (part / 4) for part in range(5)]
    parts = Counter(sum(one.output_tokens >= edge - 0.5 for edge in edges[1:4]) for one in drawn)
    assert set(parts.values()) == {8}
    shared = Counter(one.shared_blocks for one in drawn)
    assert set(shared) == set(range(9))
    assert max(shared.values()) - min(shared.values()) <= 2
    assert [one.number for one in drawn] == list(range(32))


def test_the_shipped_sample_is_the_one_that_was_measured(tier: ReadingsTier) -> None:
    assert tier.sample is not None
    told = [
        (one.output_tokens, one.shared_blocks, one.max_num_batched_tokens) for one in tier.sample.settings
    ]
    assert told[:4] == [(62, 7, 8192), (103, 2, 4096), (174, 5, 16384), (36, 0, 2048)]


LOADED = """
import sys
from anarchy.plan.workbench import open_run
open_run({{"tier": {tier!r}, "experiments": [{experiment!r}], "results": {results!r}}})
print("scipy.stats" in sys.modules)
"""


@pytest.mark.parametrize(("tier", "experiment", "drawn"), [("quick", "split", False), ("why", "map", True)])
def test_only_a_run_that_measures_a_sample_draws_one(
    tmp_path: Path, tier: str, experiment: str, drawn: bool
) -> None:
    """The sequence takes a second to load, and every call of `anarchy` and of Snakemake reads the study."""
    code = LOADED.format(tier=tier, experiment=experiment, results=str(tmp_path))
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.split() == [str(drawn)]


def test_names_of_points_are_known_before_they_are_drawn(tier: ReadingsTier) -> None:
    assert tier.sample is not None
    names = [one.name(base) for one in tier.sample.settings for base in tier.workloads]
    assert list(tier.workload_names) == names


# --- what becomes of it ---


def test_each_workload_is_measured_under_each_setting_once(study: Study, tier: ReadingsTier) -> None:
    sets = tier.sets(study.experiments["map"].routing)
    names = [name for one in sets.values() for name in one.workloads]
    assert len(names) == len(set(names)) == 64
    assert set(names) == set(tier.workload_names)
    assert {name: one.limits and one.limits.max_num_batched_tokens for name, one in sets.items()} == {
        f"static-b{limit}": limit for limit in (2048, 4096, 8192, 16384)
    }


def test_a_set_of_a_sample_keeps_its_own_limits_and_workloads(tier: ReadingsTier) -> None:
    own = RoutingSet(policies=("static",), limits=Limits(num_gpu_blocks=500), workloads=("in-step",))
    sets = tier.sets({"own": own})
    assert {one.limits for one in sets.values()} == {
        Limits(num_gpu_blocks=500, max_num_batched_tokens=limit) for limit in by_limit(sample().settings)
    }
    measured = {name for one in sets.values() for name in one.workloads}
    assert measured == {name for name in tier.workload_names if name.endswith("-in-step")}


def test_a_setting_says_the_answers_and_the_reuse_of_a_workload(study: Study, tier: ReadingsTier) -> None:
    assert tier.sample is not None
    blocks = {block.name: block for block in tier.blocks(study.workloads)}
    assert list(blocks) == list(tier.workload_names)
    for one in tier.sample.settings:
        for base in tier.workloads:
            block = blocks[one.name(base)]
            assert (block.output_tokens, block.input_tokens) == (one.output_tokens, 128)
            assert (block.synchrony, block.output_jitter) == (
                study.workloads[base].synchrony,
                study.workloads[base].output_jitter,
            )
            assert block.templates == (5 if one.shared_blocks else 0)
            assert block.new_tokens == 128 - 16 * one.shared_blocks


def test_settings_by_limit_are_all_there_in_order() -> None:
    groups = by_limit(sample().settings)
    assert list(groups) == [2048, 4096, 8192, 16384]
    assert sorted(one.number for its in groups.values() for one in its) == list(range(32))


def plans(**choices: Any) -> tuple[DeploymentPlan, ...]:
    return open_run({"tier": "smoke", "experiments": ["map"], **choices}).plans


def test_a_deployment_is_one_limit_and_holds_its_settings_alone() -> None:
    found = plans()
    assert [(one.routing, one.limits.max_num_batched_tokens) for one in found] == [
        ("static-b2048", 2048),
        ("static-b8192", 8192),
    ]
    for one in found:
        assert {cell.workload.name for cell in one.cells} == set(
            one.experiment.sets(one.tier)[one.routing].workloads
        )


def test_a_frozen_run_keeps_every_setting(tmp_path: Path) -> None:
    bench = open_run({"tier": "smoke", "experiments": ["map"], "results": str(tmp_path / "results")})
    path = bench.freeze()
    assert [one.plan_hash for one in open_frozen(path).plans] == [one.plan_hash for one in bench.plans]
    assert {"in-step", "p00-in-step", "p01-in-step"} <= set(read_run(path).study.workloads)


def test_the_words_for_readings_are_those_of_the_theory() -> None:
    assert get_args(Read) == READINGS


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"points": 24}, "give 16 or 32"),
        ({"points": 1}, "at least 2"),
        ({"points": 512}, "at most 256"),
        ({"output_tokens": [256, 32]}, r"give output_tokens: \[32, 256\]"),
        ({"shared_blocks": [4, 0]}, r"give shared_blocks: \[0, 4\]"),
        ({"max_num_batched_tokens": []}, "at least 1"),
        ({"max_num_batched_tokens": [8192, 8192]}, "max_num_batched_tokens"),
        ({"templates": 0}, "at least 1"),
    ],
)
def test_a_sample_that_means_nothing_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError) as caught:
        sample(**changes)
    (key,) = changes
    assert key in str(caught.value)
    assert re.search(what, f"{caught.value} {caught.value.remedy}"), caught.value.remedy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda tier: tier.update(workloads=["paper"]),
            ("tiers.why.workloads.0", "paper has templates", "unique prompts"),
        ),
        (
            lambda tier: tier["sample"].update(shared_blocks=[0, 9]),
            ("tiers.why.sample.shared_blocks", "144 tokens shared of 128"),
        ),
        (lambda tier: tier.update(depths=[192, 200]), ("tiers.why.depths/1", "C = 200 is not in the grid")),
        (
            lambda tier: tier["curves"][0].update(workload="in-step"),
            ("tiers.why.curves/0/workload", "'in-step' is not measured"),
        ),
    ],
)
def test_a_map_that_does_not_add_up_is_refused(
    config: Path, change: Callable[[dict[str, Any]], object], words: tuple[str, ...]
) -> None:
    edit(config, MAP, lambda document: change(document["tiers"]["why"]))
    refused(config, MAP, *words[:2])


def test_a_set_of_a_sample_that_names_an_unknown_workload_is_refused(config: Path) -> None:
    """It is measured on the points of what it names; of this name there would be none."""
    edit(config, MAP, lambda one: one["routing"]["static"].update(workloads=["papers"]))
    refused(config, MAP, "routing.static.workloads", "there is no 'papers'")


def test_a_set_that_names_another_workload_is_refused(config: Path) -> None:
    edit(config, "experiments/protocol.yaml", lambda one: one["routing"]["free"]["workloads"].append("paper"))
    error = refused(config, "experiments/protocol.yaml", "routing.free.workloads", "there is no 'paper'")
    assert "in-step" in str(error.remedy)
