"""One call's choices, resolved: the configuration, what was asked of it, the plan and where results go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anarchy.cluster.site import Site, load_site
from anarchy.config import Run, Study
from anarchy.config_files import load_block, load_study, validate
from anarchy.errors import UserError
from anarchy.layout import CONFIG, DYNAMO_LOCK, PROFILES, PROJECT, Layout
from anarchy.plan import DeploymentPlan, plan
from anarchy.preflight import pinned_version
from anarchy.serving.profiles import Profile, load_profile

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
    """The cluster, for launcher slurm."""

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
    defaults = load_block(RUN_FILE, Run)
    run = validate({**defaults.model_dump(), **(overrides or {})}, Run, where="--config")
    profiles = {
        name: load_profile(PROFILES / name)
        for name in sorted({model.profile for model in study.models.values()})
    }
    stack = f"ai-dynamo {pinned_version(DYNAMO_LOCK, 'ai-dynamo')}"
    layout = Layout(relative(PROJECT / run.results / run.tier))
    site = load_site(PROJECT / run.site) if run.launcher == "slurm" else None
    return Workbench(study, run, profiles, plan(study, run, profiles, stack), layout, site)
