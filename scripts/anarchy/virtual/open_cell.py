"""One constant cell of an open loop in virtual time: a Poisson process of requests, served or not.

Its phases are fixed times, for there are no users to wait for. Requests go on coming for as long as two of
them take after measuring, so that those measured last find the load of the others, and all are replayed to
their end.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from anarchy.engines.spec import BLOCK_SIZE
from anarchy.load.phases import PhasePlan
from anarchy.virtual.arrivals import arrivals_of, poisson_times, write_arrivals
from anarchy.virtual.cell import Outcome, VirtualCell
from anarchy.virtual.open_loop import OpenCell, replay_open
from anarchy.virtual.outcome import Phases
from anarchy.virtual.replayer import Replayer

SPREADS: Final = 6.0
"""Requests come for so many standard deviations longer than they have to, so that enough have come."""


def simulate_open(cell: VirtualCell, rate_rps: float, replayer: Replayer) -> Outcome:
    """Replay a cell of requests that come at a rate, 1/model s, whatever number is in flight.

    Its rows are all requests that came before measuring ended. Raises ReplayError as `Replayer.run`, and
    UserError where memory cannot hold them or a worker cannot hold one.
    """
    plan = cell.phases
    latest = plan.warmup_s + plan.measure_max_s + 2.0 * cell.residence_s
    mean = rate_rps * latest
    times = poisson_times(rate_rps, math.ceil(mean + SPREADS * math.sqrt(mean)) + 1, cell.workload.seed)
    found = open_phases(times, plan)
    arrivals = arrivals_of(
        cell.workload, times[times < found.measure_end + 2.0 * cell.residence_s], BLOCK_SIZE
    )
    trace = replayer.folder / "arrivals.jsonl"
    write_arrivals(trace, arrivals, BLOCK_SIZE)
    told = replay_open(
        OpenCell(
            trace=trace,
            arrivals=arrivals,
            measure_from_s=found.measure_start,
            measure_until_s=found.measure_end,
            deadline_s=cell.deadline_s,
            pools=cell.pools,
            engines=cell.engines,
            router=cell.router,
            kv_event_lag_s=cell.kv_event_lag_s,
            labels=cell.labels,
        ),
        replayer,
    )
    rows = told.table.filter(pc.less(told.table.column("t_sent"), found.measure_end))
    return Outcome(rows, found, told.replay_s, len(arrivals), tries=1)


def open_phases(times: npt.NDArray[np.float64], plan: PhasePlan) -> Phases:
    """When measuring begins and ends where requests come at these times, model s, shape (requests,), rising.

    It lasts as `PhasePlan` says, but that warming up waits for nobody.
    """
    start, bounds = plan.warmup_s, []
    end = start + plan.measure_s
    before = int(np.searchsorted(times, start))
    if plan.min_requests > np.searchsorted(times, end) - before:
        last = before + plan.min_requests - 1
        enough = float(np.nextafter(times[last], np.inf)) if last < len(times) else math.inf
        end = min(enough, start + plan.measure_max_s)
        if end < enough:
            bounds.append("measure_max_s")
    return Phases(start, end, tuple(bounds))
