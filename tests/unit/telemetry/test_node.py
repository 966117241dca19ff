"""What is told of a node: read where it can be, null with the reason where not, and no names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from anarchy.telemetry import gpu, hardware
from anarchy.telemetry.container import container, image_file_identity
from anarchy.telemetry.node import node_facts, slurm_job, slurm_task
from anarchy.telemetry.probes import ProbeError, ask, ask_all, run_tool
from tests.helpers.telemetry_samples import GPU_VALUES, write_fake_nvidia_smi

TOKEN = "hunter2-of-the-cluster"  # no well-known shape: only the variable's name gives it away


Smi = Callable[..., None]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    def install(**options: Any) -> None:
        write_fake_nvidia_smi(tmp_path / "bin", **options)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return install


def test_a_node_without_a_gpu_says_why() -> None:
    facts = node_facts()["facts"]
    assert facts["cpu"]["value"]["threads"] == os.cpu_count()
    assert facts["kernel"]["value"]["release"] == os.uname().release
    assert facts["memory"]["value"]["total_bytes"] > 1e8
    for fact in facts.values():
        assert fact.keys() == {"value"} or (fact["value"] is None and fact["reason"]), fact


def test_it_runs_as_a_command_and_imports_only_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "anarchy.telemetry.node"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout)["schema_version"] == 1
    assert done.stdout.count("\n") == 1
    for heavy in ("numpy", "pyarrow", "pydantic", "psutil"):
        assert f" {heavy}\n" not in done.stderr


def test_facts_of_a_made_up_b200(smi: Smi) -> None:
    smi()
    facts = node_facts()["facts"]
    assert [row["index"] for row in facts["gpus"]["value"]] == [0, 1]
    first = facts["gpus"]["value"][0]
    assert first["name"] == "NVIDIA B200"
    assert first["vbios_version"] == GPU_VALUES["vbios_version"]  # four numbers and more, but no address
    assert first["pci.bus_id"] == "00000000:10:00.0"
    assert first["power.limit"] == 1000.0
    assert first["memory.total"] == 183359
    assert facts["cuda_driver"] == {"value": "12.8"}
    assert facts["gpu_topology"]["value"][1] == "GPU0 X NV18 PIX"
    assert facts["gpu_state"]["value"][1]["power.draw"] == 711.25


def test_a_field_that_the_driver_does_not_know_costs_that_field_alone(smi: Smi) -> None:
    smi(refused=("power.max_limit", "ecc.mode.current"))
    first = gpu.gpus(5.0)[0]
    assert first["power.max_limit"] is None
    assert first["ecc.mode.current"] is None
    assert first["clocks.max.sm"] == 1965


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("hang", "no answer within"), ("garbage", "nvidia-smi printed"), ("fail", "ended with status 9")],
)
def test_a_broken_nvidia_smi_is_null_with_the_reason(smi: Smi, mode: str, reason: str) -> None:
    smi(mode=mode)
    started = time.monotonic()
    facts = node_facts(timeout_s=5.0 if mode == "hang" else 60.0)["facts"]
    assert time.monotonic() - started < 120, "it would hang for ten minutes"
    assert facts["gpus"]["value"] is None
    assert reason in facts["gpus"]["reason"]
    assert facts["cpu"]["value"] is not None


def test_no_secret_of_the_environment_and_no_variable_is_told(
    smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("SOME_PATH_OF_MINE", "/a/path/that/nobody/asked/for")
    smi(mode="fail", tail=f"(log in /var/{TOKEN}/nvidia.log)")
    text = json.dumps(node_facts())
    assert "<secret>" in text
    assert TOKEN not in text
    assert "nobody/asked" not in text


def test_no_address_of_a_network_card_is_told() -> None:
    text = json.dumps(node_facts()["facts"])
    for path in Path("/sys/class/net").iterdir():
        address = (path / "address").read_text().strip()
        if address != "00:00:00:00:00:00":
            assert address not in text


def test_a_network_of_infiniband_and_ethernet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + "\n")

    (tmp_path / "drivers/mlx5_core").mkdir(parents=True)
    for name, kind, speed in (("ibp3s0", "32", "400000"), ("enx0a1b2c3d4e5f", "1", "-1")):
        write(f"class/net/{name}/type", kind)
        write(f"class/net/{name}/speed", speed)
        write(f"class/net/{name}/mtu", "4092")
        write(f"class/net/{name}/address", "00:11:22:33:44:55")
        (tmp_path / f"class/net/{name}/device").mkdir()
        (tmp_path / f"class/net/{name}/device/driver").symlink_to(tmp_path / "drivers/mlx5_core")
    write("class/infiniband/mlx5_0/node_desc", "secret-host HCA-1")
    write("class/infiniband/mlx5_0/fw_ver", "28.39.1002")
    write("class/infiniband/mlx5_0/ports/1/rate", "400 Gb/sec (4X NDR)")
    write("class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE")
    monkeypatch.setattr(hardware, "SYS", tmp_path)
    ethernet, infiniband = hardware.network()
    assert ethernet["name"] == "enx<address>"
    assert (ethernet["link"], ethernet["speed_mbit_s"]) == ("ethernet", None)
    assert (infiniband["link"], infiniband["speed_mbit_s"], infiniband["driver"]) == (
        "infiniband",
        400000,
        "mlx5_core",
    )
    assert hardware.infiniband()[0]["rate"] == "400 Gb/sec (4X NDR)"
    assert "secret-host" not in json.dumps(hardware.infiniband())


def test_a_probe_that_raises_or_hangs_leaves_the_others_alone() -> None:
    facts = ask_all({"good": lambda: 1, "bad": lambda: 1 / 0, "slow": lambda: time.sleep(60)}, 2.0)
    assert facts["good"] == {"value": 1}
    assert facts["bad"]["reason"].startswith("ZeroDivisionError")
    assert facts["slow"] == {"value": None, "reason": "no answer within 2 s"}


def test_a_tool_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no answer"):
        run_tool(["sh", "-c", f"sleep 600 & echo $! >{tmp_path}/child; sleep 600"], 2.0)
    child = int((tmp_path / "child").read_text())
    ends = time.monotonic() + 60.0
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < ends, "the child lives on"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("environment", "runtime", "image", "digest"),
    [
        (
            {"_SLURM_SPANK_OPTION_pyxis_container_image": "nvcr.io#nvidia/ai-dynamo/vllm-runtime:1.5.1"},
            "pyxis",
            "nvcr.io#nvidia/ai-dynamo/vllm-runtime:1.5.1",
            None,
        ),
        ({"SINGULARITY_CONTAINER": "/images/d.sif"}, None, "/images/d.sif", None),
        (
            {"SLURM_CONTAINER": f"reg/x@sha256:{'a' * 64}"},
            "slurm",
            f"reg/x@sha256:{'a' * 64}",
            f"sha256:{'a' * 64}",
        ),
        (
            {"ANARCHY_CONTAINER_IMAGE": "mine:1", "ANARCHY_CONTAINER_DIGEST": "sha256:feed"},
            None,
            "mine:1",
            "sha256:feed",
        ),
    ],
)
def test_container_images_by_the_conventions(
    tmp_path: Path, environment: dict[str, str], runtime: str | None, image: str, digest: str | None
) -> None:
    found = container(environment, tmp_path)
    assert (found["runtime"], found["image"], found["digest"]) == (runtime, image, digest)
    assert ("reason" in found) == (digest is None)


def test_podman_tells_its_image_and_no_container_is_a_reason(tmp_path: Path) -> None:
    assert "not in a container" in ask(lambda: container({}, tmp_path))["reason"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.containerenv").write_text('engine="podman-5"\nimage="q/x:1"\nimageid="beef"\n')
    found = container({}, tmp_path)
    assert (found["runtime"], found["image"], found["digest"]) == ("podman", "q/x:1", "beef")


def test_image_files_have_an_identity(tmp_path: Path) -> None:
    sif = tmp_path / "a.sif"
    sif.write_bytes(
        b"#!/usr/bin/env run-singularity\n\0" + b"SIF_MAGIC\0" + b"01\0" + b"02\0" + bytes(range(200))
    )
    assert image_file_identity(sif)["id"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    squash = tmp_path / "a.sqsh"
    squash.write_bytes(b"hsqs" + bytes(200))
    assert len(image_file_identity(squash)["superblock_sha256"]) == 64
    assert container({"APPTAINER_CONTAINER": str(sif)}, tmp_path)["image_file"]["kind"] == "sif"


def test_a_slurm_job_without_user_and_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scontrol").write_text(
        "#!/bin/sh\necho 'JobId=42 JobName=secret UserId=anna(1000) Account=proj7 Partition=b200 NumNodes=2 "
        "NumCPUs=448 TimeLimit=04:00:00 NodeList=b200-[17-18] WorkDir=/home/anna/x TresPerNode=gres/gpu:8'\n"
    )
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert slurm_job({"SLURM_JOB_ID": "42"}) == {
        "job_id": "42",
        "partition": "b200",
        "nodes": "2",
        "cpus": "448",
        "time_limit": "04:00:00",
        "gres": "gres/gpu:8",
    }
    with pytest.raises(ProbeError, match="not in a Slurm job"):
        slurm_task({})
