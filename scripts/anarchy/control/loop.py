"""The loop that polls a source, steps the detector, and tells of every poll and switch."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from anarchy.control.detector import PARAMETERS, Decision, Detector, DetectorState, Regime
from anarchy.control.observation import Observation, Source
from anarchy.control.thresholds import Multiples, baseline
from anarchy.ground.errors import UserError
from anarchy.trace.control_log import LOG_SCHEMA, ControllerLog

PERIOD_S: Final = 5.0
"""Model seconds between polls (stated by the paper, of its wall clock)."""
STALE_PERIODS: Final = 1.5
"""A window longer than so many periods is not one poll's: its requests are too old. Ours."""


class Clock:
    """Monotonic wall seconds, and a wait that `stop` ends at once, from any thread or signal handler."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def now(self) -> float:
        """The time, wall s."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait so many wall seconds, or until `stop`."""
        self._stopped.wait(min(seconds, threading.TIMEOUT_MAX))

    def stop(self) -> None:
        """End the wait, and the loop that waits."""
        self._stopped.set()


@dataclasses.dataclass(frozen=True, slots=True)
class LoopSettings:
    """What to watch with: a detector, and multiples of the baseline where that is to be measured.

    With `multiples` the detector's two thresholds are replaced once the baseline is measured; the rest of it
    holds. `period_s` is model seconds, `dilation` wall seconds of a model second. Raises `UserError` for
    values without sense.
    """

    detector: Detector
    multiples: Multiples | None = None
    period_s: float = PERIOD_S
    dilation: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("period", self.period_s), ("dilation", self.dilation)):
            if not 0.0 < value < math.inf:
                raise UserError(
                    f"the {name} is {value:g}", where="controller", remedy="give a finite number above 0"
                )


@dataclasses.dataclass(frozen=True, slots=True)
class Poll:
    """One poll: what was seen, what it led to, and how well it kept its time. Model seconds."""

    number: int
    """From 1; the poll is due at number x period."""
    observation: Observation
    ewma: float | None
    decision: Decision | None
    """None while the baseline is measured."""
    late_s: float
    """From when it was due to its start."""
    skipped: int
    """Polls just before this one that were not made, because their time was over."""


class ControlLoop:
    """A controller: run it once, in a thread of its own where something else runs beside it.

    `on_switch` is called with the new regime and must be quick; what it raises ends the loop and comes out of
    `run`, after the log has told so. `on_poll` sees each poll, `on_baseline` the baseline and the detector
    made from it. Any thread may call `stop`; no poll that ends later is acted on, and `run` returns within
    the time of one poll of the source.
    """

    def __init__(
        self,
        source: Source,
        settings: LoopSettings,
        *,
        log: ControllerLog | None = None,
        on_switch: Callable[[Regime], None] = lambda _: None,
        on_poll: Callable[[Poll], None] = lambda _: None,
        on_baseline: Callable[[float, Detector], None] = lambda _p99, _detector: None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.state = DetectorState()
        self.switches = 0
        self._source = source
        self._log = log
        self._on_switch, self._on_poll, self._on_baseline = on_switch, on_poll, on_baseline
        self._clock = clock or Clock()
        self._detector: Detector | None = settings.detector if settings.multiples is None else None
        self._p99s: list[float] = []
        self._zero = 0.0

    def stop(self) -> None:
        """End the loop, also before it runs."""
        self._clock.stop()

    def run(self, polls: int | None = None) -> Regime:
        """Poll until `stop`, or so many times; return the regime at the end.

        Raises what its callbacks and its log raise. The poll number i is due at zero + i x period, so that a
        slow one does not move the others.
        """
        self._zero = self._clock.now()
        self._write_start()
        try:
            self._source.begin(0.0)
            number = made = 0
            while polls is None or made < polls:
                following = max(number + 1, self._next_due())
                self._sleep_until(following)
                if self._clock.stopped:
                    break
                skipped, number, made = following - number - 1, following, made + 1
                self._poll(number, skipped)
        except BaseException as error:
            self._write_failure(error, "end", **self._end_facts(f"{type(error).__name__}: {error}"))
            raise
        self._write("end", **self._end_facts("stopped" if self._clock.stopped else "polls"))
        return self.state.regime

    def _end_facts(self, why: str) -> dict[str, Any]:
        return {"t": self._model_now(), "regime": self.state.regime.word, "reason": why}

    def _next_due(self) -> int:
        """Number of the first poll whose period is not over yet: one that is a little late is still made."""
        return max(1, math.floor(self._model_now() / self.settings.period_s))

    def _sleep_until(self, number: int) -> None:
        due = self._zero + number * self.settings.period_s * self.settings.dilation
        while not self._clock.stopped and (remaining := due - self._clock.now()) > 0.0:
            self._clock.wait(remaining)

    def _poll(self, number: int, skipped: int) -> None:
        t = self._model_now()
        late_s = max(0.0, t - number * self.settings.period_s)
        seen = self._decidable(self._not_stale(self._source.poll(t)))
        if self._clock.stopped:
            return
        decision = None
        if self._detector is not None:
            self.state, decision = self._detector.step(self.state, seen)
        poll = Poll(number, seen, self.state.ewma, decision, late_s, skipped)
        self._write_poll(poll)
        self._on_poll(poll)
        if decision is not None and decision.regime is not decision.before:
            self._switch(t, decision)
        if self._detector is None and seen.p99 is not None:
            self._measure_baseline(t, seen.p99)

    def _not_stale(self, seen: Observation) -> Observation:
        length = seen.end - seen.start
        if seen.p99 is None or length <= STALE_PERIODS * self.settings.period_s:
            return seen
        reason = f"stale: a window of {length:.3g} s where {self.settings.period_s:g} s are a period"
        return dataclasses.replace(seen, p99=None, bracket=None, reason=reason)

    def _decidable(self, seen: Observation) -> Observation:
        """Leave out a P99 in a bucket without an end that a threshold lies in: either side may be true."""
        if seen.p99 is None or seen.bracket is None:
            return seen
        lower, upper = seen.bracket
        detector = self._detector
        if upper == math.inf and (detector is None or lower <= detector.theta2):
            aim = "it makes no baseline" if detector is None else f"theta2 is {detector.theta2:.4g} s"
            reason = f"P99 lies somewhere above the last edge, {lower:.4g} s, and {aim}"
        elif lower == 0.0 and detector is not None and upper > detector.theta1:
            aim = f"theta1 is {detector.theta1:.4g} s"
            reason = f"P99 lies somewhere below the first edge, {upper:.4g} s, and {aim}"
        else:
            return seen
        return dataclasses.replace(seen, p99=None, bracket=None, reason=reason)

    def _measure_baseline(self, t: float, p99: float) -> None:
        multiples = self.settings.multiples
        assert multiples is not None
        self._p99s.append(p99)
        if len(self._p99s) < multiples.polls:
            return
        theta1, theta2 = multiples.thresholds(self._p99s)
        self._detector = dataclasses.replace(self.settings.detector, theta1=theta1, theta2=theta2)
        level = baseline(self._p99s)
        self._write("baseline", t=t, p99=level, polls=len(self._p99s), theta1=theta1, theta2=theta2)
        self._on_baseline(level, self._detector)

    def _switch(self, t: float, decision: Decision) -> None:
        tau, omega = PARAMETERS[decision.regime]
        facts: dict[str, Any] = {
            "t": t,
            "from": decision.before.word,
            "to": decision.regime.word,
            "tau": tau,
            "omega": omega,
            "reason": decision.reason,
        }
        try:
            self._on_switch(decision.regime)
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
            self._write_failure(error, "switch", **facts, applied=False, error=told)
            raise
        self.switches += 1
        self._write("switch", **facts, applied=True, applied_t=self._model_now())

    def _write_start(self) -> None:
        settings = self.settings
        detector = dataclasses.asdict(settings.detector)
        if settings.multiples is not None:
            detector |= {"theta1": None, "theta2": None, "multiples": dataclasses.asdict(settings.multiples)}
        self._write(
            "start",
            schema=LOG_SCHEMA,
            source=self._source.name,
            at_wall_s=time.time(),
            period_s=settings.period_s,
            dilation=settings.dilation,
            detector=detector,
        )

    def _write_poll(self, poll: Poll) -> None:
        seen, decision = poll.observation, poll.decision
        measuring = "measuring the baseline" if seen.p99 is not None else seen.reason
        self._write(
            "poll",
            poll=poll.number,
            window=(seen.start, seen.end),
            requests=seen.requests,
            p99=seen.p99,
            bracket=seen.bracket,
            ewma=poll.ewma,
            regime=self.state.regime.word,
            verdict="baseline" if decision is None else decision.verdict,
            reason=measuring if decision is None else decision.reason,
            forgot=decision is not None and decision.forgot,
            late_s=poll.late_s,
            skipped=poll.skipped,
            notes=seen.notes,
        )

    def _write(self, kind: str, **facts: Any) -> None:
        if self._log is not None:
            self._log.write(kind, **facts)

    def _write_failure(self, failure: BaseException, kind: str, **facts: Any) -> None:
        """Log what ends the loop; a log that cannot be written must not hide it."""
        try:
            self._write(kind, **facts)
        except UserError as unwritten:
            failure.add_note(str(unwritten))

    def _model_now(self) -> float:
        return (self._clock.now() - self._zero) / self.settings.dilation
