"""Tables of a system measured over a grid of C."""

from __future__ import annotations

from typing import Final

from anarchy.estimate.columns import (
    ATTEMPTS,
    JUDGED,
    LADDER_CURVES,
    STEP,
    SYSTEM,
    WINDOWS,
    WORKLOAD,
)
from anarchy.estimate.frames import bounded, counts, numbers, table, texts

CELLS: Final = table(
    "a workload and concurrency, launches pooled",
    SYSTEM,
    texts(policy="name of the policy"),
    WORKLOAD,
    counts("users", concurrency="C"),
    counts(
        n_launches="launches that count",
        n_requests="requests measured",
        n_windows="windows of the routing game",
    ),
    bounded(poa_hat="PoA-hat", poa_cal="PoA-cal"),
    numbers(
        dynamics="measured latency over what the fitted curve charges",
        routing="PoA-cal again: what a better choice of workers could change",
        freezing="congestion that the index leaves out of its optimum; the three multiply to PoA-hat",
    ),
    WINDOWS,
    texts(interval_kind="across-launches (3 or more) or within-run"),
    numbers("windows", block_length="mean length of the bootstrap's blocks"),
    numbers("s", ttft_p99="99 % quantile of the time to first token"),
    JUDGED,
    texts(regime="artifact, plateau (C below the knee) or growth"),
    numbers("1/s", throughput_tps="output tokens a second"),
    numbers(error_share="share of the requests that failed"),
    bounded("s", ttft_p50="median time to first token"),
    numbers("s", ttft_p99_lo="ttft_p99: lower end of its 95 % interval"),
    numbers("s", ttft_p99_hi="ttft_p99: upper end of its 95 % interval"),
    bounded("s", itl_mean="mean inter-token latency"),
    bounded("1/s", throughput_rps="requests completed a second"),
    STEP,
)

TABLES: Final = {"cells": CELLS, "curves": LADDER_CURVES, "attempts": ATTEMPTS}
"""By the stems of their files."""
