"""Strategies that spoil something good: documents by structure, files by bytes, tables by columns."""

from __future__ import annotations

import copy
import gzip
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from tests.fuzz.hostile import BYTES, ENCODINGS, RAW, SCRAPS, VALUES, aliases, nested

Place = tuple[Any, ...]
"""Keys and indices that lead to a value."""
MOST_CHARACTERS = 4_000_000
"""In a document that grows by repeating: two changes that each repeat a thousand times made files of 4 GB."""
PARTS = 10_000
"""Places in a file are drawn as parts of its length, so that they mean the same when it shrinks."""


def places(document: Any, here: Place = ()) -> list[Place]:
    """Every place in a document, the whole of it first."""
    found = [here]
    entries: Sequence[tuple[Any, Any]] = (
        list(document.items())
        if isinstance(document, dict)
        else list(enumerate(document))
        if isinstance(document, list)
        else []
    )
    for key, entry in entries:
        found += places(entry, (*here, key))
    return found


def characters(document: Any) -> int:
    """About as many as it takes to write a document down, ten for each place in it."""
    left, found = [document], 0
    while left:
        one = left.pop()
        found += 10 + (_WRITTEN.get(one, len(one)) if isinstance(one, str) else 0)
        left += [*one, *one.values()] if isinstance(one, dict) else one if isinstance(one, list) else []
    return found


_WRITTEN = {RAW.format(number): len(scrap) for number, scrap in enumerate(SCRAPS)}
"""How long what stands for a scrap becomes."""


def _at(document: Any, place: Place) -> Any:
    for key in place:
        document = document[key]
    return document


def _put(document: Any, place: Place, value: Any) -> Any:
    """The document with another value at a place."""
    if not place:
        return value
    _at(document, place[:-1])[place[-1]] = value
    return document


def change(document: Any, place: Place, how: int, payload: int) -> Any:
    """One change of a document's structure."""
    value = copy.deepcopy(VALUES[payload % len(VALUES)])
    parent = _at(document, place[:-1]) if place else None
    if how == 0:
        return _put(document, place, value)
    if how == 1:
        return _put(document, place, RAW.format(payload % len(SCRAPS)))
    if how == 2 and parent is not None:  # left out
        del parent[place[-1]]
    elif how == 3 and isinstance(parent, dict):  # under another name
        parent[f"{place[-1]}{SCRAPS[payload % len(SCRAPS)][:40]}"] = parent.pop(place[-1])
    elif how == 4 and isinstance(parent, list):  # many times
        entry = parent[place[-1]]
        room = (MOST_CHARACTERS - characters(document)) // characters(entry)
        # Copies of their own: what changes one of them later would otherwise change, and repeat, them all.
        parent.extend(copy.deepcopy(entry) for _ in range(min(payload % 2000, room)))
    elif how == 5 and isinstance(_at(document, place), dict):  # something that nobody knows
        _at(document, place)[f"unknown{payload}"] = value
    elif how == 6:  # another number
        number = _at(document, place)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return _put(document, place, number * FACTORS[payload % len(FACTORS)])
    elif how == 7:  # what stands elsewhere in it
        there = places(document)
        other = copy.deepcopy(_at(document, there[payload % len(there)]))
        return _put(document, place, other)
    return document


FACTORS = (-1, 0, 0.5, 0.9, 1.0, 1.1, 2, 3, 10, 1000, 10**6, 10**12, 1e-9, 1e30)

changes = st.lists(
    st.tuples(
        st.integers(0, PARTS),
        st.sampled_from([0, 0, 1, 2, 3, 4, 5, 6, 6, 6, 7]),
        st.integers(0, 10_000),
    ),
    max_size=3,
)


@st.composite
def documents(draw: st.DrawFn, seed: Any, write: Callable[[Any], str]) -> bytes:
    """A document whose structure was changed, as text."""
    document = copy.deepcopy(seed)
    for part, how, payload in draw(changes):
        there = places(document)
        document = change(document, there[part * len(there) // (PARTS + 1)], how, payload)
    text = write(document)
    for number, scrap in enumerate(SCRAPS):
        for quote in ('"', "'", ""):
            text = text.replace(f"{quote}{RAW.format(number)}{quote}", scrap)
    return text.encode("utf-8", "surrogatepass")


def write_json(document: Any) -> str:
    """As JSON with what Python allows beyond it, NaN and Infinity."""
    return json.dumps(document, default=str)


def write_yaml(document: Any) -> str:
    """As YAML; what it would not write as it is, is escaped."""
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)


@st.composite
def spoiled(draw: st.DrawFn, seed: bytes) -> bytes:
    """A file whose bytes were changed: cut, doubled, filled with something else, in another encoding."""
    content = seed
    for part, how, payload in draw(
        st.lists(
            st.tuples(st.integers(0, PARTS), st.integers(0, 7), st.integers(0, 10_000)),
            min_size=1,
            max_size=4,
        )
    ):
        at = part * len(content) // (PARTS + 1)
        scrap = BYTES[payload % len(BYTES)]
        if how == 0:
            content = content[:at] + scrap + content[at:]
        elif how == 1:
            content = content[:at] + scrap + content[at + len(scrap) :]
        elif how == 2:
            content = content[:at]
        elif how == 3:
            content = content[:at] + content[at + payload % 100 :]
        elif how == 4:
            content = content[:at] + bytes([payload % 256]) + content[at + 1 :]
        elif how == 5:
            lines = content.splitlines(keepends=True) or [b""]
            line = part * len(lines) // (PARTS + 1)
            content = b"".join([*lines[:line], *([lines[line]] * (payload % 50)), *lines[line:]])
        elif how == 6:
            encoding = ENCODINGS[payload % len(ENCODINGS)]
            content = content.decode("utf-8", "replace").encode(encoding, "replace")
        else:
            content = content[at:] + content[:at]
    return content


bombs = st.one_of(
    st.builds(aliases, st.integers(1, 60), st.integers(1, 20), st.booleans()).map(str.encode),
    st.builds(
        nested,
        st.sampled_from([1, 49, 50, 51, 500, 3000, 60_000]),
        st.sampled_from(["[", '{"a":', "- ", "? ", "(", '["', "!a [", "&a [", "a: [", "{a: "]),
        st.sampled_from(["]", "}", "", ")", "]}"]),
    ).map(str.encode),
    st.sampled_from(SCRAPS).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
"""Files that nothing good was the beginning of."""


def packed(content: bytes) -> bytes:
    """The same as a gzip file, always the same."""
    return gzip.compress(content, mtime=0)


_CASTS: tuple[Callable[[pd.Series[Any]], Any], ...] = (
    lambda column: column.astype(str),
    lambda column: column.astype(bool),
    lambda column: pd.to_datetime(column, unit="s", errors="coerce") if column.dtype != object else column,
    lambda column: column.astype("category"),
    lambda column: [[value] for value in column],
    lambda column: [None] * len(column),
    lambda column: pd.to_numeric(column, errors="coerce").fillna(0).astype("int64"),
    lambda column: pd.to_numeric(column, errors="coerce").astype("float32"),
    lambda column: column.astype(str).str.encode("utf-8"),
    lambda column: [{"a": value} for value in column],
    lambda column: [[0.5, 0.25]] * len(column),
)
_CELLS: tuple[Any, ...] = (
    None, -1, 0, 1, 2**31 - 1, -(2**31), 1e9, 1e300, -1e300, 1e-300, float("nan"), float("inf"),
    float("-inf"), "", "ok", "\x1b[31m", "timeout", "measure", "nobody", "a\nb", "x" * 1000, "\u202e",
)  # fmt: skip


def _change_table(table: pd.DataFrame, part: int, how: int, payload: int) -> pd.DataFrame:
    names = list(table.columns)
    if not names:
        return table
    name = names[payload % len(names)]
    at = part * max(1, len(table)) // (PARTS + 1)
    if how == 0:
        return table.assign(**{name: _CASTS[part % len(_CASTS)](table[name])})
    if how in (1, 2) and len(table):
        values = table[name].astype(object).tolist()
        cell = _CELLS[payload % len(_CELLS)]
        changed = [cell] * len(values) if how == 2 else [*values[:at], cell, *values[at + 1 :]]
        return table.assign(**{name: pd.Series(changed, index=table.index, dtype=object)})
    if how == 3:
        return table.drop(columns=name)
    if how == 4:
        return table.iloc[: at % 20]
    if how == 5:
        return pd.concat([table] * (1 + payload % 3))
    if how == 6:
        return table.sample(frac=1.0, random_state=payload).reset_index(drop=True)
    if how == 7:
        return table.assign(**{name: table[names[part % len(names)]]})
    if not pd.api.types.is_numeric_dtype(table[name]):
        return table
    factor = FACTORS[part % len(FACTORS)]
    scaled = table[name] * factor if how == 8 else table[name].where(table.index != at, table[name] * factor)
    return table.assign(**{name: scaled})


@st.composite
def tables(draw: st.DrawFn, seed: pd.DataFrame) -> bytes:
    """A Parquet file whose columns, rows or types were changed."""
    table = seed
    for part, how, payload in draw(
        st.lists(
            st.tuples(
                st.integers(0, PARTS),
                st.sampled_from([0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9]),
                st.integers(0, 10_000),
            ),
            max_size=3,
        )
    ):
        try:
            table = _change_table(table, part, how, payload)
        except (ValueError, TypeError, OverflowError, pd.errors.OutOfBoundsDatetime):
            continue  # this change cannot follow those before it
    file = io.BytesIO()
    try:
        arrow = pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        arrow = pa.Table.from_pandas(table.astype(str), preserve_index=False)
    if draw(st.integers(0, 9)) == 0 and arrow.num_columns:
        arrow = arrow.append_column(arrow.column_names[0], arrow.column(0))
    pq.write_table(arrow, file)
    return file.getvalue()
