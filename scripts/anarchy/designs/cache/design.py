"""G2: where prompts are cached and what that costs, as the paper's game 2."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="cache",
    id="G2",
    title="beyond the paper: what prefill workers keep in their KV caches (game 2)",
    question="When does a request find its prompt cached, and when is looking for it worse than balance?",
    key="price",
    notebook="cache",
    main="cells",
    figures={
        "price": (
            "Prefill time of a request over that with the best placement, against the working set as a share "
            "of the pool's KV capacity, for each policy; bars are 95 % intervals. Grey: what the price of "
            "anarchy of the game lies between. Dotted: one worker's capacity, and the pool's."
        ),
        "hits": (
            "Share of the shareable prompt tokens that were found in a cache, against the working set, for "
            "each policy; bars are 95 % intervals. Solid black: the best placement. Dashed: one cache that "
            "keeps what was asked for last and sees every template, as balance gives each worker."
        ),
        "map": (
            "Where affinity has the lower mean time to first token and where balance has, by working set and "
            "skew of popularity; open circles: no difference seen. The number is balance over affinity. The "
            "line is a model's: right of it and below a home of its own for each template would win, above "
            "it the worker of the hottest template would be too full."
        ),
    },
    whole=frozenset({"price", "hits", "map"}),
    shows={"map": "duels"},
    tables={
        "": "Hits, copies, latencies and prices by working set and policy",
        "duels": "Affinity against balance",
        "games": "The game of each working set: best placement, equilibria, models",
        "regimes": "Whether the price changes at capacity",
    },
    sort_keys={
        "cells": ("workload", "concurrency", "templates"),
        "duels": ("workload", "concurrency", "templates"),
        "games": ("workload", "templates"),
    },
)
