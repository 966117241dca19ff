"""E1: constant cells over a grid of C."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="ladder",
    id="E1",
    title="PoA-hat over concurrency",
    question="How does PoA-hat change with the number of users, and where does it leave its plateau?",
    notebook="equilibrium",
    main="cells",
    figures={
        "poa": (
            "PoA-hat against concurrency, both logarithmic. Shading names the regimes; the vertical line is "
            "the knee with its interval, the ring the first measured point at or after it. The plateau's "
            "line is the geometric mean of its cells, each weighing the same."
        ),
        "depth": (
            "The knee by the depth of the grid: the same cells, fitted up to each C. Where the points rise "
            "or fall by more than their intervals, the knee hangs on how deep one looks; a cross is a depth "
            "at which there is none."
        ),
        "decomposition": (
            "PoA-hat as a product: bars stacked on a logarithmic axis multiply up to it. Routing alone is "
            "PoA-cal; freezing is congestion the index leaves out of its optimum; dynamics is measured "
            "latency over what the fitted curve charges, below 1 where a request costs others more than "
            "itself."
        ),
        "costmodel": (
            "The cost model: time to first token against the load on the chosen decode worker, both "
            "logarithmic. l_A prices the frozen optimum of PoA-hat, solid over the loads that it was fitted "
            "to and dashed beyond; l_F prices PoA-cal and the factors. Where the points rise above l_A, "
            "PoA-hat grows by about that gap. Where the points of one C lie flat, latency followed the "
            "concurrency, not the load of the worker chosen."
        ),
        "performance": ("Time to first token, inter-token latency and throughput against concurrency."),
        "step": (
            "Whether users march in step: requests sent in each prefill step over a few rounds, and below "
            "them their time to first token, of the cell whose arrivals vary most and of the nearest C whose "
            "users keep apart. The number is the variance of these counts over their mean in the whole cell: "
            "1 by chance, about g where requests come in groups of g, near C where all users are in step."
        ),
    },
    shows={"costmodel": "curves", "step": "arrivals"},
    tables={"": "Cells"},
    sort_keys={"cells": ("workload", "concurrency")},
)
