"""What a gate is, and the parts of a cell that gates ask about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from anarchy.trace.reader import CellTrace

Role = Literal["prefill", "decode"]
Verdict = tuple[bool, dict[str, float | None]]
"""Whether the cell fails, and the numbers that were looked at."""


@dataclass(frozen=True)
class Asked:
    """A cell before its gates."""

    trace: CellTrace
    pool: Role = "decode"
    """The pool that the routing game is about."""
    roles: tuple[Role, ...] = ("prefill", "decode")
    """Pools whose every worker should have been asked."""
    planned_measure_s: float | None = None
    """Model seconds, over all stages of a staged cell; None where no plan is known."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition of a cell that counts; a module of this room with a `GATE` makes one known."""

    name: str
    """As manifests tell it, so it never changes."""
    rank: int
    """Its place among all: verdicts name what failed in this order."""
    sentence: str
    """What it means that a cell failed it."""
    threshold: str
    """From where on a cell fails it."""
    machine: bool
    """Whether it speaks of the machine, so that another attempt is allowed. A gate that speaks of the
    measured values does not allow one: trying again until a value pleases would bias it."""
    own: bool
    """Whether it is asked of cells that this project measures."""
    public: bool
    """Whether a trace alone can answer it, so that it is asked of one whose maker has not judged it."""
    ask: Callable[[Asked], Verdict]


def ttft_of(trace: CellTrace) -> npt.NDArray[np.float64]:
    """Time to first token from intent of every row, model s, shape (rows,)."""
    ttft: npt.NDArray[np.float64] = trace.column("t_first_token") - trace.column("t_intended")
    return ttft


def measured_parts(trace: CellTrace) -> dict[str, npt.NDArray[np.bool_]]:
    """Requests of phase measure by stage, each shape (rows,); a constant cell is one part without a name."""
    measuring = trace.equals("phase", "measure")
    if not trace.manifest.stages:
        return {"": measuring}
    sent = trace.column("t_sent")
    return {
        stage.name: measuring & (sent >= stage.settled_s) & (sent < stage.end_s)
        for stage in trace.manifest.stages
    }
