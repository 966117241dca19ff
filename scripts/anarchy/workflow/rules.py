"""What the Snakefile asks of the package: wildcards in, paths, parameters and command lines out."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from anarchy import report
from anarchy.cluster.engine_needs import check_serving
from anarchy.cluster.executor import ended
from anarchy.cluster.job import job_resources
from anarchy.config import Choices, Strict
from anarchy.config.files import validate
from anarchy.config.site import Site
from anarchy.designs.design import Design
from anarchy.designs.drawn import drawn_files, table_tail
from anarchy.designs.ladder.design import DESIGN as LADDER
from anarchy.designs.readings.tier import ReadingsTier
from anarchy.designs.registry import design_of
from anarchy.engines.registry import engine_of
from anarchy.ground.errors import EXIT_USER_ERROR, UserError
from anarchy.ground.layout import PROFILES, PROJECT, Layout
from anarchy.ground.terminal import visible
from anarchy.plan.crowding import beyond_limits
from anarchy.plan.knee_step import check_sealed_loads
from anarchy.plan.launches import UnboundDeployment
from anarchy.plan.workbench import Workbench, load_run, open_frozen, open_run, relative
from anarchy.workflow.staleness.closure import digest_of
from anarchy.workflow.staleness.sources import Sources


class Wildcards(Protocol):
    """What Snakemake hands to an input function."""

    experiment: str
    model: str
    topology: str
    policy_set: str
    launch: str


@dataclass(frozen=True)
class Workflow:
    """One run, as the rules see it."""

    bench: Workbench

    @property
    def config(self) -> dict[str, Any]:
        """The run's choices, every default filled in."""
        return self.bench.choices.model_dump(mode="json")

    def study_blocks(self) -> list[tuple[dict[str, Any], str]]:
        """Every block of the study as plain values, with the JSON Schema that it must follow."""
        study = self.bench.study
        blocks: list[tuple[str, Strict]] = [("cluster", study.cluster)]
        for kind, named in (
            ("model", study.models),
            ("topology", study.topologies),
            ("policy", study.policies),
            ("workload", study.workloads),
            ("experiment", study.experiments),
        ):
            blocks += [(kind, block) for block in named.values()]
        return [
            (block.model_dump(mode="json"), f"workflow/schemas/{kind}.schema.json") for kind, block in blocks
        ]

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self.bench.layout

    @property
    def deployments(self) -> tuple[UnboundDeployment, ...]:
        """Every deployment of this run, those that others hang on among them."""
        return self.bench.deployments

    @property
    def designs(self) -> dict[Design, str]:
        """How the experiments of this run are shown -> those shown so, as a regular expression.

        Estimates, figures and tables depend on it, so each has rules of its own.
        """
        experiments: dict[Design, list[str]] = {}
        for name in dict.fromkeys(deployment.experiment.name for deployment in self.deployments):
            experiments.setdefault(self.design(name), []).append(re.escape(name))
        return {design: "|".join(names) for design, names in experiments.items()}

    def design(self, experiment: str) -> Design:
        """The design of an experiment of this run."""
        return design_of(self.bench.study.experiments[experiment].design)

    @property
    def results(self) -> str:
        """The folder of this run's tier, as the rules write it."""
        return str(self.layout.root)

    @property
    def shell_functions(self) -> str:
        """What comes before every command of a rule: `anarchy` on the frozen run, and `notebook`.

        Not a parameter: it would make everything stale whenever another run is frozen.
        """
        python, run = shlex.quote(sys.executable), shlex.quote(str(self.bench.path))
        functions = (
            f'anarchy() {{ exec {python} -m anarchy.cli.main "$@" --run {run}; }}',
            f'notebook() {{ exec {python} -m anarchy.workflow.notebooks "$@"; }}',
        )
        return "set -euo pipefail; " + "; ".join(functions).replace("{", "{{").replace("}", "}}") + "; "

    @cached_property
    def chosen(self) -> str:
        """The choices of this call, which verdicts and report are about.

        Not the run's digest: its predictions of time change with every start that is recorded.
        """
        return f"choices {digest_of(self.bench.run.choices.model_dump(mode='json'))}"

    def freeze(self) -> None:
        """Write the run's document before the first job, and say where it is.

        Refuses, with exit status 2, a run that this machine's environments cannot measure to its end.
        """
        with _told():
            self._check_environments()
            path = self.bench.freeze()
        print(f"run {self.bench.run.digest}, frozen in {path}", file=sys.stderr)
        crowding = beyond_limits([self.bench.expected(one) for one in self.deployments])
        for line in (*self.knee_lines(), *crowding):
            print(line, file=sys.stderr)

    def _check_environments(self) -> None:
        """Raise UserError where an environment is missing that a deployment still to be measured needs."""
        waiting = (one for one in self.deployments if not self.layout.summary(*one.key).is_file())
        for engine, dynamo in dict.fromkeys((one.engine, one.stack.dynamo) for one in waiting):
            check_serving(self.bench.site, engine, dynamo)

    def knee_lines(self) -> list[str]:
        """Whose knee the loads of each system hang on, a line each."""
        hanging = (one for one in self.deployments if one.hangs_on_knee)
        return list(dict.fromkeys(map(self._knee_line, hanging)))

    def _knee_line(self, one: UnboundDeployment) -> str:
        """Whose knee the loads of a deployment hang on."""
        whose = f"E1 of this run measures it ({one.experiment.knee_from})"
        if (entry := self.bench.recorded(one)) is not None:
            whose = f"C = {entry.value}, recorded: {entry.run}, engine {entry.engine}, {entry.date}"
        return f"knee of {'/'.join(one.key[1:3])}: {whose}"

    def deployment(self, wildcards: Wildcards) -> UnboundDeployment:
        """The deployment that the wildcards name."""
        return self.bench.deployment(
            wildcards.experiment,
            wildcards.model,
            wildcards.topology,
            wildcards.policy_set,
            int(wildcards.launch),
        )

    def measured_knee(self, wildcards: Wildcards) -> dict[str, str] | None:
        """Wildcards of the knee that a deployment waits for; None where it waits for none."""
        if self.bench.knee_source(self.deployment(wildcards)) != "measured":
            return None
        return {"model": wildcards.model, "topology": wildcards.topology}

    def plan_hash(self, wildcards: Wildcards, loads: object = None) -> str:
        """Everything that decides the measurements of a deployment, as one word.

        ``loads``: the file that its knee is in, so that it is asked for first.
        """
        del loads
        deployment = self.deployment(wildcards)
        known = (deployment.key, self.bench.knee(deployment).value)
        if known not in self._hashes:  # Snakemake asks several times
            self._hashes[known] = self.bench.bound(deployment).plan_hash
        return self._hashes[known]

    @cached_property
    def _hashes(self) -> dict[object, str]:
        """Plan hashes of deployments at a knee."""
        return {}

    def knee_estimate(self, wildcards: Wildcards) -> list[Path]:
        """E1's estimate of a system: what a knee is read from."""
        folder = self.layout.estimates(self._ladder(wildcards), wildcards.model, wildcards.topology)
        return [folder / "system.json", folder / "cells.parquet"]

    def knee_settings(self, wildcards: Wildcards) -> list[str]:
        """What decides a knee beside E1's estimate: whose it is."""
        hanging = next(
            one for one in self.deployments if one.hangs_on_knee and one.key[1:3] == _system(wildcards)
        )
        return [self._ladder(wildcards), *self.bench.served(hanging).values()]

    def _ladder(self, wildcards: Wildcards) -> str:
        """The experiment that measures the knee of a system."""
        return self.bench.ladder_of(wildcards.model, wildcards.topology)

    def sweep_resources(self, workflow: Any) -> dict[str, Any]:
        """What a sweep takes: this host for itself, or the nodes of a Slurm job.

        What runs beside a sweep on its host is measured with it: so it takes all of the resource ``host``, of
        which every other job takes one. On a cluster each deployment has its own nodes.
        """
        site = self.bench.cluster
        if site is None:
            host = workflow.global_resources.get("host")
            whole = 1 if host is None else host.value
            return {"host": lambda wildcards: 1 if self.replayed(wildcards) else whole}
        # A resource that a job does not ask for is None, which Snakemake takes for one that is not there.
        names = {
            name: None
            for one in self.deployments
            for name in job_resources(site, one, self.bench.predicted(one))
        }
        return {name: _of_job(self.bench, self.deployment, site, name) for name in names}

    def replayed(self, wildcards: Wildcards) -> bool:
        """Whether a deployment is replayed on a virtual clock: others may then run beside it."""
        return engine_of(self.deployment(wildcards).engine).replayed

    def sweep_threads(self, wildcards: Wildcards) -> int:
        """Cores of this host that a sweep keeps busy: a replay one, a live deployment all that there are."""
        return 1 if self.replayed(wildcards) else 2

    def timing_tables(self, wildcards: Wildcards) -> list[Path]:
        """Files that the engine of a deployment follows; none for a real one."""
        deployment = self.deployment(wildcards)
        if not engine_of(deployment.engine).follows_table:
            return []
        folder = relative(PROFILES / deployment.model.profile)
        return [folder / "prefill.csv", folder / "decode.csv"]

    @property
    def measured(self) -> list[Path]:
        """What every deployment that was asked for writes last, when all its cells are sealed."""
        return [self.layout.summary(*deployment.key) for deployment in self.bench.asked]

    def summaries(self, wildcards: Wildcards) -> list[Path]:
        """Every launch of a system, under every routing, and of those that it shares a budget with."""
        return [self.layout.summary(*deployment.key) for deployment in self._estimated(wildcards)]

    def _estimated(self, wildcards: Wildcards) -> list[UnboundDeployment]:
        """The deployments behind an estimate."""
        shared = 2 if self.design(wildcards.experiment).budget else 3
        system = (wildcards.experiment, wildcards.model, wildcards.topology)[:shared]
        return [deployment for deployment in self.deployments if deployment.key[:shared] == system]

    @cached_property
    def sources(self) -> Sources:
        """What estimates, figures, verdicts and the report are made by."""
        return Sources(PROJECT)

    def estimate_code(self, wildcards: Wildcards) -> str:
        """The code behind an estimate, that of its design alone."""
        return self.sources.command("system", self.design(wildcards.experiment).name)

    def estimate_study(self, wildcards: Wildcards) -> str:
        """What an estimate takes from the configuration and from the choices of this call.

        What is of its system, tier and deployments alone: a call for a part of a run changes none of it.
        """
        system = (wildcards.experiment, wildcards.model, wildcards.topology)
        deployments = self._estimated(wildcards)
        first = next(deployment for deployment in deployments if deployment.key[:3] == system)
        study = self.bench.study
        experiment, tier = first.experiment, first.settings
        policies = {policy.name: policy for one in deployments for policy in one.policies}
        workloads = tier.blocks(study.workloads)
        knee = self.bench.recorded(first)
        topologies = {deployment.topology.name: deployment.topology for deployment in deployments}
        blocks = (first.model, *topologies.values(), tier, *policies.values(), *workloads)
        document = {
            # Of a plan: what else it says stands in the blocks, and other systems and tiers are not its own.
            "experiment": experiment.model_dump(mode="json", exclude={"systems", "routing", "tiers"}),
            "blocks": [block.model_dump(mode="json") for block in blocks],
            "deployments": [
                deployment.key[3:] if deployment.key[:3] == system else deployment.key[2:]
                for deployment in deployments
            ],
            "choices": [first.tier, first.engine, first.seed],
            "knee": knee and knee.model_dump(mode="json"),
            "timing table": self.bench.profiles[first.model.profile].digest,
        }
        return f"study {digest_of(document)}"

    def notebook(self, design: Design) -> Path:
        """The notebook that shows the experiments of a design."""
        return relative(PROJECT / "notebooks" / f"{design.notebook}.ipynb")

    def drawing_code(self, wildcards: Wildcards) -> str:
        """The code behind the figures and tables of a system, that of its design alone.

        And the published values, where its figures show them.
        """
        design = self.design(wildcards.experiment)
        code = self.sources.notebook_code(self.notebook(design), design.name)
        return f"{code}, {self.sources.published}" if design.published else code

    def notebook_cells(self, wildcards: Wildcards) -> str:
        """The notebook of a system as it is written."""
        return self.sources.notebook(self.notebook(self.design(wildcards.experiment)))

    def notebook_parameters(self, wildcards: Wildcards) -> str:
        """What the notebook of a system is told."""
        named = {name: getattr(wildcards, name) for name in ("experiment", "model", "topology")}
        named |= {"tier": self.bench.choices.tier, "results": str(self.layout.root.parent)}
        return shlex.join(f"{name}={value}" for name, value in named.items())

    @property
    def system_files(self) -> list[Path]:
        """system.json of every system of this run, written after its other estimates."""
        return [self.layout.estimates(*system) / "system.json" for system in self.bench.systems()]

    @property
    def rendered(self) -> list[Path]:
        """Every figure and table of every system of this run."""
        return [
            path
            for experiment, model, topology in self.bench.systems()
            for path in self.drawn(self.design(experiment), experiment, f"{model}_{topology}")
        ]

    def drawn(self, design: Design, experiment: str, stem: str) -> list[Path]:
        """Every figure and table of one system that is known before it was measured."""
        return drawn_files(self.layout, design, experiment, stem)

    def tail(self, table: str) -> str:
        """What the name of a table adds to the name of its file."""
        return table_tail(table)

    @property
    def has_ladder(self) -> bool:
        """Whether this run holds systems that are shown together, those measured over a grid of C."""
        return LADDER in self.designs

    @property
    def has_readings(self) -> bool:
        """Whether this run holds systems measured for users in step, under every reading."""
        return any(tier.sample is None for tier in self._reading_tiers)

    @property
    def has_sample(self) -> bool:
        """Whether this run holds systems measured under settings that were drawn."""
        return any(tier.sample is not None for tier in self._reading_tiers)

    @property
    def _reading_tiers(self) -> list[ReadingsTier]:
        return [one.settings for one in self.deployments if isinstance(one.settings, ReadingsTier)]

    def print_summary(self) -> None:
        """Tell what came out, and where it is."""
        if self.layout.report.is_file():
            summary = report.terminal_summary(report.load_systems(self.layout), self.layout.report)
            print(visible(summary, keep="\n"))

    def print_failure(self, logs: Sequence[str]) -> None:
        """Tell what a failure means and what to do next; ``logs``: where Snakemake wrote it down."""
        all_of_it = ", ".join(logs)
        told = "".join(f"\n{line}" for line in ended) or f" the reason stands above, all of it in {all_of_it}"
        print(
            f"\nThe run did not finish:{told}\n"
            "  remedy: mend it and run the same command again: sealed cells are kept",
            file=sys.stderr,
        )
        if self.undrawn:
            self._report_what_there_is()

    def _report_what_there_is(self) -> None:
        from anarchy.report.whole import write_broken_off  # plotting is slow to load

        try:
            path = write_broken_off(self.bench)
        except UserError as error:
            print(f"anarchy: {error}", file=sys.stderr)
        else:
            print(
                f"  report: {path} shows what there is, and says which figures are missing", file=sys.stderr
            )

    @property
    def undrawn(self) -> list[Path]:
        """Figures and tables that estimated systems lack: their notebook failed, or was not reached."""
        return [
            path
            for experiment, model, topology in self.bench.systems()
            if (self.layout.estimates(experiment, model, topology) / "system.json").is_file()
            for path in self.drawn(self.design(experiment), experiment, f"{model}_{topology}")
            if not path.is_file()
        ]


@contextmanager
def _told() -> Iterator[None]:
    """End Snakemake with one message where the user has to mend something."""
    try:
        yield
    except UserError as error:
        print(f"anarchy: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None


def _system(wildcards: Wildcards) -> tuple[str, str]:
    return wildcards.model, wildcards.topology


def _of_job(
    bench: Workbench, deployment: Callable[[Wildcards], UnboundDeployment], site: Site, name: str
) -> Callable[[Wildcards], Any]:
    """Input function of one resource of a sweep's job."""

    def value(wildcards: Wildcards) -> Any:
        one = deployment(wildcards)
        return job_resources(site, one, bench.predicted(one)).get(name)

    return value


def check_run_file() -> None:
    """Read ``run.yaml`` before Snakemake does, within this project's bounds and in its words.

    For bad input prints one message and exits with status 2. (Snakemake would name the Snakefile, and would
    run the expressions of a template language that such a file may hold.)
    """
    with _told():
        load_run()


def open_workflow(config: Mapping[str, Any], workflow: Any) -> Workflow:
    """Resolve ``--config``, or open the frozen run that it names; jobs on other hosts are handed its path.

    For bad input it prints one message and exits with status 2.
    """
    given = workflow.config_settings
    with _told():
        bench = _open(config, given.overwrite_config)
    given.config_args = [f"run={bench.path}"]
    return Workflow(bench)


def _open(config: Mapping[str, Any], given: Mapping[str, Any]) -> Workbench:
    """The frozen run that is named, or a new one; ``given``: what stands in no file of defaults."""
    if "run" not in config:
        bench = open_run(config)
        check_sealed_loads(bench)
        return bench
    bench = open_frozen(Path(config["run"]))
    others = {key: value for key, value in given.items() if key != "run"}
    asked = validate({**bench.choices.model_dump(), **others}, Choices, where="--config")
    if differ := [key for key in others if getattr(asked, key) != getattr(bench.choices, key)]:
        raise UserError(
            f"a frozen run is as it is, but --config asks for another {', '.join(differ)}",
            where="--config",
            remedy="name the frozen run alone, or leave it out: these choices are another run",
        )
    return bench
