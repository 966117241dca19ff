"""The baselines' choices as functions, each made of the policy as its file would be read."""

from __future__ import annotations

import random
from collections.abc import Sequence

from anarchy.config import AnyPolicy, Baseline, BatchedBaseline
from anarchy.config.files import validate


def baseline(kind: str) -> Baseline:
    """The baseline of a kind."""
    document = {"name": kind.replace("_", "-"), "title": kind, "kind": kind, "way": "pinned"}
    found = validate(document, AnyPolicy, where="test")
    assert isinstance(found, Baseline)
    return found


def assign_batch(in_flight: Sequence[int], requests: int, rng: random.Random) -> tuple[int, ...]:
    """The batched optimum's choice."""
    found = baseline("batched_optimal")
    assert isinstance(found, BatchedBaseline)
    return found.assign(in_flight, requests, rng)


def least_loaded(in_flight: Sequence[int], rng: random.Random) -> int:
    """The least loaded worker."""
    return baseline("least_loaded").choose(in_flight, 0, rng)


def power_of_two(in_flight: Sequence[int], rng: random.Random) -> int:
    """The better of two."""
    return baseline("power_of_two").choose(in_flight, 0, rng)


def round_robin(turn: int, workers: int) -> int:
    """Each in its turn."""
    return baseline("round_robin").choose([0] * workers, turn, random.Random(0))


def uniform(workers: int, rng: random.Random) -> int:
    """Any worker."""
    return baseline("random").choose([0] * workers, 0, rng)
