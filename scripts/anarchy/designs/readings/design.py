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
        "settings": (
            "Where each setting puts the knee, and PoA-hat at the deepest C over its plateau: a mark a "
            "setting and depth of the grid. Bands are published; where they cross, knee (C2) and growth "
            "(C7 over C3) come out as published, and a filled mark has a stable plateau (C1) besides. "
            "Settings without a knee are not drawn."
        ),
    },
    whole=frozenset({"march", "settings"}),
    published=True,
    shows={"march": "readings", "settings": "depths"},
    tables={
        "": "Cells",
        "ladders": "Plateau, knee, level and growth under every reading",
        "depths": "Knee and growth by setting and by how deep the grid goes",
    },
    sort_keys={
        "cells": ("workload", "routing_set", "tau", "concurrency"),
        "readings": ("workload", "routing_set", "tau", "reading", "concurrency"),
    },
)
