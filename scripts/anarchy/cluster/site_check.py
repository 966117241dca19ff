"""`anarchy doctor --site`: the site file against the live cluster, each point with its remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anarchy.cluster import image_check, node_probe
from anarchy.cluster.asking import ask, reason_of
from anarchy.cluster.container import image_of
from anarchy.cluster.engine_needs import check_serving, missing_packages, serving_python
from anarchy.cluster.job import BUSY_AFTER_S, is_busy, memory_words, placing, srun_words
from anarchy.cluster.partition_check import cpu_partition, partition
from anarchy.cluster.settings_check import slurm_settings
from anarchy.config import Study
from anarchy.config.site import Site, load_site
from anarchy.engines.image import image_path
from anarchy.engines.registry import engine_of
from anarchy.engines.weights import find_weights
from anarchy.ground.errors import UserError
from anarchy.ground.findings import Finding
from anarchy.ground.surroundings import foreign_to_slurm, outside_any_job
from anarchy.serving.versions import serving_versions

REACH_TIMEOUT_S = BUSY_AFTER_S + 90.0
"""How long the nodes may keep `srun` waiting, which itself gives up where they are busy."""
COMMANDS = ("sinfo", "squeue", "sbatch", "srun", "scontrol", "scancel")
NOT_SHARED = (
    "execve()",
    "No such file or directory",
    "No module named",
    "can't open file",
    "Permission denied",
)
"""What is said of a program that a node does not see; in srun's words and in Python's."""
REFUSED_REMEDY = (
    "correct what it speaks of in the site file; where --gres is refused set gpu_flag: gpus-per-node, where "
    "memory is wanted by CPU set memory_mb_per_cpu"
)


def diagnose(path: Path, study: Study, *, engine: str, models: Sequence[str] = ()) -> list[Finding]:
    """Look at everything that a run of an engine on this cluster needs; never raises for what it finds.

    `models` limits whose weights are looked for. Raises UserError where the study has no such model.
    """
    for name in models:
        if name not in study.models:
            raise UserError(
                f"there is no model {name!r}", where="--models", remedy=f"known: {', '.join(study.models)}"
            )
    try:
        site = load_site(path)
    except UserError as error:
        return [Finding("site file", False, f"{error.where}: {error.what}", error.remedy)]
    nodes = study.cluster.nodes
    found = [Finding("site file", True, f"{path}, for engine {engine}"), commands()]
    if found[-1].ok:
        found += [*callers_words(os.environ), *settings(), *partition(site, nodes)]
        found += cpu_partition(site)
        answers, reached = reach(site, nodes)
        found += [*further_flags(site), reached]
        found += image_check.container(site, answers, ask("srun", "--help").output, engine)
    contained = site.container.runtime != "none"
    if not contained:
        found.append(serving(site, engine))
    if not (contained and site.container.etcd):
        found.append(etcd(site))
    return [*found, scratch(site), *(weights(site, name, engine) for name in models or study.models)]


def commands() -> Finding:
    """Slurm's commands are on PATH."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    version = [] if missing else ask("sinfo", "--version").output.splitlines()
    return Finding(
        "Slurm",
        not missing,
        f"no {', '.join(missing)}" if missing else (version or ["answers"])[0],
        remedy="log in to a node that submits jobs, or load Slurm's module",
    )


def callers_words(environment: Mapping[str, str]) -> list[Finding]:
    """What the caller's environment holds of Slurm, which neither this check nor a run passes on."""
    foreign = foreign_to_slurm(environment)
    if not foreign:
        return []
    job = environment.get("SLURM_JOB_ID", "")
    words = [name for name in foreign if not (job and name.startswith(("SLURM", "PMI")))]
    said = [f"this runs inside job {job}, and asks as from outside of it"] if job else []
    if words:
        said.append(f"not passed on: {', '.join(words)}; what jobs need of them belongs in the site file")
    return [Finding("environment", True, "; ".join(said))]


def settings() -> list[Finding]:
    """Slurm's own settings, or why they cannot be had."""
    config = ask("scontrol", "show", "config")
    if config.error:
        remedy = "see whether Slurm's controller answers: scontrol ping"
        return [Finding("Slurm's settings", False, f"scontrol: {config.error}", remedy)]
    return slurm_settings(config.output)


def reach(site: Site, nodes: int) -> tuple[list[dict[str, Any]], Finding]:
    """`srun` reaches as many nodes as the study needs, with all their GPUs, and each has the interface.

    Also what they said. Nodes that are busy are no fault of the site's.
    """
    image = image_path(image_of(site)) if site.container.image else None
    command = [
        *(*srun_words(site, nodes), "--time=2", *memory_words(site, 500)),
        *(sys.executable, "-m", "anarchy.cluster.node_probe", site.interface),
        *(image_check.PROGRAMS.get(site.container.runtime, ""), "" if image is None else str(image)),
    ]
    shared = "see that this project and its environment lie on a folder that all nodes see; look at `squeue`"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=REACH_TIMEOUT_S, check=False,
            env=outside_any_job(os.environ),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [], Finding("nodes", False, f"no answer of {nodes} nodes within {REACH_TIMEOUT_S:g} s", shared)
    answers = node_probe.answers(done.stdout)
    if is_busy(done.stderr):
        return [], busy_nodes(f"{nodes} nodes with {site.gpus_per_node} GPUs")
    if done.returncode != 0 or len(answers) < nodes:
        why = reason_of(done.stderr) or "no message"
        refused = not answers and not any(word in done.stderr for word in NOT_SHARED)
        remedy = f"{REFUSED_REMEDY}{_from_a_job()}" if refused else shared
        said = f"srun: {why}" if refused else f"{len(answers)} of {nodes} nodes answered: {why}"
        return answers, Finding("nodes", False, said, remedy)
    for answer in answers:
        if answer["address"] is None:
            return answers, Finding("interface", False, str(answer["address_reason"]), "correct interface")
        if answer["gpus"] < site.gpus_per_node:
            seen = f"{answer['slurm_name']} was given {answer['gpus']} GPUs, not {site.gpus_per_node}"
            return answers, Finding("nodes", False, seen, "correct gpus_per_node, or gres")
    drivers = ", ".join(sorted({answer["driver"] or "none" for answer in answers}))
    return answers, Finding("nodes", True, f"{nodes} nodes answer on {site.interface}; GPU driver {drivers}")


def busy_nodes(what: str) -> Finding:
    """What is said where nodes were not free: a warning."""
    return Finding(
        "nodes",
        False,
        f"{what} were not free within {BUSY_AFTER_S} s: interface, driver and container were not looked at",
        remedy=f"a run would wait in the queue; ask again when `sinfo` shows idle nodes{_from_a_job()}",
        required=False,
    )


def _from_a_job() -> str:
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"; or ask on a login node, not inside job {job}, which holds nodes of its own" if job else ""


def further_flags(site: Site) -> list[Finding]:
    """Which of `extra_sbatch` the `srun` of this check was handed; the others show at the first job."""
    if not site.extra_sbatch:
        return []
    tried = placing(site)
    untried = [flag for flag in site.extra_sbatch if flag not in tried]
    told = [f"tried: {' '.join(tried)}"] if tried else []
    told += [f"not tried, for sbatch only: {' '.join(untried)}"] if untried else []
    return [Finding("extra_sbatch", True, "; ".join(told))]


def serving(site: Site, engine: str) -> Finding:
    """The Python of the serving stack, where it is outside any image, answers with Dynamo and the engine."""
    name = "serving stack"
    try:
        python = serving_python(site, engine)
        check_serving(site, engine)
        versions = serving_versions(python)
    except UserError as error:
        remedy = "correct serving_python" if site.serving_python else error.remedy
        return Finding(name, False, f"{error.what} ({error.where})", remedy)
    missing = missing_packages(site, versions, engine)
    told = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
    return Finding(
        name,
        not missing,
        f"{python}: " + (f"lacks {', '.join(missing)}" if missing else told),
        "set serving_python to a Python whose environment has it, or name a container",
    )


def etcd(site: Site) -> Finding:
    """The discovery service can be started; it runs on a node, so its absence here is only a warning."""
    found = shutil.which(site.etcd)
    return Finding(
        "etcd",
        found is not None,
        found or f"no {site.etcd} on this machine",
        remedy="install etcd on the nodes (Debian: etcd-server), or set etcd to its path on a shared folder",
        required=False,
    )


def scratch(site: Site) -> Finding:
    """The shared scratch folder is there."""
    if not site.scratch:
        return Finding("scratch", True, "the folder of results")
    return Finding("scratch", Path(site.scratch).is_dir(), site.scratch, "make it, or correct scratch")


def weights(site: Site, model: str, engine: str) -> Finding:
    """The weights of a model are here and whole; simulated engines need none."""
    name, needed = f"weights {model}", engine_of(engine).loads_weights
    try:
        found = find_weights(site.models.get(model, ""), where=site.where, key=f"models.{model}")
    except UserError as error:
        remedy = error.remedy if needed else f"{error.remedy}; simulated engines need none"
        return Finding(name, False, error.what, remedy, required=needed)
    return Finding(name, True, str(found.folder))
