"""system.json of a system that is one split of a budget."""

from __future__ import annotations

from typing import Literal

from anarchy.estimate.document import Document, SystemDocument


class ObjectiveFacts(Document):
    """What a request must keep to count, model s."""

    ttft_s: float
    itl_s: float


class StageOfLoad(Document):
    """A stage of the load that moves."""

    workload: str
    concurrency: int


class SplitWorkload(Document):
    """One length mix."""

    title: str
    notes: list[str]


class SplitDocument(SystemDocument):
    """A system that is one split of a budget, and the game of all splits."""

    design: Literal["split"]
    policy: str
    """That chose workers in every cell."""
    slo: ObjectiveFacts
    budget: int
    """Workers that both pools share."""
    splits: list[str]
    """Topologies of the game, from the fewest prefill workers to the most."""
    moving: list[StageOfLoad]
    workloads: dict[str, SplitWorkload]


DOCUMENT = SplitDocument
