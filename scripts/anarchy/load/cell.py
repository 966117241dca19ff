"""What the load client is told about one cell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from anarchy.ground.errors import UserError
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan

if TYPE_CHECKING:  # the client runs without the planner
    from anarchy.config.loads import Stage

BACKOFF_FIRST_S: Final = 0.25
BACKOFF_MAX_S: Final = 2.0


@dataclass(frozen=True)
class ClientConfig:
    """One cell for the client: constant with `phases`, staged with `stages`; it has one of the two.

    Durations are model seconds. Raises UserError for values without sense.
    """

    endpoints: tuple[Endpoint, ...]
    """The frontends that a route may name; every user is connected to each before the cell begins."""
    concurrency: int
    """Users; of a staged cell the most that are active at once."""
    phases: PhasePlan | None = None
    stages: tuple[Stage, ...] = ()
    deadline_s: float = 60.0
    """A request that has not ended by then is cut off and recorded as ``timeout``."""
    stagger_s: float = 0.0
    """Users of a constant cell start evenly over this span, so that they do not march in step."""
    dilation: float = 1.0
    """Wall seconds of one model second."""
    prefill_workers: Mapping[str, int] = field(default_factory=dict)
    decode_workers: Mapping[str, int] = field(default_factory=dict)
    """Instance id, as text, to 0-based index within the pool; an id that is not in it becomes -1."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise _senseless("there are no endpoints", "name at least one frontend")
        if self.concurrency < 1:
            raise _senseless(f"concurrency C is {self.concurrency}", "set C to at least 1")
        if self.deadline_s <= 0 or self.stagger_s < 0 or self.dilation <= 0:
            raise _senseless(
                f"deadline_s {self.deadline_s}, stagger_s {self.stagger_s}, dilation {self.dilation}",
                "deadline_s and dilation must be above 0, stagger_s at least 0",
            )
        if (self.phases is None) == (not self.stages):
            raise _senseless("a cell is constant or staged", "give it phases, or stages, and not both")
        for stage in self.stages:
            if not (1 <= stage.concurrency <= self.concurrency and stage.settle_s >= 0 < stage.seconds):
                raise _senseless(
                    f"stage {stage.name!r}: C {stage.concurrency} of {self.concurrency}, "
                    f"settle_s {stage.settle_s}, seconds {stage.seconds}",
                    "set its C to at least 1 and at most the cell's, settle_s to at least 0, seconds above 0",
                )
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise _senseless("two stages have one name", "name each stage differently")


def _senseless(what: str, remedy: str) -> UserError:
    return UserError(what, where="cell", remedy=remedy)


def backoff_s(failures: int, user: int, k: int) -> float:
    """Return how long a user pauses after so many failures in a row, model seconds.

    BACKOFF_FIRST_S, doubled with each further failure up to BACKOFF_MAX_S, times 0.5 to 1.5 by user and
    request, so that users whose requests failed together do not come back together.
    """
    scale = 0.5 + hashlib.blake2b(f"{user}/{k}".encode(), digest_size=1).digest()[0] / 255
    return scale * min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16))
