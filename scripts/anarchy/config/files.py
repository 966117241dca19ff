"""Reading the configuration: YAML files into their models, and every cross-reference checked.

Whatever does not hold is told by file, key and, for an unknown key, the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, Tag, TypeAdapter, ValidationError

from anarchy.config import AnyPolicy, Cluster, Experiment, Model, Strict, Study, Topology, Workload
from anarchy.config.checks import check_experiment
from anarchy.config.kinds import without_kinds
from anarchy.config.values import REFUSED
from anarchy.ground.bounded_yaml import load_yaml
from anarchy.ground.errors import UserError

T = TypeVar("T", bound=Strict)
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
MOST_PROBLEMS = 10
"""Of one file, named in one message."""


def load_study(directory: Path) -> Study:
    """Read and check every file under ``workflow/config``.

    Raises UserError naming file and key for whatever does not hold, cross-references and the fit of
    every topology on the cluster included.
    """
    study = Study(
        cluster=load_block(directory / "cluster.yaml", Cluster),
        models=_load_named(directory / "models", Model),
        topologies=_load_named(directory / "topologies", Topology),
        policies=_load_named(directory / "policies", AnyPolicy),
        workloads=_load_named(directory / "workloads", Workload),
        experiments=_load_named(directory / "experiments", Experiment),
    )
    for experiment in study.experiments.values():
        check_experiment(study, experiment, directory / "experiments" / f"{experiment.name}.yaml")
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


def load_block(file: Path, block: type[T], *, as_written: bool = False) -> T:
    """Read one YAML file into its model; `as_written` hands it every value as the text that stands there.

    Raises UserError naming the file, the key and, for an unknown key, the nearest known one.
    """
    document = load_yaml(file, missing="restore it: git checkout -- workflow/config", as_written=as_written)
    return validate(document, block, where=file)


def validate(document: dict[str, Any], block: type[T], *, where: str | Path) -> T:
    """Turn a mapping into its model, or raise a UserError that says which key and what would be right."""
    if block not in _ADAPTERS:
        _ADAPTERS[block] = TypeAdapter(block)
    try:
        read: T = _ADAPTERS[block].validate_python(document)
    except ValidationError as error:
        found = error.errors()
        problems = [_describe(problem, block) for problem in found[:MOST_PROBLEMS]]
        more = f"; and {len(found) - MOST_PROBLEMS} more" if len(found) > MOST_PROBLEMS else ""
        raise UserError(
            "; ".join(what for what, _ in problems) + more,
            where=where,
            remedy="; ".join(dict.fromkeys(remedy for _, remedy in problems)),
        ) from None
    return read


def _describe(problem: Any, block: Any) -> tuple[str, str]:
    location = [_short(part, str) for part in without_kinds(problem["loc"])]
    key = ".".join(location) or "(file)"
    if problem["type"] == "extra_forbidden":
        known, elsewhere = _known_keys(block, problem["loc"][:-1])
        if owners := elsewhere.get(location[-1]):
            return f"key {key!r} belongs to {' and '.join(owners)}", f"take {location[-1]} out"
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {key!r}", hint
    if problem["type"] == "missing":
        return f"key {key!r} is missing", f"add {location[-1]}: to it"
    if problem["type"] == "too_short" and not problem["ctx"]["actual_length"]:
        return f"key {key!r}: is empty", f"name at least {problem['ctx']['min_length']} there"
    if problem["type"] == REFUSED:
        return (f"key {key!r}: " if location else "") + problem["msg"], problem["ctx"]["remedy"]
    if problem["type"] == "value_error":  # ours: it says what to do
        message = problem["msg"].removeprefix("Value error, ")
        return f"key {key!r}: {message}", f"correct {key}"
    return f"key {key!r}: {problem['msg']} (got {_short(problem['input'])})", _remedy(key, problem)


def _remedy(key: str, problem: Any) -> str:
    """What would be right, where the problem is a number out of range; else only which key it is."""
    limits = problem.get("ctx", {})
    for limit, words in {"ge": "at least", "gt": "above", "le": "at most", "lt": "under"}.items():
        if limit in limits:
            return f"give {key} a number {words} {limits[limit]:g}"
    return f"give {key} a finite number" if problem["type"] == "finite_number" else f"correct {key}"


def _short(value: object, written: Callable[[object], str] = repr) -> str:
    text = written(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(block: Any, path: Iterable[Any]) -> tuple[list[str], dict[str, list[str]]]:
    """Keys of the model that a path of keys, indices and kinds leads to; and whose other kinds' keys are."""
    current, elsewhere = block, dict[str, list[str]]()
    for part in path:
        models = _models(current)
        if part in models:  # the kind of a block
            current = models.pop(part)
            for kind, model in models.items():
                for key in model.model_fields.keys() - current.model_fields.keys():
                    elsewhere.setdefault(key, []).append(kind.strip("<>"))
            continue
        fields = next(iter(models.values())).model_fields
        if part in fields and _models(fields[part].annotation):
            current, elsewhere = fields[part].annotation, {}
    return list(next(iter(_models(current).values())).model_fields), elsewhere


def _models(annotation: Any, kind: str = "") -> dict[str, type[BaseModel]]:
    """The models in a type, each by its kind where it is one of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {kind: annotation}
    tag = next((one.tag for one in getattr(annotation, "__metadata__", ()) if isinstance(one, Tag)), kind)
    origin = (annotation.__origin__,) if get_origin(annotation) is Annotated else ()
    found: dict[str, type[BaseModel]] = {}
    for argument in origin or get_args(annotation):
        found |= _models(argument, tag)
    return found
