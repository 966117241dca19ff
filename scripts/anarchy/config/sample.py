"""Settings of a serving system and its load that a quasi-random sequence draws, instead of a grid of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from anarchy.config.values import PositiveInt, Seed, Strict, Tokens, each_once, refusal
from anarchy.config.workloads import Workload
from anarchy.engines.spec import BLOCK_SIZE

MOST_POINTS: Final = 256
LEVELS: Final = 16
"""Of max_num_batched_tokens, at most: each is a deployment."""


def point_name(number: int, workload: str) -> str:
    """What a workload is called under a point of a sample, from 0; nothing is drawn for it."""
    return f"p{number:02d}-{workload}"


@dataclass(frozen=True)
class Setting:
    """One point of a sample."""

    number: int
    """From 0, in the order of drawing."""
    output_tokens: int
    shared_blocks: int
    """KV blocks at the head of a prompt that the template's other prompts have too; 0: prompts are unique."""
    max_num_batched_tokens: int

    def name(self, workload: str) -> str:
        """What a workload is called under it."""
        return point_name(self.number, workload)

    def vary(self, workload: Workload, templates: int) -> Workload:
        """A workload of unique prompts, with the answers and the reuse of this point."""
        head = self.shared_blocks * BLOCK_SIZE
        shared = f"{head} of {workload.input_tokens} tokens shared" if head else "unique prompts"
        return Workload.model_validate(
            {
                **workload.model_dump(),
                "name": self.name(workload.name),
                "title": f"{workload.synchrony}, {self.output_tokens} tokens out, {shared}",
                "output_tokens": self.output_tokens,
                "templates": templates if head else 0,
                "unique_tail_tokens": workload.input_tokens - head if head else 0,
            }
        )


def _a_power_of_two(points: int) -> int:
    if points & (points - 1):
        raise refusal(
            f"{points} points are not balanced: a Sobol sequence is by powers of two",
            f"give {2 ** (points.bit_length() - 1)} or {2 ** points.bit_length()}",
        )
    return points


class Sample(Strict):
    """A scrambled Sobol sequence over output length, reuse and a limit; each of its points is measured.

    Source: Sobol 1967, scrambled as Owen 1995 (`scipy.stats.qmc`).
    """

    points: Annotated[int, Field(strict=True, ge=2, le=MOST_POINTS), AfterValidator(_a_power_of_two)]
    seed: Seed
    output_tokens: tuple[Tokens, Tokens]
    """Shortest and longest answer; the logarithm is drawn evenly."""
    shared_blocks: tuple[Annotated[int, Field(strict=True, ge=0)], Annotated[int, Field(strict=True, ge=0)]]
    """Fewest and most KV blocks of 16 tokens that prompts of one template begin with alike; 0: none."""
    templates: PositiveInt
    """Where a block is shared: by so many templates."""
    max_num_batched_tokens: Annotated[
        tuple[PositiveInt, ...], Field(min_length=1, max_length=LEVELS), AfterValidator(each_once)
    ]
    """Levels of the limit, each as likely."""

    @model_validator(mode="after")
    def _rises(self) -> Sample:
        for key in ("output_tokens", "shared_blocks"):
            low, high = getattr(self, key)
            if low > high:
                raise refusal(f"{key} falls from {low} to {high}", f"give {key}: [{high}, {low}]")
        return self

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Its points."""
        return _drawn(self)


@cache
def _drawn(sample: Sample) -> tuple[Setting, ...]:
    from scipy.stats import qmc  # a second to load: for who measures a sample, not for who reads of one

    unit = qmc.Sobol(d=3, rng=sample.seed).random(sample.points)
    low, high = (math.log(end) for end in sample.output_tokens)
    first, last = sample.shared_blocks
    levels = sample.max_num_batched_tokens
    return tuple(
        Setting(
            number,
            round(math.exp(low + (high - low) * float(length))),
            first + _share(reuse, last - first + 1),
            levels[_share(limit, len(levels))],
        )
        for number, (length, reuse, limit) in enumerate(unit)
    )


def _share(unit: float, of: int) -> int:
    """Which of so many equal parts of [0, 1) a number lies in."""
    return min(int(unit * of), of - 1)


def by_limit(settings: Sequence[Setting]) -> dict[int, list[Setting]]:
    """Settings by their limit, the lowest first: what can share a deployment."""
    found: dict[int, list[Setting]] = {}
    for one in sorted(settings, key=lambda one: (one.max_num_batched_tokens, one.number)):
        found.setdefault(one.max_num_batched_tokens, []).append(one)
    return found
