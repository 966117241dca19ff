"""How to read each figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SERIES_STAGES = (
    "Second by second, a column a way to route: the offered load, TTFT P99 of the requests sent in that "
    "second, throughput, the largest less the smallest decode worker in requests in flight, and the regime "
    "that the adaptive policy was in. Lines are medians over launches, areas reach over all launches. The "
    "first seconds of each stage settle and are in no estimate."
)

READING: Final[Mapping[str, Mapping[str, str]]] = {
    "ladder": {
        "poa": "PoA-hat against concurrency, both logarithmic. Shading names the regimes; the vertical line "
        "is the knee with its interval, the ring the first measured point at or after it. The plateau's line "
        "is the geometric mean of its cells, each weighing the same.",
        "performance": "Time to first token, inter-token latency and throughput against concurrency.",
        "decomposition": "PoA-hat as a product: bars stacked on a logarithmic axis multiply up to it. "
        "Routing alone is PoA-cal; freezing is congestion the index leaves out of its optimum; dynamics is "
        "measured latency over what the fitted curve charges, below 1 where a request costs others more than "
        "itself.",
        "costmodel": "The cost model: time to first token against the load on the chosen decode worker, both "
        "logarithmic. l_A prices the frozen optimum of PoA-hat, solid over the loads that it was fitted to "
        "and dashed beyond; l_F prices PoA-cal and the factors. Where the points rise above l_A, PoA-hat "
        "grows by about that gap. Where the points of one C lie flat, latency followed the concurrency, not "
        "the load of the worker chosen.",
    },
    "detection": {
        "series": "What two detectors made of one staged cell. Above: the offered load and the knee. Middle: "
        "TTFT P99 of each second, and of each poll as the client measured it and as the frontends' "
        "histograms tell it (bars: the bucket that it lies in), with each detector's thresholds. Below: the "
        "regime that each told, with the time from crossing the knee to the first switch up.",
        "curvature": "Mean TTFT in C, on the way up and down, and its second divided difference on the way "
        "up: where latency bends upwards the load passes the knee, whatever a detector says. Rising and "
        "falling branches that differ show what a stage leaves to the next.",
    },
    "stages": {
        "series": _SERIES_STAGES,
        "ratios": "The set's reference policy over its adaptive one, a panel a stage: right of 1 adaptive "
        "has less of the quantity, which is worse for throughput and better for the rest. An interval that "
        "holds 1 shows no difference.",
        "policies": "Every policy measured, baselines included, a marker a stage.",
        "balance": "Requests in flight on each decode worker, second by second, first launch: lines apart "
        "are an uneven choice of workers.",
        "decomposition": "PoA-hat of each stage as a product: bars stacked on a logarithmic axis multiply up "
        "to it. Routing alone is PoA-cal: the only part that a better choice of workers can change.",
    },
    "pareto": {
        "pairs": "PoA-hat of every pair (tau, omega). The grey band reaches over repeats of one and the same "
        "pair: differences inside it are noise.",
        "spread": "Coefficient of variation over the pairs, beside that of the noise and the bound that the "
        "true variation between pairs is below with 95 % confidence; hollow markers where no difference was "
        "seen; a line that leaves the panel goes on. Right: the variance at the highest load over that at "
        "the lowest, and the paper's 37 to 58.",
        "front": "TTFT P99 against throughput, coloured by PoA-hat; ringed pairs are on the Pareto front: no "
        "other pair is better in one of the three and as good in the others. With wide intervals the front "
        "is chance: the table gives the share of bootstrap replicates in which a pair is on it.",
    },
}
"""Name of a design -> name of a figure -> what it shows and how to read it."""
