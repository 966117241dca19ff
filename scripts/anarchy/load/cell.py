"""What the load client is told about one cell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from anarchy.errors import UserError
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan

BACKOFF_FIRST_S: Final = 0.25
BACKOFF_MAX_S: Final = 2.0


@dataclass(frozen=True)
class Labels:
    """What routed the requests, as the trace records it."""

    policy: str
    tau: float
    omega: float
    regime: str = ""


@dataclass(frozen=True)
class ClientConfig:
    """One cell for the client. Durations are model seconds; raises UserError for values without sense."""

    endpoint: Endpoint
    concurrency: int
    phases: PhasePlan
    labels: Labels
    deadline_s: float = 60.0
    """A request that has not ended by then is cut off and recorded as ``timeout``."""
    stagger_s: float = 0.0
    """Users start evenly over this span, so that they do not march in step."""
    dilation: float = 1.0
    """Wall seconds of one model second."""
    prefill_workers: Mapping[str, int] = field(default_factory=dict)
    decode_workers: Mapping[str, int] = field(default_factory=dict)
    """Instance id, as text, to 0-based index within the pool; an id that is not in it becomes -1."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UserError(
                f"concurrency C is {self.concurrency}", where="cell", remedy="set C to at least 1"
            )
        if self.deadline_s <= 0 or self.stagger_s < 0 or self.dilation <= 0:
            raise UserError(
                f"deadline_s {self.deadline_s}, stagger_s {self.stagger_s}, dilation {self.dilation}",
                where="cell",
                remedy="deadline_s and dilation must be above 0, stagger_s at least 0",
            )


def backoff_s(failures: int, user: int, k: int) -> float:
    """Return how long a user pauses after so many failures in a row, model seconds.

    BACKOFF_FIRST_S, doubled with each further failure up to BACKOFF_MAX_S, times 0.5 to 1.5 by user and
    request, so that users whose requests failed together do not come back together.
    """
    scale = 0.5 + hashlib.blake2b(f"{user}/{k}".encode(), digest_size=1).digest()[0] / 255
    return scale * min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16))
