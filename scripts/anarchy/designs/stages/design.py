"""E3: staged cells of several policies, held against each other."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="stages",
    id="E3",
    title="adaptive against static routing",
    question="Does routing that adapts to the load beat routing that stays as it is?",
    key="ratios",
    notebook="adaptive",
    main="stages",
    figures={
        "series": (
            "Second by second, a column a way to route: the offered load, TTFT P99 of the requests sent in "
            "that second, throughput, the largest less the smallest decode worker in requests in flight, and "
            "the regime that the adaptive policy was in. Lines are medians over launches, areas reach over "
            "all launches. The first seconds of each stage settle and are in no estimate."
        ),
        "ratios": (
            "The set's reference policy over its adaptive one, a panel a stage: right of 1 adaptive has less "
            "of the quantity, which is worse for throughput and better for the rest. An interval that holds "
            "1 shows no difference. Grey: the controller had not switched, so that the same policy stands "
            "on both sides and what differs is noise."
        ),
        "policies": ("Every policy measured, baselines included, a marker a stage."),
        "balance": (
            "Requests in flight on each decode worker, second by second, first launch: lines apart are an "
            "uneven choice of workers."
        ),
        "decomposition": (
            "PoA-hat of each stage as a product: bars stacked on a logarithmic axis multiply up to it. "
            "Routing alone is PoA-cal: the only part that a better choice of workers can change."
        ),
    },
    shows={"series": "series", "balance": "series", "ratios": "ratios"},
    tables={"": "Policies and stages", "ratios": "Ratios between policies"},
)
