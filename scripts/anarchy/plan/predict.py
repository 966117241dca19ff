"""What a cell will cost, from the timing table: a closed-loop estimate, good enough for a plan and an ETA.

Users who think Z between requests that take R send C / (R + Z) a second, and C R / (R + Z) are in flight.
Users of an open loop send C / `send_every_s` a second, however long requests take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anarchy.config import Model, Timing, Topology, Workload
from anarchy.engines.dynamo import USUAL, dynamo_of
from anarchy.engines.profiles import Profile
from anarchy.engines.registry import engine_of

FRONTEND_S = 1.5
"""Wall seconds that each further frontend adds to a start, its self-test included."""
PINNED_S = 1.5
"""Wall seconds that pinned routing adds to a start: the selection service and its self-test."""
BYTES_PER_REQUEST = 170
"""Disk of one request: its share of sealed trace, manifest and compressed logs (tier quick: 171)."""
MOST_USERS = 100_000
"""No knee is looked for beyond."""
REPLAY_S = 0.05
"""Wall seconds of a cell on a virtual clock beside its requests: sealing, gates."""
SETTLE_S = 2.0
"""Wall seconds between cells: sealing, gates, an idle engine."""


@dataclass(frozen=True)
class CellCost:
    """Predicted cost of one cell."""

    wall_s: float
    requests: int
    throughput: float
    """Requests a model second."""
    residence_s: float
    """Mean time of one request from sending to its last token, model seconds."""

    @property
    def disk_bytes(self) -> int:
        """Bytes of the sealed trace."""
        return self.requests * BYTES_PER_REQUEST


def start_s(engine: str, frontends: int = 1, *, pinned: bool = False, dynamo: str = USUAL) -> float:
    """Wall seconds to start, prove and stop a deployment of this engine, until one has been recorded."""
    of = engine_of(engine)
    if not of.served:
        return of.start_s
    return of.start_s + FRONTEND_S * (frontends - 1) + PINNED_S * pinned + dynamo_of(dynamo).more_start_s


def cell_cost(
    model: Model, topology: Topology, workload: Workload, timing: Timing, concurrency: int, profile: Profile
) -> CellCost:
    """Predict a constant cell."""
    residence = residence_s(topology, workload, concurrency, profile)
    throughput = concurrency / (workload.send_every_s or residence + workload.think_s)
    wanted = timing.min_windows * topology.decode / throughput
    measure = float(np.clip(wanted, timing.measure_s, timing.measure_max_s))
    warmup = max(timing.warmup_s, 1.5 * residence)
    model_s = warmup + measure + 2 * residence
    return CellCost(
        wall_s=model_s * model.dilation + SETTLE_S,
        requests=int(throughput * (warmup + measure + residence)) + concurrency,
        throughput=throughput,
        residence_s=residence,
    )


def replayed(cost: CellCost, requests_per_s: float) -> CellCost:
    """What the cell costs on a virtual clock: it takes as long as its requests, whatever their time is."""
    return replace(cost, wall_s=cost.requests / requests_per_s + REPLAY_S)


def staged_cost(
    model: Model,
    topology: Topology,
    workload: Workload,
    stages: Sequence[tuple[int, float]],
    profile: Profile,
) -> CellCost:
    """Predict a staged cell from the C and the model seconds of each stage.

    Throughput and residence are those of the stage that is fullest.
    """
    residences = [residence_s(topology, workload, concurrency, profile) for concurrency, _ in stages]
    rates = [C / (stay + workload.think_s) for (C, _), stay in zip(stages, residences, strict=True)]
    requests = sum(rate * seconds for rate, (_, seconds) in zip(rates, stages, strict=True))
    largest = max(concurrency for concurrency, _ in stages)
    longest = max(residences)
    model_s = sum(seconds for _, seconds in stages) + 2 * residences[-1]
    return CellCost(
        wall_s=model_s * model.dilation + SETTLE_S,
        requests=int(requests) + largest,
        throughput=largest / (longest + workload.think_s),
        residence_s=longest,
    )


def residence_s(topology: Topology, workload: Workload, concurrency: int, profile: Profile) -> float:
    """Time of one request by the response-time law, model s: max(unloaded, C / prefill capacity - Z)."""
    unloaded = _unloaded_s(topology, workload, concurrency, profile)
    if workload.send_every_s:
        # Of those that never wait: in overload a request takes as long as the queue is old.
        idle = _unloaded_s(topology, workload, 1.0, profile)
        return _unloaded_s(topology, workload, concurrency / workload.send_every_s * idle, profile)
    if workload.think_s:
        # Fewer are in flight, so that decode steps are shorter than with all of them.
        in_flight = concurrency * unloaded / (unloaded + workload.think_s)
        unloaded = _unloaded_s(topology, workload, in_flight, profile)
    capacity = float("inf")  # prompts that a cache knows whole hardly load the prefill pool
    if workload.new_tokens:
        capacity = topology.prefill * prefill_capacity(profile, workload.new_tokens)
    return max(unloaded, concurrency / capacity - workload.think_s)


def _unloaded_s(topology: Topology, workload: Workload, in_flight: float, profile: Profile) -> float:
    """Time of one request that never waits, among so many, model s."""
    context = workload.input_tokens + workload.output_tokens // 2
    itl = float(profile.itl_s(in_flight / topology.decode * context, context))
    return float(profile.ttft_s(workload.input_tokens)) + workload.output_tokens * itl


def knee(topology: Topology, workload: Workload, profile: Profile) -> int:
    """Where a knee may lie, C: the users whose requests fill the prefill pool while none has to wait.

    A measured knee comes earlier, because queues form before a pool is full: at 0.56 to 0.82 of this on the
    three systems of the study with simulated engines.
    """
    capacity = topology.prefill * prefill_capacity(profile, workload.input_tokens)
    low, high = 1, MOST_USERS
    while low < high:
        middle = (low + high) // 2
        if residence_s(topology, workload, middle, profile) <= middle / capacity - workload.think_s:
            high = middle
        else:
            low = middle + 1
    return low


def prefill_capacity(profile: Profile, input_tokens: int, max_batched_tokens: int = 8192) -> float:
    """Most requests a model second that one prefill worker can take, at the best batch."""
    batches = np.arange(1, max(1, max_batched_tokens // input_tokens) + 1)
    return float(np.max(batches / profile.ttfts_s(batches * input_tokens)))
