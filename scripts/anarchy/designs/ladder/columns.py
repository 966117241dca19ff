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
from anarchy.estimate.frames import bounded, counts, flags, numbers, table, texts

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

ARRIVALS: Final = table(
    "a prefill step of the first rounds of two cells: the one whose arrivals_dispersion is largest, and the "
    "nearest C whose users did not march in step; of the first launch",
    texts(workload="name of the workload"),
    counts("users", concurrency="C"),
    counts(launch="number of the launch, from 1"),
    numbers(arrivals_dispersion="of the whole cell, as in the table cells"),
    flags(in_step="whether its users marched in step, as in the table cells"),
    numbers("s", t="start of the bin, from the first sending of the measure phase", seconds="its width"),
    counts("requests", n_sent="requests sent in the bin"),
    numbers(
        "s",
        ttft_mean="mean time to first token of those that ended well; null with none",
        ttft_max="the longest",
    ),
)

TABLES: Final = {"cells": CELLS, "curves": LADDER_CURVES, "arrivals": ARRIVALS, "attempts": ATTEMPTS}
"""By the stems of their files."""
