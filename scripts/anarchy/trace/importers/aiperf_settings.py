"""What aiperf's settings tell of an export: `profile_export_aiperf.json` beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.trace.importers.facts import Facts, Loop, Told

FORMAT: Final = "aiperf.profile_export"


@dataclass(frozen=True)
class Export:
    """One export: its file, what its settings tell, and the kind of each phase that they name."""

    path: Path
    told: Told
    kinds: dict[str, str] = field(default_factory=dict)


def open_export(path: Path, facts: Facts) -> Export:
    """An export with the settings beside it; without them nothing is told.

    Raises UserError for settings that cannot be read, and for several models or concurrencies in one export.
    """
    stem = re.sub(r"\.jsonl(\.gz)?$", "", path.name)
    name = path.resolve().parent.name if stem == "profile_export" else stem
    told = Told(FORMAT, re.sub(r"[^A-Za-z0-9._-]+", "-", name) or stem, (path,))
    for beside in (path.with_name(f"{stem}_aiperf.json"), path.with_name(f"{stem}.json")):
        if beside.is_file():
            return _settings(Export(path, told), beside, facts)
    note = f"the settings ({stem}_aiperf.json) do not lie beside the export"
    return Export(path, replace(told, notes=(note,)))


def _settings(export: Export, path: Path, facts: Facts) -> Export:
    document = load_json(path, remedy="take a whole copy, or move it away and name the facts by options")
    settings = document.get("input_config")
    settings = settings if isinstance(settings, dict) else {}
    version = document.get("aiperf_version")
    phases = _phases(settings)
    profiling = [phase for phase in phases if _kind(phase) == "profiling"]
    if facts.phase is not None:
        profiling = [phase for phase in profiling if phase.get("name") == facts.phase]
    notes = ["aiperf says that the run was cancelled"] if document.get("was_cancelled") else []
    told = replace(
        export.told,
        model=_one_model(_models(settings), path),
        concurrency=_concurrency(profiling, path),
        loop=_loop(profiling),
        versions={"aiperf": version} if isinstance(version, str) else {},
        notes=(*export.told.notes, *notes),
    )
    named = {phase["name"]: _kind(phase) for phase in phases if isinstance(phase.get("name"), str)}
    return replace(export, told=told, kinds=named)


def merged(told: Sequence[Told]) -> Told:
    """What several clients of one cell tell together: their users add up."""
    first = told[0]
    if len(told) == 1:
        return first
    models = {each.model for each in told if each.model is not None}
    users = [each.concurrency for each in told]
    return replace(
        first,
        files=tuple(file for each in told for file in each.files),
        model=_one_model(models, first.files[0]),
        concurrency=None if None in users else sum(filter(None, users)),
        loop=first.loop if len({each.loop for each in told}) == 1 else None,
        notes=(
            *dict.fromkeys(note for each in told for note in each.notes),
            f"merged from {len(told)} exports, whose wall clocks are taken to agree; their users add up",
        ),
    )


def _one_model(models: set[str], path: Path) -> str | None:
    """The model of a run; several are refused, whatever the caller says: each has workers of its own."""
    if len(models) > 1:
        raise UserError(
            f"names several values of model: {', '.join(sorted(models))}",
            where=path,
            remedy="a cell has one, and the records do not tell which: run aiperf once for each model",
        )
    return next(iter(models), None)


def _models(settings: dict[str, Any]) -> set[str]:
    models = settings.get("models")
    items = models.get("items") if isinstance(models, dict) else None
    items = items if isinstance(items, list) else []
    return {item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)}


def _phases(settings: dict[str, Any]) -> list[dict[str, Any]]:
    phases = settings.get("phases")
    return [phase for phase in (phases if isinstance(phases, list) else []) if isinstance(phase, dict)]


def _kind(phase: dict[str, Any]) -> str:
    return str(phase.get("kind"))


def _concurrency(profiling: Sequence[dict[str, Any]], path: Path) -> int | None:
    """Users of the profiling phases; a phase that is no closed loop has none.

    Several are refused, whatever the caller says: one export of them is several cells.
    """
    found = {
        phase["concurrency"]
        for phase in profiling
        if phase.get("type") == "concurrency" and type(phase.get("concurrency")) is int
    }
    if len(found) > 1:
        names = sorted(str(phase.get("name")) for phase in profiling)
        of_names = len(set(names)) > 1
        raise UserError(
            f"names several values of concurrency: {', '.join(map(str, sorted(found)))}",
            where=path,
            remedy="a cell has one: "
            + (f"import each phase by itself, --phase {names[0]}; " if of_names else "")
            + "where the records do not tell the phases apart, run aiperf once for each concurrency",
        )
    return next(iter(found), None)


def _loop(profiling: Sequence[dict[str, Any]]) -> Loop | None:
    """How requests came, where all phases agree."""
    types = {str(phase["type"]) if "type" in phase else None for phase in profiling}
    if not types or None in types:
        return None
    return "closed" if types == {"concurrency"} else "open"
