"""The published values that the figure shows, from data/paper: plateau, deep saturation, knee."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    growth: Ends | None
    """Of PoA-hat from the plateau to deep saturation, of a system that it follows for."""


def published(model: str, topology: str) -> Published:
    """The values for a system."""
    claims = _claims()

    def of_this(entries: Iterable[Any]) -> list[Any]:
        return [one for one in entries if (one["model"], one["topology"]) == (model, topology)]

    own = of_this(claims[PLATEAU]["published"].get("systems", ()))
    plateau, deep, knee = (_ends(claims[one]["published"]) for one in (PLATEAU, DEEP, KNEE))
    grown = claims[DEEP]["scale_free"]
    return Published(
        *(plateau, deep, knee),
        own=float(own[0]["value"]) if own else None,
        growth=_ends(grown) if of_this(grown["systems"]) else None,
    )


def _ends(range_: Mapping[str, Any]) -> Ends:
    return float(range_["lo"]), float(range_["hi"])


@cache
def _claims() -> Mapping[str, Any]:
    """Every claim, by its name."""
    found = load_yaml(FILE, missing="restore it: git checkout -- data/paper")
    return {claim["id"]: claim for claim in found["claims"]}
