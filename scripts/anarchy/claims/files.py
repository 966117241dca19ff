"""Verdicts on disk: claims.csv, claims.json and claims.md."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anarchy.claims.model import show
from anarchy.claims.verdicts import Verdict
from anarchy.ground.bounded import MAX_JSON_BYTES, parse_json, read_text
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, write_json

COLUMNS = (
    *("id", "scope", "workload", "way", "engine", "tier", "dilation", "verdict", "published"),
    *("quantity", "measured", "lo", "hi", "reason", "launches_to_decide", "knee", "claim"),
)


def write(verdicts: Sequence[Verdict], layout_root: Path) -> list[Path]:
    """Write claims.csv (a row a claim and a row a system), claims.json and claims.md; return the files.

    Raises UserError where they cannot be written.
    """
    csv_file, json_file, md_file = (layout_root / f"claims.{suffix}" for suffix in ("csv", "json", "md"))
    make_folder(layout_root)
    with disk_errors(layout_root):
        csv_file.write_text(render_csv(verdicts), encoding="utf-8")
        md_file.write_text(render_markdown(verdicts), encoding="utf-8")
    write_json(json_file, [asdict(verdict) for verdict in verdicts])
    return [csv_file, json_file, md_file]


def read(file: Path) -> list[dict[str, Any]]:
    """What `write` wrote as claims.json; raises UserError where it is missing or is no list of verdicts."""
    remedy = "run `anarchy claims`, with the options of that run"
    try:
        found = parse_json(read_text(file, MAX_JSON_BYTES, missing=remedy))
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", where=file, remedy=remedy) from None
    names = {"id", "workload", "way", "engine", "verdict"}
    if not isinstance(found, list) or not all(isinstance(one, dict) and names <= one.keys() for one in found):
        raise UserError("is no list of verdicts", where=file, remedy=remedy)
    return found


def render_csv(verdicts: Sequence[Verdict]) -> str:
    """Rows of COLUMNS; ``scope`` is ``all systems`` or one system."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for verdict in verdicts:
        names = ("id", "workload", "way", "engine", "tier", "dilation", "published", "knee", "claim")
        shared = {name: getattr(verdict, name) for name in names}
        writer.writerow(
            {
                **shared,
                "scope": "all systems",
                "verdict": verdict.verdict,
                "quantity": verdict.parts[0].quantity if verdict.parts else "",
                "measured": verdict.measured,
                "reason": verdict.reason,
                "launches_to_decide": verdict.launches_to_decide,
            }
        )
        for part in verdict.parts:
            told = {key: value for key, value in asdict(part).items() if key in COLUMNS}
            row = {key: value for key, value in told.items() if value is not None}
            writer.writerow({**shared, **row, "scope": part.system})
    return text.getvalue()


def render_markdown(verdicts: Sequence[Verdict]) -> str:
    """Where the values come from, one table of verdicts, then one of the systems behind them."""
    lines = ["# Claims of the paper against what was measured", ""]
    for label in dict.fromkeys(verdict.label for verdict in verdicts if verdict.label):
        lines += [f"Engine: {label}. Brackets hold the intervals.", ""]
    head = ("claim", "", "published", "measured", "workload", "way", "engine", "verdict", "reason", "knee")
    lines += _table(
        head,
        (
            (
                *(v.id, v.claim, v.published, v.measured),
                *(v.workload_title, v.way, v.engine, v.verdict, v.reason, v.knee),
            )
            for v in verdicts
        ),
    )
    lines += ["", "## By system", ""]
    lines += _table(
        ("claim", "system", "workload", "way", "engine", "quantity", "measured", "verdict", "reason"),
        (
            (
                v.id,
                p.system,
                v.workload_title,
                v.way,
                v.engine,
                p.quantity,
                "" if p.measured is None else show(p),
                p.verdict,
                p.reason,
            )
            for v in verdicts
            for p in v.parts
        ),
    )
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
