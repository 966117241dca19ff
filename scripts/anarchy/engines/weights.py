"""Weights of a model on this machine: found, checked and never downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anarchy.ground.bounded import MAX_JSON_BYTES, parse_json, read_text
from anarchy.ground.errors import UserError


@dataclass(frozen=True)
class Weights:
    """A folder that an engine can load, and how many tokens of context the model has."""

    folder: Path
    context_length: int


def find_weights(named: str, *, where: str, key: str, environment: Mapping[str, str] = os.environ) -> Weights:
    """The weights that a site file names, a folder (absolute) or a name on the hub, from the local cache.

    `where` and `key` say who named them. Raises UserError when they are not there or not whole.
    """
    if not named:
        raise UserError(
            f"key {key!r}: no weights are named, and the engine vllm needs them",
            where=where,
            remedy=f"set {key} to the folder of the weights, or to their name on the hub when they are "
            "in the local cache",
        )
    folder = Path(named) if Path(named).is_absolute() else _cached(named, where, key, environment)
    return _checked(folder, where, key)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The hub's local cache: HF_HUB_CACHE, else HF_HOME/hub, else the one in the user's home."""
    if named := environment.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    home = environment.get("HF_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".cache" / "huggingface") / "hub"


def _cached(named: str, where: str, key: str, environment: Mapping[str, str]) -> Path:
    """Folder of the cached snapshot of a model's main revision."""
    repository = cache_folder(environment) / f"models--{named.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        raise UserError(
            f"key {key!r}: {named} is not in the local cache ({repository} holds no main revision), and "
            "nothing is downloaded here",
            where=where,
            remedy="download it beforehand with the hub's own client into a cache that all nodes see, and "
            "set HF_HOME to that, or name a folder (an absolute path)",
        ) from None
    return repository / "snapshots" / revision


def _checked(folder: Path, where: str, key: str) -> Weights:
    def refuse(what: str) -> UserError:
        return UserError(
            f"key {key!r}: {folder} {what}",
            where=where,
            remedy="name a folder with config.json, tokenizer.json and all *.safetensors of the model",
        )

    if not folder.is_dir():
        raise refuse("is no folder here")
    config = _read(folder / "config.json", refuse)
    if not (folder / "tokenizer.json").is_file():
        raise refuse("holds no tokenizer.json")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = sorted(set(_read(index, refuse).get("weight_map", {}).values()))
        lacking = [name for name in parts if not (folder / name).is_file()]
        if lacking:
            raise refuse(f"lacks {len(lacking)} of {len(parts)} files of weights, {lacking[0]} among them")
    elif not any(folder.glob("*.safetensors")):
        raise refuse("holds no *.safetensors")
    context = config.get("max_position_embeddings")
    if not isinstance(context, int):
        raise refuse("has a config.json without max_position_embeddings, the length of the context")
    return Weights(folder, context)


def _read(path: Path, refuse: Any) -> dict[str, Any]:
    if not path.exists():
        raise refuse(f"holds no {path.name}")
    try:
        document = parse_json(read_text(path, MAX_JSON_BYTES), each_once=False)
    except UserError as error:
        raise refuse(f"has an unreadable {path.name}: {error.what}") from None
    except ValueError as error:
        raise refuse(f"has an unreadable {path.name}: {error}") from None
    if not isinstance(document, dict):
        raise refuse(f"has a {path.name} that is no table")
    return document
