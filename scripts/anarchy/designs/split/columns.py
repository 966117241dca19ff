"""Tables of a system that is one split of a budget: its cells, and the game with all other splits."""

from __future__ import annotations

from typing import Final

from anarchy.estimate.columns import ATTEMPTS, JUDGED, SYSTEM, WORKLOAD
from anarchy.estimate.frames import bounded, counts, flags, numbers, table, texts

_KIND: Final = texts(
    interval_kind="across-launches (3 or more) or within-run; prices: across launches alone, else null"
)
_RATES: Final = bounded(
    "1/s",
    within_ttft="requests within the TTFT objective: the prefill pool's utility",
    within_itl="requests within the ITL objective: the decode pool's utility",
    goodput="requests within both: society's utility",
)
_WORKERS: Final = (
    *texts(split="name of the split's topology", split_title="the split, for people"),
    *counts("workers", prefill="prefill workers", decode="decode workers"),
    *flags(here="whether it is the split of this system"),
)

SPLITS: Final = table(
    "a workload and concurrency of this split, launches pooled",
    SYSTEM,
    WORKLOAD,
    counts("users", concurrency="C"),
    counts(n_launches="launches that count", n_requests="requests measured"),
    _KIND,
    bounded("1/s", throughput_rps="requests completed a second"),
    bounded("1/s", backlog_rps="requests a second by which those in flight grew; about 0 in a closed loop"),
    _RATES,
    bounded(
        "s",
        ttft_p50="median time to first token",
        ttft_p99="99 % quantile of the time to first token",
        itl_mean="mean inter-token latency",
    ),
    JUDGED,
)

GAME: Final = table(
    "a workload, concurrency and split of the budget that this run measures",
    SYSTEM,
    WORKLOAD,
    counts("users", concurrency="C"),
    _WORKERS,
    counts(n_launches="launches that count in every split"),
    _KIND,
    _RATES,
    bounded(
        "1/s",
        gain_prefill="what the worker between this split and the next is worth to prefill; null at the last",
        gain_decode="what it is worth to decode, which has it at this split",
    ),
    flags(
        equilibrium="whether no pool would rather hold fewer workers, at the means over launches",
        variational="whether both pools' marginal gains cross here, at the means",
        best="whether it has the largest goodput, at the means",
    ),
    numbers(equilibrium_share="share of the launches in which it is an equilibrium"),
    texts(moves_to="the split that best responses go to from here: the pool that gains more takes a worker"),
    JUDGED,
)

PRICES: Final = table(
    "a workload and concurrency: the game of all splits, launch by launch",
    SYSTEM,
    WORKLOAD,
    counts("users", concurrency="C"),
    counts(
        n_launches="launches that count in every split", n_splits="splits of the budget that were measured"
    ),
    _KIND,
    texts(
        best="the split of the largest goodput",
        equilibria="every split that is an equilibrium",
        variational="every split at which marginal gains cross",
        ends="where best responses end, from this split",
        best_unshared="the best split of the same lengths without shared prefixes; empty with no such mix",
    ),
    bounded("1/s", best_goodput="goodput of the best split"),
    bounded(
        price_of_anarchy="goodput of the best split over that of the worst equilibrium; in each launch of "
        "those that are best, and equilibria, at the means over the other launches",
        price_of_stability="the same over the best equilibrium",
        price_of_variational="the same over the worst variational equilibrium",
        price_here="the same over this split",
        price_unshared="the same over the split that is best without shared prefixes, so of not moving",
    ),
    texts(unbounded="prices that are infinite in a launch: a split serves nothing; their numbers are null"),
    counts(crossings="places at which gains cross, apart by more than the tie and the noise of launches"),
    numbers(
        valley_most="how deep a valley between two places can be at most (95 %), over the largest sum of "
        "both pools' utilities"
    ),
    flags(flat="whether every split serves at least nine tenths of what the best does, at the means"),
    texts(nearest="where no split serves anything: the split that comes nearest to the objectives, and how"),
    JUDGED,
)

MOVING: Final = table(
    "a split that is kept while the load moves",
    SYSTEM,
    _WORKERS,
    counts(n_launches="launches that count in every stage and split", n_stages="stages of the load"),
    _KIND,
    bounded(
        price="goodput of each stage's best split over that of this one, all stages together; the best of a "
        "stage by the other launches"
    ),
    flags(unbounded="whether it is infinite: the split serves nothing in any stage"),
    JUDGED,
)

TABLES: Final = {"splits": SPLITS, "game": GAME, "prices": PRICES, "moving": MOVING, "attempts": ATTEMPTS}
"""By the stems of their files."""
