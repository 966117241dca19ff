"""`anarchy doctor --site`: the site file against the live cluster, each point with its remedy."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anarchy.cluster import image_check, node_probe
from anarchy.cluster.container import image_of
from anarchy.cluster.job import BUSY_AFTER_S, is_busy, placing, srun_words
from anarchy.cluster.real_engine import check_serving, missing_packages, serving_python
from anarchy.cluster.settings_check import slurm_settings
from anarchy.cluster.site import Site, load_site
from anarchy.config import Study
from anarchy.doctor import Finding
from anarchy.errors import UserError
from anarchy.launches import SIMULATED
from anarchy.serving.image import image_path
from anarchy.serving.versions import serving_versions
from anarchy.serving.weights import find_weights

ASK_TIMEOUT_S = 30.0
REACH_TIMEOUT_S = BUSY_AFTER_S + 90.0
"""How long the nodes may keep `srun` waiting, which itself gives up where they are busy."""
COMMANDS = ("sinfo", "squeue", "sbatch", "srun", "scontrol", "scancel")
UNUSABLE = ("down", "drain", "fail", "error", "unknown", "inval", "future", "blocked")
"""How the states of nodes begin that run no job; a `*` behind a state says that the node does not answer."""


@dataclass(frozen=True)
class NodeRow:
    """What sinfo says of one node."""

    name: str
    gres: str
    limit: str
    state: str
    cpus: int
    memory_mb: int

    @property
    def usable(self) -> bool:
        """Whether the node can run a job, now or when those on it have ended."""
        return not self.state.startswith(UNUSABLE) and "*" not in self.state


def diagnose(
    path: Path, study: Study, *, engine: str = SIMULATED, models: Sequence[str] = ()
) -> list[Finding]:
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
        found += [*slurm_settings(_ask("scontrol", "show", "config")), *partition(site, nodes)]
        answers, reached = reach(site, nodes)
        found += [*further_flags(site), reached]
        found += image_check.container(site, answers, _ask("srun", "--help"), engine)
    contained = site.container.runtime != "none"
    if not contained:
        found.append(serving(site, engine))
    if not (contained and site.container.etcd):
        found.append(etcd(site))
    return [*found, scratch(site), *(weights(site, name, engine) for name in models or study.models)]


def commands() -> Finding:
    """Slurm's commands are on PATH."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    return Finding(
        "Slurm",
        not missing,
        f"no {', '.join(missing)}" if missing else (_ask("sinfo", "--version") or "answers"),
        remedy="log in to a node that submits jobs, or load Slurm's module",
    )


def partition(site: Site, nodes: int) -> list[Finding]:
    """The partition exists, has nodes enough that run jobs and hold what is asked, and allows the time."""
    rows = node_rows(_ask("sinfo", "-h", "-N", "-p", site.partition, "-o", "%N|%G|%l|%T|%c|%m"))
    if not rows:
        known = ", ".join(sorted(set(_ask("sinfo", "-h", "-o", "%R").split()))) or "none"
        return [
            Finding(
                "partition", False, f"there is no {site.partition!r}", f"set partition to one of: {known}"
            )
        ]
    usable = [row for row in rows if row.usable]
    fitting = [row for row in usable if gpus_of(row.gres, site.gres) >= site.gpus_per_node]
    roomy = [
        row for row in fitting if row.cpus >= site.cpus_per_node and row.memory_mb >= site.memory_mb_per_node
    ]
    out = [f"{row.name} ({row.state})" for row in rows if not row.usable]
    limit = minutes_of(rows[0].limit)
    memory = f"{site.memory_mb_per_node} MB" if site.memory_mb_per_node else "all memory"
    return [
        Finding(
            "partition",
            True,
            f"{site.partition}: {len(rows)} nodes" + (f", of which run no jobs: {_some(out)}" if out else ""),
        ),
        Finding(
            "GPUs",
            len(fitting) >= nodes,
            f"{len(fitting)} nodes have {site.gpus_per_node} x {site.gres} and run jobs, {nodes} needed "
            f"(the first says {rows[0].gres})",
            remedy="correct gres and gpus_per_node: `sinfo -N -o '%N %G %T'` shows what Slurm calls them and "
            "which nodes are down or drained",
        ),
        Finding(
            "CPUs and memory",
            len(roomy) >= nodes,
            f"{len(roomy)} of those have {site.cpus_per_node} CPUs and {memory}, {nodes} needed",
            remedy="lower cpus_per_node and memory_mb_per_node (0 is all of it) to what "
            "`sinfo -N -o '%N %c %m'` shows",
        ),
        Finding(
            "time limit",
            limit is None or limit >= site.max_minutes,
            f"the partition allows {rows[0].limit}, max_minutes is {site.max_minutes}",
            remedy=f"set max_minutes to {limit}",
        ),
    ]


def node_rows(lines: str) -> list[NodeRow]:
    """Nodes from sinfo's `%N|%G|%l|%T|%c|%m`."""
    rows = []
    for line in lines.splitlines():
        name, gres, limit, state, cpus, memory = line.split("|")
        rows.append(NodeRow(name, gres, limit, state, _number(cpus), _number(memory)))
    return rows


def reach(site: Site, nodes: int) -> tuple[list[dict[str, Any]], Finding]:
    """`srun` reaches as many nodes as the study needs, with all their GPUs, and each has the interface.

    Also what they said. Nodes that are busy are no fault of the site's.
    """
    image = image_path(image_of(site)) if site.container.image else None
    command = [
        *(*srun_words(site, nodes), "--time=2", "--mem=500"),
        *(sys.executable, "-m", "anarchy.cluster.node_probe", site.interface),
        *(image_check.PROGRAMS.get(site.container.runtime, ""), "" if image is None else str(image)),
    ]
    remedy = "see that this project and its environment lie on a folder that all nodes see; look at `squeue`"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=REACH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return [], Finding("nodes", False, f"no answer of {nodes} nodes within {REACH_TIMEOUT_S:g} s", remedy)
    answers = node_probe.answers(done.stdout)
    if is_busy(done.stderr):
        return [], busy_nodes(f"{nodes} nodes with {site.gpus_per_node} GPUs")
    if done.returncode != 0 or len(answers) < nodes:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return answers, Finding("nodes", False, f"{len(answers)} of {nodes} nodes answered: {why}", remedy)
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
        remedy="a run would wait in the queue; ask again when `sinfo` shows idle nodes",
        required=False,
    )


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
    name, simulated = f"weights {model}", engine == SIMULATED
    try:
        found = find_weights(site.models.get(model, ""), where=site.where, key=f"models.{model}")
    except UserError as error:
        remedy = f"{error.remedy}; simulated engines need none" if simulated else error.remedy
        return Finding(name, False, error.what, remedy, required=not simulated)
    return Finding(name, True, str(found.folder))


def gpus_of(gres: str, name: str) -> int:
    """How many GPUs of a name a node has, from sinfo's `gpu:b200:8(S:0-1),...`; 0 for none."""
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, _, count = entry.rpartition(":")
        if (kind == name or kind.startswith(f"{name}:")) and count.isdecimal():
            return int(count)
    return 0


def minutes_of(limit: str) -> int | None:
    """Minutes of a Slurm time limit, `[days-]hours:minutes:seconds` or `minutes:seconds`; else None."""
    if not re.fullmatch(r"(\d+-)?[\d:]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        parts = [*parts, 0, 0][:3]
        return int(days) * 1440 + parts[0] * 60 + parts[1]
    hours, minutes, _ = ([0] * (3 - len(parts)) + parts) if len(parts) > 1 else [0, parts[0], 0]
    return hours * 60 + minutes


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
