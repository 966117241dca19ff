"""E4: constant cells at named loads over a grid of (tau, omega)."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="pareto",
    id="E4",
    title="what tau and omega change",
    question="Do tau and omega change PoA-hat or throughput, below the knee and past it?",
    key="spread",
    notebook="pareto",
    main="pairs",
    figures={
        "pairs": (
            "PoA-hat of every pair (tau, omega). The grey band reaches over repeats of one and the same "
            "pair: differences inside it are noise."
        ),
        "spread": (
            "Coefficient of variation over the pairs, beside that of the noise and the bound that the true "
            "variation between pairs is below with 95 % confidence; hollow markers where no difference was "
            "seen; a line that leaves the panel goes on. Right: the variance at the highest load over that "
            "at the lowest, and the paper's 37 to 58."
        ),
        "front": (
            "TTFT P99 against throughput, coloured by PoA-hat; ringed pairs are on the Pareto front: no "
            "other pair is better in one of the three and as good in the others. With wide intervals the "
            "front is chance: the table gives the share of bootstrap replicates in which a pair is on it."
        ),
    },
    shows={"spread": "spread"},
    tables={"": "Pairs of tau and omega", "spread": "Spread over the pairs"},
)
