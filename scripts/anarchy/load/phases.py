"""When a cell warms up, measures, cools down and ends: a state machine over model time, free of I/O.

``warmup`` -> ``measure`` -> ``cooldown`` -> draining. A request belongs to the phase in which it is sent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from anarchy.ground.errors import UserError
from anarchy.trace.schema import StageSpan


@dataclass(frozen=True)
class PhasePlan:
    """How long each phase lasts, model seconds.

    Warm-up ends when ``warmup_s`` have passed and every user has finished a request, at the latest at
    ``warmup_max_s`` (the requests' deadline bounds it in any case). Measuring ends when ``measure_s`` have
    passed and ``min_requests`` have been sent in it, at the latest after ``measure_max_s``. Cool-down keeps
    the load as it is until the last measured request has ended.
    """

    warmup_s: float
    measure_s: float
    measure_max_s: float
    min_requests: int = 0
    warmup_max_s: float = math.inf

    def __post_init__(self) -> None:
        if self.warmup_s < 0 or self.measure_s <= 0 or self.min_requests < 0:
            raise UserError(
                f"warmup_s {self.warmup_s}, measure_s {self.measure_s}, min_requests {self.min_requests}",
                where="timing",
                remedy="warmup_s and min_requests must be at least 0, measure_s above 0",
            )
        if self.measure_max_s < self.measure_s or self.warmup_max_s < self.warmup_s:
            raise UserError(
                f"measure_max_s {self.measure_max_s} or warmup_max_s {self.warmup_max_s} is too short",
                where="timing",
                remedy="set neither below measure_s or warmup_s",
            )


@dataclass
class Phases:
    """Where a cell with ``users`` users stands.

    The client tells it of every request sent and ended, and of passing time; all times are model seconds
    since the start of the cell. `stages.StagedPhases` has the same face for cells whose C changes.
    """

    plan: PhasePlan
    users: int
    stagger_s: float = 0.0
    """Users start evenly over this span."""
    phase: str = "warmup"
    draining: bool = False
    """No request is sent any more; those under way end."""
    measure_start: float | None = None
    measure_end: float | None = None
    drain_start: float | None = None
    measured: int = 0
    """Requests sent in the measure phase."""
    bounds_hit: list[str] = field(default_factory=list)
    """Upper limits that ended a phase before its condition was met."""
    spans: tuple[StageSpan, ...] = ()
    """A constant cell has no stages."""
    stage: int = 0
    """Index of the measured part that requests are sent in now: there is one."""
    _unfinished_users: set[int] = field(default_factory=set)
    _measured_under_way: int = 0

    def __post_init__(self) -> None:
        self._unfinished_users = set(range(self.users))

    @property
    def measure_s(self) -> float | None:
        """Length of the measure phase; None while it is not over."""
        if self.measure_start is None or self.measure_end is None:
            return None
        return self.measure_end - self.measure_start

    def opens_at(self, user: int) -> float | None:
        """From when a user may send; in a staged cell None while it is not among the active."""
        return self.stagger_s * user / self.users

    def advance(self, now: float) -> bool:
        """Move on as far as the conditions allow at ``now``; say whether anything changed."""
        before = (self.phase, self.draining)
        if self.phase == "warmup" and self._warmup_is_over(now):
            self.phase, self.measure_start = "measure", now
        if self.phase == "measure" and self._measure_is_over(now):
            self.phase, self.measure_end = "cooldown", now
        if self.phase == "cooldown" and not self.draining and self._measured_under_way == 0:
            self.draining, self.drain_start = True, now
        return (self.phase, self.draining) != before

    def sent(self, user: int) -> str:  # noqa: ARG002 (the face of StagedPhases)
        """Count a request that a user sends now and return its phase."""
        if self.phase == "measure":
            self.measured += 1
            self._measured_under_way += 1
        return self.phase

    def ended(self, user: int, phase: str) -> None:
        """Count the end, good or bad, of a request that was sent in ``phase``."""
        self._unfinished_users.discard(user)
        if phase == "measure":
            self._measured_under_way -= 1

    def expected_remaining_s(self, now: float, request_s: float) -> float:
        """Estimate the model seconds until the cell ends, ``request_s`` being what a request takes."""
        tail = 0.0 if self.draining else request_s
        if self.phase == "cooldown":
            return tail + request_s
        if self.measure_start is None:
            return max(0.0, self.plan.warmup_s - now) + self.plan.measure_s + 2 * request_s
        elapsed = now - self.measure_start
        remaining = self.plan.measure_s - elapsed
        if 0 < self.measured < self.plan.min_requests:
            remaining = max(remaining, elapsed * (self.plan.min_requests / self.measured - 1))
        return max(0.0, min(remaining, self.plan.measure_max_s - elapsed)) + 2 * request_s

    def _warmup_is_over(self, now: float) -> bool:
        if now < self.plan.warmup_s:
            return False
        if self._unfinished_users and now >= self.plan.warmup_max_s:
            self.bounds_hit.append("warmup_max_s")
            return True
        return not self._unfinished_users

    def _measure_is_over(self, now: float) -> bool:
        assert self.measure_start is not None
        elapsed = now - self.measure_start
        if elapsed < self.plan.measure_s:
            return False
        if self.measured < self.plan.min_requests and elapsed >= self.plan.measure_max_s:
            self.bounds_hit.append("measure_max_s")
            return True
        return self.measured >= self.plan.min_requests
