"""One system's estimates as they were read from disk: a model on a topology, whatever its design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from anarchy.ground.errors import UserError


@dataclass(frozen=True)
class System:
    """One model on one topology: its estimates and what stands beside them."""

    info: Mapping[str, Any]
    """system.json: titles, engine, and what holds for the whole system."""
    frames: Mapping[str, pd.DataFrame]
    """Every Parquet file of it by its stem: docs/estimates.md says what they hold."""
    design: str
    """Name of the design that it was measured by."""
    main: str
    """The frame with a row for everything that was planned."""
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
        return self.frames[self.main]

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


def ordered(
    table: pd.DataFrame, workloads: Sequence[str], by: Sequence[str] = ("workload", "concurrency")
) -> pd.DataFrame:
    """Rows in rising order of some columns, workloads in the order given; equal rows stay as they are."""
    place = {name: place for place, name in enumerate(workloads)}
    rows = table.assign(_place=table["workload"].map(place))
    keys = ["_place" if column == "workload" else column for column in by]
    return rows.sort_values(keys, kind="stable").drop(columns="_place").reset_index(drop=True)
