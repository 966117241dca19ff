"""`anarchy doctor --site`: the site file against the live cluster, each point with its remedy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anarchy.cluster import image_check
from anarchy.cluster.container import image_of
from anarchy.cluster.job import srun_words
from anarchy.cluster.settings_check import slurm_settings
from anarchy.cluster.site import Site, load_site
from anarchy.config import Study
from anarchy.doctor import Finding
from anarchy.errors import UserError
from anarchy.serving.image import image_path
from anarchy.serving.spec import default_dynamo_python

ASK_TIMEOUT_S = 30.0
REACH_TIMEOUT_S = 90.0
"""How long the nodes may keep `srun` waiting: longer means that they are busy."""
COMMANDS = ("sinfo", "squeue", "sbatch", "srun", "scontrol", "scancel")


def diagnose(path: Path, study: Study) -> list[Finding]:
    """Look at everything that a run on this cluster needs; never raises for what it finds."""
    try:
        site = load_site(path)
    except UserError as error:
        return [Finding("site file", False, f"{error.where}: {error.what}", error.remedy)]
    nodes = study.cluster.nodes
    found = [Finding("site file", True, str(path)), commands()]
    if found[-1].ok:
        found += [*slurm_settings(_ask("scontrol", "show", "config")), *partition(site, nodes)]
        answers, reached = reach(site, nodes)
        found += [reached, *image_check.container(site, answers, _ask("srun", "--help"))]
    contained = site.container.runtime != "none"
    if not contained:
        found.append(serving(site))
    if not (contained and site.container.etcd):
        found.append(etcd(site))
    return [*found, scratch(site), *models(site, list(study.models))]


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
    """The partition exists, has nodes and GPUs enough, and allows the time."""
    lines = _ask("sinfo", "-h", "-N", "-p", site.partition, "-o", "%N|%G|%l|%T")
    rows = [line.split("|") for line in lines.splitlines()]
    if not rows:
        known = ", ".join(sorted(set(_ask("sinfo", "-h", "-o", "%R").split()))) or "none"
        return [
            Finding(
                "partition", False, f"there is no {site.partition!r}", f"set partition to one of: {known}"
            )
        ]
    fitting = [row[0] for row in rows if gpus_of(row[1], site.gres) >= site.gpus_per_node]
    limit = minutes_of(rows[0][2])
    return [
        Finding("partition", True, f"{site.partition}: {len(rows)} nodes"),
        Finding(
            "GPUs",
            len(fitting) >= nodes,
            f"{len(fitting)} nodes have {site.gpus_per_node} x {site.gres}, {nodes} needed "
            f"(the first says {rows[0][1]})",
            remedy="correct gres and gpus_per_node: `sinfo -N -o '%N %G'` shows what Slurm calls them",
        ),
        Finding(
            "time limit",
            limit is None or limit >= site.max_minutes,
            f"the partition allows {rows[0][2]}, max_minutes is {site.max_minutes}",
            remedy=f"set max_minutes to {limit}",
        ),
    ]


def reach(site: Site, nodes: int) -> tuple[list[dict[str, Any]], Finding]:
    """`srun` reaches as many nodes as the study needs, and each has the interface; also what they said."""
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
        return [], Finding("nodes", False, f"no {nodes} nodes within {REACH_TIMEOUT_S:g} s: busy?", remedy)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or len(answers) < nodes:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return answers, Finding("nodes", False, f"{len(answers)} of {nodes} nodes answered: {why}", remedy)
    for answer in answers:
        if answer["address"] is None:
            return answers, Finding("interface", False, str(answer["address_reason"]), "correct interface")
    drivers = ", ".join(sorted({answer["driver"] or "none" for answer in answers}))
    return answers, Finding("nodes", True, f"{nodes} nodes answer on {site.interface}; GPU driver {drivers}")


def serving(site: Site) -> Finding:
    """The Python of the serving stack can be run, where it is outside any image."""
    python = Path(site.serving_python) if site.serving_python else default_dynamo_python()
    return Finding("serving stack", python.is_file(), str(python), "make setup, or set serving_python")


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


def models(site: Site, wanted: Sequence[str]) -> list[Finding]:
    """Weights of every model of the study; simulated engines need none."""
    return [_weights(name, site.models) for name in wanted]


def _weights(name: str, known: Mapping[str, str]) -> Finding:
    where = known.get(name, "")
    remedy = f"set models.{name} to the folder of its weights; simulated engines need none"
    if not where:
        return Finding(f"weights {name}", False, "not named", remedy, required=False)
    path = Path(where)
    if path.is_absolute():
        return Finding(f"weights {name}", (path / "config.json").is_file(), where, remedy, required=False)
    return Finding(f"weights {name}", True, f"{where}: a hub name, needed in the local cache", required=False)


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
