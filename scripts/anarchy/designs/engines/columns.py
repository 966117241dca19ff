"""Tables of a system measured on a live stack and on a virtual clock."""

from __future__ import annotations

from typing import Final

from anarchy.config.objectives import RATES
from anarchy.designs.engines.agreement import COMPARED
from anarchy.estimate.columns import ATTEMPTS, JUDGED, STEP, SYSTEM, USERS, WORKLOAD
from anarchy.estimate.frames import bounded, counts, flags, numbers, table, texts

_EFFORT: Final = (
    *counts(n_launches="launches that count"),
    *texts(interval_kind="across-launches (3 or more) or within-run"),
)

SIDES: Final = table(
    "a workload, set of policies and concurrency, launches pooled",
    SYSTEM,
    WORKLOAD,
    texts(
        routing_set="live or virtual",
        engine_name="name of the engine, from the manifests: mocker, vllm, virtual; empty without a cell",
    ),
    counts("users", concurrency="C"),
    _EFFORT,
    counts(n_requests="requests measured", n_windows="windows of the routing game"),
    numbers("windows", block_length="mean length of the bootstrap's blocks"),
    USERS,
    bounded(
        "requests", window_range="largest decode worker less smallest as a window begins, mean over windows"
    ),
    bounded(
        "1/s",
        within_ttft="requests within the TTFT objective; null without objectives, as the next two",
        within_itl="requests within the ITL objective",
        goodput="requests within both",
    ),
    STEP,
    JUDGED,
)

DIFFERENCES: Final = table(
    "a workload, concurrency and quantity: the virtual clock's number against the live stack's",
    SYSTEM,
    WORKLOAD,
    texts(live_engine="name of the live engine", virtual_engine="name of the virtual one"),
    counts("users", concurrency="C"),
    texts(quantity=", ".join((*COMPARED, *RATES))),
    numbers(
        live="the live number, s or 1/s or requests or none, as the table sides", virtual="the virtual one"
    ),
    bounded(difference="virtual over live, less 1"),
    numbers(tolerance="what it may be, either way; of window_range the larger of a share and some requests"),
    flags(within="whether it is no larger; null where nothing is compared"),
    _EFFORT,
    flags(valid="whether it is compared"),
    texts(reasons="why not"),
)

TABLES: Final = {"sides": SIDES, "differences": DIFFERENCES, "attempts": ATTEMPTS}
"""By the stems of their files."""
