"""system.json of a system measured at named loads under pairs of tau and omega."""

from __future__ import annotations

from typing import Literal

from anarchy.estimate.document import ConditionsDocument, ConditionsWorkload, Document, Real


class LoadFacts(Document):
    """A load as it was planned."""

    name: str
    concurrency: int
    knee_times: Real
    reference_only: bool


class ParetoDocument(ConditionsDocument):
    """A system measured at named loads under pairs of tau and omega."""

    design: Literal["pareto"]
    loads: list[LoadFacts]
    """By rising C."""
    repeats: int
    workloads: dict[str, ConditionsWorkload]


DOCUMENT = ParetoDocument
