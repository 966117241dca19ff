"""system.json of a system measured over a grid of C."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from anarchy.estimate.document import Curves, Document, Ends, Real, SystemDocument


class KneeFacts(Document):
    """The knee, and what stands beside it (docs/estimator.md)."""

    exists: bool
    knee: Real
    lo: Real
    hi: Real
    first_post_knee: int | None
    slope_before: Real
    slope_after: Real
    growth: Real
    improvement: Real
    p_value: Real
    level: float
    replicates: int
    note: str
    kneedle: Real
    slo_crossing: int | None


class KneeAtDepth(Document):
    """The knee of the cells up to one C; null where they have none."""

    deepest: int
    knee: Real
    lo: Real
    hi: Real


class Plateau(Document):
    """PoA-hat of the plateau: the geometric mean of its cells, each weighing the same."""

    poa_hat: Real
    lo: Real
    hi: Real
    cells_lo: Real
    cells_hi: Real
    c_from: int
    c_to: int
    n_cells: int


class Deepest(Document):
    """The cell of the largest C."""

    concurrency: int
    poa_hat: Real
    lo: Real
    hi: Real


class RiseTo(Ends):
    """PoA-hat of one cell over the plateau's."""

    concurrency: int


class Growth(Document):
    """How median TTFT and mean ITL grow from the plateau's last cell to the deepest."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: int = Field(alias="from")
    to: int
    ttft: Ends
    itl: Ends


class LadderWorkload(Document):
    """One workload of a ladder."""

    title: str
    knee: KneeFacts
    knee_by_depth: list[KneeAtDepth] = Field(default_factory=list)
    """The knee had the grid ended sooner, by its deepest C."""
    plateau: Plateau | None
    rise: Ends | None
    """PoA-hat of the deepest cell over the plateau's."""
    rises: list[RiseTo] = Field(default_factory=list)
    """The same of the plateau's last cell and every deeper one, by C; without a plateau empty."""
    deepest: Deepest | None
    regimes: list[tuple[int, str]]
    """By C."""
    curves: dict[str, Curves]
    """By launch."""
    notes: list[str]
    growth: Growth | None


class LadderDocument(SystemDocument):
    """A system measured over a grid of C under one policy."""

    design: Literal["ladder"]
    policy: str
    workloads: dict[str, LadderWorkload]


DOCUMENT = LadderDocument
