"""What the caller tells of a foreign trace, and what its source tells of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anarchy.ground.errors import UserError

Loop = Literal["closed", "think", "open"]


@dataclass(frozen=True)
class Facts:
    """What the caller knows; None leaves a fact to the source. Times in seconds.

    `assume_intended_is_sent` takes the time of sending for the time at which the user became free, in every
    row; `assume_ttft_is_first_token` takes Dynamo's `ttft_ms` for the client's first token. `accept_torn`
    takes what is whole of files that are not. `warmup_s` and `cooldown_s` cut that much off both ends of the
    measured requests, by `t_sent`. Raises UserError for a number that cannot be.
    """

    cell: str | None = None
    model: str | None = None
    topology: str | None = None
    policy: str | None = None
    engine: str | None = None
    launch: int | None = None
    concurrency: int | None = None
    loop: Loop | None = None
    prefill_workers: int | None = None
    decode_workers: int | None = None
    phase: str | None = None
    """The profiling phase to take of an export that has several."""
    assume_intended_is_sent: bool = False
    assume_ttft_is_first_token: bool = False
    accept_torn: bool = False
    warmup_s: float = 0.0
    cooldown_s: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("prefill_workers", 1), ("decode_workers", 1), ("launch", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(
                    f"{name} is {value}", where=option(name), remedy=f"give a whole number from {least} up"
                )
        for name in ("warmup_s", "cooldown_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(
                    f"{name} is {value}", where=option(name), remedy="give seconds that are not negative"
                )


@dataclass(frozen=True)
class Told:
    """What the sources of a cell tell of themselves beside their requests."""

    format: str
    cell: str
    files: tuple[Path, ...]
    model: str | None = None
    concurrency: int | None = None
    loop: Loop | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    workers_from: tuple[Path, ...] = ()
    lost_records: int = 0
    """Records that are known to be missing because a file was torn."""
    whole_until: int | None = None
    """When the first of the torn files ends, ns: of requests sent shortly before, some may be missing."""
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def option(name: str) -> str:
    """The command line's word for a fact."""
    return "--" + name.replace("_", "-")


def missing(fact: str, example: str, where: Path) -> UserError:
    """The error for a fact that neither the source nor the caller tells."""
    return UserError(
        f"nothing here tells the {fact.replace('_', ' ')}",
        where=where,
        remedy=f"name it: {option(fact)} {example}",
    )
