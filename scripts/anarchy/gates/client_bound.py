"""Gate `client_bound`: a client or host too busy to measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from anarchy.gates.gate import Gate, Verdict, measured_parts, ttft_of
from anarchy.trace.reader import CellTrace

MAX_CLIENT_CPU: Final = 0.85
"""`client_bound`: the client used more than this share of one core while measuring."""
MAX_HOST_CPU: Final = 0.95
"""`client_bound`: the host was busier than this on average while measuring (engines on the same host)."""
MAX_DELAY_SHARE: Final = 0.10
"""`client_bound`: the client's own delay (P99 of event-loop lag, P99 of send after intent) as a share of
the cell's P99 TTFT ..."""
MAX_DELAY_FLOOR_S: Final = 0.005
"""... but delays below this many wall seconds are never blamed."""


def client_bound(trace: CellTrace) -> Verdict:
    """The load client or its host could have coloured the latencies. All delays are wall seconds."""
    client: Mapping[str, Any] = trace.manifest.client
    told: Mapping[str, Any] = client.get("stages", {})
    ttft = ttft_of(trace) * trace.manifest.dilation
    asked = [
        _client_bound(told.get(name, client), ttft[rows & trace.measured])
        for name, rows in measured_parts(trace).items()
    ]
    worst = max(asked, key=lambda gate: gate[0])
    numbers = {
        name: max((value for _, each in asked if (value := each[name]) is not None), default=None)
        for name in asked[0][1]
    }
    # What is allowed belongs to the one that failed, if one did.
    return worst[0], numbers | {"delay_allowed_s": worst[1]["delay_allowed_s"]}


def _client_bound(client: Mapping[str, Any], ttft: npt.NDArray[np.float64]) -> Verdict:
    """The same of one measured part; ``ttft`` in wall seconds."""
    p99 = float(np.quantile(ttft, 0.99)) if ttft.size else 0.0
    allowed = max(MAX_DELAY_FLOOR_S, MAX_DELAY_SHARE * p99)
    numbers: dict[str, float | None] = {
        "client_cpu_share": client.get("cpu_share"),
        "host_cpu_share": client.get("host_cpu_share"),
        "loop_lag_p99_s": client.get("loop_lag_p99_s"),
        "schedule_delay_p99_s": client.get("schedule_delay_p99_s"),
        "delay_allowed_s": allowed,
    }
    bad = (
        (numbers["client_cpu_share"] or 0.0) > MAX_CLIENT_CPU
        or (numbers["host_cpu_share"] or 0.0) > MAX_HOST_CPU
        or (numbers["loop_lag_p99_s"] or 0.0) > allowed
        or (numbers["schedule_delay_p99_s"] or 0.0) > allowed
    )
    return bad, numbers


GATE: Final = Gate(
    name="client_bound",
    rank=60,
    sentence="The load client or its host could have coloured the latencies. All delays are wall seconds.",
    threshold=f"the client used over {MAX_CLIENT_CPU:.0%} of a core, its host was over {MAX_HOST_CPU:.0%} "
    f"busy, or its delays took over {MAX_DELAY_SHARE:.0%} of the P99 TTFT and over "
    f"{1000 * MAX_DELAY_FLOOR_S:g} ms",
    machine=True,
    own=True,
    public=False,
    ask=lambda asked: client_bound(asked.trace),
)
