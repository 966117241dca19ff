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
    """``warmup``, ``measure``, ``cooldown`` or ``drain``."""
    elapsed_s: float
    remaining_s: float
    """Expected; 0 when it is over."""
    sent: int
    finished: int
    """Requests that ended, errors included."""
    errors: int
    in_flight: int


@dataclass(frozen=True)
class ClientReport:
    """What the client measured of itself over one cell.

    Latency-like numbers (``schedule_delay``, ``loop_lag*``) are model seconds, as in the trace, so that they
    compare with the latencies they might have coloured. CPU and durations named ``wall`` are wall seconds.
    """

    started_at: float
    """Wall clock at the cell's zero, s since the Unix epoch."""
    dilation: float
    duration_s: float
    """Length of the cell, model s."""
    measure_start_s: float | None
    measure_end_s: float | None
    """The measure phase on the trace's clock, model s; null when the cell never came so far."""
    phase_wall_s: Mapping[str, float]
    """Wall seconds of ``warmup``, ``measure``, ``cooldown`` and ``drain``."""
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
    """t_sent - t_intended of measured requests, model s."""
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
    """Connections opened after the first of each user."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the manifest."""
        return asdict(self)


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


class Observer:
    """Collects what a report needs while a cell runs; times in model seconds, CPU in wall seconds."""

    def __init__(self) -> None:
        self.marks: dict[str, CpuMark] = {}
        self.loop_lag = array("d")
        self.loop_lag_measure = array("d")
        self.schedule_delay = array("d")
        self.status_counts: dict[str, int] = {}
        self.measure_status_counts: dict[str, int] = {}
        self.error_samples: dict[str, str] = {}
        self.latency_sum_s = 0.0
        self.ok_in_measure = 0
        self.tokens_in_measure = 0

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

    def tick(self, lag_s: float, measuring: bool) -> None:
        """Note how late the ticker was."""
        self.loop_lag.append(lag_s)
        if measuring:
            self.loop_lag_measure.append(lag_s)

    def ended(
        self,
        status: str,
        detail: str,
        *,
        latency_s: float,
        schedule_delay_s: float | None,
        tokens_now: int | None,
    ) -> None:
        """Count a request that ended.

        ``schedule_delay_s`` is given for one sent in the measure phase, ``tokens_now`` for one that ended
        in it.
        """
        self.status_counts[status] = self.status_counts.get(status, 0) + 1
        self.latency_sum_s += latency_s
        if schedule_delay_s is not None:
            self.schedule_delay.append(schedule_delay_s)
            self.measure_status_counts[status] = self.measure_status_counts.get(status, 0) + 1
        if status != "ok":
            self.error_samples.setdefault(status, detail)
        elif tokens_now is not None:
            self.ok_in_measure += 1
            self.tokens_in_measure += tokens_now

    def report(
        self,
        phases: Phases,
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
        seconds = None
        if phases.measure_start is not None and phases.measure_end is not None:
            seconds = phases.measure_end - phases.measure_start
        return ClientReport(
            started_at=started_at,
            dilation=dilation,
            duration_s=duration_s,
            measure_start_s=phases.measure_start,
            measure_end_s=phases.measure_end,
            phase_wall_s=self._phase_wall_s(),
            bounds_hit=tuple(phases.bounds_hit),
            sent=sent,
            measured=phases.measured,
            status_counts=dict(self.status_counts),
            measure_status_counts=dict(self.measure_status_counts),
            error_samples=dict(self.error_samples),
            requests_per_s=self.ok_in_measure / seconds if seconds else None,
            output_tokens_per_s=self.tokens_in_measure / seconds if seconds else None,
            schedule_delay=spread(self.schedule_delay),
            loop_lag=spread(self.loop_lag),
            loop_lag_measure=spread(self.loop_lag_measure),
            cpu_s=cpu_s,
            cpu_measure_s=measured.own if measured else None,
            cpu_share_measure=measured.own / measured.wall if measured else None,
            cpu_per_request_s=cpu_s / self.finished if self.finished else None,
            host_cpu_share_measure=(
                measured.host_busy / measured.host_total if measured and measured.host_total > 0 else None
            ),
            reconnects=reconnects,
        )

    def _phase_wall_s(self) -> dict[str, float]:
        """Wall seconds of each phase that was reached."""
        names = [name for name in ("warmup", "measure", "cooldown", "drain", "end") if name in self.marks]
        return {a: self.marks[b].wall - self.marks[a].wall for a, b in itertools.pairwise(names)}
