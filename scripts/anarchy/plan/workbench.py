"""One run, opened: the frozen document, what it needs beside it, and where results go."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from anarchy.config import Choices, KneeSource, Study
from anarchy.config.files import load_block, load_study, validate
from anarchy.config.knees import KNEES_FILE, RecordedKnee, load_knees, standing_in
from anarchy.config.loads import NO_KNEE, Knee
from anarchy.config.site import Site, load_site
from anarchy.engines.dynamo import USUAL
from anarchy.engines.engine import Engine
from anarchy.engines.profiles import Profile, load_profile
from anarchy.engines.registry import engine_of
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG, PROFILES, PROJECT, Layout
from anarchy.plan.binding import bind, served
from anarchy.plan.deployments import Starts, engines_of
from anarchy.plan.knee import read_loads, read_origin
from anarchy.plan.launches import DeploymentPlan, Stack, Stacks, UnboundDeployment
from anarchy.plan.resolve import resolve
from anarchy.plan.run import Prediction, Run, local, portable, read_run, site_digest, write_run
from anarchy.trace.starts import recorded_start_s

LONGEST_NAME = 255
"""Bytes of a file's name, by every file system of Linux that is in use."""
RUN_FILE = CONFIG / "run.yaml"


@dataclass(frozen=True)
class Workbench:
    """A frozen run, with the timing tables that it names and the folder of its results."""

    run: Run
    profiles: Mapping[str, Profile]
    layout: Layout
    stacks: Stacks
    """What serves, by engine."""
    site: Site | None = None
    """The cluster's own facts: for launcher slurm, and for engines that load weights."""

    @cached_property
    def choices(self) -> Choices:
        """What was asked for, every default filled in; paths as they are on this machine."""
        return local_choices(self.run.choices)

    @property
    def study(self) -> Study:
        """The part of the study that this run needs."""
        return self.run.study

    @property
    def cluster(self) -> Site | None:
        """The cluster whose jobs deployments run in; None where they run on this machine."""
        return self.site if self.choices.launcher == "slurm" else None

    @cached_property
    def path(self) -> Path:
        """Where the run's document lies, once it is frozen."""
        return self.layout.run(self.run.digest)

    @cached_property
    def deployments(self) -> tuple[UnboundDeployment, ...]:
        """Every deployment, prerequisites last."""
        return self.run.unbound(self.stacks)

    @cached_property
    def asked(self) -> tuple[UnboundDeployment, ...]:
        """Every deployment that was asked for; the others measure knees that these hang on."""
        pairs = zip(self.deployments, self.run.deployments, strict=True)
        return tuple(deployment for deployment, planned in pairs if not planned.prerequisite)

    @property
    def plans(self) -> tuple[DeploymentPlan, ...]:
        """Every deployment with its loads bound; raises UserError where a knee is not known yet."""
        return tuple(self.bound(deployment) for deployment in self.deployments)

    def freeze(self) -> Path:
        """Write the run's document, once, and name it the latest."""
        return write_run(self.run, self.path, self.layout.latest_run)

    def predicted(self, deployment: UnboundDeployment) -> Prediction:
        """What the run says of a deployment's cost."""
        return self._predictions[deployment.key]

    @cached_property
    def _predictions(self) -> dict[tuple[str | int, ...], Prediction]:
        pairs = zip(self.deployments, self.run.deployments, strict=True)
        return {deployment.key: planned.predicted for deployment, planned in pairs}

    def knee_source(self, deployment: UnboundDeployment) -> KneeSource | None:
        """Where the knee of a deployment's loads comes from; None where they hang on none."""
        return self.choices.knees if deployment.hangs_on_knee else None

    def recorded(self, deployment: UnboundDeployment) -> RecordedKnee | None:
        """The recorded knee that stands in for E1's in a deployment of this run; None where none does.

        Raises UserError for a run that was frozen without one for what serves this deployment.
        """
        if self.knee_source(deployment) != "recorded":
            return None
        return standing_in(self.run.knees, *deployment.key[1:3], **self.served(deployment))

    def ladder_of(self, model: str, topology: str) -> str:
        """The experiment that measures the knee which loads of a system hang on."""
        for one in self.deployments:
            if one.hangs_on_knee and one.key[1:3] == (model, topology) and one.experiment.knee_from:
                return one.experiment.knee_from
        raise UserError(
            f"no load of this run hangs on the knee of {model} on {topology}",
            where="command line",
            remedy="name a system of E2, E3 or E4 of this run",
        )

    def grid(self, deployment: UnboundDeployment) -> tuple[int, ...]:
        """The grid of C that this run's E1 measures its knee on; empty for a recorded knee."""
        name = deployment.experiment.knee_from
        if self.knee_source(deployment) != "measured" or name is None:
            return ()
        return self.study.experiments[name].tiers[deployment.tier].grid

    def knee(self, deployment: UnboundDeployment) -> Knee:
        """The knee of a deployment's loads; raises UserError where E1 has not told it yet."""
        if not deployment.hangs_on_knee:
            return NO_KNEE
        if (entry := self.recorded(deployment)) is not None:
            return Knee(entry.value)
        return read_loads(self.layout, *deployment.key[1:3], self.grid(deployment))

    def knee_origin(self, deployment: UnboundDeployment) -> dict[str, Any]:
        """Where that knee comes from, as plain values; empty where loads hang on none."""
        if not deployment.hangs_on_knee:
            return {}
        if (entry := self.recorded(deployment)) is not None:
            return {"source": "recorded", "value": entry.value, **entry.origin.model_dump(mode="json")}
        return {"source": "measured", **read_origin(self.layout, *deployment.key[1:3])}

    def bound(self, deployment: UnboundDeployment) -> DeploymentPlan:
        """A deployment with its loads bound to its knee; errors as `knee`."""
        return bind(deployment, self.knee(deployment), self.profiles[deployment.model.profile])

    def expected(self, deployment: UnboundDeployment) -> DeploymentPlan:
        """A deployment with its loads at the predicted knee: for plans, and for what measures nothing."""
        knee = Knee(self.predicted(deployment).knee, self.grid(deployment))
        return bind(deployment, knee, self.profiles[deployment.model.profile])

    def served(self, deployment: UnboundDeployment) -> dict[str, str]:
        """What serves a deployment, as the origin of a knee tells it: engine, serving version, speed."""
        return {
            "engine": deployment.engine,
            "version": portable(deployment.stack.version),
            "served": served(deployment, self.profiles[deployment.model.profile]),
        }

    def deployment(self, *key: str | int) -> UnboundDeployment:
        """Find a deployment by its wildcards: experiment, model, topology, routing, trial."""
        for candidate in self.deployments:
            if candidate.key == key:
                return candidate
        known = tuple("/".join(map(str, candidate.key)) for candidate in self.deployments)
        raise UserError(
            f"this run holds no deployment {'/'.join(map(str, key))}",
            where="command line",
            remedy="take one of these:",
            options=known,
        )

    def deployment_of(self, experiment: str, model: str, topology: str) -> UnboundDeployment:
        """The first launch of a system in an experiment; raises UserError where the run holds none."""
        for candidate in self.deployments:
            if candidate.key[:3] == (experiment, model, topology):
                return candidate
        raise UserError(
            f"this run holds no system {experiment}/{model}/{topology}",
            where="command line",
            remedy="known: " + ", ".join("/".join(system) for system in self.systems()),
        )

    def folder(self, deployment: UnboundDeployment | DeploymentPlan) -> Path:
        """Folder of a deployment's raw data."""
        return self.layout.deployment(*deployment.key)

    def systems(self) -> tuple[tuple[str, str, str], ...]:
        """Experiment, model and topology of every system asked for, each once, in the order of the plan."""
        return tuple(dict.fromkeys(deployment.key[:3] for deployment in self.asked))


def relative(path: Path) -> Path:
    """Express a path from the current folder where it lies below it; another path stays as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def layout_of(choices: Choices) -> Layout:
    """Where the results of these choices lie."""
    return Layout(relative(PROJECT / choices.results / choices.tier))


def open_run(overrides: Mapping[str, Any] | None = None) -> Workbench:
    """Read and check the configuration and plan a run; nothing is written.

    ``overrides`` replaces keys of ``run.yaml`` (as ``--config`` does). Raises UserError for whatever does
    not hold.
    """
    study = load_study(CONFIG)
    defaults = load_run()
    choices = validate({**defaults.model_dump(), **(overrides or {})}, Choices, where="--config")
    check_possible(relative(PROJECT / choices.results))
    site = _site(choices, engines_of(study, choices))
    profiles = _profiles(model.profile for model in study.models.values())
    recorded = load_knees(KNEES_FILE, study.models, study.topologies).knees
    stacks = _stacks(site)
    run = resolve(study, choices, profiles, stacks, recorded, _starts(study, choices), site)
    return Workbench(run, profiles, layout_of(choices), stacks, site)


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


def load_run(file: Path = RUN_FILE) -> Choices:
    """The defaults of a call; raises UserError naming file and key for whatever does not hold."""
    return load_block(file, Choices)


def open_frozen(path: Path) -> Workbench:
    """Open a run that was frozen; nothing of the configuration is read.

    Raises UserError for a document that cannot be trusted, and for timing tables that are no longer those
    that it was planned with.
    """
    run = read_run(PROJECT / path)
    profiles = _profiles(run.profiles)
    for name, digest in run.profiles.items():
        if profiles[name].digest != digest:
            raise UserError(
                "the timing table is not the one that this run was frozen with",
                where=PROFILES / name,
                remedy="restore it, or run snakemake: the run is frozen again; cells of other tables "
                "are kept",
            )
    choices = local_choices(run.choices)
    site = _site(choices, {one.engine for one in run.deployments})
    stacks = _stacks(site)
    served_by = (stacks(one.engine, one.dynamo) for one in run.deployments)
    serving = "; ".join(dict.fromkeys(portable(stack.version) for stack in served_by))
    for what, now, frozen in (
        ("site file", site_digest(site), run.site),
        ("serving stack", serving, run.versions["serving"]),
    ):
        if now != frozen:
            raise UserError(
                f"the {what} is not the one that this run was frozen with ({frozen or 'none'}, now {now})",
                where=PROJECT / choices.site if what == "site file" else "envs",
                remedy="restore it, or run snakemake: the run is frozen again; other cells are kept",
            )
    return Workbench(run, profiles, layout_of(choices), stacks, site)


def local_choices(choices: Choices) -> Choices:
    """Choices of a frozen run with their paths as they are on this machine."""
    return choices.model_copy(update={key: local(getattr(choices, key)) for key in ("results", "site")})


def _profiles(names: Iterable[str]) -> dict[str, Profile]:
    return {name: load_profile(PROFILES / name) for name in sorted(set(names))}


def _starts(study: Study, choices: Choices) -> Starts:
    """What a start of each model took in earlier runs into these results, where there were any."""
    results = PROJECT / choices.results

    @cache
    def of(engine: str, dynamo: str) -> dict[str, float]:
        stack = "" if dynamo == USUAL else dynamo
        recorded = {model: recorded_start_s(results, engine, model, stack) for model in study.models}
        return {model: seconds for model, seconds in recorded.items() if seconds is not None}

    return of


def _site(choices: Choices, engines: Collection[str]) -> Site | None:
    """The site file where the run needs one: for jobs, and for an engine that loads weights."""
    loading = sorted(name for name in engines if engine_of(name).loads_weights)
    if choices.launcher == "local" and not loading:
        return None
    try:
        return load_site(PROJECT / choices.site, launcher=choices.launcher)
    except UserError as error:
        if choices.launcher == "slurm":
            raise
        raise UserError(
            f"engine {loading[0]} needs a site file on this machine too (keys models, device): {error.what}",
            where=error.where,
            remedy=error.remedy,
        ) from None


def _stacks(site: Site | None) -> Stacks:
    """The serving stacks as the plan knows them; what was really there stands in the manifests."""

    @cache
    def of(name: str, dynamo: str) -> Stack:
        engine = engine_of(name)
        if site is None or not engine.loads_weights:
            return Stack(_pinned(engine, dynamo), dynamo=dynamo)
        return Stack(_served_by(site, engine), site.device, site.models)

    return of


def _served_by(site: Site, engine: Engine) -> str:
    """A real engine's stack: the image, the Python named, or the versions that this project pins."""
    if site.container.runtime != "none":
        return site.container.image
    if site.serving_python:
        return site.serving_python
    return _pinned(engine)


def _pinned(engine: Engine, dynamo: str = USUAL) -> str:
    """The stack that this project pins for an engine; empty where it pins none."""
    return next((stack.words for stack in engine.stacks if stack.dynamo == dynamo), "")
