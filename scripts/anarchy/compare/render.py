"""Comparisons as text for a terminal: a table a metric, or all metrics in one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from anarchy.compare import words
from anarchy.compare.matching import Comparison, Run

ROWS_SHOWN: Final = 40
"""Of a longer table so many rows are shown, those first that differ most."""
WIDTH: Final = 200

_BEFORE: Final = {
    "concurrency": "C = ",
    "repeat": "repeat ",
    "routing_set": "set ",
    "against_set": "against set ",
    "factor": "over ",
}
"""What a key's value needs before it where its column has no head."""

SUMMARY_TITLE: Final = "second run against first, 95 %; median and largest |change|"
SUMMARY_NOTES: Final = (
    "A change in % is that of the ratio of the runs; of what can be zero or negative it is the difference.",
    "Metrics of one experiment come from the same requests: they tend to differ together.",
)


def render(found: Sequence[Comparison], first: Run, second: Run) -> str:
    """A table for each comparison; under it how many rows agree, how far they differ, what that rests on."""
    blocks = [words.origins(found, first, second), *(_block(one) for one in found)]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def render_summary(found: Sequence[Comparison], first: Run, second: Run) -> str:
    """All comparisons in one table, a line each."""
    table = _table()
    for name in ("experiment", "metric"):
        table.add_column(name, no_wrap=True)
    heads = ("n", "agree", "differ", "by chance", "median", "largest", "one run only", "neither")
    for name in heads:
        table.add_column(name, justify="right")
    for one in found:
        n = len(one.rows)
        table.add_row(
            *(one.experiment, one.metric.name, str(n), str(one.n_agree), str(n - one.n_agree)),
            *(f"{words.CHANCE * n:.1f}", words.extent(one, "median"), words.extent(one, "max")),
            *(str(one.only), str(one.neither)),
        )
    lines = [
        *words.origins(found, first, second),
        "",
        SUMMARY_TITLE,
        *_printed(table),
        *SUMMARY_NOTES,
        *_bases(found),
    ]
    return "\n".join(lines) + "\n"


def _bases(found: Sequence[Comparison]) -> list[str]:
    """What the intervals of each file rest on, each text once."""
    files: dict[tuple[str, str], list[Comparison]] = {}
    for one in found:
        if not one.rows.empty:
            files.setdefault((one.experiment, one.source.rows), []).append(one)
    texts: dict[str, list[str]] = {}
    for (experiment, rows), of in files.items():
        texts.setdefault(words.basis(of), []).append(f"{experiment} ({rows})")
    return [f"{', '.join(names)}: {text}" for text, names in texts.items()]


def _block(one: Comparison) -> list[str]:
    """One comparison's table, and the lines under it."""
    metric, rows = one.metric, one.rows
    if rows.empty:
        return [f"{one.experiment}, {metric.name}: nothing to compare.", *words.left_out(one)]
    varying = [name for name in one.source.key if rows[name].nunique() > 1]
    same = ", ".join(_named(name, rows[name].iloc[0]) for name in one.source.key if name not in varying)
    unit = f" ({metric.unit})" if metric.unit else ""
    head = f"{one.experiment}, {metric.name}{unit}: {metric.scale.title}, 95 %"
    table = _table()
    for name in varying:
        table.add_column("C" if name == "concurrency" else name.replace("_", " "), no_wrap=True)
    for name in ("first", "second", metric.scale.name, "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    shown = _shown(rows)
    for row in shown.to_dict("records"):
        table.add_row(
            *(str(row[name]) for name in varying),
            *(words.rounded(row["value_first"]), words.rounded(row["value_second"])),
            *words.change(row, metric),
            "" if row["agrees"] else "differs",
        )
    worst = rows.iloc[int(rows["size"].to_numpy().argmax())]
    place = ", ".join(_named(name, worst[name]) for name in varying)
    lines = [*_hidden(rows, shown), *words.verdict(one, place), *words.left_out(one)]
    return [
        head,
        *filter(None, [same]),
        *_printed(table),
        *lines,
        *words.without_width(one),
        words.basis([one]),
    ]


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """All rows, or of many those first that differ most."""
    if len(rows) <= ROWS_SHOWN:
        return rows
    return rows.sort_values(["agrees", "size"], ascending=[True, False], kind="stable").head(ROWS_SHOWN)


def _hidden(rows: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """What is not shown of many rows."""
    if len(rows) == len(shown):
        return []
    differ = int((~rows["agrees"]).sum() - (~shown["agrees"]).sum())
    which = f"{differ} of them differ" if differ else "all of them agree"
    return [f"Rows that differ most come first; {len(rows) - len(shown)} more are not shown, {which}."]


def _named(name: str, value: Any) -> str:
    """A key's value as it stands beside others."""
    return f"{_BEFORE.get(name, '')}{value}"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def _printed(table: Table) -> list[str]:
    """A table's lines, as wide as they need to be."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    console.print(table)
    return [line.rstrip() for line in stream.getvalue().splitlines()]
