"""The engine vllm without starting it: commands, variables, ports, weights, plan and labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from anarchy.cluster.engine_needs import serving_python
from anarchy.cluster.local import this_machine
from anarchy.config.site import Container, Site
from anarchy.engines.devices import common_label, device_seen, engine_label
from anarchy.engines.hosts import Node
from anarchy.engines.mocker import MockerSettings
from anarchy.engines.registry import engine_names, engine_of, engines, served_by
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from anarchy.engines.vllm import CPU, VllmSettings
from anarchy.engines.weights import cache_folder, find_weights
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG, VLLM_CPU_PYTHON
from anarchy.plan.workbench import open_frozen, open_run
from anarchy.serving.placement import Placement, Ports, place
from anarchy.serving.requirements import check_engine
from anarchy.telemetry.fingerprint import spec_words
from tests.helpers.config_samples import edit

LLAMA = "llama-3.1-70b"
E1_ALONE = {"experiments": ["equilibrium"]}
NODES = tuple(Node(f"node0{n}", f"slurm{n}", f"198.51.100.{n}", "ib0") for n in (1, 2))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    return folder


@pytest.fixture
def spec(tmp_path: Path, weights: Path) -> DeploymentSpec:
    return DeploymentSpec(
        model=LLAMA,
        prefill=1,
        decode=2,
        policies=(RoutingPolicy("static", 0.0, 1.0),),
        log_dir=tmp_path / "logs",
        settings=VllmSettings(weights, 4096, "fp8", 4),
        nodes=NODES,
        gpus_per_worker=4,
        gpus_per_node=8,
        dynamo_python=Path("python"),
    )


def told(spec: DeploymentSpec, **changes: Any) -> DeploymentSpec:
    assert isinstance(spec.settings, VllmSettings)
    return replace(spec, settings=replace(spec.settings, **changes))


def on_cpu(spec: DeploymentSpec) -> DeploymentSpec:
    return told(spec, on="cpu")


def placed(spec: DeploymentSpec, tmp_path: Path) -> Placement:
    ports = Ports.of(spec, range(20_000, 20_000 + Ports.needed(spec)))
    assert spec.settings.model_folder is not None
    return place(
        spec,
        ports,
        model_folder=spec.settings.model_folder,
        discovery_dir=tmp_path / "kv",
        home=tmp_path / "home",
    )


def option(command: tuple[str, ...], name: str) -> str:
    return command[command.index(name) + 1]


# --- commands and variables ---


def test_a_worker_on_gpus(spec: DeploymentSpec, tmp_path: Path) -> None:
    prefill, decode, _ = (worker.process for worker in placed(spec, tmp_path).workers)
    assert prefill.command[:3] == ("python", "-m", "dynamo.vllm")
    assert option(prefill.command, "--disaggregation-mode") == "prefill"
    assert option(prefill.command, "--tensor-parallel-size") == "4"
    assert option(prefill.command, "--quantization") == "fp8"
    assert option(prefill.command, "--block-size") == "16"
    assert int(option(prefill.command, "--max-num-seqs")) == spec.max_num_seqs
    assert "--enable-prefix-caching" in prefill.command
    assert "--enforce-eager" not in prefill.command
    assert json.loads(option(prefill.command, "--kv-transfer-config")) == {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_producer",
    }
    assert json.loads(option(decode.command, "--kv-transfer-config"))["kv_role"] == "kv_consumer"
    assert prefill.environment["VLLM_NIXL_SIDE_CHANNEL_HOST"] == "198.51.100.1"
    assert not any(name in prefill.environment for name in CPU.environment)


def test_every_worker_has_ports_of_its_own(spec: DeploymentSpec, tmp_path: Path) -> None:
    workers = placed(spec, tmp_path).workers
    events = [
        json.loads(option(worker.process.command, "--kv-events-config"))["endpoint"] for worker in workers
    ]
    assert all(endpoint.startswith("ipc://@") for endpoint in events), "nothing on the network"
    assert len(set(events)) == 3
    taken = [int(worker.process.environment["VLLM_NIXL_SIDE_CHANNEL_PORT"]) for worker in workers]
    taken += [worker.system_port for worker in workers]
    assert len(set(taken)) == 6
    assert Ports.needed(spec) == 2 + 3 * 2 + 1


def test_a_cpu_worker_differs_by_one_list_and_nothing_else(spec: DeploymentSpec, tmp_path: Path) -> None:
    for gpu, cpu in zip(placed(spec, tmp_path).workers, placed(on_cpu(spec), tmp_path).workers, strict=True):
        left, right = gpu.process, cpu.process
        transfer = json.loads(option(right.command, "--kv-transfer-config"))
        for key, value in CPU.kv_transfer.items():
            assert transfer.pop(key) == value
        assert transfer == json.loads(option(left.command, "--kv-transfer-config"))
        expected = list(left.command)
        for flag in CPU.without:
            at = expected.index(flag)
            del expected[at : at + 2]
        at = expected.index("--kv-transfer-config") + 1
        expected[at] = option(right.command, "--kv-transfer-config")
        assert [*expected, *CPU.flags] == list(right.command)
        more = {name: value.format(interface="ib0") for name, value in CPU.environment.items()}
        assert {**left.environment, **more, **CPU.everywhere} == dict(right.environment)


def test_gpus_on_this_machine_are_shown_by_the_environment(spec: DeploymentSpec, tmp_path: Path) -> None:
    here = replace(spec, nodes=(Node(),), gpus_per_node=12)
    shown = [worker.process.environment["CUDA_VISIBLE_DEVICES"] for worker in placed(here, tmp_path).workers]
    assert shown == ["0,1,2,3", "4,5,6,7", "8,9,10,11"]
    for worker in placed(spec, tmp_path).workers:  # srun's step does it there
        assert "CUDA_VISIBLE_DEVICES" not in worker.process.environment


def test_mock_workers_take_no_further_ports() -> None:
    assert served_by("mocker").ports == 0


def test_settings_of_one_engine_are_not_served_by_another(spec: DeploymentSpec, tmp_path: Path) -> None:
    other = replace(spec, settings=MockerSettings(tmp_path / "p.npz"))
    assert (spec.engine, other.engine) == ("vllm", "mocker")
    with pytest.raises(TypeError, match="engine mocker is none of vllm"):
        served_by("vllm").command(other, "decode", tmp_path, (1,))
    with pytest.raises(TypeError, match="engine vllm is none of mocker"):
        served_by("mocker").command(spec, "decode", tmp_path, ())


def test_engines_are_the_modules_that_define_one() -> None:
    assert list(engines()) == ["mocker", "virtual", "vllm"]
    assert engine_names() == ("mocker", "virtual", "vllm")
    assert [engine.name for engine in engines().values()] == list(engines())
    with pytest.raises(UserError, match="there is no engine 'sglang'") as raised:
        engine_of("sglang")
    assert "mocker, virtual, vllm" in str(raised.value)
    with pytest.raises(UserError, match="'virtual' is not served"):
        served_by("virtual")


def test_a_held_request_fits_the_context(spec: DeploymentSpec) -> None:
    assert spec.hold_tokens + 5 * 16 * 16 <= 4096


def test_no_path_is_told_in_the_fingerprint(spec: DeploymentSpec, weights: Path) -> None:
    words = spec_words(spec)
    assert str(weights.parent) not in json.dumps(words)
    assert words["weights"]["bytes"]["model.safetensors"] == 1


# --- weights ---


def find(named: str, **environment: str) -> Path:
    return find_weights(named, where="site.yaml", key="models.m", environment=environment).folder


def test_a_folder_of_weights_is_found(weights: Path) -> None:
    assert find(str(weights)) == weights
    assert find_weights(str(weights), where="s", key="k").context_length == 4096


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer.json"),
        ("model.safetensors", r"no \*\.safetensors"),
    ],
)
def test_what_weights_lack_is_told(weights: Path, lacking: str, told: str) -> None:
    (weights / lacking).unlink()
    with pytest.raises(UserError, match=told) as raised:
        find(str(weights))
    assert "models.m" in str(raised.value)
    assert raised.value.where == "site.yaml"


def test_weights_that_were_not_fetched_whole_are_told(weights: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (weights / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"lacks 1 of 2 files of weights, model-2\.safetensors"):
        find(str(weights))


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_config_without_the_context_is_told(weights: Path, text: str) -> None:
    (weights / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        find(str(weights))


def test_a_hub_name_is_found_in_the_callers_cache_only(weights: Path, tmp_path: Path) -> None:
    repository = tmp_path / "home" / "hub" / "models--maker--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc\n")
    (repository / "snapshots").mkdir()
    weights.rename(repository / "snapshots" / "abc")
    found = repository / "snapshots" / "abc"
    assert find("maker/model", HF_HOME=str(tmp_path / "home")) == found
    assert find("maker/model", HF_HUB_CACHE=str(tmp_path / "home" / "hub"), HF_HOME="/nowhere") == found
    with pytest.raises(UserError, match="not in the local cache"):
        find("maker/other", HF_HOME=str(tmp_path / "home"))
    with pytest.raises(UserError, match="no weights are named"):
        find("")
    assert cache_folder({}) == Path.home() / ".cache" / "huggingface" / "hub"


# --- the run ---


def site_file(folder: Path, **keys: Any) -> str:
    path = folder / "site.yaml"
    path.write_text(json.dumps({"partition": "p", "interface": "lo", **keys}))
    return str(path)


def test_a_real_engine_keeps_its_own_time_and_has_its_own_plan(tmp_path: Path) -> None:
    def hashes(**keys: Any) -> set[str]:
        site = site_file(tmp_path, **{"models": {LLAMA: "/w"}, **keys})
        bench = open_run({"tier": "smoke", "engine": "vllm", "models": LLAMA, "site": site, **E1_ALONE})
        assert bench.cluster is None
        assert {plan.model.dilation for plan in bench.deployments} == {1.0}
        return {cell.plan_hash for plan in bench.plans for cell in plan.cells}

    on_gpus = hashes()
    simulated = open_run({"tier": "smoke", "models": LLAMA, **E1_ALONE})
    assert {plan.model.dilation for plan in simulated.deployments} == {3.0}
    assert not on_gpus & {cell.plan_hash for plan in simulated.plans for cell in plan.cells}
    assert on_gpus == hashes(partition="other", etcd="elsewhere", scratch="/s")
    for change in ({"device": "cpu"}, {"models": {LLAMA: "/v"}}, {"serving_python": "/other/python"}):
        assert not on_gpus & hashes(**change), change


def test_a_real_engine_needs_the_site_file_on_one_machine_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="engine vllm needs a site file"):
        open_run({"engine": "vllm", "site": str(tmp_path / "none.yaml")})


@pytest.mark.parametrize(
    "names_it",
    [
        lambda one: one["tiers"]["smoke"].update(engine="vllm"),
        lambda one: one.update(routing={"static": {"policies": ["static"], "engine": "vllm"}}),
    ],
    ids=["tier", "set"],
)
def test_a_real_engine_that_no_call_names_needs_it_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names_it: Callable[[dict[str, Any]], object]
) -> None:
    config = Path(shutil.copytree(CONFIG, tmp_path / "config"))
    edit(config, "experiments/equilibrium.yaml", names_it)
    monkeypatch.setattr("anarchy.plan.workbench.CONFIG", config)
    choices = {"tier": "smoke", "models": LLAMA, "results": str(tmp_path / "results"), **E1_ALONE}
    with pytest.raises(UserError, match="engine vllm needs a site file"):
        open_run({**choices, "site": str(tmp_path / "none.yaml")})
    bench = open_run({**choices, "site": site_file(tmp_path, models={LLAMA: "/w"})})
    assert bench.site is not None
    assert open_frozen(bench.freeze()).site == bench.site


def test_what_serves_a_real_engine() -> None:
    site = Site(partition="p", interface="lo", device="cpu")
    assert serving_python(site, "vllm") == VLLM_CPU_PYTHON
    assert serving_python(site.model_copy(update={"serving_python": "/x/python"}), "vllm") == Path(
        "/x/python"
    )
    with pytest.raises(UserError, match="serving_python"):
        serving_python(Site(partition="p", interface="lo"), "vllm")


def test_this_machine_alone(tmp_path: Path) -> None:
    site = site_file(tmp_path, models={LLAMA: "/w"}, serving_python="/x/python", start_minutes=7)
    bench = open_run({"tier": "smoke", "engine": "vllm", "models": LLAMA, "site": site})
    plan = bench.deployments[0]
    given = this_machine(plan, bench.site)
    assert (given.gpus_per_worker, given.gpus_per_node, given.start_timeout_s) == (4, 8, 420.0)
    assert bench.site is not None
    cpu = this_machine(plan, bench.site.model_copy(update={"device": "cpu"}))
    assert (cpu.gpus_per_worker, cpu.gpus_per_node) == (0, 0)
    boxed = bench.site.model_copy(update={"container": Container(runtime="apptainer", image="i.sif")})
    with pytest.raises(UserError, match="container"):
        this_machine(plan, boxed)
    assert this_machine(plan, None).gpus_per_worker == 0


# --- what it is called ---


def node(*names: str | None) -> dict[str, Any]:
    return {"facts": {"gpus": {"value": [{"name": name} for name in names]}}}


UNTOLD = {"facts": {"gpus": {"value": None, "reason": "no nvidia-smi"}}}


@pytest.mark.parametrize(
    ("nodes", "device", "label"),
    [
        ([node("NVIDIA B200", "NVIDIA B200"), node("NVIDIA B200")], "NVIDIA B200", "B200"),
        ([node("NVIDIA H200")], "NVIDIA H200", "NVIDIA H200"),
        (
            [node("NVIDIA B200"), node("NVIDIA H200")],
            "mixed: NVIDIA B200, NVIDIA H200",
            "vLLM on mixed devices",
        ),
        ([node("NVIDIA B200"), UNTOLD], None, "vLLM on an unknown device"),
        ([node("NVIDIA B200", None)], None, "vLLM on an unknown device"),
        ([], None, "vLLM on an unknown device"),
    ],
)
def test_only_b200_is_called_b200(nodes: list[Any], device: str | None, label: str) -> None:
    assert device_seen("vllm", "cuda", nodes) == device
    assert engine_label("vllm", device) == label


@pytest.mark.parametrize(("device", "has"), [("cuda", "vllm-cpu"), ("cpu", "vllm"), ("cuda", None)])
def test_a_vllm_built_for_another_device_is_refused(
    spec: DeploymentSpec, device: Literal["cuda", "cpu"], has: str | None
) -> None:
    changed = told(spec, on=device)
    with pytest.raises(UserError, match=f"has {has or 'no engine vllm'}, and device {device} needs"):
        check_engine(changed, {"ai-dynamo": "1.5.1", **({has: "0.28.0"} if has else {})})
    check_engine(changed, {"vllm" if device == "cuda" else "vllm-cpu": "0.28.0"})


def test_a_long_context_is_cut(spec: DeploymentSpec, tmp_path: Path) -> None:
    for context, served, held in ((131_072, 32_768, 20_000), (4096, 4096, 2816)):
        changed = told(spec, context_length=context)
        command = placed(changed, tmp_path).workers[0].process.command
        assert option(command, "--max-model-len") == str(served)
        assert changed.hold_tokens == held


def test_a_cpu_and_a_simulation_are_called_so() -> None:
    assert device_seen("vllm", "cpu", [node("NVIDIA B200")]) == "CPU"
    assert engine_label("vllm", "CPU") == "vLLM on CPU"
    assert device_seen("mocker", "", [node("NVIDIA B200")]) is None
    assert engine_label("mocker", None) == "simulated"
    assert engine_label("virtual", None) == "simulated in virtual time"
    assert engine_label("unknown", None) == "unknown"
    assert engine_label("elsewhere", None) == "unknown (elsewhere)"


def test_launches_on_different_devices_have_no_label_of_one() -> None:
    assert common_label(["B200", "B200"]) == "B200"
    assert common_label(["B200", "NVIDIA H200"]) == "mixed: B200 and NVIDIA H200"
