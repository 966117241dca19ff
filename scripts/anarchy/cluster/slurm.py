"""The Slurm job that this process runs in: its nodes, proven one by one, and how to start things on them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from anarchy.cluster.container import inside, pyxis_flags, without_host_python
from anarchy.cluster.job import gpu_words
from anarchy.cluster.node_probe import answers
from anarchy.config.site import Site
from anarchy.engines.hosts import Node
from anarchy.ground.errors import UserError
from anarchy.serving.health import UnhealthyError
from anarchy.telemetry.alias import node_alias

COMMAND_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 120.0
STEP_FLAGS = (
    *("--overlap", "--mem=0", "--cpu-bind=none"),
    *("--export=ALL", "--kill-on-bad-exit=1"),
)
"""Flags of every step: beside other steps, on all CPUs of the job there (a site that binds tasks would give
a worker of eight GPUs one core), with the caller's environment, and gone with its task."""


class AllocationError(UnhealthyError):
    """The job does not have what it asked for."""


@dataclass(frozen=True)
class Job:
    """A running Slurm job: its number and its nodes in Slurm's order, the first being this one."""

    number: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class ProvenNode:
    """A node of the job that has answered, with what it said."""

    node: Node
    facts: Mapping[str, Any]


def current_job(environment: Mapping[str, str] | None = None) -> Job:
    """The job that this process runs in.

    Asks scontrol, because a job step that Snakemake starts sees few of Slurm's variables. Raises UserError
    outside a job.
    """
    number = (os.environ if environment is None else environment).get("SLURM_JOB_ID", "")
    if not number:
        raise UserError(
            "this is not a Slurm job",
            where="SLURM_JOB_ID",
            remedy="run it through `snakemake --profile slurm`, or with --launcher local on one machine",
        )
    described = _ask("scontrol", "show", "job", "--oneliner", number)
    found = re.search(r"\sNodeList=(\S+)", described)
    if found is None:
        raise AllocationError(f"scontrol tells no nodes of job {number}: {described[:200]}")
    return Job(number, tuple(_ask("scontrol", "show", "hostnames", found[1]).split()))


def check_nodes(job: Job, wanted: int) -> None:
    """Raise AllocationError unless the job has the nodes that it asked for."""
    if len(job.nodes) != wanted:
        raise AllocationError(
            f"job {job.number} asked for {wanted} node(s) and has {len(job.nodes)}: {', '.join(job.nodes)}"
        )


def prove_nodes(job: Job, site: Site, gpus: int, *, driver_needed: bool = False) -> tuple[ProvenNode, ...]:
    """Ask every node of the job, through srun, who it is; each must answer, with its GPUs and its interface.

    `gpus` a node, as Slurm tells them; with `driver_needed` nvidia-smi must answer there as well. Raises
    AllocationError naming the node that fails.
    """
    command = [
        *("srun", f"--nodes={len(job.nodes)}", f"--ntasks={len(job.nodes)}", "--ntasks-per-node=1"),
        *STEP_FLAGS,
        *gpu_words(site, gpus),
        *(sys.executable, "-m", "anarchy.cluster.node_probe", site.interface),
    ]
    told = answers(_run(command, PROBE_TIMEOUT_S))
    by_name = {answer["slurm_name"]: answer for answer in told}
    proven = []
    for place, name in enumerate(job.nodes):
        alias = node_alias(place)
        facts = by_name.get(name)
        if facts is None:
            raise AllocationError(
                f"{alias} ({name}) did not answer; {len(told)} of {len(job.nodes)} nodes did"
            )
        if facts["address"] is None:
            raise AllocationError(
                f"{alias} ({name}): {facts['address_reason']}; correct `interface` of the site"
            )
        if facts["gpus"] < gpus:
            raise AllocationError(f"{alias} ({name}) has {facts['gpus']} GPUs of this job, not {gpus}")
        if driver_needed and facts["driver"] is None:
            raise AllocationError(f"{alias} ({name}) has no GPU driver: {facts['driver_reason']}")
        node = Node(alias, name, facts["address"], site.interface)
        proven.append(ProvenNode(node, {key: facts[key] for key in ("gpus", "driver", "driver_reason")}))
    return tuple(proven)


def step_command(
    node: Node,
    command: Sequence[str],
    site: Site,
    *,
    job_gpus: int,
    gpus: Sequence[int],
    chdir: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    folders: Sequence[str] = (),
) -> tuple[str, ...]:
    """Command that runs another one on a node of this job, in the site's container, on these of its GPUs.

    The step is given all `job_gpus` of the node and shown `gpus` alone: steps that overlap and ask for a part
    each get the same part (seen with Slurm 22.05), and steps that do not overlap wait for one another. A step
    without `gpus` asks for none. Inside a container `environment` is set, which Slurm passes on without one,
    and `folders` are mounted.
    """
    shown = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}
    step = (
        # Unbuffered: a log is read while it grows. Not for several tasks, whose lines srun then mixes.
        *("srun", "--nodes=1", "--ntasks=1", f"--nodelist={node.slurm_name}", *STEP_FLAGS, "--unbuffered"),
        f"--chdir={chdir}",
        *_step_gpus(site, job_gpus if gpus else 0),
    )
    if site.container.runtime == "none":
        return (
            *step,
            *(("env", *(f"{name}={value}" for name, value in shown.items())) if shown else ()),
            *command,
        )
    return without_host_python(
        (
            *step,
            *pyxis_flags(site, chdir, folders),
            *inside(site, command, {**environment, **shown}, chdir, folders),
        )
    )


def _step_gpus(site: Site, gpus: int) -> list[str]:
    if gpus:
        return gpu_words(site, gpus)
    # Left out, a step is given all that the job has (man srun, --gres): harmless, where --gres is refused.
    return ["--gres=none"] if site.gpu_flag == "gres" else []


def _ask(*command: str) -> str:
    return _run(command, COMMAND_TIMEOUT_S)


def _run(command: Sequence[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise UserError(
            f"there is no {command[0]}", where="PATH", remedy="run this where Slurm's commands are installed"
        ) from None
    except subprocess.TimeoutExpired:
        raise AllocationError(f"{' '.join(command[:4])} ... did not answer within {timeout_s:g} s") from None
    if done.returncode != 0:
        raise AllocationError(f"{' '.join(command[:4])} ... failed: {done.stderr.strip()[-400:]}")
    return done.stdout
