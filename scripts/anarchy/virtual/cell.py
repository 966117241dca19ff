"""One constant cell in virtual time: replayed far enough, and no further than it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from anarchy.engines.spec import BLOCK_SIZE
from anarchy.load.phases import PhasePlan
from anarchy.load.workload import Workload
from anarchy.virtual.errors import CellError
from anarchy.virtual.outcome import Phases, Requests, phases, table_of
from anarchy.virtual.replayer import Job, Replayer
from anarchy.virtual.sessions import write_sessions

TRIES: Final = 8
"""Each replays longer than the one before, or with more requests a user."""
LONGER: Final = 1.6
SLACK: Final = 1.15
"""So much longer than guessed: a second try costs more than replaying a little too far."""


@dataclass(frozen=True, kw_only=True)
class VirtualCell:
    """What one cell replays. Times in model s; an open loop has no stagger, and its users bound nothing.

    `residence_s`: a guess of how long a request takes, from which the length of the first try is made.
    `pools`: numbers of prefill and decode workers. `engines`: arguments of both pools' workers. `router`:
    those of the KV router; None is round robin. `kv_event_lag_s`: how late it hears of the workers' caches.
    `labels`: policy, tau and omega of its rows.
    """

    workload: Workload
    users: int
    phases: PhasePlan
    stagger_s: float
    deadline_s: float
    residence_s: float
    pools: tuple[int, int]
    engines: tuple[Mapping[str, Any], Mapping[str, Any]]
    router: Mapping[str, Any] | None
    labels: Mapping[str, Any]
    kv_event_lag_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """The trace of a replayed cell, its phases and its cost.

    `replay_s`: wall seconds of the library over all tries; `replayed`: requests that it told of in all.
    """

    table: pa.Table
    phases: Phases
    replay_s: float
    replayed: int
    tries: int


def simulate(cell: VirtualCell, replayer: Replayer) -> Outcome:
    """Replay a cell until its measure phase is whole.

    Raises ReplayError as `Replayer.run`, and CellError where memory cannot hold it or it never gets so far.
    """
    plan = cell.phases
    think_s = cell.workload.spec.think_s
    per_user = cell.residence_s + think_s
    measure = min(max(plan.measure_s, plan.min_requests * per_user / cell.users), plan.measure_max_s)
    # The opening wave takes up to two residences, and so do the requests under way at the end.
    until = max(plan.warmup_s, cell.stagger_s + 2 * cell.residence_s) + SLACK * measure + 2 * cell.residence_s
    replay_s, replayed = 0.0, 0
    for attempt in range(1, TRIES + 1):
        cycles = until / per_user
        # Of users who think some get through many more than the mean.
        turns = max(4, math.ceil(1.2 * cycles + 4 * think_s / per_user * math.sqrt(cycles)) + 2)
        trace = replayer.folder / "sessions.jsonl"
        write_sessions(
            trace,
            cell.workload,
            users=cell.users,
            turns=turns,
            stagger_s=cell.stagger_s,
            block_size=BLOCK_SIZE,
        )
        told = replayer.run(
            Job(
                trace=trace,
                prefill=cell.engines[0],
                decode=cell.engines[1],
                router=cell.router,
                kv_event_lag_s=cell.kv_event_lag_s,
                prefill_workers=cell.pools[0],
                decode_workers=cell.pools[1],
                until_s=until,
            )
        )
        requests = Requests.of(told.columns)
        requests.check_served()
        replay_s, replayed = replay_s + told.replay_s, replayed + len(requests.user)
        found = phases(requests, plan, cell.users, cell.workload)
        if found is not None:
            table = table_of(requests, found, cell.workload, cell.labels, cell.deadline_s)
            return Outcome(table, found, replay_s, replayed, attempt)
        if len(requests.turn) and requests.turn.max() + 1 == turns:  # somebody ran out of requests
            per_user = min(per_user, requests.fastest_s())
        else:
            until *= LONGER
    raise CellError(
        f"its {cell.users} users do not get through warm-up and measuring within {until:.0f} model s",
        where="cell",
        remedy="lower C, or raise the limits of the workers: a request that does not fit is never served",
    )
