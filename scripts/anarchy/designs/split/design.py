"""G1: the splits of a budget between prefill and decode, as the paper's game 1."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="split",
    id="G1",
    title="beyond the paper: the split between prefill and decode (game 1)",
    question="Which split of workers between prefill and decode serves most, and what does another cost?",
    key="goodput",
    notebook="split",
    main="splits",
    figures={
        "goodput": (
            "Requests a second within both objectives, for every split of the model's workers and each C; "
            "bars are 95 % intervals. A ring marks a split that is an equilibrium of the shared budget in "
            "most launches, a star the best split; the dotted line is the split of this system."
        ),
        "gains": (
            "What the next worker is worth to each pool, in requests a second within its own objective, at "
            "the deepest C: to prefill, and to decode, which has it otherwise; bars are 95 % intervals. "
            "Where the two lines cross is the variational equilibrium (the paper's Proposition 1)."
        ),
    },
    whole=frozenset({"goodput", "gains"}),
    shows={"goodput": "game", "gains": "game"},
    tables={
        "": "Cells of this split",
        "prices": "Equilibria, best split and prices, and what staying at this split costs",
        "game": "Utilities and equilibria of every split of the budget",
        "moving": "What each split costs that is kept while the load moves",
    },
    sort_keys={
        "splits": ("workload", "concurrency"),
        "game": ("workload", "concurrency", "prefill"),
        "prices": ("workload", "concurrency"),
    },
    budget=True,
)
