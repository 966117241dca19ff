"""Tables of a pool of caches: what was found in them, the games, and affinity against balance."""

from __future__ import annotations

from typing import Final

from anarchy.estimate.columns import ATTEMPTS, JUDGED, POLICY, SYSTEM, WORKLOAD
from anarchy.estimate.frames import bounded, counts, flags, numbers, table, texts

_SET: Final = (
    *counts("templates", templates="size of the working set"),
    *numbers(
        working_set="that size over what all prefill workers hold together; null where nobody knows",
        skew="Zipf exponent of the templates' popularity",
    ),
)
_C: Final = counts("users", concurrency="C")
_EFFORT: Final = (
    *counts(n_launches="launches that count"),
    *texts(
        interval_kind="across-launches: a number a launch, Student's interval; null with fewer than 3 "
        "launches, which give none"
    ),
)

CELLS: Final = table(
    "a working set, concurrency and policy, launches pooled",
    SYSTEM,
    WORKLOAD,
    POLICY,
    _SET,
    _C,
    _EFFORT,
    counts(n_requests="requests measured"),
    bounded(
        hit_share="prompt tokens found in the prefill worker's cache, of those that can be",
        copies="prefill workers that hits prove to hold a template, mean over the time that one is proven "
        "to: at each moment a lower bound; without an interval where a launch proves none",
        price="mean prefill time of a request over that with the best placement",
    ),
    bounded(
        "s",
        cost="mean prefill time of a request's new tokens alone, by the timing table; null without one",
        ttft_mean="mean time to first token",
        ttft_p50="median time to first token",
        ttft_p99="99 % quantile of the time to first token",
    ),
    bounded("1/s", throughput_rps="requests completed a second"),
    JUDGED,
)

DUELS: Final = table(
    "a working set and concurrency: the policy that looks for caches against the one that does not",
    SYSTEM,
    WORKLOAD,
    _SET,
    _C,
    texts(affinity="policy that looks for caches", balance="policy that does not"),
    counts(n_launches="launches that count in both"),
    texts(interval_kind="across-launches; null with fewer than 3 launches, which give no interval"),
    bounded(
        ttft="mean time to first token under balance over that under affinity",
        throughput="throughput under affinity over that under balance",
        hits="hit share under affinity less that under balance",
    ),
    texts(winner="affinity or balance where the interval of ttft lies off 1; else empty"),
    JUDGED,
)

GAMES: Final = table(
    "a working set: the game that it makes of the pool, without any measurement",
    SYSTEM,
    WORKLOAD,
    _SET,
    counts("templates", room="templates that one prefill worker holds"),
    numbers(
        best_hit_share="hit share of the best placement: exact",
        lru_hit_share="of one cache that keeps what was asked for last and sees every template (Che)",
        pooled_hit_share="of one such cache as large as all together",
        price_low="price of anarchy of the cache game: at least this (an equilibrium)",
        price_high="at most this (a bound)",
        fullest="cost on the fullest worker over an even share, with a home for each template",
        least_fullest="the least that any homes can have",
        affinity_over_balance="cost on the fullest worker with homes over that with balance and caches alike",
    ),
    flags(
        price_exact="whether the price of anarchy was enumerated",
        least_exact="whether the least was enumerated; else a lower bound",
    ),
)

LINE: Final = table(
    "a size of the working set, by the model of homes",
    SYSTEM,
    counts("templates", templates="size of the working set"),
    numbers(
        working_set="that size over what all prefill workers hold together",
        skew="Zipf exponent above which balance is better; null where affinity is at every skew",
    ),
)

REGIMES: Final = table(
    "a skew, concurrency and policy: the price below capacity, and the step at it",
    SYSTEM,
    WORKLOAD,
    POLICY,
    _C,
    counts(n_launches="launches that count at each size"),
    texts(interval_kind="across-launches; null with fewer than 3 launches, which give no interval"),
    numbers(
        smallest="the smallest working set, as a share of the pool's capacity",
        below="the largest below capacity",
        above="the smallest at or above it",
    ),
    bounded(
        before="price at `below` over that at `smallest`",
        step="price at `above` over that at `below`",
    ),
    JUDGED,
)

TABLES: Final = {
    "cells": CELLS,
    "duels": DUELS,
    "games": GAMES,
    "line": LINE,
    "regimes": REGIMES,
    "attempts": ATTEMPTS,
}
"""By the stems of their files."""
