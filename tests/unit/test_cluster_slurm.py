"""The Slurm side without Slurm: what a job asks for, how steps are started, how nodes are proven.

The commands `scontrol` and `srun` are small scripts here, for answers that a healthy cluster does not give;
tests/slurm asks the real ones.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from anarchy import plan_table
from anarchy.cluster import node_probe
from anarchy.cluster.job import job_resources, minutes
from anarchy.cluster.site import EXAMPLE, Container, Site, load_site
from anarchy.cluster.slurm import AllocationError, Job, check_nodes, current_job, prove_nodes, step_command
from anarchy.errors import UserError
from anarchy.plan import DeploymentPlan
from anarchy.serving.hosts import Node
from anarchy.study import open_run

SITE = Site(partition="b200", gres="gpu:b200", interface="lo")
NODE = Node("node02", "gpu-17", "198.51.100.17", "ib0")


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(
        tmp_path,
        "scontrol",
        'case "$2" in job) echo "JobId=7 JobName=x NumNodes=3 NodeList=n[1-3] BatchHost=n1";; '
        "hostnames) printf 'n1\\nn2\\nn3\\n';; esac",
    )
    return tmp_path


def answers(folder: Path, *nodes: dict[str, Any]) -> None:
    good = {"hostname": "h", "address": "127.0.0.1", "address_reason": "", "gpus": 8, "driver": None}
    rest = {"driver_reason": "nvidia-smi: not here"}
    lines = "\n".join(json.dumps({**good, **rest, **node}) for node in nodes)
    program(folder, "srun", f"cat <<'END'\n{lines}\nsrun: a remark\nEND")


def test_the_job_is_asked_of_scontrol(commands: Path):
    job = current_job({"SLURM_JOB_ID": "7"})
    assert job == Job("7", ("n1", "n2", "n3"))
    check_nodes(job, 3)
    with pytest.raises(AllocationError, match="asked for 2 node"):
        check_nodes(job, 2)


def test_outside_a_job(commands: Path):
    with pytest.raises(UserError, match="not a Slurm job"):
        current_job({})


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no scontrol"):
        current_job({"SLURM_JOB_ID": "7"})


def test_every_node_must_answer_with_its_gpus_and_its_interface(commands: Path):
    job = Job("7", ("n1", "n2", "n3"))
    answers(commands, {"slurm_name": "n3"}, {"slurm_name": "n1"}, {"slurm_name": "n2"})
    proven = prove_nodes(job, SITE, 8)
    assert [(p.node.alias, p.node.slurm_name) for p in proven] == [
        ("node01", "n1"),
        ("node02", "n2"),
        ("node03", "n3"),
    ]
    assert "hostname" not in proven[0].facts  # no host name goes any further
    for spoiled, what in (
        ([{"slurm_name": "n1"}, {"slurm_name": "n3"}], r"node02 \(n2\) did not answer; 2 of 3"),
        ([{"slurm_name": n, "gpus": 4 if n == "n2" else 8} for n in job.nodes], r"node02 \(n2\) has 4 GPUs"),
        (
            [{"slurm_name": n, "address": None, "address_reason": "interface ib0: none"} for n in job.nodes],
            "interface ib0: none; correct `interface`",
        ),
    ):
        answers(commands, *spoiled)
        with pytest.raises(AllocationError, match=what):
            prove_nodes(job, SITE, 8)


def test_a_failing_srun_is_told(commands: Path):
    program(commands, "srun", "echo 'srun: error: no such partition' >&2; exit 1")
    with pytest.raises(AllocationError, match="no such partition"):
        prove_nodes(Job("7", ("n1",)), SITE, 8)


def test_a_step_runs_on_its_node_with_its_gpus():
    command = step_command(NODE, ("python", "-m", "x"), SITE, job_gpus=8, gpus=(4, 5, 6, 7), chdir="/s")
    assert command[0] == "srun"
    assert {
        "--nodelist=gpu-17",
        "--nodes=1",
        "--ntasks=1",
        "--overlap",
        "--gres=gpu:b200:8",
        "--chdir=/s",
    } <= set(command)
    assert command[-5:] == ("env", "CUDA_VISIBLE_DEVICES=4,5,6,7", "python", "-m", "x")


def test_a_step_without_gpus_asks_for_none():
    command = step_command(NODE, ("etcd",), SITE, job_gpus=8, gpus=(), chdir="/s")
    assert command[-2:] == ("--gres=none", "etcd")  # left out, a step is given all of the job's


def test_a_container_needs_an_image():
    with pytest.raises(ValueError, match="needs an image"):
        Container(runtime="apptainer")


def test_the_example_is_a_whole_site_file(tmp_path: Path):
    site = load_site(EXAMPLE)
    assert set(site.model_fields_set) >= {"partition", "interface", "container", "models"}
    assert len(EXAMPLE.read_text().splitlines()) < 60  # a page
    with pytest.raises(UserError, match="there is no site file"):
        load_site(tmp_path / "site.yaml")
    (tmp_path / "site.yaml").write_text("partition: x\ninterfase: ib0\n")
    with pytest.raises(UserError, match="did you mean 'interface'"):
        load_site(tmp_path / "site.yaml")


def resources(model: str, topology: str, **changes: Any) -> dict[str, Any]:
    bench = open_run({})
    plan = next(d for d in bench.deployments if d.key[1:3] == (model, topology))
    return job_resources(SITE.model_copy(update=changes), plan)


@pytest.mark.parametrize(
    ("model", "topology", "nodes"),
    [("nemotron-4-340b", "1p2d", 3), ("llama-3.1-70b", "1p5d", 3), ("llama-3.1-70b", "1p2d", 2)],
)
def test_a_job_has_the_nodes_that_its_workers_take(model: str, topology: str, nodes: int):
    asked = resources(model, topology)
    assert (asked["nodes"], asked["tasks"]) == (nodes, nodes)
    assert asked["gres"] == "gpu:b200:8"
    assert (asked["mpi"], asked["tasks_per_gpu"]) == ("srun", 0)
    assert "--exclusive" in asked["slurm_extra"]
    assert "slurm_account" not in asked


def test_one_node_is_asked_for_with_two_tasks():
    # The executor refuses an mpi job of one task.
    asked = resources("llama-3.1-70b", "1p2d", gpus_per_node=16)
    assert (asked["nodes"], asked["tasks"]) == (1, 2)


def test_a_time_limit_that_the_partition_forbids_is_refused():
    bench = open_run({})
    assert minutes(SITE, bench.deployments[0]) > SITE.start_minutes
    with pytest.raises(UserError, match="max_minutes is 10"):
        minutes(SITE.model_copy(update={"max_minutes": 10}), bench.deployments[0])


def test_the_probe_tells_address_and_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    monkeypatch.setenv("SLURM_STEP_GPUS", "0,1,2,3,4,5,6,7")
    facts = node_probe.facts("lo")
    assert (facts["slurm_name"], facts["address"], facts["gpus"]) == ("n1", "127.0.0.1", 8)
    assert facts["driver"] or "nvidia-smi" in facts["driver_reason"]
    address, why = node_probe.interface_address("nosuch0")
    assert address is None
    assert "lo" in why
    assert node_probe.allocated_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}) == 0


def test_a_plan_tells_what_its_jobs_hold():
    plans = open_run({}).deployments
    told = plan_table.render(plans, site=SITE)
    assert "3 jobs of up to 3 nodes with 8 GPUs" in told
    held = sum((3, 3, 2)[i] * 8 * plan.wall_s / 3600 for i, plan in enumerate(sorted(plans, key=order_of)))
    assert f"{held:.1f} GPU-hours held" in told
    assert "GPU-hours held" not in plan_table.render(plans)


def order_of(plan: DeploymentPlan) -> bool:
    """Those that take three nodes first."""
    return plan.key[1:3] == ("llama-3.1-70b", "1p2d")
