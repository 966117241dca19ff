"""The validity gates of a cell: pure functions with documented thresholds.

A cell that fails one is kept and shown with the gate's name, and never counted. Gates that speak of the
machine (``MACHINE_GATES``) allow another attempt; a gate that speaks of the measured values does not,
because trying again until a value pleases would bias it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import numpy as np

from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import GateResult

MACHINE_GATES: Final = frozenset({"errors", "zero_tokens", "worker_silent", "client_bound", "short"})

MAX_ERROR_SHARE: Final = 0.005
"""`errors`: more than this share of the requests of the measure phase did not end ok."""
SILENT_AFTER_PER_WORKER: Final = 30
"""`worker_silent`: a worker had no request although the cell sent this many for each worker of its pool."""
MAX_CLIENT_CPU: Final = 0.85
"""`client_bound`: the client used more than this share of one core while measuring."""
MAX_HOST_CPU: Final = 0.95
"""`client_bound`: the host was busier than this on average while measuring (engines on the same host)."""
MAX_DELAY_SHARE: Final = 0.10
"""`client_bound`: the client's own delay (P99 of event-loop lag, P99 of send after intent) as a share of
the cell's P99 TTFT ..."""
MAX_DELAY_FLOOR_S: Final = 0.005
"""... but delays below this many wall seconds are never blamed."""
MIN_WINDOWS: Final = 2
"""`short`: fewer windows of the routing game than this were measured ..."""
MIN_MEASURE_SHARE: Final = 0.95
"""... or the measure phase was shorter than this share of the plan."""
MAX_DRIFT: Final = 1.5
"""`not_steady`: mean TTFT of one half of the measure phase over the other ..."""
DRIFT_MIN_REQUESTS: Final = 60
"""... asked only of cells with at least this many measured requests."""


def evaluate(trace: CellTrace, planned_measure_s: float) -> GateResult:
    """Every gate on one cell; ``planned_measure_s`` in model seconds."""
    manifest = trace.manifest
    failed: list[str] = []
    measures: dict[str, float | None] = {}
    for name, (bad, numbers) in {
        "errors": errors(trace),
        "zero_tokens": zero_tokens(trace),
        "worker_silent": worker_silent(trace),
        "client_bound": client_bound(trace),
        "short": short(trace, planned_measure_s),
        "not_steady": not_steady(trace),
        "override_inert": override_inert(manifest.routing_test),
    }.items():
        measures.update(numbers)
        if bad:
            failed.append(name)
    return GateResult(valid=not failed, reasons=tuple(failed), measures=measures)


def evaluate_public(trace: CellTrace, pool: Role) -> GateResult:
    """The gates that a trace alone can answer, for one whose maker has not judged it.

    What only the client or the plan knows (`client_bound`, `override_inert`, the plan's length) is not asked.
    """
    windows = int(np.count_nonzero(trace.measured)) // getattr(trace.manifest.n_workers, pool)
    asked: dict[str, Gate] = {
        "errors": errors(trace),
        "zero_tokens": zero_tokens(trace),
        "worker_silent": worker_silent(trace, (pool,)),
        "short": (windows < MIN_WINDOWS, {"windows": float(windows)}),
        "not_steady": not_steady(trace),
    }
    measures: dict[str, float | None] = {}
    for _, numbers in asked.values():
        measures.update(numbers)
    failed = tuple(name for name, (bad, _) in asked.items() if bad)
    return GateResult(valid=not failed, reasons=failed, measures=measures)


Role = Literal["prefill", "decode"]
Gate = tuple[bool, dict[str, float | None]]


def errors(trace: CellTrace) -> Gate:
    """Too many requests of the measure phase did not end ok, or ended ok outside their pools.

    A frontend that has lost its prefill workers answers all the same, from a decode worker: not an error to
    the client, but not a disaggregated request either.
    """
    measuring = trace.equals("phase", "measure")
    bad = ~trace.equals("status", "ok")
    if trace.manifest.workers:
        bad = bad | (trace.column("prefill_worker") < 0) | (trace.column("decode_worker") < 0)
    share = float(np.mean(bad[measuring])) if measuring.any() else 0.0
    return share > MAX_ERROR_SHARE, {"error_share": share}


def zero_tokens(trace: CellTrace) -> Gate:
    """A request ended without a token, or nothing at all was measured: success with nothing behind it."""
    measuring = trace.equals("phase", "measure")
    empty = trace.equals("status", "zero_tokens") | (
        trace.equals("status", "ok") & (trace.column("output_tokens") == 0)
    )
    count = int(np.count_nonzero(empty & measuring))
    return count > 0 or not trace.measured.any(), {"zero_token_requests": float(count)}


def worker_silent(trace: CellTrace, roles: Collection[Role] = ("prefill", "decode")) -> Gate:
    """A worker of these pools took no request of the cell although there were plenty."""
    fewest: list[int] = []
    silent = False
    ok = trace.equals("status", "ok")
    for role in roles:
        size: int = getattr(trace.manifest.n_workers, role)
        workers = trace.column(f"{role}_worker")[ok]
        counts = np.bincount(workers[workers >= 0], minlength=size)
        fewest.append(int(counts.min()))
        silent |= bool(counts.min() == 0 and ok.sum() >= SILENT_AFTER_PER_WORKER * size)
    return silent, {"fewest_requests_of_a_worker": float(min(fewest))}


def client_bound(trace: CellTrace) -> Gate:
    """The load client or its host could have coloured the latencies. All delays are wall seconds."""
    client: Mapping[str, Any] = trace.manifest.client
    ttft = trace.ttft * trace.manifest.dilation
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


def short(trace: CellTrace, planned_measure_s: float) -> Gate:
    """Too little was measured to speak of a cell at all."""
    windows = int(np.count_nonzero(trace.measured)) // trace.manifest.n_workers.decode
    measured_s = trace.manifest.client.get("measure_s")
    cut = measured_s is not None and measured_s < MIN_MEASURE_SHARE * planned_measure_s
    return windows < MIN_WINDOWS or cut, {"windows": float(windows), "measure_s": measured_s}


def not_steady(trace: CellTrace) -> Gate:
    """The latency drifted while measuring: the first and the second half disagree."""
    ttft = trace.ttft
    if len(ttft) < DRIFT_MIN_REQUESTS:
        return False, {"drift": None}
    half = len(ttft) // 2
    first, second = float(np.mean(ttft[:half])), float(np.mean(ttft[half:]))
    drift = max(first, second) / max(min(first, second), 1e-9)
    return drift > MAX_DRIFT, {"drift": drift}


def override_inert(routing_test: Mapping[str, Any]) -> Gate:
    """The deployment could not prove that its routing policy takes effect.

    A trace without any proof (somebody else's) does not fail; a proof that failed does.
    """
    proven = routing_test.get("ok")
    return proven is not None and not proven, {"routing_p_value": routing_test.get("p_value")}
