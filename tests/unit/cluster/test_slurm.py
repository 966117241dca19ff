"""The Slurm side without Slurm: what a job asks for, how steps are started, how nodes are proven.

The commands `scontrol` and `srun` are small scripts here, for answers that a healthy cluster does not give;
tests/slurm asks the real ones.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from anarchy.cli import plan_table
from anarchy.cluster import node_probe
from anarchy.cluster.job import job_resources, memory_words, minutes, srun_words
from anarchy.cluster.slurm import AllocationError, Job, check_nodes, current_job, prove_nodes, step_command
from anarchy.config.site import EXAMPLE, Container, Site, load_site
from anarchy.engines.hosts import Node
from anarchy.ground.errors import UserError
from anarchy.plan.launches import DeploymentPlan
from anarchy.plan.workbench import open_run

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


def test_the_job_is_asked_of_scontrol(commands: Path) -> None:
    job = current_job({"SLURM_JOB_ID": "7"})
    assert job == Job("7", ("n1", "n2", "n3"))
    check_nodes(job, 3)
    with pytest.raises(AllocationError, match="asked for 2 node"):
        check_nodes(job, 2)


def test_outside_a_job(commands: Path) -> None:
    with pytest.raises(UserError, match="not a Slurm job"):
        current_job({})


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no scontrol"):
        current_job({"SLURM_JOB_ID": "7"})


def test_every_node_must_answer_with_its_gpus_and_its_interface(commands: Path) -> None:
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


def test_a_failing_srun_is_told(commands: Path) -> None:
    program(commands, "srun", "echo 'srun: error: no such partition' >&2; exit 1")
    with pytest.raises(AllocationError, match="no such partition"):
        prove_nodes(Job("7", ("n1",)), SITE, 8)


def test_a_step_runs_on_its_node_with_its_gpus() -> None:
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


def test_a_step_without_gpus_asks_for_none() -> None:
    command = step_command(NODE, ("etcd",), SITE, job_gpus=8, gpus=(), chdir="/s")
    assert command[-2:] == ("--gres=none", "etcd")  # left out, a step is given all of the job's


def test_a_container_needs_an_image() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        Container(runtime="apptainer")


def test_the_example_is_a_whole_site_file(tmp_path: Path) -> None:
    site = load_site(EXAMPLE)
    assert set(site.model_fields_set) == set(Site.model_fields)
    assert len(EXAMPLE.read_text().splitlines()) < 60  # a page
    with pytest.raises(UserError, match="there is no site file"):
        load_site(tmp_path / "site.yaml")
    (tmp_path / "site.yaml").write_text("partition: x\ninterfase: ib0\n")
    with pytest.raises(UserError, match="did you mean 'interface'"):
        load_site(tmp_path / "site.yaml")


def test_the_example_shows_what_keys_that_are_left_out_take() -> None:
    shown = yaml.safe_load(EXAMPLE.read_text())
    left_out = Site().model_dump(mode="json")
    differing = {key for key, value in shown.items() if value != left_out[key]}
    assert differing == {"partition", "interface", "gres", "models"}
    assert left_out["gres"] == "gpu"
    assert left_out["models"] == {}


def written(folder: Path, text: str) -> Path:
    path = folder / "other.yaml"
    path.write_text(text)
    return path


def test_partition_and_interface_are_needed_for_slurm_alone(tmp_path: Path) -> None:
    assert load_site(written(tmp_path, "device: cpu\n"), launcher="local").device == "cpu"
    for text, key in (("interface: ib0\n", "partition"), ("partition: p\n", "interface")):
        with pytest.raises(UserError, match=f"key '{key}' is missing"):
            load_site(written(tmp_path, text))
    with pytest.raises(UserError, match="15 characters"):
        load_site(written(tmp_path, "partition: p\ninterface: a23456789b123456\n"))


@pytest.mark.parametrize(
    ("flag", "what"),
    [
        ("--account=x", "set account: x"),
        ("--constraint=b200", "set constraint: b200"),
        ("--mem=0", "memory_mb_per_node"),
        ("--gpus-per-node=8", "gres and gpus_per_node"),
        ("--nodes=4", "follows from the study"),
        ("-p b200", "long form"),
        ("--reservation paper", "long form"),
    ],
)
def test_flags_that_others_set_are_refused(tmp_path: Path, flag: str, what: str) -> None:
    path = written(tmp_path, json.dumps({"partition": "p", "interface": "lo", "extra_sbatch": [flag]}))
    with pytest.raises(UserError, match=what) as caught:
        load_site(path)
    assert "extra_sbatch" in caught.value.what
    assert caught.value.where == path


def test_what_the_executor_refuses_is_refused_in_the_site_file() -> None:
    from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

    for pattern in get_forbidden_slurm_options():
        flag = re.match(r"--[a-z-]+", pattern)
        assert flag, pattern
        with pytest.raises(ValueError, match="is not for extra_sbatch"):
            Site(extra_sbatch=(f"{flag[0]}=x",))
    assert Site(extra_sbatch=("--reservation=paper", "--requeue")).extra_sbatch


def resources(model: str, topology: str, **changes: Any) -> dict[str, Any]:
    bench = open_run({"tier": "live"})
    plan = next(d for d in bench.deployments if d.key[1:3] == (model, topology))
    return job_resources(SITE.model_copy(update=changes), plan, bench.predicted(plan))


@pytest.mark.parametrize(
    ("model", "topology", "nodes"),
    [("nemotron-4-340b", "1p2d", 3), ("llama-3.1-70b", "1p5d", 3), ("llama-3.1-70b", "1p2d", 2)],
)
def test_a_job_has_the_nodes_that_its_workers_take(model: str, topology: str, nodes: int) -> None:
    asked = resources(model, topology)
    assert (asked["nodes"], asked["tasks"]) == (nodes, nodes)
    assert asked["gres"] == "gpu:b200:8"
    assert (asked["mpi"], asked["tasks_per_gpu"]) == ("srun", 0)
    assert "--exclusive" in asked["slurm_extra"]
    assert "slurm_account" not in asked


def test_one_node_is_asked_for_with_two_tasks_that_share_its_cpus() -> None:
    # The executor refuses an mpi job of one task.
    asked = resources("llama-3.1-70b", "1p2d", gpus_per_node=16)
    assert (asked["nodes"], asked["tasks"], asked["cpus_per_task"]) == (1, 2, SITE.cpus_per_node // 2)
    assert resources("llama-3.1-70b", "1p2d")["cpus_per_task"] == SITE.cpus_per_node


class Named(dict[str, Any]):
    """Resources as the executor reads them: by key and by attribute."""

    __getattr__ = dict.__getitem__


def sbatch(**changes: Any) -> list[str]:
    """Words that the executor submits the job of 70B 1P/2D with."""
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

    from snakemake_executor_plugin_anarchy import Executor

    job = SimpleNamespace(resources=Named(resources("llama-3.1-70b", "1p2d", **changes)), threads=2)
    validate_slurm_extra(job)
    plugin = object.__new__(Executor)
    plugin._partitions = None
    words = {"account": next(plugin.get_account_arg(job)), "partition": plugin.get_partition_arg(job)}
    told = {"run_uuid": "u", "slurm_logfile": "l", "comment_str": "c", "workdir": "/w", **words}
    command: str = get_submit_command(job, told, settings=None, failed_nodes=set())
    return command.split()


def test_all_memory_of_a_node_is_really_asked_for() -> None:
    words = sbatch()
    assert [word for word in words if word.startswith("--mem")] == ["--mem=0"]
    words = sbatch(memory_mb_per_node=500_000)
    assert words[words.index("--mem") + 1] == "500000"
    assert "--mem=0" not in words


def test_the_nodes_features_and_further_flags_are_asked_for() -> None:
    words = sbatch(constraint="b200", extra_sbatch=("--reservation=paper",))
    assert words[words.index("-C") + 1] == "b200"
    assert {"--reservation=paper", "--exclusive", "--ntasks-per-node=1"} <= set(words)
    assert "-C" not in sbatch()


def test_a_site_may_want_memory_by_cpu() -> None:
    words = sbatch(memory_mb_per_cpu=3968)
    assert words[words.index("--mem-per-cpu") + 1] == "3968"
    assert not any(word.startswith("--mem") and word != "--mem-per-cpu" for word in words)
    assert memory_words(SITE, 500) == ["--mem=500"]
    by_cpu = SITE.model_copy(update={"memory_mb_per_cpu": 3968})
    assert memory_words(by_cpu, 4000) == ["--mem-per-cpu=3968", "--cpus-per-task=2"]


@pytest.mark.parametrize(("gres", "flag"), [("gpu:b200", "b200:8"), ("gpu", "8"), ("gpu:a-b", "a-b:8")])
def test_a_site_may_refuse_gres(gres: str, flag: str) -> None:
    changes = {"gres": gres, "gpu_flag": "gpus-per-node"}
    site = SITE.model_copy(update=changes)
    everything = [
        *(sbatch(**changes), srun_words(site, 3)),
        list(step_command(NODE, ("x",), site, job_gpus=8, gpus=(0, 1), chdir="/s")),
    ]
    for words in everything:
        assert f"--gpus-per-node={flag}" in words
        assert not any("gres" in word for word in words)
    # A step that needs no GPU asks for nothing then, and may see all of the job's.
    step = step_command(NODE, ("etcd",), site, job_gpus=8, gpus=(), chdir="/s")
    assert not any("gres" in word or "gpus" in word for word in step)


def test_a_check_asks_for_nodes_as_jobs_do() -> None:
    flags = ("--reservation=paper", "--no-requeue")
    words = srun_words(SITE.model_copy(update={"constraint": "ib", "extra_sbatch": flags}), 3)
    assert {"--gres=gpu:b200:8", "--constraint=ib", "--reservation=paper", "--nodes=3"} <= set(words)
    assert "--no-requeue" not in words  # srun knows no such flag
    assert not any(word.startswith(("--account", "--qos")) for word in words)


def test_a_time_limit_that_the_partition_forbids_is_refused(tmp_path: Path) -> None:
    bench = open_run({"tier": "live"})
    first = bench.deployments[0]
    assert minutes(SITE, first, bench.predicted(first)) > SITE.start_minutes
    path = written(tmp_path, "partition: p\ninterface: lo\nmax_minutes: 10\n")
    with pytest.raises(UserError, match="max_minutes is 10") as caught:
        minutes(load_site(path), first, bench.predicted(first))
    assert caught.value.where == str(path)
    unlimited = load_site(written(tmp_path, "partition: p\ninterface: lo\nmax_minutes: unlimited\n"))
    assert minutes(unlimited, first, bench.predicted(first)) == minutes(SITE, first, bench.predicted(first))


def test_the_probe_tells_address_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    monkeypatch.setenv("SLURM_STEP_GPUS", "0,1,2,3,4,5,6,7")
    facts = node_probe.facts("lo")
    assert (facts["slurm_name"], facts["address"], facts["gpus"]) == ("n1", "127.0.0.1", 8)
    assert facts["driver"] or "nvidia-smi" in facts["driver_reason"]
    address, why = node_probe.interface_address("nosuch0")
    assert address is None
    assert "lo" in why
    assert node_probe.allocated_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}) == 0


def test_a_plan_tells_what_its_jobs_hold() -> None:
    bench = open_run({"experiments": "equilibrium", "tier": "live"})
    plans = bench.plans
    choices = bench.choices.model_copy(update={"launcher": "slurm"})
    on_cluster = bench.run.model_copy(update={"choices": choices})
    told = plan_table.render(replace(bench, run=on_cluster, site=SITE))
    assert "3 jobs of up to 3 nodes with 8 GPUs" in told
    held = sum((3, 3, 2)[i] * 8 * plan.wall_s / 3600 for i, plan in enumerate(sorted(plans, key=order_of)))
    assert f"{held:.1f} GPU-hours held" in told
    assert "GPU-hours held" not in plan_table.render(bench)


def order_of(plan: DeploymentPlan) -> bool:
    """Those that take three nodes first."""
    return plan.key[1:3] == ("llama-3.1-70b", "1p2d")


def test_mixed_and_foreign_lines_are_no_answers() -> None:
    """Two nodes' lines on one were seen with srun --unbuffered; the node that is missing is then named."""
    whole = '{"slurm_name": "node01", "gpus": 8}'
    mixed = '{"slurm_name": "node02"}{"slurm_name": "node03"}'
    assert node_probe.answers(f"module loaded\n{whole}\n{mixed}\n[1]\n{{}}\n") == [
        {"slurm_name": "node01", "gpus": 8}
    ]


def test_a_deployment_in_virtual_time_asks_for_one_cpu_and_no_gpu() -> None:
    bench = open_run({"experiments": "equilibrium"})
    plan = bench.deployments[0]
    asked = job_resources(SITE, plan, bench.predicted(plan))
    assert (asked["nodes"], asked["tasks"], asked["cpus_per_task"]) == (1, 1, 1)
    assert {"gres", "mpi", "tasks_per_gpu"}.isdisjoint(asked)
    assert asked["slurm_partition"] == SITE.partition
    own = job_resources(
        SITE.model_copy(update={"cpu_partition": "cpus", "constraint": "b200"}), plan, bench.predicted(plan)
    )
    assert own["slurm_partition"] == "cpus"
    assert "constraint" not in own, "it is about the nodes with GPUs"
    told = plan_table.jobs(plan_table.expected(replace(bench, site=SITE)), SITE)
    assert told.startswith(f"on partition {SITE.partition}: 20 jobs of one CPU; time limits")


@pytest.mark.parametrize(("by_cpu", "cpus"), [(1000, 4), (2000, 2), (3968, 2), (8000, 1)])
def test_a_replay_takes_the_cpus_that_its_memory_comes_with(by_cpu: int, cpus: int) -> None:
    bench = open_run({"experiments": "equilibrium"})
    plan = bench.deployments[0]
    asked = job_resources(SITE.model_copy(update={"memory_mb_per_cpu": by_cpu}), plan, bench.predicted(plan))
    assert (asked["cpus_per_task"], asked["mem_mb_per_cpu"]) == (cpus, by_cpu)
    assert "mem_mb" not in asked
