"""A cell whose C changes in stages: a state machine over model time, free of I/O.

Each stage settles, then measures: ``warmup`` -> ``measure``, stage after stage, then ``cooldown`` ->
draining. A request belongs to the phase, and the stage, in which it is sent. Where C falls, settling lasts
until the requests of the users that have left are over, at most a deadline longer than planned; measured
parts end by the clock alone. So a staged cell ends even if nothing answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from anarchy.trace.schema import StageSpan

if TYPE_CHECKING:  # the client runs without the planner
    from anarchy.config.loads import Stage

START_SPREAD_S: Final = 1.0
"""Users that a stage adds start evenly over this span, or over the settling where that is shorter."""


@dataclass
class StagedPhases:
    """Where a staged cell stands; the same face as `phases.Phases`.

    The users 0 to C - 1 of the present stage are active, the others park: one whose stage has ended finishes
    its request first. Every part of a stage lasts at least as long as planned, from when it really began.
    """

    stages: tuple[Stage, ...]
    deadline_s: float
    """Of a request, model s: at most so much longer than planned does a stage settle."""
    phase: str = "warmup"
    draining: bool = False
    """No request is sent any more; those under way end."""
    measure_start: float | None = None
    """Start of the first measured part."""
    measure_end: float | None = None
    """End of the last measured part."""
    drain_start: float | None = None
    measured: int = 0
    """Requests sent in measured parts."""
    bounds_hit: list[str] = field(default_factory=list)
    """Stages that began to measure at the bound, with requests of users that had left still under way."""
    spans: tuple[StageSpan, ...] = ()
    """The stages that are over."""
    stage: int = 0
    """Index of the present stage; the last one's while the cell cools down."""
    _began: float = 0.0
    _settled: float = 0.0
    _concurrency_before: int = 0
    _measured_under_way: int = field(default=0, repr=False)
    _under_way: set[int] = field(default_factory=set, repr=False)
    """Users with a request under way; each has one at a time."""

    @property
    def concurrency(self) -> int:
        """C of the present stage: how many users are active."""
        return self.stages[self.stage].concurrency

    @property
    def measure_s(self) -> float | None:
        """Length of all measured parts together; None while the last one is not over."""
        if self.measure_end is None:
            return None
        return sum(span.end_s - span.settled_s for span in self.spans)

    def opens_at(self, user: int) -> float | None:
        """From when a user may send; None while it is not among the active."""
        if user >= self.concurrency:
            return None
        if user < self._concurrency_before:
            return 0.0
        added = self.concurrency - self._concurrency_before
        spread_s = min(START_SPREAD_S, self.stages[self.stage].settle_s)
        return self._began + spread_s * (user - self._concurrency_before) / added

    def advance(self, now: float) -> bool:
        """Move on as far as the clock and the requests allow at ``now``; say whether anything changed."""
        changed = False
        while self._step(now):
            changed = True
        return changed

    def sent(self, user: int) -> str:
        """Count a request that a user sends now and return its phase."""
        self._under_way.add(user)
        if self.phase == "measure":
            self.measured += 1
            self._measured_under_way += 1
        return self.phase

    def ended(self, user: int, phase: str) -> None:
        """Count the end, good or bad, of a request that was sent in ``phase``."""
        self._under_way.discard(user)
        if phase == "measure":
            self._measured_under_way -= 1

    def expected_remaining_s(self, now: float, request_s: float) -> float:
        """Estimate the model seconds until the cell ends, ``request_s`` being what a request takes."""
        tail = 0.0 if self.draining else request_s
        if self.phase == "cooldown":
            return tail + request_s
        stage = self.stages[self.stage]
        if self.phase == "warmup":
            present = max(0.0, stage.settle_s - (now - self._began)) + stage.seconds
        else:
            present = max(0.0, stage.seconds - (now - self._settled))
        later = sum(other.settle_s + other.seconds for other in self.stages[self.stage + 1 :])
        return present + later + 2 * request_s

    def _step(self, now: float) -> bool:
        """Move on by one step, if it is time."""
        if self.draining:
            return False
        if self.phase == "cooldown":
            if self._measured_under_way == 0:
                self.draining, self.drain_start = True, now
            return self.draining
        stage = self.stages[self.stage]
        if self.phase == "warmup":
            if not self._has_settled(now):
                return False
            self.phase, self._settled = "measure", now
            if self.measure_start is None:
                self.measure_start = now
            return True
        if now - self._settled < stage.seconds:
            return False
        self.spans += (StageSpan(stage.name, stage.concurrency, self._began, self._settled, now),)
        if self.stage + 1 == len(self.stages):
            self.phase, self.measure_end = "cooldown", now
        else:
            self.phase, self._began, self._concurrency_before = "warmup", now, stage.concurrency
            self.stage += 1
        return True

    def _has_settled(self, now: float) -> bool:
        """Whether settling is over: what a larger C left behind must not be in what is measured."""
        stage = self.stages[self.stage]
        beyond = now - self._began - stage.settle_s
        if beyond < 0:
            return False
        if all(user < stage.concurrency for user in self._under_way):
            return True
        if beyond >= self.deadline_s:
            self.bounds_hit.append(f"settling of {stage.name}")
            return True
        return False
