"""The published values that the figure shows, from data/paper: plateau, deep saturation, knee."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from anarchy.ground.bounded_yaml import load_yaml
from anarchy.ground.layout import PROJECT

FILE: Final = PROJECT / "data" / "paper" / "claims.yaml"
KNEE, PLATEAU, DEEP = "C2", "C3", "C7"
"""The claims that the values are of."""

Ends = tuple[float, float]


@dataclass(frozen=True)
class Published:
    """What the paper says of PoA-hat over C: ranges, and the plateau of one system where it gives that."""

    plateau: Ends
    deep: Ends
    knee: Ends
    """C."""
    own: float | None


def published(model: str, topology: str) -> Published:
    """The values for a system."""
    claims = _claims()
    own = [
        float(entry["value"])
        for entry in claims[PLATEAU].get("systems", ())
        if (entry["model"], entry["topology"]) == (model, topology)
    ]
    plateau, deep, knee = (
        (float(claims[one]["lo"]), float(claims[one]["hi"])) for one in (PLATEAU, DEEP, KNEE)
    )
    return Published(plateau, deep, knee, own[0] if own else None)


@cache
def _claims() -> Mapping[str, Any]:
    """What is published, by claim."""
    found = load_yaml(FILE, missing="restore it: git checkout -- data/paper")
    return {claim["id"]: claim["published"] for claim in found["claims"]}
