"""Configuration: what is shipped loads; whatever does not hold is refused with file, key and remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anarchy.config import (
    ALL,
    BLOCKS,
    AnyPolicy,
    Choices,
    Cluster,
    Experiment,
    Model,
    Study,
    Topology,
    Workload,
)
from anarchy.config.checks import check_fit
from anarchy.config.files import load_block, load_study, validate
from anarchy.config.routing import policy_kinds
from anarchy.config.workloads import LEAST_OWN
from anarchy.ground.errors import EXIT_USER_ERROR, UserError
from anarchy.ground.layout import CONFIG
from anarchy.load.workload import WorkloadSpec
from tests.helpers.config_samples import edit, refused

EXPERIMENT = "experiments/equilibrium.yaml"
MODEL = "models/llama-3.1-70b.yaml"


def quick(document: dict[str, Any]) -> dict[str, Any]:
    tier = document["tiers"]["live"]
    assert isinstance(tier, dict)
    return tier


def test_the_shipped_study_loads_and_is_that_of_the_paper() -> None:
    study = load_study(CONFIG)
    equilibrium = study.experiments["equilibrium"]
    assert study.cluster == Cluster(nodes=3, gpus_per_node=8)
    papers = {(s.model, s.topology) for s in equilibrium.systems_of("full")}
    assert {(s.model, s.topology) for s in equilibrium.systems} - papers == {("llama-3.1-70b", "2p4d")}
    assert papers == {
        ("nemotron-4-340b", "1p2d"),
        ("llama-3.1-70b", "1p2d"),
        ("llama-3.1-70b", "1p5d"),
    }
    full = equilibrium.tiers["full"]
    assert full.grid == (1, 2, 4, 8, 16, 32, 64, 96, 112, 128, 160, 192, 256, 384, 512)
    assert full.launches == 3
    assert (equilibrium.tiers["live"].launches, equilibrium.tiers["live"].engine) == (1, "mocker")
    assert (equilibrium.tiers["quick"].launches, equilibrium.tiers["quick"].engine) == (5, "virtual")
    assert {96, 128} <= set(equilibrium.tiers["live"].grid)


def test_the_shipped_run_loads() -> None:
    assert load_block(CONFIG / "run.yaml", Choices) == Choices(experiments=(ALL,))


# --- unknown keys ---


@pytest.mark.parametrize(
    ("file", "path", "key", "near"),
    [
        (MODEL, (), "tensor_paralel", "tensor_parallel"),
        ("cluster.yaml", (), "gpu_per_node", "gpus_per_node"),
        ("policies/static.yaml", (), "taw", "tau"),
        ("topologies/1p2d.yaml", (), "decodes", "decode"),
        ("workloads/unique.yaml", (), "output_token", "output_tokens"),
        (EXPERIMENT, (), "routings", "routing"),
        (EXPERIMENT, ("tiers", "live"), "concurency", "concurrency"),
        (EXPERIMENT, ("tiers", "live", "timing"), "warmup", "warmup_s"),
        (EXPERIMENT, ("systems", 0), "modell", "model"),
    ],
)
def test_unknown_key_names_file_key_and_nearest_known(
    config: Path, file: str, path: tuple[Any, ...], key: str, near: str
) -> None:
    def add(document: dict[str, Any]) -> None:
        for part in path:
            document = document[part]
        document[key] = 1

    edit(config, file, add)
    dotted = ".".join(map(str, (*path, key)))
    error = refused(config, file, f"unknown key '{dotted}'")
    assert f"did you mean '{near}'?" in error.remedy


def test_unknown_key_that_resembles_none_lists_the_known(config: Path) -> None:
    edit(config, "cluster.yaml", lambda document: document.update(zzz=1))
    assert "known keys: gpus_per_node, nodes" in refused(config, "cluster.yaml", "'zzz'").remedy


def test_every_problem_of_a_file_is_told_at_once(config: Path) -> None:
    edit(config, "cluster.yaml", lambda document: document.update(zzz=1, nodes=0))
    refused(config, "cluster.yaml", "'zzz'", "'nodes'")


def test_missing_key(config: Path) -> None:
    edit(config, MODEL, lambda document: document.pop("profile"))
    assert "add profile" in refused(config, MODEL, "key 'profile' is missing").remedy


# --- the concurrency grid ---


@pytest.mark.parametrize("value", [0, -1, True, 8.0, 8.5, "8", None, [8]])
def test_concurrency_that_is_no_positive_integer(config: Path, value: object) -> None:
    edit(config, EXPERIMENT, lambda document: quick(document).update(concurrency=[value]))
    refused(config, EXPERIMENT, "'tiers.live.concurrency.0'", f"got {value!r}")


@pytest.mark.parametrize(
    ("grid", "word"),
    [([8, 4], "rising"), ([8, 8], "each C once"), ("8", "tuple"), (None, "tuple")],
)
def test_grids_that_are_none(config: Path, grid: object, word: str) -> None:
    edit(config, EXPERIMENT, lambda document: quick(document).update(concurrency=grid))
    refused(config, EXPERIMENT, "'tiers.live.concurrency'", word)


def test_an_empty_grid_leaves_nothing_to_measure(config: Path) -> None:
    edit(config, EXPERIMENT, lambda document: quick(document).update(concurrency=[]))
    refused(config, EXPERIMENT, "'tiers.live.concurrency'", "is empty")


# --- other values ---


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        (MODEL, "dilation", 0.5),
        (MODEL, "dilation", True),
        (MODEL, "dilation", "2"),
        (MODEL, "dilation", float("nan")),
        (MODEL, "tensor_parallel", 0),
        (MODEL, "tensor_parallel", 4.0),
        (MODEL, "title", 7),
        ("policies/static.yaml", "omega", "1"),
        ("policies/static.yaml", "omega", True),
        ("workloads/unique.yaml", "output_jitter", 1.0),
        ("workloads/unique.yaml", "templates", -1),
        ("workloads/hot.yaml", "skew", -1.0),
        ("workloads/templates.yaml", "unique_tail_tokens", -1),
        ("workloads/templates.yaml", "unique_tail_tokens", 16.0),
        ("workloads/unique.yaml", "think_s", -1.0),
        ("workloads/unique.yaml", "think_s", "1"),
        ("workloads/unique.yaml", "think_s", float("inf")),
        ("workloads/unique.yaml", "send_every_s", -1.0),
        (EXPERIMENT, "seed", -1),
        (EXPERIMENT, "seed", "7"),
        (EXPERIMENT, "seed", True),
        (EXPERIMENT, "systems", []),
        (EXPERIMENT, "routing", []),
        (EXPERIMENT, "tiers", {}),
    ],
)
def test_values_out_of_range_or_of_another_type(config: Path, file: str, key: str, value: object) -> None:
    edit(config, file, lambda document: document.update({key: value}))
    refused(config, file, f"'{key}'")


def test_durations_in_the_wrong_order(config: Path) -> None:
    edit(config, EXPERIMENT, lambda document: quick(document)["timing"].update(measure_max_s=0.1))
    refused(config, EXPERIMENT, "'tiers.live.timing'", "measure_max_s must not be below measure_s")


def test_a_measure_phase_of_no_length(config: Path) -> None:
    edit(config, EXPERIMENT, lambda document: quick(document)["timing"].update(measure_s=0))
    refused(config, EXPERIMENT, "measure_s must be above 0")


@pytest.mark.parametrize(
    ("key", "value", "twice"),
    [
        ("routing", ["static", "static"], "static"),
        ("systems", [{"model": "llama-3.1-70b", "topology": "1p2d"}] * 2, "llama-3.1-70b"),
    ],
)
def test_the_same_deployment_twice(config: Path, key: str, value: object, twice: str) -> None:
    edit(config, EXPERIMENT, lambda document: document.update({key: value}))
    refused(config, EXPERIMENT, f"'{key}'", "twice", twice)


def test_the_same_workload_twice(config: Path) -> None:
    edit(config, EXPERIMENT, lambda document: quick(document).update(workloads=["unique", "unique"]))
    refused(config, EXPERIMENT, "'tiers.live.workloads'", "unique stands there twice")


def test_no_workload(config: Path) -> None:
    edit(config, EXPERIMENT, lambda document: quick(document).update(workloads=[]))
    refused(config, EXPERIMENT, "'tiers.live.workloads'", "at least one")


def test_a_skew_with_nothing_to_skew(config: Path) -> None:
    edit(config, "workloads/unique.yaml", lambda document: document.update(skew=2.0))
    refused(config, "workloads/unique.yaml", "skew 2 needs templates", "give at least 2")


@pytest.mark.parametrize(
    ("workload", "tail", "what", "remedy"),
    [
        ("unique", 16, "unique_tail_tokens 16 needs templates", "set templates to at least 1"),
        (
            "templates",
            113,
            "a head of 15 tokens, which fills no KV block of 16",
            "input_tokens to at least 129",
        ),
        ("templates", 200, "a head of 0 tokens", "input_tokens to at least 216"),
        ("templates", 4, "holds 4 of them", "set it to 16,"),
        ("templates", 19, "holds 3 of them", "set it to 32,"),
    ],
)
def test_a_tail_that_shares_nothing_or_is_shared(
    config: Path, workload: str, tail: int, what: str, remedy: str
) -> None:
    file = f"workloads/{workload}.yaml"
    edit(config, file, lambda document: document.update(unique_tail_tokens=tail))
    assert remedy in refused(config, file, what).remedy


@pytest.mark.parametrize("tokens", [1, LEAST_OWN - 1])
def test_unique_prompts_too_short_to_differ(config: Path, tokens: int) -> None:
    """The client refuses them too, once the whole stack is up."""
    with pytest.raises(UserError):
        WorkloadSpec(input_tokens=tokens)
    edit(config, "workloads/unique.yaml", lambda document: document.update(input_tokens=tokens))
    refused(config, "workloads/unique.yaml", f"prompts of {tokens} tokens", f"at least {LEAST_OWN}")


def test_the_shortest_unique_prompts(config: Path) -> None:
    file = edit(config, "workloads/unique.yaml", lambda document: document.update(input_tokens=LEAST_OWN))
    assert WorkloadSpec(input_tokens=load_block(file, Workload).input_tokens)


# --- references and fit ---


@pytest.mark.parametrize(
    ("change", "key", "near"),
    [
        (
            lambda d: d["systems"].append({"model": "llama-3.1-7b", "topology": "1p2d"}),
            "systems.4.model",
            "llama-3.1-70b",
        ),
        (
            lambda d: d["systems"].append({"model": "llama-3.1-70b", "topology": "1p2x"}),
            "systems.4.topology",
            "1p",
        ),
        (lambda d: d.update(routing=["statics"]), "routing", "static"),
        (lambda d: quick(d).update(workloads=["uniqe"]), "tiers.live.workloads", "unique"),
    ],
)
def test_unknown_references(
    config: Path, change: Callable[[dict[str, Any]], None], key: str, near: str
) -> None:
    edit(config, EXPERIMENT, change)
    assert f"did you mean '{near}" in refused(config, EXPERIMENT, f"key '{key}': there is no").remedy


def test_a_topology_that_does_not_fit_shows_the_arithmetic(config: Path) -> None:
    def grow(document: dict[str, Any]) -> None:
        document["systems"].append({"model": "nemotron-4-340b", "topology": "1p5d"})

    edit(config, EXPERIMENT, grow)
    refused(
        config,
        EXPERIMENT,
        "nemotron-4-340b on 1p5d does not fit",
        "1 prefill + 5 decode = 6 workers of 8 GPUs need 48 GPUs",
        "3 nodes x (8 GPUs // 8) = room for 3 workers",
    )


def test_a_worker_does_not_span_nodes(config: Path) -> None:
    """24 GPUs in all would do for 1P/2D of 5 GPUs each on paper; a node holds one such worker."""
    edit(config, MODEL, lambda document: document.update(tensor_parallel=5))
    # The first file that puts it there.
    refused(config, "experiments/adaptive.yaml", "llama-3.1-70b on 1p5d does not fit", "room for 3 workers")


@pytest.mark.parametrize(("decode", "fits"), [(5, True), (6, False)])
def test_fit_at_the_edge(decode: int, fits: bool) -> None:
    study = load_study(CONFIG)
    topology = Topology(name="t", title="t", prefill=1, decode=decode)
    if fits:
        check_fit(study.models["llama-3.1-70b"], topology, study.cluster, where="x")
    else:
        with pytest.raises(UserError, match="7 workers"):
            check_fit(study.models["llama-3.1-70b"], topology, study.cluster, where="x")


def test_a_worker_larger_than_a_node() -> None:
    model = load_study(CONFIG).models["nemotron-4-340b"].model_copy(update={"tensor_parallel": 16})
    with pytest.raises(UserError, match="room for 0 workers"):
        check_fit(model, Topology(name="t", title="t", prefill=1, decode=1), Cluster(), where="x")


# --- files ---


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("nodes: [3", "not YAML"),
        ("\tnodes: 3", "not YAML"),
        ("- nodes", "not a mapping"),
        ("3", "not a mapping"),
        ("", "not a mapping"),
        ("nodes: 3\nnodes: 4\n", "key 'nodes' stands there twice"),
        ("nodes: !!python/object/apply:os.getcwd []", "key 'nodes': has the tag"),
        ("? [a]\n: 3", "not YAML"),
    ],
)
def test_files_that_are_no_mapping(config: Path, text: str, what: str) -> None:
    (config / "cluster.yaml").write_text(text)
    refused(config, "cluster.yaml", what)


def test_a_syntax_error_names_the_line(config: Path) -> None:
    (config / "cluster.yaml").write_text("nodes: 3\ngpus_per_node: [\n")
    refused(config, "cluster.yaml", "line 3")


def test_a_key_twice_deep_inside_names_the_line(config: Path) -> None:
    path = config / EXPERIMENT
    text = path.read_text().replace("    launches: 3\n", "    launches: 3\n    launches: 11\n")
    path.write_text(text)
    number = text.splitlines().index("    launches: 11") + 1
    refused(config, EXPERIMENT, f"line {number}: key 'launches' stands there twice")


def test_the_same_key_in_two_mappings_is_no_fault(config: Path) -> None:
    assert load_study(config)


def test_yaml_merge_keys_still_work(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("<<: {tier: full}\nseed: 3\n")
    assert load_block(file, Choices) == Choices(tier="full", seed=3)


def test_bytes_that_are_no_text(config: Path) -> None:
    (config / "cluster.yaml").write_bytes(b"nodes: \xff\xfe")
    refused(config, "cluster.yaml", "not UTF-8: byte 7, in line 1, is 0xff")


def test_missing_file(config: Path) -> None:
    (config / "cluster.yaml").unlink()
    assert "git checkout" in refused(config, "cluster.yaml", "does not exist").remedy


def test_a_folder_in_place_of_a_file(config: Path) -> None:
    (config / "cluster.yaml").unlink()
    (config / "cluster.yaml").mkdir()
    refused(config, "cluster.yaml", "cannot be read: it is a folder")


def test_missing_folder(config: Path) -> None:
    shutil.rmtree(config / "models")
    refused(config, "models", "holds no *.yaml file")


def test_a_file_with_the_other_ending_is_not_passed_over(config: Path) -> None:
    (config / "models" / "new.yml").write_text("name: new\n")
    assert "new.yaml" in refused(config, "models/new.yml", "would not be read").remedy


def test_name_and_file_differ(config: Path) -> None:
    edit(config, MODEL, lambda document: document.update(name="llama"))
    refused(config, MODEL, "'llama'", "llama-3.1-70b")


@pytest.mark.parametrize("name", ["../up", "A", "a b", "", "-a", "a/b", "a\n"])
def test_names_that_are_no_wildcard(name: str) -> None:
    with pytest.raises(UserError, match="'name'"):
        validate({"name": name, "title": "t", "tau": 0.0, "omega": 1.0}, AnyPolicy, where="f")


# --- one call's choices ---


@pytest.mark.parametrize("value", ["a,b", "a, b,", ["a", "b"], ("a", "b")])
def test_lists_of_names_from_the_command_line(value: object) -> None:
    assert validate({"models": value}, Choices, where="--config").models == ("a", "b")


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        ({"teir": "live"}, "did you mean 'tier'?"),
        ({"engine": "magic"}, "'engine'"),
        ({"models": "a,a"}, "a stands there twice"),
        ({"models": 7}, "'models'"),
        ({"seed": -1}, "'seed'"),
        ({"seed": "1"}, "'seed'"),
        ({"seed": True}, "'seed'"),
        ({"tier": 1}, "'tier'"),
    ],
)
def test_bad_choices(choice: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError) as caught:
        validate(choice, Choices, where="--config")
    assert word in str(caught.value)
    assert caught.value.where == "--config"


# --- errors ---


def test_a_user_error_tells_what_where_and_remedy_and_survives_a_process_boundary() -> None:
    import pickle

    error = UserError("is wrong", where=Path("f.yaml"), remedy="mend it")
    assert str(error) == "f.yaml: is wrong\n  remedy: mend it"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.where, again.remedy) == (str(error), error.where, error.remedy)
    assert EXIT_USER_ERROR == 2


@pytest.mark.parametrize(
    "block", [*(block for name, block in BLOCKS.items() if name != "policy"), *policy_kinds().values()]
)
def test_every_block_refuses_unknown_keys_and_cannot_be_changed(block: type[Any]) -> None:
    assert block.model_config["extra"] == "forbid"
    assert block.model_config["frozen"]


def test_study_holds_every_named_block() -> None:
    named = {"models": Model, "topologies": Topology, "policies": AnyPolicy, "experiments": Experiment}
    assert named.keys() <= Study.model_fields.keys()


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (
            lambda d: d["routing"].update(other={"policies": ["static"]}),
            "key 'routing'",
            "2 sets (cache, other)",
        ),
        (
            lambda d: d["tiers"]["quick"]["limits"].update(num_gpu_blocks=16),
            "key 'tiers.quick.limits.num_gpu_blocks'",
            "16 blocks are no room for a prompt of document",
        ),
    ],
)
def test_a_pool_of_caches_that_makes_no_game_is_refused(
    config: Path, change: Callable[[dict[str, Any]], object], key: str, words: str
) -> None:
    edit(config, "experiments/cache.yaml", change)
    refused(config, "experiments/cache.yaml", key, words)
