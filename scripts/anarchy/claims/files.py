"""Verdicts on disk: claims.csv, claims.json and claims.md."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anarchy.claims.markdown import render_markdown
from anarchy.claims.verdicts import Verdict
from anarchy.ground.bounded import MAX_JSON_BYTES, parse_json, read_text
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, write_json

COLUMNS = (
    *("id", "scope", "workload", "way", "engine", "tier", "dilation", "verdict", "published"),
    *("quantity", "measured", "lo", "hi", "reason", "decides", "launches_to_decide"),
    *("command", "minutes", "notes", "knee", "sentence", "claim"),
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


def write_beside(root: Path, stem: str, table: str, page: str) -> list[Path]:
    """Write an exploratory table beside the verdicts, as CSV and as a page; return both files.

    Raises UserError where they cannot be written.
    """
    files = [root / f"{stem}.csv", root / f"{stem}.md"]
    make_folder(root)
    with disk_errors(root):
        for file, text in zip(files, (table, page), strict=True):
            file.write_text(text, encoding="utf-8")
    return files


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
        names = (
            *("id", "workload", "way", "engine", "tier", "dilation", "published"),
            *("knee", "sentence", "claim", "command"),
        )
        shared = {name: getattr(verdict, name) for name in names}
        writer.writerow(
            {
                **shared,
                "scope": "all systems",
                "verdict": verdict.verdict,
                "quantity": verdict.parts[0].quantity if verdict.parts else "",
                "measured": verdict.measured,
                "reason": verdict.reason,
                "decides": verdict.decides,
                "minutes": "" if verdict.minutes is None else verdict.minutes,
                "notes": "; ".join(verdict.notes),
                "launches_to_decide": verdict.launches_to_decide,
            }
        )
        for part in verdict.parts:
            told = {key: value for key, value in asdict(part).items() if key in COLUMNS}
            told |= {"published": verdict.published, "notes": "; ".join(part.notes)}
            row = {key: value for key, value in told.items() if value is not None}
            writer.writerow({**shared, **row, "scope": part.system})
    return text.getvalue()
