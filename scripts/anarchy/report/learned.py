"""What a run taught, in at most three sentences, each made from verdicts and estimates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from anarchy.claims.model import INCONCLUSIVE, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED
from anarchy.claims.scoreboard import Tile, counts, headline, of_paper
from anarchy.designs.ladder.design import DESIGN as LADDER
from anarchy.designs.stages.design import DESIGN as STAGES
from anarchy.ground.words import interval, number, span
from anarchy.report.findings import answer
from anarchy.tables import System

Verdicts = Sequence[Mapping[str, Any]]

SAID: Final = {
    REPRODUCED: "reproduced",
    NOT_REPRODUCED: "not reproduced",
    INCONCLUSIVE: "left open",
    NOT_TESTABLE: "not tested",
}


def learned(tiles: Sequence[Tile], verdicts: Verdicts, systems: Sequence[System]) -> list[str]:
    """How many claims hold, how PoA-hat rises and how much of it is routing, what adaptive routing did.

    A sentence whose experiment did not run is left out.
    """
    ladders = [system for system in systems if system.design == LADDER.name]
    staged = [system for system in systems if system.design == STAGES.name]
    sentences = [_tally(tiles)] if tiles else []
    if ladders:
        sentences.append(_rise(ladders))
    if staged:
        sentences.append(_adaptive(verdicts, staged))
    return sentences


def _tally(tiles: Sequence[Tile]) -> str:
    """How many claims have which verdict, and which these are."""
    published = of_paper(tiles)
    found = counts(published).items()
    parts = ", ".join(f"{len(ids)} {SAID[outcome]} ({', '.join(ids)})" for outcome, ids in found if ids)
    return f"Of {len(published)} claims of the paper: {parts}."


def _rise(ladders: Sequence[System]) -> str:
    """How far PoA-hat grows over its plateau, and what the worst choice of workers costs."""
    rises = [
        found["rise"]["value"]
        for system in ladders
        for found in system.info["workloads"].values()
        if found.get("rise")
    ]
    routing = [
        float(system.cells.loc[system.cells["valid"].astype(bool), "poa_cal"].max()) for system in ladders
    ]
    told = f", {span(rises)} times its plateau" if rises else ""
    return (
        f"{answer(ladders).rstrip('.')}{told}; the part that routing can change, PoA-cal, is at most "
        f"{number(max(routing))} in any cell."
    )


def _adaptive(verdicts: Verdicts, staged: Sequence[System]) -> str:
    """What adaptive routing did to PoA-hat where its controller switched, beside what is published."""
    gains = list(_gains(verdicts))
    if not gains:
        return answer(staged)
    words = "; ".join(
        f"{part['system']} {interval(part['measured'], part['lo'], part['hi'])}, "
        f"published {number(part['published'][0])}: {_effect(part)}"
        for part in gains
    )
    return f"PoA-hat of static over adaptive routing past the knee, above 1 if adapting helps: {words}."


def _gains(verdicts: Verdicts) -> Iterator[Mapping[str, Any]]:
    """Parts on PoA-hat of static over adaptive, of the verdicts that stand for their claims."""
    for claim in dict.fromkeys(verdict["id"] for verdict in verdicts):
        for verdict in headline([one for one in verdicts if one["id"] == claim]):
            for part in verdict.get("parts") or ():
                ratio = str(part["quantity"]).startswith("PoA-hat, ") and " over " in part["quantity"]
                if ratio and part.get("measured") is not None and part.get("published") and not part["aside"]:
                    yield part


def _effect(part: Mapping[str, Any]) -> str:
    """What the interval of such a ratio says."""
    if part["lo"] is None or part["lo"] <= 1.0 <= part["hi"]:
        return "no effect seen"
    return "it helps" if part["lo"] > 1.0 else "it hurts"
