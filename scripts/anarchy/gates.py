"""The validity gates of a cell: pure functions with documented thresholds.

A cell that fails one is kept and shown with the gate's name, and never counted. Gates that speak of the
machine (``MACHINE_GATES``) allow another attempt; a gate that speaks of the measured values does not,
because trying again until a value pleases would bias it.

A staged cell is asked as one cell, so it counts whole or not at all, and by stages where a stage is what is
estimated: `errors`, `in_flight`, `client_bound`, `short` and `warm_cache` fail when one of its stages fails,
and their numbers are those of the worst. `not_steady` is measured in each stage and never fails it (drift
inside a stage is what a controller that switches, or a queue that grows, looks like); `worker_silent` is
asked over the whole cell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from anarchy.trace.control_log import LOG_FILE, clock_offset, read_log
from anarchy.trace.in_flight import contradiction, unended
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import GateResult

MACHINE_GATES: Final = frozenset(
    {
        "errors",
        "zero_tokens",
        "in_flight",
        "worker_silent",
        "client_bound",
        "short",
        "warm_cache",
        "controller_blind",
    }
)

MAX_ERROR_SHARE: Final = 0.005
"""`errors`: more than this share of the requests of the measure phase did not end ok; `lost_records`: so
many records of an imported trace could not be read."""
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
MAX_WARM_SHARE: Final = 0.01
"""`warm_cache`: more than this share of the measured prompts of their own were found in a cache."""
MAX_BLIND_SHARE: Final = 0.25
"""`controller_blind`: more than this share of the controller's polls due inside the stages saw no P99."""
MAX_DRIFT: Final = 1.5
"""`not_steady`: mean TTFT of one half of the measure phase over the other ..."""
DRIFT_MIN_REQUESTS: Final = 60
"""... asked only of cells with at least this many measured requests."""


def evaluate(trace: CellTrace, planned_measure_s: float) -> GateResult:
    """Every gate on one cell; ``planned_measure_s`` in model seconds, over all stages of a staged cell."""
    manifest = trace.manifest
    failed: list[str] = []
    measures: dict[str, float | None] = {}
    for name, (bad, numbers) in {
        "errors": errors(trace),
        "zero_tokens": zero_tokens(trace),
        "in_flight": in_flight(trace),
        "worker_silent": worker_silent(trace),
        "client_bound": client_bound(trace),
        "short": short(trace, planned_measure_s),
        "warm_cache": warm_cache(trace),
        "controller_blind": controller_blind(trace),
        "not_steady": not_steady(trace),
        "override_inert": override_inert(manifest.routing_test),
    }.items():
        measures.update(numbers)
        if bad:
            failed.append(name)
    return GateResult(valid=not failed, reasons=tuple(failed), measures=measures)


def evaluate_public(trace: CellTrace, pool: Role) -> GateResult:
    """The gates that a trace alone can answer, for one whose maker has not judged it.

    What only the client or the plan knows (`client_bound`, `override_inert`, the plan's length) is not asked,
    nor is `warm_cache`: elsewhere prompts of their own may well share a beginning.
    """
    windows = _fewest_windows(trace, getattr(trace.manifest.n_workers, pool))
    asked: dict[str, Gate] = {
        "errors": errors(trace),
        "zero_tokens": zero_tokens(trace),
        "in_flight": in_flight(trace),
        "lost_records": lost_records(trace),
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
    bad = ~trace.equals("status", "ok")
    if trace.manifest.workers:
        bad = bad | (trace.column("prefill_worker") < 0) | (trace.column("decode_worker") < 0)
    parts = measured_parts(trace).values()
    share = max(float(np.mean(bad[rows])) if rows.any() else 0.0 for rows in parts)
    return share > MAX_ERROR_SHARE, {"error_share": share}


def zero_tokens(trace: CellTrace) -> Gate:
    """A request ended without a token, or nothing at all was measured: success with nothing behind it."""
    measuring = trace.equals("phase", "measure")
    empty = trace.equals("status", "zero_tokens") | (
        trace.equals("status", "ok") & (trace.column("output_tokens") == 0)
    )
    count = int(np.count_nonzero(empty & measuring))
    return count > 0 or not trace.measured.any(), {"zero_token_requests": float(count)}


def in_flight(trace: CellTrace) -> Gate:
    """The requests in flight contradict the concurrency (`trace/in_flight.py` has the thresholds)."""
    bad, numbers = contradiction(trace)
    return bad, {**numbers, "unended_requests": float(unended(trace))}


def lost_records(trace: CellTrace) -> Gate:
    """More records of the source could not be read than may be missing; as its import counted them."""
    lost = trace.manifest.source.get("lost_records", 0)
    lost = lost if type(lost) is int and lost > 0 else 0
    share = lost / (trace.table.num_rows + lost) if lost else 0.0
    return share > MAX_ERROR_SHARE, {"lost_record_share": share}


def worker_silent(trace: CellTrace, roles: Collection[Role] = ("prefill", "decode")) -> Gate:
    """A worker of these pools took no request of the cell although there were plenty.

    Not a fault where the client pinned every request: then nobody chose that worker, which is the policy's
    doing, and one that was chosen and did not answer is an error.
    """
    fewest: list[int] = []
    silent = False
    ok = trace.equals("status", "ok")
    for role in roles:
        size: int = getattr(trace.manifest.n_workers, role)
        workers = trace.column(f"{role}_worker")[ok]
        counts = np.bincount(workers[workers >= 0], minlength=size)
        fewest.append(int(counts.min()))
        silent |= bool(counts.min() == 0 and ok.sum() >= SILENT_AFTER_PER_WORKER * size)
    bad = silent and trace.manifest.way != "pinned"
    return bad, {"fewest_requests_of_a_worker": float(min(fewest))}


def client_bound(trace: CellTrace) -> Gate:
    """The load client or its host could have coloured the latencies. All delays are wall seconds."""
    client: Mapping[str, Any] = trace.manifest.client
    told: Mapping[str, Any] = client.get("stages", {})
    ttft = _ttft(trace) * trace.manifest.dilation
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


def _client_bound(client: Mapping[str, Any], ttft: npt.NDArray[np.float64]) -> Gate:
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


def short(trace: CellTrace, planned_measure_s: float) -> Gate:
    """Too little was measured to speak of a cell, or of one of its stages, at all."""
    windows = _fewest_windows(trace, trace.manifest.n_workers.decode)
    measured_s = trace.manifest.client.get("measure_s")
    cut = measured_s is not None and measured_s < MIN_MEASURE_SHARE * planned_measure_s
    return windows < MIN_WINDOWS or cut, {"windows": float(windows), "measure_s": measured_s}


def _fewest_windows(trace: CellTrace, pool_size: int) -> int:
    """Windows of the routing game that were measured, in the stage that has the fewest."""
    parts = measured_parts(trace).values()
    return min(int(np.count_nonzero(trace.measured & rows)) for rows in parts) // pool_size


def warm_cache(trace: CellTrace) -> Gate:
    """Prompts of their own were found in a cache: they had been sent before, and prefill was skipped."""
    own = trace.measured & (trace.column("template") == -1)
    warm = own & (trace.column("cached_tokens") > 0)
    parts = [rows & own for rows in measured_parts(trace).values()]
    share = max((float(np.mean(warm[rows])) for rows in parts if rows.any()), default=None)
    return share is not None and share > MAX_WARM_SHARE, {"warm_prompt_share": share}


def controller_blind(trace: CellTrace) -> Gate:
    """The controller that sets the router could not see what it should judge, as its log tells.

    Its thresholds are relative and were not known when the first stage was over, or too many of its polls
    inside the stages are `missing` or were skipped, or there are none. Asked where there is such a log; a
    constant cell is one stage.
    """
    path = trace.directory / LOG_FILE
    if not path.exists():
        return False, {}
    numbers: dict[str, float | None] = {"controller_baseline_s": None, "controller_missing_share": None}
    spans = _spans(trace)
    log = read_log(path)
    start = next(iter(log.of("start")), None)
    if start is None or not spans:
        return start is None, numbers
    offset = clock_offset(start, trace)
    known = next((float(record["t"]) + offset for record in log.of("baseline")), None)
    polls = [
        poll
        for poll in log.of("poll")
        if any(first <= poll["window"][1] + offset < last for first, last in spans)
    ]
    # A poll that waits for a page longer than a period costs the polls after it: they saw nothing either.
    skipped = sum(poll.get("skipped", 0) for poll in polls)
    missing = sum(poll["verdict"] == "missing" for poll in polls) + skipped
    share = missing / (len(polls) + skipped) if polls else None
    late = "multiples" in start["detector"] and (known is None or known >= spans[0][1])
    numbers = {"controller_baseline_s": known, "controller_missing_share": share}
    return late or share is None or share > MAX_BLIND_SHARE, numbers


def _spans(trace: CellTrace) -> list[tuple[float, float]]:
    """Begin and end of each stage, its settling with it; of what a constant cell measured. Model s."""
    if trace.manifest.stages:
        return [(stage.start_s, stage.end_s) for stage in trace.manifest.stages]
    sent = trace.column("t_sent")[trace.equals("phase", "measure")]
    return [(float(sent.min()), float(sent.max()))] if sent.size else []


def not_steady(trace: CellTrace) -> Gate:
    """The latency drifted while measuring: the first and the second half disagree.

    In a staged cell the drift is that of the stage that drifted most, and no fault.
    """
    ttft = _ttft(trace)
    known = [_drift(ttft[rows & trace.measured]) for rows in measured_parts(trace).values()]
    drift = max((each for each in known if each is not None), default=None)
    bad = drift is not None and drift > MAX_DRIFT and not trace.manifest.stages
    return bad, {"drift": drift}


def _drift(ttft: npt.NDArray[np.float64]) -> float | None:
    """Mean of one half over that of the other, the larger over the smaller; None where there are too few."""
    if len(ttft) < DRIFT_MIN_REQUESTS:
        return None
    half = len(ttft) // 2
    first, second = float(np.mean(ttft[:half])), float(np.mean(ttft[half:]))
    return max(first, second) / max(min(first, second), 1e-9)


def _ttft(trace: CellTrace) -> npt.NDArray[np.float64]:
    """Time to first token from intent of every row, model s, shape (rows,)."""
    ttft: npt.NDArray[np.float64] = trace.column("t_first_token") - trace.column("t_intended")
    return ttft


def measured_parts(trace: CellTrace) -> dict[str, npt.NDArray[np.bool_]]:
    """Requests of phase measure by stage, each shape (rows,); a constant cell is one part without a name."""
    measuring = trace.equals("phase", "measure")
    if not trace.manifest.stages:
        return {"": measuring}
    sent = trace.column("t_sent")
    return {
        stage.name: measuring & (sent >= stage.settled_s) & (sent < stage.end_s)
        for stage in trace.manifest.stages
    }


def override_inert(routing_test: Mapping[str, Any]) -> Gate:
    """The deployment could not prove that its routing policy takes effect.

    A trace without any proof (somebody else's) does not fail; a proof that failed does.
    """
    proven = routing_test.get("ok")
    return proven is not None and not proven, {"routing_p_value": routing_test.get("p_value")}
