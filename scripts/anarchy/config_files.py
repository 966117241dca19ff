"""Reading the configuration: YAML files into their models, and every cross-reference checked.

Whatever does not hold is told by file, key and, for an unknown key, the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from anarchy.config import Cluster, Experiment, Model, Policy, Strict, Study, Topology, Workload
from anarchy.errors import UserError

T = TypeVar("T", bound=Strict)


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe YAML loader, but a key that stands twice is an error instead of a lost value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one mapping; raises a YAML error at the second occurrence of a key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the base class refuses it with its own message
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands there twice; keep one of them", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_study(directory: Path) -> Study:
    """Read and check every file under ``workflow/config``.

    Raises UserError naming file and key for whatever does not hold, cross-references and the fit of
    every topology on the cluster included.
    """
    study = Study(
        cluster=load_block(directory / "cluster.yaml", Cluster),
        models=_load_named(directory / "models", Model),
        topologies=_load_named(directory / "topologies", Topology),
        policies=_load_named(directory / "policies", Policy),
        workloads=_load_named(directory / "workloads", Workload),
        experiments=_load_named(directory / "experiments", Experiment),
    )
    for experiment in study.experiments.values():
        _check_references(study, experiment, directory / "experiments" / f"{experiment.name}.yaml")
    return study


def _load_named(directory: Path, block: type[T]) -> dict[str, T]:
    misnamed = sorted(directory.glob("*.yml"))
    if misnamed:
        raise UserError(
            "would not be read: configuration files end in .yaml",
            where=misnamed[0],
            remedy=f"rename it to {misnamed[0].stem}.yaml",
        )
    files = sorted(directory.glob("*.yaml"))
    if not files:
        raise UserError(
            "holds no *.yaml file", where=directory, remedy="restore it: git checkout -- workflow/config"
        )
    loaded = {}
    for file in files:
        entry = load_block(file, block)
        name = getattr(entry, "name", file.stem)
        if name != file.stem:
            raise UserError(
                f"key name: is {name!r} but the file is called {file.stem!r}",
                where=file,
                remedy=f"rename the file to {name}.yaml or set name: {file.stem}",
            )
        loaded[name] = entry
    return loaded


def load_block(file: Path, block: type[T]) -> T:
    """Read one YAML file into its model.

    Raises UserError naming the file, the key and, for an unknown key, the nearest known one.
    """
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 (is safe)
    except FileNotFoundError:
        raise UserError(
            "does not exist", where=file, remedy="restore it: git checkout -- workflow/config"
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=file, remedy="give this user read access to the file"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"is not YAML: {_where_in_yaml(error)}", where=file, remedy="mend the syntax at that line"
        ) from None
    if not isinstance(document, dict):
        raise UserError("is not a mapping of keys to values", where=file, remedy="start it with `name: ...`")
    return validate(document, block, where=file)


def _where_in_yaml(error: Exception) -> str:
    """Line and problem, without the parser's own excerpt."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


def validate(document: dict[str, Any], block: type[T], *, where: str | Path) -> T:
    """Turn a mapping into its model, or raise a UserError that says which key and what would be right."""
    try:
        return block.model_validate(document)
    except ValidationError as error:
        problems = [_describe(problem, block) for problem in error.errors()]
        raise UserError(
            "; ".join(what for what, _ in problems),
            where=where,
            remedy="; ".join(dict.fromkeys(remedy for _, remedy in problems)),
        ) from None


def _describe(problem: Any, block: type[Strict]) -> tuple[str, str]:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "(file)"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(block, problem["loc"][:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {key!r}", hint
    if problem["type"] == "missing":
        return f"key {key!r} is missing", f"add {location[-1]}: to it"
    message = problem["msg"].removeprefix("Value error, ")
    return f"key {key!r}: {message} (got {_short(problem['input'])})", f"correct {key}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(block: type[BaseModel], path: Iterable[Any]) -> list[str]:
    """Keys of the model that a path of keys and indices leads to."""
    current: type[BaseModel] = block
    for part in path:
        if not isinstance(part, str) or part not in current.model_fields:
            continue
        nested = _nested_model(current.model_fields[part].annotation)
        if nested is not None:
            current = nested
    return list(current.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _nested_model(argument)
        if found is not None:
            return found
    return None


def _check_references(study: Study, experiment: Experiment, file: Path) -> None:
    for index, system in enumerate(experiment.systems):
        _known(system.model, study.models, file, f"systems.{index}.model")
        _known(system.topology, study.topologies, file, f"systems.{index}.topology")
        check_fit(study.models[system.model], study.topologies[system.topology], study.cluster, where=file)
    if len(experiment.routing) > 1:
        raise UserError(
            f"key 'routing': {len(experiment.routing)} policies, but estimates are made for one",
            where=file,
            remedy="make an experiment of each, or name one policy",
        )
    for policy in experiment.routing:
        _known(policy, study.policies, file, "routing")
    for tier_name, tier in experiment.tiers.items():
        _check_reference_range(study, experiment, tier_name, file)
        for workload in tier.workloads:
            _known(workload, study.workloads, file, f"tiers.{tier_name}.workloads")


def _check_reference_range(study: Study, experiment: Experiment, tier_name: str, file: Path) -> None:
    """Refuse a grid that leaves the affine curve of some system without a cell to be fitted to."""
    grid = experiment.tiers[tier_name].concurrency
    for system in experiment.systems:
        lowest = max(8, study.topologies[system.topology].decode)
        if not any(lowest <= C <= experiment.c_ref for C in grid):
            raise UserError(
                f"key 'tiers.{tier_name}.concurrency': no C between {lowest} and c_ref = {experiment.c_ref}: "
                f"{system.model} on {system.topology} has no cell to fit its affine latency curve to",
                where=file,
                remedy="add such a C to the grid, or raise c_ref to a C below the knee",
            )


def _known(name: str, among: dict[str, Any], file: Path, key: str) -> None:
    if name not in among:
        near = difflib.get_close_matches(name, among, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"key {key!r}: there is no {name!r}",
            where=file,
            remedy=f"{hint}known: {', '.join(sorted(among))}",
        )


def check_fit(model: Model, topology: Topology, cluster: Cluster, *, where: str | Path) -> None:
    """Refuse a topology that the cluster cannot hold, and show the arithmetic.

    A worker takes ``tensor_parallel`` GPUs of one node; raises UserError.
    """
    per_node = cluster.gpus_per_node // model.tensor_parallel
    room = per_node * cluster.nodes
    wanted = topology.prefill + topology.decode
    if wanted > room:
        raise UserError(
            f"{model.name} on {topology.name} does not fit: "
            f"{topology.prefill} prefill + {topology.decode} decode = {wanted} workers of "
            f"{model.tensor_parallel} GPUs need {wanted * model.tensor_parallel} GPUs; "
            f"{cluster.nodes} nodes x ({cluster.gpus_per_node} GPUs // {model.tensor_parallel}) = "
            f"room for {room} workers",
            where=where,
            remedy="take a smaller topology, or raise nodes in cluster.yaml if the cluster really has them",
        )
