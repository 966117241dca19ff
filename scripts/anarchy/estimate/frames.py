"""Tables of estimates as typed frames: each column with its type, its unit and a sentence.

A table is a pyarrow schema. Its fields are nullable: a number that is not known is null on disk and NaN in
memory, a text that does not apply is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TEXT: Final = pa.large_string()
NUMBER: Final = pa.float64()
COUNT: Final = pa.int64()
FLAG: Final = pa.bool_()
NUMBERS: Final = pa.list_(pa.float64())

Fields: TypeAlias = tuple[Any, ...]
"""Fields of a table, in order."""


def field(name: str, kind: Any, sentence: str, unit: str = "") -> Any:
    """One column: what it holds, in a sentence, and its unit (empty: none)."""
    return pa.field(name, kind, metadata={"sentence": sentence, "unit": unit})


def texts(**sentences: str) -> Fields:
    """Columns of text."""
    return tuple(field(name, TEXT, sentence) for name, sentence in sentences.items())


def counts(unit: str = "", **sentences: str) -> Fields:
    """Columns of whole numbers."""
    return tuple(field(name, COUNT, sentence, unit) for name, sentence in sentences.items())


def flags(**sentences: str) -> Fields:
    """Columns of yes and no."""
    return tuple(field(name, FLAG, sentence) for name, sentence in sentences.items())


def numbers(unit: str = "", **sentences: str) -> Fields:
    """Columns of numbers."""
    return tuple(field(name, NUMBER, sentence, unit) for name, sentence in sentences.items())


def bounded(unit: str = "", **sentences: str) -> Fields:
    """Columns of numbers, each with the two ends of its 95 % interval, ``_lo`` and ``_hi``."""
    found: Fields = ()
    for name, sentence in sentences.items():
        found += (
            field(name, NUMBER, sentence, unit),
            field(f"{name}_lo", NUMBER, f"{name}: lower end of its 95 % interval", unit),
            field(f"{name}_hi", NUMBER, f"{name}: upper end of its 95 % interval", unit),
        )
    return found


def table(sentence: str, *groups: Iterable[Any]) -> Any:
    """A table: what a row is, and its columns."""
    return pa.schema([one for group in groups for one in group], metadata={"sentence": sentence})


def sentence_of(described: Any) -> str:
    """What a table's row or a column is."""
    return str((described.metadata or {}).get(b"sentence", b"").decode())


def unit_of(column: Any) -> str:
    """Unit of a column; empty where it has none."""
    return str((column.metadata or {}).get(b"unit", b"").decode())


def frame(rows: Sequence[Mapping[str, Any]], schema: Any) -> pd.DataFrame:
    """Rows as a frame with just the columns of a table, also where there is no row."""
    return pd.DataFrame(list(rows), columns=list(schema.names))


def write(rows: pd.DataFrame, schema: Any, path: Path) -> None:
    """Write a frame as Parquet, with the types, units and sentences of its table.

    Raises KeyError for a column that is missing and pyarrow.ArrowInvalid for a value of another type.
    """
    columns = [pa.array(rows[one.name], type=one.type, from_pandas=True) for one in schema]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path)
