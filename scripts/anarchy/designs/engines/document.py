"""system.json of a system measured on a live stack and on a virtual clock."""

from __future__ import annotations

from typing import Literal

from anarchy.estimate.document import Curves, Document, Real, SystemDocument


class Outside(Document):
    """A quantity at a C whose difference is larger than its tolerance."""

    quantity: str
    concurrency: int
    difference: Real
    """Virtual over live, less 1; null where live is 0."""
    tolerance: Real
    """What it may be, either way; null where live is 0."""


class NotCompared(Document):
    """A quantity at a C that could not be compared."""

    quantity: str
    concurrency: int
    reason: str


class RangeAgreement(Document):
    """Whether the engines agree over a range of C."""

    concurrency: tuple[int, int] | None
    """Lowest and highest C compared; null with none."""
    within: bool | None
    """True: everything was compared and is inside its tolerance; false: something is outside; null: something
    could not be compared, and nothing is outside."""
    outside: list[Outside]
    not_compared: list[NotCompared]


class Agreement(RangeAgreement):
    """Whether the engines agree under one workload."""

    workload: str
    title: str
    below: RangeAgreement
    """C up to c_ref."""
    past: RangeAgreement
    """C above c_ref."""


class ToleranceFacts(Document):
    """The tolerance of a quantity: the larger of two distances from the live number."""

    share: float
    """Of the live number."""
    least: float
    """In the quantity's own unit."""


class EnginesWorkload(Document):
    """One workload, by set of policies."""

    title: str
    curves: dict[str, dict[str, Curves]]
    """By set of policies and launch."""
    notes: list[str]


class EnginesDocument(SystemDocument):
    """A system measured on a live stack and on a virtual clock, under one policy."""

    design: Literal["engines"]
    policy: str
    c_ref: int
    """C up to which the affine curve is fitted, and at which the agreement is split."""
    engines: dict[str, str]
    """Name of the engine of each set of policies, live and virtual; empty without a cell."""
    tolerances: dict[str, ToleranceFacts]
    """By quantity."""
    agreement: list[Agreement]
    """One a workload."""
    workloads: dict[str, EnginesWorkload]


DOCUMENT = EnginesDocument
