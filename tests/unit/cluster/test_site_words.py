"""Site files as people write them, through the command line: taken as meant, or told what is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from anarchy.cli import main as cli
from anarchy.config.site import Site, load_site

NEEDED = "partition: gpu\ninterface: lo\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_bytes(text.encode())
    return path


def plan(path: Path) -> int:
    return cli.main(["plan", "--launcher", "slurm", "--site", str(path), "--experiments", "equilibrium"])


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("max_minutes: 24:00:00", "max_minutes", 1440),  # 86400 to YAML 1.1
        ("max_minutes: 2-00:00:00", "max_minutes", 2880),
        ("max_minutes: '90'", "max_minutes", 90),
        ("max_minutes: UNLIMITED", "max_minutes", None),
        ("max_minutes: infinite", "max_minutes", None),
        ("max_minutes:", "max_minutes", 1440),
        ("start_minutes: 0:45:00", "start_minutes", 45),
        ("memory_mb_per_node: 2000G", "memory_mb_per_node", 2_048_000),
        ("memory_mb_per_cpu: 3968", "memory_mb_per_cpu", 3968),
        ("account: 0123", "account", "0123"),  # 83
        ("account: 1e5", "account", "1e5"),
        ("account: 2026-11-28", "account", "2026-11-28"),  # a date
        ("account:", "account", ""),
        ("qos: yes", "qos", "yes"),  # True
        ("constraint: 12:30", "constraint", "12:30"),  # 750
        ("exclusive: no", "exclusive", False),
        ("gpus_per_node: 08", "gpus_per_node", 8),
        ("gres: gpu:3090", "gres", "gpu:3090"),
        ("gpu_flag: gpus-per-node\ngres: gpu:a100-sxm4-80gb", "gres", "gpu:a100-sxm4-80gb"),
        ("extra_sbatch: --reservation=paper --requeue", "extra_sbatch", ("--reservation=paper", "--requeue")),
        ("extra_sbatch:", "extra_sbatch", ()),
        ("account: x\r\nqos: y\r", "qos", "y"),
    ],
)
def test_what_is_taken_as_it_is_meant(tmp_path: Path, text: str, key: str, value: Any) -> None:
    assert getattr(load_site(written(tmp_path, f"{NEEDED}{text}\n")), key) == value


@pytest.mark.parametrize("partition", ["3090", "007", "on", "1:30", "null-and-void"])
def test_a_partition_is_a_name_whatever_it_looks_like(tmp_path: Path, partition: str) -> None:
    assert load_site(written(tmp_path, f"interface: lo\npartition: {partition}\n")).partition == partition


def test_a_mark_in_front_of_the_file_is_no_part_of_it(tmp_path: Path) -> None:
    assert load_site(written(tmp_path, f"\ufeff{NEEDED}")).partition == "gpu"


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("max_minutes: 24h", "max_minutes", "24:00:00"),
        ("max_minutes: 0", "max_minutes", "90, 24:00:00"),
        ("start_minutes: unlimited", "start_minutes", "90, 24:00:00"),
        ("memory_mb_per_node: 2000GB", "memory_mb_per_node", "500G"),
        ("memory_mb_per_node: lots", "memory_mb_per_node", "500G"),
        ("gpus_per_node: b200:8", "gpus_per_node", "a number alone"),
        ("gpus_per_node: -8", "gpus_per_node", "at least 1"),
        (f"gpus_per_node: {'9' * 5000}", "gpus_per_node", "a number alone"),
        ("gres: gpu:b200:8", "gres", "write gres: gpu:b200 and gpus_per_node: 8"),
        ("gres: gpu:b200:8(S:0-1)", "gres", "write gres: gpu:b200 and gpus_per_node: 8"),
        ("gres: gpu:8", "gres", "write gres: gpu and gpus_per_node: 8"),
        ("gres: gpu:3090:4", "gres", "write gres: gpu:3090 and gpus_per_node: 4"),
        ("gres: gres/gpu=8", "gres", "write gres: gpu and gpus_per_node: 8"),
        ("gres: gpu:a100,gpu:h100", "gres", "one name"),
        ("gres: gpu:a100-sxm4-80gb", "gres", "gpu_flag: gpus-per-node"),
        ("gres: npu:x\ngpu_flag: gpus-per-node", "gpu_flag", "set gres to gpu"),
        ("gpu_flag: gpus", "gpu_flag", "gpu_flag"),
        ("memory_mb_per_node: 1G\nmemory_mb_per_cpu: 4G", "memory_mb_per_cpu", "keep the one"),
        ("extra_sbatch: --mem-per-cpu=3968", "extra_sbatch", "set memory_mb_per_cpu: 3968"),
        ('extra_sbatch: ["--gpus-per-node=8"]', "extra_sbatch", "set gpu_flag: gpus-per-node"),
        ('extra_sbatch: ["--time=24:00:00"]', "extra_sbatch", "set max_minutes: 24:00:00"),
        ("extra_sbatch: --reservation paper", "extra_sbatch", "--name=value"),
        ("extra_sbatch: '--comment=\"a'", "extra_sbatch", "an entry of a list"),
    ],
)
def test_what_is_refused_names_file_key_and_what_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, key: str, remedy: str
) -> None:
    path = written(tmp_path, f"{NEEDED}{text}\n")
    assert plan(path) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert key in said.split("remedy:")[0]
    assert remedy in said.split("remedy:")[1]
    assert len(said) < 1500


def test_sinfos_mark_of_the_default_partition_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(written(tmp_path, "interface: lo\npartition: gpu*\n")) == 2
    assert "write gpu\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "extra_sbatch: --mem-per-cpu=3968",
        "extra_sbatch: --account=0123",
        "extra_sbatch: --time=24:00:00",
        "extra_sbatch: --exclusive",
        "gres: gpu:b200:8",
        "gres: gpu:8(S:0)",
    ],
)
def test_a_remedy_that_is_followed_literally_leads_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = written(tmp_path, f"{NEEDED}{text}\n")
    assert plan(path) == 2
    remedy = capsys.readouterr().err.split("remedy:")[1]
    lines = re.findall(r"\w+: [\w.:-]+", remedy)
    assert lines
    assert plan(written(tmp_path, f"{NEEDED}{chr(10).join(lines)}\n")) == 0


def test_memory_of_a_node_is_known_whichever_way_it_is_asked_for() -> None:
    assert Site(memory_mb_per_cpu=4000, cpus_per_node=10).memory_of_node_mb == 40_000
    assert Site(memory_mb_per_node=5000).memory_of_node_mb == 5000
    assert Site().memory_of_node_mb == 0
