"""Parts of the README that are made from recorded runs: the verdicts, and what a run should end with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from anarchy.claims.files import read
from anarchy.claims.scoreboard import headline, scoreboard
from anarchy.engines.devices import is_live
from anarchy.ground.layout import PROJECT
from anarchy.tables import number

QUICK: Final = PROJECT / "data" / "sample" / "quick"
"""The recorded run of tier quick that the README quotes."""
VALUES: Final = {"plateau": "plateau", "knee": "knee at C", "deepest": "PoA-hat at C = {depth}"}
"""Value of summary.csv -> its column in the README."""


def verdicts(run: Path = QUICK) -> str:
    """A row a claim: the verdict that stands for it, the published value beside the measured one."""
    lines = [
        "| | claim of the paper | verdict | published | measured | engine |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {' | '.join((one.id, one.sentence, one.verdict, one.published, one.measured, one.engine))} |"
        for one in scoreboard(read(run / "claims.json"))
    ]
    return "\n".join(lines)


def expected(run: Path = QUICK) -> str:
    """A row a system: from the lowest to the highest end that an interval of any recorded run has."""
    runs = [list(_rows(file)) for file in sorted((run / "summaries").glob("*.csv"))]
    by_system: dict[str, list[Mapping[str, str]]] = {}
    for row in (row for rows in runs for row in rows):
        by_system.setdefault(row["system"], []).append(row)
    (depth,) = {row["deepest_concurrency"] for rows in by_system.values() for row in rows}
    heads = [title.format(depth=depth) for title in VALUES.values()]
    lines = [
        f"Tier quick, E1, simulated in virtual time, {len(runs)} recorded runs:",
        "",
        "| system | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for system, rows in by_system.items():
        lines.append("| " + " | ".join([system, *(_range(rows, name) for name in VALUES)]) + " |")
    return "\n".join(lines)


def expected_live(run: Path = QUICK) -> str:
    """A row a system and quantity of live cells that has an interval, of the one recorded run."""
    verdicts = read(run / "claims.json")
    rows = [
        f"| {part['system']} | {part['quantity']} | {number(part['lo'])} to {number(part['hi'])} |"
        for claim in dict.fromkeys(verdict["id"] for verdict in verdicts)
        for verdict in headline([one for one in verdicts if one["id"] == claim])
        if is_live(verdict["engine"])
        for part in verdict["parts"]
        if part["lo"] is not None
    ]
    head = ["Tier quick, E3, live, 1 recorded run of three launches:", "", "| system | quantity | interval |"]
    return "\n".join([*head, "|---|---|---|", *rows])


def _rows(file: Path) -> Iterator[Mapping[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)


def _range(rows: Iterable[Mapping[str, str]], name: str) -> str:
    ends = [(float(row[f"{name}_lo"]), float(row[f"{name}_hi"])) for row in rows]
    return f"{number(min(lo for lo, _ in ends))} to {number(max(hi for _, hi in ends))}"
