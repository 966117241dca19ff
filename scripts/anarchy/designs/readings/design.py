"""W2: a grid of C for every workload and policy, under every reading of PoA-hat."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="readings",
    id="W2",
    title="users in step, and readings of PoA-hat",
    question="What do users in step and the reading of PoA-hat do to its level?",
    notebook="why",
    main="cells",
    figures={
        "march": (
            "PoA-hat read as idle, the mean time to first token over that of an idle system, against "
            "concurrency, with 95 % intervals. The bands are published: the level of the plateau, whose C is "
            "not known, and that of deep saturation; grey stands between the two C that the published knee "
            "lies between. Where users march in step each waits for the prefill of all others."
        ),
    },
    whole=frozenset({"march"}),
    published=True,
    shows={"march": "readings"},
    tables={"": "Cells", "ladders": "Plateau, knee, level and growth under every reading"},
    sort_keys={
        "cells": ("workload", "tau", "concurrency"),
        "readings": ("workload", "tau", "reading", "concurrency"),
    },
)
