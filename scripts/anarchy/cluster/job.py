"""What a deployment asks of Slurm, in the words of Snakemake's executor: pure."""

from __future__ import annotations

import math
import shlex
from typing import Any

from anarchy.config.site import Site
from anarchy.engines.hosts import nodes_needed
from anarchy.engines.registry import engine_of
from anarchy.ground.errors import UserError
from anarchy.plan.launches import Launch
from anarchy.plan.run import Prediction

SLACK = 1.5
"""A job may take so many times its predicted time: attempts again, slow disks, a drain that drags on."""
STOP_MINUTES = 5
REPLAY_MB = 4_000
"""Memory of a job on a virtual clock: the library and one cell at a time."""
PLACING = ("--reservation", "--nodelist", "--exclude", "--licenses", "--wckey", "--prefer")
"""Flags of sbatch that decide where a job may run and that `srun` takes as well."""
BUSY_AFTER_S = 60
"""How long an `srun` outside any job waits for free nodes."""


def job_resources(site: Site, plan: Launch, predicted: Prediction) -> dict[str, Any]:
    """Resources of one deployment's job: nodes, all their GPUs, and its time limit.

    The limit comes from the knee that takes longest, because the knee itself is not known yet.

    `mpi: srun` makes the executor run the rule's shell on the first node, outside any step: inside a step a
    nested `srun` would quietly stay on one node. `tasks_per_gpu: 0` keeps it from asking for a task a GPU.
    Of a `mem_mb` of 0 the Slurm executor says nothing to sbatch; our executor plugin then says `--mem=0`.
    A deployment on a virtual clock takes no GPU, and one CPU where memory does not come with CPUs.
    """
    if engine_of(plan.engine).replayed:
        return _of_replay(site, plan, predicted)
    nodes = nodes_of(site, plan)
    per_node = 1 if nodes > 1 else 2  # the executor refuses an mpi job of one task; two share the node's CPUs
    extra = [f"--ntasks-per-node={per_node}", *_flags(site)]
    resources: dict[str, Any] = {
        "nodes": nodes,
        "tasks": nodes * per_node,
        "cpus_per_task": max(1, site.cpus_per_node // per_node),
        "tasks_per_gpu": 0,
        "mpi": "srun",
        "runtime": minutes(site, plan, predicted),
        "slurm_partition": site.partition,
    }
    if site.gpu_flag == "gres":
        resources["gres"] = f"{site.gres}:{site.gpus_per_node}"
    else:  # no resource of the executor says it
        extra += gpu_words(site, site.gpus_per_node)
    if site.memory_mb_per_cpu:
        resources["mem_mb_per_cpu"] = site.memory_mb_per_cpu
    else:
        resources["mem_mb"] = site.memory_mb_per_node
    resources["slurm_extra"] = shlex.join(extra)
    if site.constraint:
        resources["constraint"] = site.constraint
    if site.account:
        resources["slurm_account"] = site.account
    if site.qos:
        resources["qos"] = site.qos
    return resources


def _of_replay(site: Site, plan: Launch, predicted: Prediction) -> dict[str, Any]:
    """Resources of a deployment on a virtual clock, on a partition of its own or the one with GPUs.

    One CPU; where memory comes with CPUs, as many as hold REPLAY_MB.
    """
    by_cpu = site.memory_mb_per_cpu
    resources: dict[str, Any] = {
        "nodes": 1,
        "tasks": 1,
        "cpus_per_task": math.ceil(REPLAY_MB / by_cpu) if by_cpu else 1,
        "runtime": minutes(site, plan, predicted),
        "slurm_partition": site.cpu_partition or site.partition,
    }
    if by_cpu:
        resources["mem_mb_per_cpu"] = by_cpu
    else:
        resources["mem_mb"] = REPLAY_MB
    if site.account:
        resources["slurm_account"] = site.account
    if not site.cpu_partition:  # what is said of the nodes with GPUs is about them alone
        resources |= {
            key: value for key, value in (("constraint", site.constraint), ("qos", site.qos)) if value
        }
        resources["slurm_extra"] = shlex.join(site.extra_sbatch)
    return resources


def gpu_hours(site: Site, plan: Launch, predicted: Prediction) -> float:
    """GPU-hours that a deployment's job will hold: all GPUs of its nodes, start and stop included."""
    if engine_of(plan.engine).replayed:
        return 0.0
    return nodes_of(site, plan) * site.gpus_per_node * predicted.wall_s / 3600.0


def nodes_of(site: Site, plan: Launch) -> int:
    """Nodes of a deployment's job."""
    workers = plan.topology.prefill + plan.topology.decode
    return nodes_needed(workers, plan.model.tensor_parallel, site.gpus_per_node)


def minutes(site: Site, plan: Launch, predicted: Prediction) -> int:
    """Time limit of a deployment's job; raises UserError where the partition does not allow it."""
    start = 1 if engine_of(plan.engine).replayed else site.start_minutes
    needed = start + math.ceil(SLACK * predicted.at_most_s / 60.0) + STOP_MINUTES
    if site.max_minutes is not None and needed > site.max_minutes:
        raise UserError(
            f"{plan.title} needs {needed} min ({start} to start, {predicted.at_most_s / 60:.0f} "
            f"predicted at most x {SLACK}, {STOP_MINUTES} to stop), but max_minutes is {site.max_minutes}",
            where=site.where,
            remedy="name a partition that allows it, or take a smaller tier",
        )
    return needed


def srun_words(site: Site, nodes: int) -> list[str]:
    """Words of an `srun` outside any job, on so many nodes with a task each and all their GPUs, as jobs ask.

    It gives up where the nodes are not free within BUSY_AFTER_S: see `is_busy`.
    """
    named = {"account": site.account, "qos": site.qos, "constraint": site.constraint}
    size = [f"--partition={site.partition}", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    size += [*gpu_words(site, site.gpus_per_node), f"--immediate={BUSY_AFTER_S}"]
    return ["srun", *size, *(f"--{key}={value}" for key, value in named.items() if value), *placing(site)]


def gpu_words(site: Site, gpus: int) -> list[str]:
    """The flag of sbatch and srun that asks for so many GPUs on each node, as the site takes it."""
    if site.gpu_flag == "gres":
        return [f"--gres={site.gres}:{gpus}"]
    return [f"--gpus-per-node={site.gpu_type + ':' if site.gpu_type else ''}{gpus}"]


def memory_words(site: Site, megabytes: int) -> list[str]:
    """Words of an `srun` outside any job that ask for at least so much memory for its task, as jobs ask."""
    by_cpu = site.memory_mb_per_cpu
    if not by_cpu:
        return [f"--mem={megabytes}"]
    return [f"--mem-per-cpu={by_cpu}", f"--cpus-per-task={math.ceil(megabytes / by_cpu)}"]


def placing(site: Site) -> list[str]:
    """Those of the site's further flags that an `srun` is handed too."""
    return [flag for flag in site.extra_sbatch if flag.partition("=")[0] in PLACING]


def is_busy(said: str) -> bool:
    """Say whether an `srun` ended because the nodes were not free in time, from what it said.

    Both are Slurm's words (read in its source, `src/srun/allocate.c` and `src/common/slurm_errno.c`).
    """
    return any(word in said for word in ("Requested nodes are busy", "Immediate execution impossible"))


def _flags(site: Site) -> list[str]:
    exclusive = ["--exclusive"] if site.exclusive else []
    return [*exclusive, *site.extra_sbatch]
