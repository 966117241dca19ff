"""What the load client says of itself: whether it coloured the latencies that it measured."""

from __future__ import annotations

import itertools
import os
import resource
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psutil

from anarchy.load.phases import Phases
from anarchy.load.stages import StagedPhases
from anarchy.trace.schema import StageSpan


@dataclass(frozen=True)
class Spread:
    """Quantiles of a sample; null when the sample is empty."""

    n: int
    p50: float | None
    p99: float | None
    max: float | None


def spread(sample: Sequence[float]) -> Spread:
    """Summarise a sample, in its own unit."""
    if len(sample) == 0:
        return Spread(0, None, None, None)
    p50, p99 = np.percentile(np.asarray(sample), (50, 99))
    return Spread(len(sample), float(p50), float(p99), float(max(sample)))


@dataclass(frozen=True)
class ClientProgress:
    """Where a running cell stands. Wall seconds."""

    phase: str
    """``warmup``, ``measure``, ``cooldown`` or ``drain``, after the name of the stage if there is one."""
    elapsed_s: float
    remaining_s: float
    """Expected; 0 when it is over."""
    sent: int
    finished: int
    """Requests that ended, errors included."""
    errors: int
    in_flight: int


@dataclass(frozen=True)
class StageLoad:
    """How busy the client and its host were in the measured part of one stage; delays in model seconds."""

    cpu_share: float
    host_cpu_share: float | None
    loop_lag: Spread
    schedule_delay: Spread


@dataclass(frozen=True)
class ClientReport:
    """What the client measured of itself over one cell.

    Latency-like numbers (``*_delay``, ``loop_lag*``) are model seconds, as in the trace, so that they
    compare with the latencies they might have coloured. CPU and durations named ``wall`` are wall seconds.
    """

    started_at: float
    """Wall clock at the cell's zero, s since the Unix epoch."""
    dilation: float
    duration_s: float
    """Length of the cell, model s."""
    measure_start_s: float | None
    measure_end_s: float | None
    """The measure phase on the trace's clock, model s; null when the cell never came so far. In a staged cell
    from the start of the first measured part to the end of the last."""
    measure_s: float | None
    """Length of the measure phase, model s; in a staged cell that of all measured parts together."""
    phase_wall_s: Mapping[str, float]
    """Wall seconds of ``warmup``, ``measure``, ``cooldown`` and ``drain``; in a staged cell ``measure`` goes
    from the first measured part to the end of the last."""
    bounds_hit: tuple[str, ...]
    """``warmup_max_s`` and ``measure_max_s`` where the bound, not the condition, ended the phase."""
    sent: int
    measured: int
    """Requests sent in the measure phase."""
    status_counts: Mapping[str, int]
    """Requests of all phases by status."""
    measure_status_counts: Mapping[str, int]
    error_samples: Mapping[str, str]
    """For each bad status the first explanation seen."""
    requests_per_s: float | None
    """Requests that ended ``ok`` in the measure phase, per model second."""
    output_tokens_per_s: float | None
    """Output tokens of those requests, per model second."""
    schedule_delay: Spread
    """t_sent - t_intended of measured requests without what the router took, model s."""
    routing_delay: Spread
    """What the router took for measured requests, model s; 0 where it has nothing to choose."""
    loop_lag: Spread
    """Lateness of a 20 ms (wall) ticker on the event loop, model s; the loop's timers step by 1 ms (wall)."""
    loop_lag_measure: Spread
    """The same over the measure phase."""
    cpu_s: float
    """CPU of this process, user + system, over the cell, wall s."""
    cpu_measure_s: float | None
    cpu_share_measure: float | None
    """CPU of this process in the measure phase, as a share of one core."""
    cpu_per_request_s: float | None
    """cpu_s over all requests of the cell."""
    host_cpu_share_measure: float | None
    """Busy share of the cores that this process may use in the measure phase, everybody's work included."""
    reconnects: int
    """Connections opened after a user's first one to a frontend."""
    stages: tuple[StageSpan, ...] = ()
    """The stages of a staged cell, as they really happened."""
    stage_loads: tuple[StageLoad, ...] = ()
    """One for each of the stages."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def facts(self) -> dict[str, Any]:
        """Return what the manifest and its gates are told; delays in wall seconds."""

        def wall(model_s: float | None) -> float | None:
            return None if model_s is None else model_s * self.dilation

        stages = {
            span.name: {
                "cpu_share": load.cpu_share,
                "host_cpu_share": load.host_cpu_share,
                "loop_lag_p99_s": wall(load.loop_lag.p99),
                "schedule_delay_p99_s": wall(load.schedule_delay.p99),
            }
            for span, load in zip(self.stages, self.stage_loads, strict=True)
        }
        return {
            "measure_s": self.measure_s,
            "cpu_share": self.cpu_share_measure,
            "host_cpu_share": self.host_cpu_share_measure,
            "loop_lag_p99_s": wall(self.loop_lag_measure.p99),
            "schedule_delay_p99_s": wall(self.schedule_delay.p99),
            **({"stages": stages} if stages else {}),
            "report": self.to_dict(),
        }


@dataclass(frozen=True)
class CpuMark:
    """CPU clocks at one moment: of this process and of the host's cores that it may use, s."""

    wall: float
    own: float
    host_busy: float
    host_total: float


def cpu_mark() -> CpuMark:
    """Read the clocks.

    The host's are summed over the cores of this process's affinity mask (taskset, cpusets of a container);
    cgroup quotas are not seen: under half a core of quota a core looks half idle.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    allowed = os.sched_getaffinity(0)
    every = psutil.cpu_times(percpu=True)
    # A container may number the cores that it shows anew; then those are the ones to look at.
    mine = [core for number, core in enumerate(every) if number in allowed] or every
    # guest time is already in user time on Linux; iowait is idle time.
    total = sum(sum(c) - getattr(c, "guest", 0.0) - getattr(c, "guest_nice", 0.0) for c in mine)
    idle = sum(c.idle + getattr(c, "iowait", 0.0) for c in mine)
    return CpuMark(time.monotonic(), usage.ru_utime + usage.ru_stime, total - idle, total)


def _between(first: CpuMark, last: CpuMark) -> CpuMark:
    return CpuMark(
        last.wall - first.wall,
        last.own - first.own,
        last.host_busy - first.host_busy,
        last.host_total - first.host_total,
    )


def _host_share(mark: CpuMark) -> float | None:
    return mark.host_busy / mark.host_total if mark.host_total > 0 else None


class _MeasuredPart:
    """What is collected in one measured part of a cell; a constant cell has one."""

    def __init__(self, start: CpuMark) -> None:
        self.start = start
        self.end: CpuMark | None = None
        self.loop_lag = array("d")
        self.schedule_delay = array("d")
        self.routing_delay = array("d")

    def load(self) -> StageLoad:
        """Sum up a part that is over."""
        assert self.end is not None
        cpu = _between(self.start, self.end)
        return StageLoad(
            cpu.own / cpu.wall, _host_share(cpu), spread(self.loop_lag), spread(self.schedule_delay)
        )


class Observer:
    """Collects what a report needs while a cell runs; times in model seconds, CPU in wall seconds."""

    def __init__(self) -> None:
        self.marks: dict[str, CpuMark] = {}
        self.loop_lag = array("d")
        self.status_counts: dict[str, int] = {}
        self.measure_status_counts: dict[str, int] = {}
        self.error_samples: dict[str, str] = {}
        self.latency_sum_s = 0.0
        self.ok_in_measure = 0
        self.tokens_in_measure = 0
        self._parts: list[_MeasuredPart] = []

    @property
    def finished(self) -> int:
        """Requests that ended, errors included."""
        return sum(self.status_counts.values())

    @property
    def errors(self) -> int:
        """Requests that ended badly."""
        return self.finished - self.status_counts.get("ok", 0)

    def mark(self, name: str) -> None:
        """Remember the CPU clocks at the start of a phase, or at ``end``."""
        self.marks.setdefault(name, cpu_mark())

    def moved(self, phases: Phases | StagedPhases) -> None:
        """Remember the CPU clocks where the phases have moved on."""
        now = cpu_mark()
        measuring = phases.phase == "measure"
        if self._parts and self._parts[-1].end is None:
            in_it = measuring and phases.stage == len(self._parts) - 1
            self._parts[-1].end = None if in_it else now
        if measuring and phases.stage == len(self._parts):
            self._parts.append(_MeasuredPart(now))
        reached = (phases.measure_start, phases.measure_end, phases.drain_start)
        for name, start in zip(("measure", "cooldown", "drain"), reached, strict=True):
            if start is not None:
                self.marks.setdefault(name, now)

    def tick(self, lag_s: float, measuring: bool) -> None:
        """Note how late the ticker was; ``measuring``: over a span that touches the last measured part."""
        self.loop_lag.append(lag_s)
        if measuring:
            self._parts[-1].loop_lag.append(lag_s)

    def delayed(self, stage: int, schedule_s: float, routing_s: float) -> None:
        """Note what a request sent in a measured part waited for the client and for the router."""
        part = self._parts[stage]
        part.schedule_delay.append(schedule_s)
        part.routing_delay.append(routing_s)

    def ended(
        self, status: str, detail: str, *, measured: bool, latency_s: float, tokens_now: int | None
    ) -> None:
        """Count a request that ended.

        ``measured``: it was sent in a measured part; ``tokens_now`` is given for one that ended in one.
        """
        self.status_counts[status] = self.status_counts.get(status, 0) + 1
        self.latency_sum_s += latency_s
        if measured:
            self.measure_status_counts[status] = self.measure_status_counts.get(status, 0) + 1
        if status != "ok":
            self.error_samples.setdefault(status, detail)
        elif tokens_now is not None:
            self.ok_in_measure += 1
            self.tokens_in_measure += tokens_now

    def report(
        self,
        phases: Phases | StagedPhases,
        *,
        started_at: float,
        duration_s: float,
        dilation: float,
        sent: int,
        reconnects: int,
    ) -> ClientReport:
        """Sum up a cell that has ended."""
        cpu_s = self.marks["end"].own - self.marks["warmup"].own
        first, last = self.marks.get("measure"), self.marks.get("cooldown")
        measured = _between(first, last) if first and last else None
        seconds = phases.measure_s
        return ClientReport(
            started_at=started_at,
            dilation=dilation,
            duration_s=duration_s,
            measure_start_s=phases.measure_start,
            measure_end_s=phases.measure_end,
            measure_s=seconds,
            phase_wall_s=self._phase_wall_s(),
            bounds_hit=tuple(phases.bounds_hit),
            sent=sent,
            measured=phases.measured,
            status_counts=dict(self.status_counts),
            measure_status_counts=dict(self.measure_status_counts),
            error_samples=dict(self.error_samples),
            requests_per_s=self.ok_in_measure / seconds if seconds else None,
            output_tokens_per_s=self.tokens_in_measure / seconds if seconds else None,
            schedule_delay=self._over_parts("schedule_delay"),
            routing_delay=self._over_parts("routing_delay"),
            loop_lag=spread(self.loop_lag),
            loop_lag_measure=self._over_parts("loop_lag"),
            cpu_s=cpu_s,
            cpu_measure_s=measured.own if measured else None,
            cpu_share_measure=measured.own / measured.wall if measured else None,
            cpu_per_request_s=cpu_s / self.finished if self.finished else None,
            host_cpu_share_measure=_host_share(measured) if measured else None,
            reconnects=reconnects,
            stages=phases.spans,
            stage_loads=tuple(part.load() for part in self._parts) if phases.spans else (),
        )

    def _over_parts(self, name: str) -> Spread:
        """Summarise one sample of all measured parts together."""
        samples: list[array[float]] = [getattr(part, name) for part in self._parts]
        return spread(tuple(itertools.chain.from_iterable(samples)))

    def _phase_wall_s(self) -> dict[str, float]:
        """Wall seconds of each phase that was reached."""
        names = [name for name in ("warmup", "measure", "cooldown", "drain", "end") if name in self.marks]
        return {a: self.marks[b].wall - self.marks[a].wall for a, b in itertools.pairwise(names)}
