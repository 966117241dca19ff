"""Files made again, held against those in an archive: names of both sides, then content by kind of file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from anarchy.archive.contents import RESULTS
from anarchy.archive.drawings import same_drawing
from anarchy.archive.zipped import Archive

BY_NAME: Final = frozenset({".pdf", ".png"})
"""Suffixes of which only the name counts: the SVG of the same name shows the same, and is text."""
MOST_SHOWN: Final = 80
"""Characters of a value or line that differs."""


def compare(archive: Archive, root: Path, prefix: str) -> Iterator[str]:
    """Each file below a prefix that one side has alone, or that differs, in words.

    ``root``: results/<tier> as made again. ``prefix``: the beginning of names below it, such as ``tables/``.
    """
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    again = {RESULTS + name for name in found if name.startswith(prefix)}
    archived = {name for name in archive.names if name.startswith(RESULTS + prefix)}
    for name in sorted(archived | again):
        if name not in again:
            yield f"{name}: archived, and not made again"
        elif name not in archived:
            yield f"{name}: not in the archive"
        else:
            content = (root / name.removeprefix(RESULTS)).read_bytes()
            yield from differences(name, archive.read(name), content)


def differences(name: str, archived: bytes, again: bytes) -> Iterator[str]:
    """How the content of one file differs, in words; nothing where it does not."""
    suffix = Path(name).suffix
    if suffix in BY_NAME or archived == again:
        return
    try:
        if suffix == ".parquet":
            yield from _tables(name, *(pd.read_parquet(io.BytesIO(one)) for one in (archived, again)))
        elif suffix == ".json":
            yield from _documents(name, json.loads(archived), json.loads(again))
        elif suffix != ".svg":
            yield _lines(name, archived, again)
        elif not same_drawing(archived, again):
            yield f"{name}: comes out otherwise"
    except (ValueError, OSError, pa.ArrowException) as error:
        yield f"{name}: cannot be read: {error}"


def _lines(name: str, archived: bytes, again: bytes) -> str:
    """The first line of a text that differs."""
    pairs = enumerate(zip_longest(archived.split(b"\n"), again.split(b"\n"), fillvalue=b"(ended)"), start=1)
    number, lines = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
    before, after = (line.decode("utf-8", "replace")[:MOST_SHOWN] for line in lines)
    return f"{name}: line {number}: {before}; again {after}"


def _tables(name: str, archived: pd.DataFrame, again: pd.DataFrame) -> Iterator[str]:
    """Columns of a table that differ, to the bit."""
    if list(archived.columns) != list(again.columns) or len(archived) != len(again):
        shapes = [f"{len(one)} rows of {len(one.columns)} columns" for one in (archived, again)]
        yield f"{name}: {shapes[0]}; again {shapes[1]}"
        return
    for column in archived.columns:
        before, after = archived[column], again[column]
        if before.dtype != after.dtype:
            yield f"{name}: column {column} holds {before.dtype}; again {after.dtype}"
        elif not before.equals(after):
            before, after = before.map(repr), after.map(repr)  # equal for NaN, too
            rows = (before != after).to_numpy()
            place = int(rows.argmax())
            yield (
                f"{name}: column {column} differs in {int(rows.sum())} rows, first in row {place}: "
                f"{before.iloc[place]}, again {after.iloc[place]}"
            )


def _documents(name: str, archived: Any, again: Any, key: str = "") -> Iterator[str]:
    """Values of a JSON document that differ, the first of each list and object."""
    if isinstance(archived, dict) and isinstance(again, dict) and archived.keys() == again.keys():
        for one in archived:
            yield from _documents(name, archived[one], again[one], f"{key}.{one}" if key else one)
    elif isinstance(archived, list) and isinstance(again, list) and len(archived) == len(again):
        for place, pair in enumerate(zip(archived, again, strict=True)):
            yield from _documents(name, *pair, f"{key}.{place}" if key else str(place))
    elif archived != again:
        yield f"{name}: {key}: {str(archived)[:MOST_SHOWN]}; again {str(again)[:MOST_SHOWN]}"
