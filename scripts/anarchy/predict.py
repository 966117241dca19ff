"""What a cell will cost, from the timing table: a closed-loop estimate, good enough for a plan and an ETA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anarchy.config import Model, Timing, Topology, Workload
from anarchy.serving.profiles import Profile

START_S = 6.0
"""Wall seconds to start, prove and stop a simulated deployment on one host (tier quick: 4.1 to 5.8)."""
REAL_START_S = 300.0
"""The same for real engines, on which loading the weights decides: a guess of ours, used until a start of the
model has been recorded."""
BYTES_PER_REQUEST = 170
"""Disk of one request: its share of sealed trace, manifest and compressed logs (tier quick: 171)."""
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


def start_s(engine: str) -> float:
    """Wall seconds to start, prove and stop a deployment of this engine."""
    return START_S if engine == "mocker" else REAL_START_S


def cell_cost(
    model: Model, topology: Topology, workload: Workload, timing: Timing, concurrency: int, profile: Profile
) -> CellCost:
    """Predict a cell by the response-time law: R = max(unloaded residence, C / prefill capacity)."""
    context = workload.input_tokens + workload.output_tokens // 2
    batch = concurrency / topology.decode
    itl = float(profile.itl_s(batch * context, context))
    unloaded = float(profile.ttft_s(workload.input_tokens)) + workload.output_tokens * itl
    capacity = topology.prefill * prefill_capacity(profile, workload.input_tokens)
    if workload.templates:
        capacity = float("inf")  # cached prompts hardly load the prefill pool
    residence = max(unloaded, concurrency / capacity)
    throughput = concurrency / residence
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


def prefill_capacity(profile: Profile, input_tokens: int, max_batched_tokens: int = 8192) -> float:
    """Most requests a model second that one prefill worker can take, at the best batch."""
    largest = max(1, max_batched_tokens // input_tokens)
    return max(batch / profile.ttft_s(batch * input_tokens) for batch in range(1, largest + 1))
