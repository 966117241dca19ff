"""One verdict a claim: what a reader sees first, of the many that a claim has by workload, router and engine.

The verdict that stands for a claim is that under the workload whose knee is known, by Dynamo's own router, as
the paper's is; where nothing was measured so, all stand for it. Where those that stand do not agree, by
engine or by workload, the claim is left open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from anarchy.claims.model import INCONCLUSIVE, NOT_TESTABLE, OUTCOMES, Outcome
from anarchy.config import KNEE_WORKLOAD
from anarchy.tables import interval, number

Row = Mapping[str, Any]
"""A verdict as claims.json holds it."""

PUBLISHED: Final = "C"
"""What the ids of claims begin with that the paper measured."""
OWN_ROUTER: Final = ("", "builtin")


@dataclass(frozen=True)
class Tile:
    """A claim with the verdict that stands for it."""

    id: str
    sentence: str
    verdict: Outcome
    reason: str
    published: str
    measured: str
    """Values over the systems that count, in a few words; empty where none was measured."""
    engine: str
    others: tuple[str, ...]
    """The verdicts that do not stand for it: under which conditions, and what each is."""


def scoreboard(verdicts: Sequence[Row]) -> list[Tile]:
    """A tile a claim, in the order of the verdicts."""
    return [
        _tile([verdict for verdict in verdicts if verdict["id"] == claim])
        for claim in dict.fromkeys(verdict["id"] for verdict in verdicts)
    ]


def of_paper(tiles: Sequence[Tile]) -> list[Tile]:
    """The claims that the paper measured; the others are a proposition of its own or a question of ours."""
    return [tile for tile in tiles if tile.id.startswith(PUBLISHED)]


def counts(tiles: Sequence[Tile]) -> dict[Outcome, list[str]]:
    """Each outcome -> the claims that have it; every outcome is there."""
    return {outcome: [tile.id for tile in tiles if tile.verdict == outcome] for outcome in OUTCOMES}


def standing(verdicts: Sequence[Row]) -> list[Row]:
    """Of the verdicts on one claim those that stand for it."""
    found = [verdict for verdict in verdicts if verdict["verdict"] != NOT_TESTABLE] or list(verdicts)
    for key, wanted in (("workload", (KNEE_WORKLOAD,)), ("way", OWN_ROUTER)):
        found = [verdict for verdict in found if verdict.get(key, "") in wanted] or found
    return found


def headline(verdicts: Sequence[Row]) -> list[Row]:
    """Of those that stand the ones whose numbers are shown: of one workload and way, one an engine."""
    found = standing(verdicts)
    first = found[0].get("workload"), found[0].get("way")
    return [verdict for verdict in found if (verdict.get("workload"), verdict.get("way")) == first]


def _tile(verdicts: Sequence[Row]) -> Tile:
    chosen = standing(verdicts)
    first = chosen[0]
    agree = all(verdict["verdict"] == first["verdict"] for verdict in chosen)
    differing = "engines" if len({verdict.get("workload") for verdict in chosen}) == 1 else "workloads"
    each = "; ".join(f"{_condition(verdict)}: {verdict['verdict']}" for verdict in chosen)
    rest = [verdict for verdict in verdicts if all(verdict is not one for one in chosen)]
    return Tile(
        id=first["id"],
        sentence=first.get("sentence") or first["claim"],
        verdict=first["verdict"] if agree else INCONCLUSIVE,
        reason=(first["reason"] or "") if agree else f"{differing} do not agree, {each}",
        published=first["published"],
        measured=measured_words(first) if agree or differing == "engines" else "",
        engine=", ".join(dict.fromkeys(verdict["engine"] for verdict in chosen if verdict.get("engine"))),
        others=tuple(f"{_condition(verdict)}: {verdict['verdict']}" for verdict in rest),
    )


def _condition(verdict: Row) -> str:
    """Under which conditions a verdict was reached, in words."""
    way = {"builtin": "Dynamo's router", "pinned": "pinned router"}.get(verdict.get("way") or "", "")
    found = (verdict.get("workload_title"), way, verdict.get("engine"))
    return ", ".join(str(word) for word in found if word) or "nothing measured"


def measured_words(verdict: Row) -> str:
    """Each quantity with its value and interval, or, of several systems, from the lowest to the highest."""
    by_quantity: dict[str, list[Row]] = {}
    for part in verdict.get("parts") or ():
        if part.get("measured") is not None and not part.get("aside"):
            by_quantity.setdefault(part["quantity"], []).append(part)
    words = []
    for quantity, parts in by_quantity.items():
        values = sorted(float(part["measured"]) for part in parts)
        told = (
            interval(values[0], parts[0]["lo"], parts[0]["hi"])
            if len(parts) == 1
            else f"{' to '.join(dict.fromkeys(map(number, (values[0], values[-1]))))} ({len(parts)} systems)"
        )
        words.append(f"{quantity}: {told}")
    return "; ".join(words) or str(verdict.get("measured") or "")
