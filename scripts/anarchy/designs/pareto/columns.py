"""Tables of a system measured at named loads under pairs of tau and omega."""

from __future__ import annotations

from typing import Final

from anarchy.estimate.columns import (
    ATTEMPTS,
    CURVES,
    ESTIMATES,
    JUDGED,
    LAUNCHES,
    POLICY,
    SYSTEM,
    WORKLOAD,
)
from anarchy.estimate.frames import bounded, counts, flags, numbers, table, texts

_LOAD: Final = (
    *texts(load="name of the load"),
    *numbers(knee_times="C over the system's knee"),
    *counts("users", concurrency="C"),
)

PAIRS: Final = table(
    "a workload, set of policies, load, policy and repeat",
    SYSTEM,
    WORKLOAD,
    POLICY,
    _LOAD,
    counts(repeat="from 1; only the reference policy has more"),
    ESTIMATES,
    flags(
        front="repeat 1 only: no other policy of its set at this load has less TTFT P99, more throughput and "
        "less PoA-hat"
    ),
    numbers(front_share="share of the bootstrap replicates in which it is on the front"),
)

SPREAD: Final = table(
    "a workload, set of policies, load, factor and quantity",
    SYSTEM,
    WORKLOAD,
    texts(routing_set="name of the set of policies", way="builtin or pinned"),
    _LOAD,
    texts(
        factor="pair: every policy of the set; tau, omega: the levels of one, the other averaged out",
        quantity="poa_hat, poa_cal, ttft_p50, ttft_p99, itl_mean, throughput_rps or load_range",
    ),
    counts(
        n_levels="levels of the factor",
        n_launches="launches that count",
        n_repeats="repeats of the reference policy",
        left_out="policies without a valid cell",
    ),
    numbers(
        mean="geometric mean over levels",
        lowest="smallest level",
        highest="largest level",
        half_spread="(highest - lowest) / 2, in units of the quantity: the paper's +-",
        cv="coefficient of variation over levels",
        cv_noise="that of the noise that a level carries",
    ),
    texts(noise="what the noise is: repeats, pair-by-launch, or empty (unknown: counted as 0 in the bound)"),
    numbers(f="F statistic of no difference between levels"),
    counts(df="degrees of freedom of the levels", df_noise="of the noise"),
    numbers(p_value="one-sided p-value"),
    flags(effect="whether it is below 0.05"),
    numbers(
        cv_effect="estimate of the CV between levels with the noise taken out, at least 0",
        cv_bound="its one-sided 95 % upper bound: no effect means none larger than this",
    ),
    texts(against_load="the variance ratio's denominator: the load of the least C; empty in its own row"),
    bounded(
        variance_ratio="variance over that at against_load, of the quantity itself (F interval)",
        variance_ratio_log="of its logarithm, free of its level",
    ),
    JUDGED,
)

TABLES: Final = {
    "pairs": PAIRS,
    "launches": LAUNCHES,
    "spread": SPREAD,
    "curves": CURVES,
    "attempts": ATTEMPTS,
}
"""By the stems of their files."""
