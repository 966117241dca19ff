"""What an experiment of each design leaves behind: its estimates, its notebook, its figures and its tables.

One table for the workflow, the loader of estimates, the figures and the report. No plotting is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from anarchy.estimate.columns import (
    DETECTION_COLUMNS,
    FILES,
    LAUNCH_COLUMNS,
    PAIR_COLUMNS,
    POLL_COLUMNS,
    RATIO_COLUMNS,
    SERIES_COLUMNS,
    SPREAD_COLUMNS,
    STAGE_COLUMNS,
)

T = TypeVar("T")
ByDesign: TypeAlias = Mapping[str, T]
"""Name of a design -> what stands for it. Of a dictionary annotated so, the estimates and figures of a design
depend on their own entry alone (docs/staleness.md)."""

CELL_COLUMNS: Final = (
    *("model", "topology", "workload", "workload_title", "engine", "dilation", "tier", "concurrency"),
    *("n_launches", "n_requests", "n_windows", "interval_kind", "regime", "valid", "reasons"),
    *("dynamics", "routing", "freezing"),
    *(
        name + bound
        for name in ("poa_hat", "poa_cal", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps")
        for bound in ("", "_lo", "_hi")
    ),
)
"""Columns of cells.parquet that figures and tables need."""

CURVE_COLUMNS: Final = ("workload", "launch", "concurrency", "reference", "x", "latency", "weight")
"""Columns of curves.parquet that figures need."""

_STAGED: Final = {
    "stages": STAGE_COLUMNS,
    "launches": LAUNCH_COLUMNS,
    "ratios": RATIO_COLUMNS,
    "series": SERIES_COLUMNS,
    "detection": DETECTION_COLUMNS,
    "polls": POLL_COLUMNS,
    "curves": (),
    "attempts": (),
}


@dataclass(frozen=True, eq=False)
class Design:
    """The estimates of one kind of experiment and what is made of them."""

    name: str
    """Part of the names of its rules, and its key in every dictionary by design."""
    id: str
    """The experiment of the paper that it is."""
    title: str
    """What its notebook and its section of the report answer."""
    estimator: str
    """What estimates it: the key of `ESTIMATORS`, and the `design` of its experiments."""
    notebook: str
    """Stem of its file in notebooks/."""
    files: tuple[str, ...]
    """What `anarchy system` writes."""
    main: str
    """The frame with a row for everything that was planned; figures take their labels from it."""
    frames: Mapping[str, tuple[str, ...]]
    """Stem of each Parquet file, and the columns of it that figures and tables need."""
    figures: tuple[str, ...]
    """Drawn of a system's first workload under these names; of each further one with its name after them."""
    tables: tuple[str, ...]
    """Each as CSV and LaTeX under this name; the empty one is named as the system."""

    @property
    def keys(self) -> tuple[str, str]:
        """Its keys in dictionaries by design, its own first; those estimated alike may share an entry."""
        return self.name, self.estimator


LADDER: Final = Design(
    name="ladder",
    id="E1",
    title="PoA-hat over concurrency",
    estimator="ladder",
    notebook="equilibrium",
    files=FILES["ladder"],
    main="cells",
    frames={"cells": CELL_COLUMNS, "attempts": (), "curves": CURVE_COLUMNS},
    figures=("poa", "decomposition", "costmodel", "performance"),
    tables=("",),
)
"""E1: constant cells over a grid of C."""

DETECTION: Final = Design(
    name="detection",
    id="E2",
    title="when detectors notice saturation",
    estimator="stages",
    notebook="saturation",
    files=FILES["stages"],
    main="stages",
    frames=_STAGED,
    figures=("series", "curvature"),
    tables=("", "detection"),
)
"""E2: staged cells of static policies, with detectors that only watch."""

STAGES: Final = Design(
    name="stages",
    id="E3",
    title="adaptive against static routing",
    estimator="stages",
    notebook="adaptive",
    files=FILES["stages"],
    main="stages",
    frames=_STAGED,
    figures=("series", "ratios", "policies", "balance", "decomposition"),
    tables=("", "ratios"),
)
"""E3: staged cells of several policies, held against each other."""

PARETO: Final = Design(
    name="pareto",
    id="E4",
    title="what tau and omega change",
    estimator="pareto",
    notebook="pareto",
    files=FILES["pareto"],
    main="pairs",
    frames={
        "pairs": PAIR_COLUMNS,
        "launches": LAUNCH_COLUMNS,
        "spread": SPREAD_COLUMNS,
        "curves": (),
        "attempts": (),
    },
    figures=("pairs", "spread", "front"),
    tables=("", "spread"),
)
"""E4: constant cells at named loads over a grid of (tau, omega)."""

DESIGNS: Final = (LADDER, DETECTION, STAGES, PARETO)

_BY_NAME: Final[ByDesign[Design]] = {
    "ladder": LADDER,
    "detection": DETECTION,
    "stages": STAGES,
    "pareto": PARETO,
}


def presented(design: str, *, watches: bool, adaptive: bool) -> Design:
    """How an experiment is shown: ``design`` as `Experiment.design` says.

    ``watches``: detectors watched that set nothing; ``adaptive``: a policy of it followed a controller, so
    that policies are what it compares.
    """
    return _BY_NAME["detection" if design == "stages" and watches and not adaptive else design]
