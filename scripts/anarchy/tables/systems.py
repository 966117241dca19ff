"""Estimates as read from disk: one `System` a model on a topology, whatever its experiment's design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.designs import CELL_COLUMNS, LADDER, Design, presented
from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.ground.layout import Layout

NUMBER_COLUMNS: Final = ("n_requests", "n_windows", *CELL_COLUMNS[CELL_COLUMNS.index("dynamics") :])
"""Those columns of cells.parquet that hold numbers which a cell that does not count lacks."""

LABEL_COLUMNS: Final = tuple(
    name for name in CELL_COLUMNS if name not in (*NUMBER_COLUMNS, "interval_kind", "regime")
)
"""Those of them that every cell has, counted or not."""


@dataclass(frozen=True)
class System:
    """One model on one topology: its estimates and what stands beside them."""

    info: Mapping[str, Any]
    """system.json: titles, engine, and what holds for the whole system."""
    frames: Mapping[str, pd.DataFrame]
    """Every Parquet file of it by its stem: docs/estimator.md and `estimate.columns` say what they hold."""
    design: Design
    folder: Path
    """Where it was read from."""

    @property
    def key(self) -> tuple[str, str]:
        """Model and topology."""
        return str(self.info["model"]), str(self.info["topology"])

    @property
    def experiment(self) -> str:
        """Name of the experiment that it was measured in."""
        return str(self.info["experiment"])

    @property
    def title(self) -> str:
        """For people: the model and the topology."""
        return f"{self.info['model_title']} {self.info['topology_title']}"

    @property
    def rows(self) -> pd.DataFrame:
        """A row for everything that was planned, with its engine, tier, validity and kind of interval."""
        return self.frames[self.design.main]

    @property
    def cells(self) -> pd.DataFrame:
        """Design ladder: one row a workload and concurrency, pooled over launches."""
        return self.frames["cells"]

    @property
    def curves(self) -> pd.DataFrame:
        """One row a workload, launch, concurrency and load: the means that latency curves were fitted to."""
        return self.frames["curves"]

    @property
    def attempts(self) -> pd.DataFrame:
        """One row a measured attempt of a cell, valid or not."""
        return self.frames["attempts"]

    @property
    def document(self) -> dict[str, Any]:
        """What a claim is judged by: system.json, and the tables beside it under ``frames``."""
        return {**self.info, "frames": self.frames}

    def of(self, workload: str, frame: str | None = None) -> pd.DataFrame:
        """The rows of one workload in a frame (without: the main one); raises UserError where it has none."""
        rows = self.rows if frame is None else self.frames[frame]
        mine = rows[rows["workload"] == workload]
        if frame is None and mine.empty:
            known = ", ".join(sorted(set(rows["workload"].astype(str)))) or "none"
            raise UserError(
                f"there is no cell of workload {workload!r}", remedy=f"workloads with cells: {known}"
            )
        return mine.reset_index(drop=True)


def load_system(layout: Layout, experiment: str, model: str, topology: str) -> System:
    """Read one system's estimates; raises UserError for what is missing or cannot be read."""
    return _load(layout.estimates(experiment, model, topology))


def load_systems(layout: Layout, experiment: str = "*") -> list[System]:
    """Every system that has estimates on disk, of this run or not, by experiment and name.

    ``experiment``: of this one alone.
    """
    return [_load(folder) for folder in layout.estimated(experiment)]


def _load(folder: Path) -> System:
    remedy = f"make it again: delete {folder} and run the same `make reproduce` (measured cells are kept)"
    design: Design | None = None
    try:
        info = load_json(folder / "system.json", remedy=remedy, missing=remedy)
        design = _design(info, folder)
        frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in design.frames}
    except FileNotFoundError:
        files = ["system.json", *(f"{name}.parquet" for name in (design or LADDER).frames)]
        gone = next((folder / name for name in files if not (folder / name).exists()), folder)
        raise UserError("does not exist", where=gone, remedy=remedy) from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot be read: {error}", where=folder, remedy=remedy) from None
    if design is LADDER:
        frames = _whole_ladder(frames)
    for name, columns in design.frames.items():
        lacking = [column for column in columns if column not in frames[name]]
        if lacking:
            what = f"lacks the columns {', '.join(lacking)}"
            raise UserError(what, where=folder / f"{name}.parquet", remedy=remedy)
    if design is LADDER:
        cells = frames["cells"]
        numbers = {name: pd.to_numeric(cells[name], errors="coerce") for name in NUMBER_COLUMNS}
        cells = cells.assign(**{name: values.astype(float) for name, values in numbers.items()})
        frames["cells"] = ordered(cells, list(info["workloads"]))
    return System(info, frames, design, folder)


def _design(info: Mapping[str, Any], folder: Path) -> Design:
    """How the system is shown, from what its estimates say."""
    design = info.get("design", "ladder")
    if design != "stages":
        return presented(design, watches=False, adaptive=False)
    policies = [policy for routing in info["routing"].values() for policy in routing["policies"]]
    logs = pd.read_parquet(folder / "detection.parquet", columns=["acts"])
    return presented(
        design,
        watches=not logs["acts"].astype(bool).all(),
        adaptive=any(policy["kind"] == "adaptive" for policy in policies),
    )


def _whole_ladder(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """A system of which no cell counts has no estimate of any kind, and still every column of numbers."""
    cells, curves = frames["cells"], frames["curves"]
    if "valid" in cells and not cells["valid"].any():
        missing = [name for name in CELL_COLUMNS if name not in cells and name not in LABEL_COLUMNS]
        cells = cells.assign(**dict.fromkeys(missing))
    if curves.empty:
        curves = curves.reindex(columns=list(LADDER.frames["curves"]))
    return {**frames, "cells": cells, "curves": curves}


def ordered(cells: pd.DataFrame, workloads: Sequence[str]) -> pd.DataFrame:
    """Cells by workload, in the order given, and rising C."""
    place = cells["workload"].map({name: place for place, name in enumerate(workloads)})
    rows = cells.assign(_place=place).sort_values(["_place", "concurrency"], kind="stable")
    return rows.drop(columns="_place").reset_index(drop=True)
