"""The container part of `anarchy doctor --site`: runtime, image and what is in it, tried on the nodes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from anarchy.cluster.asking import reason_of
from anarchy.cluster.container import image_of, inside, pyxis_flags, without_host_python
from anarchy.cluster.engine_needs import missing_packages
from anarchy.cluster.job import BUSY_AFTER_S, is_busy, memory_words, srun_words
from anarchy.config.site import Site
from anarchy.ground.findings import Finding
from anarchy.ground.layout import PROJECT
from anarchy.ground.surroundings import outside_any_job
from anarchy.serving.versions import told_versions, versions_query

IMAGE_TIMEOUT_S = 900.0
"""How long the image may take to answer: where it is not on the node yet, 15 GB are fetched and unpacked."""
PROGRAMS = {"apptainer": "apptainer", "pyxis": "enroot"}
"""Program that a runtime needs on every node; Pyxis itself is a part of srun, and starts enroot."""
INSIDE_QUERY = """
import shutil, sys
print(json.dumps({"program": shutil.which(sys.argv[1])}))
"""
"""The question for versions, and then where a program is."""


def container(site: Site, answers: Sequence[Mapping[str, Any]], srun_help: str, engine: str) -> list[Finding]:
    """The runtime is on the nodes, the image can be read there, and the Python inside it has the engine.

    `answers` are those of `anarchy.cluster.node_probe`, `srun_help` is what `srun --help` prints.
    """
    runtime = site.container.runtime
    if runtime == "none" or not answers:
        return []
    program = PROGRAMS[runtime]
    lacking = sorted(answer["slurm_name"] for answer in answers if not answer["program"])
    found = [
        Finding(
            "container runtime",
            not lacking,
            f"no {program} on {', '.join(lacking)}" if lacking else f"{program} on {len(answers)} nodes",
            remedy=f"install {program} on the nodes, or load its module before you start snakemake",
        )
    ]
    if runtime == "pyxis":
        has_pyxis = "--container-image" in srun_help
        found.append(
            Finding(
                "Pyxis",
                has_pyxis,
                f"srun {'has' if has_pyxis else 'lacks'} --container-image",
                remedy="ask for Pyxis in Slurm's plugstack.conf, or use runtime: apptainer",
            )
        )
    blind = sorted(answer["slurm_name"] for answer in answers if answer["image_readable"] is False)
    found.append(
        Finding(
            "image",
            not blind,
            f"not readable on {', '.join(blind)}: {image_of(site)}" if blind else image_of(site),
            remedy="put it on a folder that all nodes see (envs/container/README.md), or correct "
            "container.image",
        )
    )
    return [*found, *image_contents(site, engine)] if all(finding.ok for finding in found) else found


def image_contents(site: Site, engine: str) -> list[Finding]:
    """The serving stack inside the image, asked on one node; etcd where the site takes it from there."""
    inner = (site.container.python, "-c", versions_query() + INSIDE_QUERY, site.container.etcd)
    folder = str(PROJECT)
    command = without_host_python(
        (
            *(*srun_words(site, 1), "--time=15", *memory_words(site, 4000)),
            *pyxis_flags(site, folder, [folder]),
            *inside(site, inner, {}, folder, [folder]),
        )
    )
    remedy = "correct container.image and container.python; envs/container/README.md names images that serve"
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, errors="replace", timeout=IMAGE_TIMEOUT_S,
            check=False, env=outside_any_job(os.environ),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [Finding("image's Python", False, f"no answer within {IMAGE_TIMEOUT_S:g} s", remedy)]
    if is_busy(done.stderr):
        return [
            Finding(
                "image's Python",
                False,
                f"no node was free within {BUSY_AFTER_S} s, so it was not asked",
                remedy="ask again when `sinfo` shows idle nodes",
                required=False,
            )
        ]
    versions = told_versions(done.stdout)
    if done.returncode != 0 or not versions:
        why = reason_of(done.stderr) or "no message"
        return [Finding("image's Python", False, f"{site.container.python}: {why}", remedy)]
    missing = missing_packages(site, versions, engine)
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    found = [
        Finding("image's Python", not missing, f"lacks {', '.join(missing)}" if missing else told, remedy)
    ]
    if site.container.etcd:
        etcd = _where(done.stdout)
        found.append(
            Finding(
                "image's etcd",
                etcd is not None,
                etcd or f"no {site.container.etcd} inside",
                remedy="set container.etcd to its path inside, or leave it out for the site's etcd outside",
            )
        )
    return found


def _where(output: str) -> str | None:
    """The program's place in the lines that were printed, among which an image may have its own."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(json.JSONDecodeError):
            found = json.loads(line)
            if isinstance(found, dict) and "program" in found:
                return str(found["program"]) if found["program"] else None
    return None
