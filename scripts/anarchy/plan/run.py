"""The frozen run: one document that says everything a run will do, written when it is submitted, never again.

`results/<tier>/runs/<digest>.json` holds every choice and default, the part of the study that it needs, what
serves, and every deployment with its loads as they are planned: a C, or a multiple of a knee. `run.json`
names the latest. Commands and Slurm jobs read that file, so an edited configuration, or another run submitted
beside it, changes nothing for what waits in a queue.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError, model_validator

from anarchy.config import AnyPolicy, Choices, Condition, EngineName, Name, StackName, Strict, Study
from anarchy.config.knees import RecordedKnee
from anarchy.config.site import Site
from anarchy.config.values import Launches, NonNegative, Seed, Users
from anarchy.engines.dynamo import USUAL
from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.ground.files import write_json
from anarchy.plan.deployments import as_served
from anarchy.plan.launches import Stack, Stacks, UnboundCell, UnboundDeployment

FORMAT: Final = 1
DIGITS = 16
"""Hexadecimal digits of a run's digest: its file name, and how it is called."""


class PlannedCell(Strict):
    """A cell as planned: its policy and workload, and one of a C, a load, or the tier's stages."""

    policy: Name
    workload: Name
    concurrency: Users | None = None
    load: Name | None = None
    staged: bool = False
    repeat: Launches = 1

    @model_validator(mode="after")
    def _one_of_three(self) -> PlannedCell:
        if (self.concurrency is not None) + (self.load is not None) + self.staged != 1:
            raise ValueError("a cell has one of concurrency, load and staged")
        return self


class Prediction(Strict):
    """What a deployment is thought to cost, before its knee is known."""

    knee: int | None
    """C that its loads are thought to be multiples of; null where they hang on none."""
    knee_from: str
    """What the prediction of the knee rests on."""
    wall_s: float
    """Wall seconds, start and stop included."""
    at_most_s: float
    """Wall seconds at the knee that takes longest, of those that E1's grid can tell: a job's limit is made
    of it."""


class PlannedDeployment(Strict):
    """One launch of the serving stack, as planned."""

    experiment: Name
    model: Name
    topology: Name
    routing: Name
    trial: Launches
    engine: EngineName
    """What measures it."""
    stack: StackName | None = None
    """The version of Dynamo that serves it; null is the usual one."""
    assume_kv_reuse: bool | None = None
    """Whether routers count shared blocks once; null is what the stack does by itself."""
    policies: tuple[Name, ...]
    seed: Seed
    start_s: NonNegative
    prerequisite: bool = False
    """Whether nobody asked for it, but a deployment that somebody asked for hangs on its knee."""
    predicted: Prediction
    cells: tuple[PlannedCell, ...]

    @property
    def dynamo(self) -> str:
        """The version of Dynamo that serves it."""
        return self.stack or USUAL


class Run(Strict):
    """A run, resolved and frozen."""

    format: Literal[1] = 1
    choices: Choices
    versions: dict[str, str]
    """Of this project, and of the serving stack as it is pinned or as the site names it."""
    study: Study
    """The part of the study that it needs."""
    policies: dict[Name, AnyPolicy]
    """Every policy that is measured, pairs of grids among them."""
    profiles: dict[str, str]
    """Timing table -> its digest, where engines are simulated or costs are predicted."""
    site: str = ""
    """Digest of the site file's content, where the run needs one: what it names stays where it is."""
    knees: tuple[RecordedKnee, ...] = ()
    """Recorded knees that stand in for E1 here."""
    deployments: tuple[PlannedDeployment, ...]

    @model_validator(mode="after")
    def _holds_what_it_names(self) -> Run:
        if "serving" not in self.versions:
            raise ValueError("versions names no serving stack")
        keys = [(one.experiment, one.model, one.topology, one.routing, one.trial) for one in self.deployments]
        if len(set(keys)) < len(keys):
            raise ValueError("two deployments are the same launch")
        for place, planned in enumerate(self.deployments):
            if (lacking := self._lacking(planned)) is not None:
                raise ValueError(f"deployments.{place} names {lacking}, which is not in it")
        return self

    def _lacking(self, planned: PlannedDeployment) -> str | None:
        """What a deployment names and the document does not hold; None where it is whole."""
        study, policies = self.study, self.policies
        if planned.experiment not in study.experiments:
            return f"experiment {planned.experiment}"
        experiment = study.experiments[planned.experiment]
        if self.choices.tier not in experiment.tiers:
            return f"tier {self.choices.tier}"
        if planned.model not in study.models or study.models[planned.model].profile not in self.profiles:
            return f"model {planned.model} with its timing table"
        loads = set(experiment.tiers[self.choices.tier].named_loads)
        sets = experiment.sets(self.choices.tier)
        named: tuple[tuple[str, set[str], Iterable[str]], ...] = (
            ("topology", {planned.topology}, study.topologies),
            ("set of policies", {planned.routing}, sets),
            ("policy", {*planned.policies, *(cell.policy for cell in planned.cells)}, policies),
            ("workload", {cell.workload for cell in planned.cells}, study.workloads),
            ("load", {cell.load for cell in planned.cells if cell.load is not None}, loads),
        )
        return next((f"{what} {min(n)}" for what, names, known in named if (n := names - {*known})), None)

    @property
    def document(self) -> dict[str, Any]:
        """As plain values; what is at its default in a cell is left out."""
        found = self.model_dump(mode="json")
        found["deployments"] = [
            one.model_dump(mode="json", exclude_defaults=True) for one in self.deployments
        ]
        return found

    @property
    def digest(self) -> str:
        """What it is called: a hash of everything in it."""
        return digest_of(self.document)

    def unbound(self, stacks: Stacks) -> tuple[UnboundDeployment, ...]:
        """Every deployment, prerequisites last, as it was planned; ``stacks``: what serves them."""
        return tuple(self._unbound(one, stacks(one.engine, one.dynamo)) for one in self.deployments)

    def _unbound(self, planned: PlannedDeployment, stack: Stack) -> UnboundDeployment:
        experiment = self.study.experiments[planned.experiment]
        tier = experiment.tiers[self.choices.tier]
        loads = tier.named_loads
        policy_set = experiment.sets(self.choices.tier)[planned.routing]
        system = next(
            one
            for one in experiment.systems_of(self.choices.tier)
            if (one.model, one.topology) == (planned.model, planned.topology)
        )
        dilation_times = system.times(policy_set.dilation_times)
        return UnboundDeployment(
            experiment=experiment,
            tier=self.choices.tier,
            engine=planned.engine,
            model=as_served(self.study.models[planned.model], planned.engine, dilation_times),
            topology=self.study.topologies[planned.topology],
            routing=planned.routing,
            policies=tuple(self.policies[name] for name in planned.policies),
            trial=planned.trial,
            seed=planned.seed,
            stack=stack,
            start_s=planned.start_s,
            assume_kv_reuse=planned.assume_kv_reuse,
            cells=tuple(
                UnboundCell(
                    self.study.workloads[cell.workload],
                    Condition(
                        self.policies[cell.policy],
                        cell.concurrency,
                        loads[cell.load] if cell.load else None,
                        tier.stage_plans if cell.staged else (),
                        cell.repeat,
                    ),
                )
                for cell in planned.cells
            ),
        )


def portable(path: str) -> str:
    """A path without the name of the user: `~` and `$USER` stand for it (`local` puts it back)."""
    home, user = str(Path.home()), getpass.getuser()
    if path == home or path.startswith(home + "/"):
        path = "~" + path[len(home) :]
    return "/".join("$USER" if part == user else part for part in path.split("/"))


def local(path: str) -> str:
    """A portable path as it is on this machine, for this user."""
    return os.path.expanduser(path.replace("$USER", getpass.getuser()))


def site_digest(site: Site | None) -> str:
    """Digest of a site file's content; empty where a run needs none."""
    return "" if site is None else digest_of(site.model_dump(mode="json"))


def planned_deployment(
    deployment: UnboundDeployment, predicted: Prediction, *, prerequisite: bool
) -> PlannedDeployment:
    """A deployment as it stands in a run's document."""
    experiment, model, topology, routing, trial = deployment.key
    return PlannedDeployment(
        experiment=experiment,
        model=model,
        topology=topology,
        routing=routing,
        trial=trial,
        engine=deployment.engine,
        stack=None if deployment.stack.dynamo == USUAL else deployment.stack.dynamo,
        assume_kv_reuse=deployment.assume_kv_reuse,
        policies=tuple(policy.name for policy in deployment.policies),
        seed=deployment.seed,
        start_s=deployment.start_s,
        prerequisite=prerequisite,
        predicted=predicted,
        cells=tuple(
            PlannedCell(
                policy=cell.condition.policy.name,
                workload=cell.workload.name,
                concurrency=cell.condition.concurrency,
                load=cell.condition.load.name if cell.condition.load else None,
                staged=bool(cell.condition.stages),
                repeat=cell.condition.repeat,
            )
            for cell in deployment.cells
        ),
    )


def needed(study: Study, tier: str, deployments: Iterable[UnboundDeployment]) -> Study:
    """The part of a study that deployments need, at one tier."""
    deployments = list(deployments)
    policies = {policy.name for one in deployments for policy in one.policies}
    varied = {cell.workload.name: cell.workload for one in deployments for cell in one.cells}
    workloads = {name for one in deployments for name in one.settings.workloads}
    names = dict.fromkeys(one.experiment.name for one in deployments)
    return Study(
        cluster=study.cluster,
        models={one.model.name: study.models[one.model.name] for one in deployments},
        topologies={one.topology.name: one.topology for one in deployments},
        policies={name: block for name, block in study.policies.items() if name in policies},
        # Of a sample's settings the study has the workloads that they vary alone.
        workloads={**{name: block for name, block in study.workloads.items() if name in workloads}, **varied},
        experiments={
            name: (whole := study.experiments[name]).model_copy(update={"tiers": {tier: whole.tiers[tier]}})
            for name in names
        },
    )


def policies_of(deployments: Sequence[UnboundDeployment]) -> dict[str, AnyPolicy]:
    """Every policy that is measured, by name."""
    return {policy.name: policy for one in deployments for policy in one.policies}


def digest_of(document: Mapping[str, Any]) -> str:
    """The digest of a run's document, whatever its spacing and the order of its keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def write_run(run: Run, path: Path, latest: Path) -> Path:
    """Write a run's document once, and name it the latest."""
    if not path.exists():
        write_json(path, run.document)
    read_run(path)  # what is there already may have been edited
    write_json(latest, {"run": run.digest, "file": f"{path.parent.name}/{path.name}"})
    return path


def read_run(path: Path) -> Run:
    """Read a frozen run, or the one that a `run.json` names.

    Raises UserError for a file that is missing, was edited, or is of another version of this project.
    """
    document = _json(path)
    if "file" in document and "choices" not in document:
        path = path.parent / str(document["file"])
        document = _json(path)
    again = "run snakemake with the same choices: it freezes the run again; sealed cells are kept"
    if document.get("format") != FORMAT:
        raise UserError(
            f"is not a frozen run of format {FORMAT} (format {document.get('format')!r})",
            where=path,
            remedy=again,
        )
    if (found := digest_of(document)) != path.stem:
        raise UserError(
            f"was edited: its content has the digest {found}, its name says {path.stem}",
            where=path,
            remedy=f"remove it and {again}",
        )
    try:
        return Run.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"was frozen by another version of this project: key {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}",
            where=path,
            remedy=again,
        ) from None


def _json(path: Path) -> dict[str, Any]:
    if not os.path.exists(path):
        raise UserError(
            "there is no such run", where=path, remedy="run snakemake: it freezes a run before its first job"
        )
    return load_json(
        path, remedy="remove it and run snakemake with the same choices: it freezes the run again"
    )
