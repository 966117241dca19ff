"""system.json of a pool of caches."""

from __future__ import annotations

from typing import Any, Literal

from anarchy.estimate.document import Document, SystemDocument


class WorkingSets(Document):
    """Working sets of one skew."""

    title: str
    notes: list[str]


class CacheDocument(SystemDocument):
    """A pool of caches under working sets of several sizes."""

    design: Literal["cache"]
    routing: dict[str, Any]
    """Sets of policies."""
    workers: int
    """Of the prefill pool; 0 where no cell tells."""
    room: int
    """Prompts that one of them holds."""
    hit_s: float | None
    """Prefill time of a prompt that is cached as far as it can be, alone, model s; null without a table."""
    miss_s: float | None
    """Of one that is not cached."""
    affinity: str
    """Title of the policy that looks for caches."""
    balance: str
    """Of the one that does not."""
    workloads: dict[str, WorkingSets]


DOCUMENT = CacheDocument
