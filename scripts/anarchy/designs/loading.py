"""Reading estimates back, each file held against its schema: a `System` for each model on a topology."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from anarchy.designs.design import Design
from anarchy.designs.registry import design_of
from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.ground.layout import Layout
from anarchy.tables.systems import System, ordered


def load_system(layout: Layout, experiment: str, model: str, topology: str) -> System:
    """Read one system's estimates; raises UserError for what is missing or cannot be read."""
    return _load(layout.estimates(experiment, model, topology))


def load_systems(layout: Layout, experiment: str = "*") -> list[System]:
    """Every system that has estimates on disk, of this run or not, by experiment and name.

    ``experiment``: of this one alone.
    """
    return [_load(folder) for folder in layout.estimated(experiment)]


def design_in(folder: Path) -> tuple[Design, dict[str, Any]]:
    """The design that a system's estimates are of, and the document that says so.

    Raises UserError for a document that cannot be read, names no design, or one that there is not.
    """
    file, remedy = folder / "system.json", remake(folder)
    info = load_json(file, remedy=remedy, missing=remedy)
    if not isinstance(info, dict) or not isinstance(info.get("design"), str):
        raise UserError("names no design", where=file, remedy=remedy)
    try:
        return design_of(info["design"]), info
    except UserError as error:
        raise UserError(error.what, where=file, remedy=remedy) from None


def remake(folder: Path) -> str:
    """The remedy for estimates that will not do."""
    return f"make it again: delete {folder} and run the same `make reproduce` (measured cells are kept)"


def _load(folder: Path) -> System:
    remedy = remake(folder)
    design, info = design_in(folder)
    try:
        design.part("document").DOCUMENT.model_validate(info)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = f"key {key!r}: {first['msg']}"
        raise UserError(what, where=folder / "system.json", remedy=remedy) from None
    frames = {
        stem: _frame(folder / f"{stem}.parquet", schema, remedy)
        for stem, schema in design.part("columns").TABLES.items()
    }
    return System(info, _sorted(frames, design, info), design.name, design.main, folder)


def _frame(file: Path, schema: Any, remedy: str) -> pd.DataFrame:
    """One table as a frame; raises UserError for a file that is not there, not whole or of other columns."""
    try:
        found = pq.read_table(file)
        lacking = [name for name in schema.names if name not in found.schema.names]
        if lacking:
            raise UserError(f"lacks the columns {', '.join(lacking)}", where=file, remedy=remedy)
        read: pd.DataFrame = found.select(schema.names).cast(schema).to_pandas()
    except FileNotFoundError:
        raise UserError("does not exist", where=file, remedy=remedy) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot be read: {error}", where=file, remedy=remedy) from None
    return read


def _sorted(frames: dict[str, pd.DataFrame], design: Design, info: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Each table that the design names sort keys of, in their order."""
    return {
        stem: ordered(frame, info["workloads"], keys) if (keys := design.sort_keys.get(stem)) else frame
        for stem, frame in frames.items()
    }
