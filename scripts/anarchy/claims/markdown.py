"""Verdicts for people: the scoreboard, a section a claim, and every remark once, as a numbered note."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Final

from anarchy.claims.model import Part, show
from anarchy.claims.scoreboard import counts, of_paper, scoreboard
from anarchy.claims.verdicts import Verdict
from anarchy.ground.words import MISSING

TITLE: Final = "# Claims of the paper against what was measured"


class Notes:
    """Remarks, each told once and named by its number wherever it holds."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def marks(self, notes: Iterable[str]) -> str:
        """The numbers of some remarks, as they follow a sentence; empty without one."""
        told = [self.numbers.setdefault(note, len(self.numbers) + 1) for note in notes]
        return "".join(f" [{number}]" for number in told)

    def lines(self) -> Iterator[str]:
        """Each remark with its number."""
        for note, number in self.numbers.items():
            yield f"{number}. {note[:1].upper()}{note[1:]}."


def render_markdown(verdicts: Sequence[Verdict]) -> str:
    """How many claims have which verdict, a line a claim, then each claim in sentences, then the notes."""
    tiles = scoreboard([asdict(verdict) for verdict in verdicts])
    published = of_paper(tiles)
    tally = "; ".join(
        f"{len(ids)} {outcome} ({', '.join(ids)})" for outcome, ids in counts(published).items() if ids
    )
    lines = [TITLE, "", f"Of {len(published)} claims: {tally}.", ""]
    for label in dict.fromkeys(verdict.label for verdict in verdicts if verdict.label):
        lines += [f"Engine: {label}. Brackets hold the intervals.", ""]
    lines += _table(
        ("claim", "", "verdict", "published", "measured"),
        ((t.id, t.sentence, t.verdict, t.published, t.measured or MISSING) for t in tiles),
    )
    notes, told = Notes(), dict[str, str]()
    for tile in tiles:
        mine = [verdict for verdict in verdicts if verdict.id == tile.id]
        lines += [
            "",
            f"## {tile.id}: {tile.verdict}",
            "",
            f"{mine[0].claim}. Published: {mine[0].published}.",
        ]
        bodies: dict[tuple[str, ...], list[Verdict]] = {}
        for verdict in mine:
            bodies.setdefault(tuple(_body(verdict, notes)), []).append(verdict)
        for body, its in bodies.items():
            lines += ["", _head(its), "", *_once(body, tile.id, told)]
    lines += ["", "## Commands", "", *_commands(verdicts), "", "## Notes", "", *notes.lines()]
    return "\n".join(lines).rstrip() + "\n"


def _head(verdicts: Sequence[Verdict]) -> str:
    """The verdict, and under which conditions it was reached."""
    conditions = [
        ", ".join(filter(None, (one.workload_title, one.way and f"{one.way} routing", one.engine)))
        for one in verdicts
    ]
    first = verdicts[0]
    where = "; ".join(filter(None, conditions))
    tier = f", tier {first.tier}" if first.tier else ""
    return f"**{first.verdict[:1].upper()}{first.verdict[1:]}**" + (f" under {where}{tier}" if where else "")


def _body(verdict: Verdict, notes: Notes) -> Iterator[str]:
    """Why, what each system says, and what would decide it."""
    loads = [f"Loads: {verdict.knee}"] if verdict.knee else []
    yield f"- {verdict.reason}{notes.marks([*verdict.notes, *loads])}"
    for part in verdict.parts:
        yield f"- {_part(part)}{notes.marks(part.notes)}"
    if verdict.decides:
        yield f"- {verdict.decides[:1].upper()}{verdict.decides[1:]}"


def _once(body: Sequence[str], claim: str, told: dict[str, str]) -> Iterator[str]:
    """Lines, those that stand under another claim already as a word to look there."""
    before: dict[str, None] = {}
    for line in body:
        if " (beside it); " in line and told.setdefault(line, claim) != claim:
            before[told[line]] = None
        else:
            yield line
    yield from (f"- Beside it: the values that stand beside {other}" for other in before)


def _commands(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Each command, what it judges, and what measuring took."""
    for command in dict.fromkeys(verdict.command for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.command == command]
        minutes = [verdict.minutes for verdict in mine if verdict.minutes is not None]
        took = f", measured in {max(minutes):g} min" if minutes else ""
        yield f"- `{command}`: {', '.join(dict.fromkeys(verdict.id for verdict in mine))}{took}"


def _part(part: Part) -> str:
    """What one system says."""
    value = "" if part.measured is None else f" {show(part)}"
    aside = " (beside it)" if part.aside else ""
    return f"{part.system}, {part.quantity}{value}: {part.verdict}{aside}; {part.reason}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
