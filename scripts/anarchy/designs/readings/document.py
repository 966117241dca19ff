"""system.json of a system measured over a grid of C under several policies, read in every way."""

from __future__ import annotations

from typing import Literal

from anarchy.estimate.document import Document, LadderWorkload, PolicySet, SystemDocument


class CurveFacts(Document):
    """A line of the figure."""

    workload: str
    policy: str
    title: str


class ReadLadder(Document):
    """A workload under one policy of one set and one reading."""

    workload: str
    routing_set: str
    """Name of the set of policies: its workers may have limits of their own."""
    policy: str
    tau: float
    reading: str
    found: LadderWorkload
    """As a ladder of one policy has it, by this reading's PoA-hat; curves are those of the reading fitted."""


class ReadWorkload(Document):
    """One workload."""

    title: str
    notes: list[str]


class ReadingsDocument(SystemDocument):
    """A system measured over a grid of C under several policies, read in every way."""

    design: Literal["readings"]
    routing: dict[str, PolicySet]
    level_over: tuple[int, int]
    curves: list[CurveFacts]
    sampled: bool
    """Whether its workloads are settings that a quasi-random sequence drew."""
    ladders: list[ReadLadder]
    workloads: dict[str, ReadWorkload]


DOCUMENT = ReadingsDocument
