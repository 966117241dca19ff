"""The files of a recording: segments while it runs, one sealed pair afterwards, and how they are read.

A folder holds, after the end, `metrics.parquet`, `scrapes.parquet` and `recording.json`; before it, numbered
segments of both tables, of which a kill loses what was not yet written (10 s). A file appears whole or not at
all.

`scrapes` has a row for each source each second: `t_wall` (s since the epoch) and `t_mono` when it was asked,
`seconds` until the last byte, and `reason`, null when it answered. `metrics` has a row for each value that
**changed** since the source's last answer (all of them in its first): `t_wall`, `t_mono`, `source`,
`metric`, `labels` (JSON), `value`, null for a series that its source shows no more. So the value of a series
at a scrape that answered is its last row until then: `values` fills that in.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anarchy.ground.errors import UserError

METRICS: Final = "metrics"
SCRAPES: Final = "scrapes"
RECORDING_FILE: Final = "recording.json"
ROWS_A_GROUP: Final = 1_000_000
"""Rows that are sorted together when a recording is sealed: about 60 MB."""
COMPRESSION_LEVEL: Final = 9

_TEXT = pa.dictionary(pa.int32(), pa.string())
METRICS_SCHEMA: Final = pa.schema(
    [
        pa.field("t_wall", pa.float64(), nullable=False),
        pa.field("t_mono", pa.float64(), nullable=False),
        pa.field("source", _TEXT, nullable=False),
        pa.field("metric", _TEXT, nullable=False),
        pa.field("labels", _TEXT, nullable=False),
        pa.field("value", pa.float64()),
    ]
)
SCRAPES_SCHEMA: Final = pa.schema(
    [
        pa.field("t_wall", pa.float64(), nullable=False),
        pa.field("t_mono", pa.float64(), nullable=False),
        pa.field("source", _TEXT, nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("reason", _TEXT),
    ]
)
_SCHEMAS: Final = {METRICS: METRICS_SCHEMA, SCRAPES: SCRAPES_SCHEMA}


class Words:
    """Texts and their numbers, so that a row holds numbers only."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The text's number, a new one for a new text."""
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def column(self, numbers: np.ndarray[Any, Any]) -> pa.DictionaryArray:
        """A column of these texts, its dictionary only those in it; -1 is null."""
        used, codes = np.unique(numbers, return_inverse=True)
        has_null = len(used) > 0 and used[0] < 0
        texts = [self.texts[number] for number in used if number >= 0]
        shifted = codes.astype(np.int32) - np.int32(has_null)
        indices = pa.array(shifted, pa.int32(), mask=shifted < 0 if has_null else None)
        return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))


class Segments:
    """Rows in memory and the numbered files that they go to; not for several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.rows = 0
        self._number = 0
        self._words = Words()
        self._series: list[tuple[int, int, int]] = []
        self._clear()
        # The first table loads libraries, 0.15 s: now, and not while a cell is measured.
        for table in (self._metrics(), self._scrapes()):
            pq.write_table(table, pa.BufferOutputStream(), compression="zstd")

    def series(self, source: str, metric: str, labels: str) -> int:
        """Number of a new series, for `add_values`."""
        self._series.append(tuple(map(self._words.number, (source, metric, labels))))  # type: ignore[arg-type]
        return len(self._series) - 1

    def add_scrape(
        self, t_wall: float, t_mono: float, source: str, seconds: float, reason: str | None
    ) -> None:
        """Note that a source was asked, and how it ended."""
        self._scrape_times.extend((t_wall, t_mono, seconds))
        number = -1 if reason is None else self._words.number(reason)
        self._scrape_words.extend((self._words.number(source), number))

    def add_values(
        self,
        t_wall: float,
        t_mono: float,
        series: Sequence[int],
        values: Sequence[float],
        gone: Sequence[int],
    ) -> None:
        """Note the values that changed in one scrape, and the series that are there no more."""
        self._times.extend((t_wall, t_mono))
        self._counts.append(len(series) + len(gone))
        self._numbers.extend(series)
        self._numbers.extend(gone)
        self._values.extend(values)
        self._gone.extend(range(len(self._values), len(self._values) + len(gone)))
        self._values.extend([0.0] * len(gone))

    def flush(self) -> None:
        """Write what is in memory as the next segment; raises `OSError`, then the rows are dropped.

        The scrapes come last: a scrape that is there has its values beside it.
        """
        metrics, scrapes = self._metrics(), self._scrapes()
        self._clear()
        if scrapes.num_rows == 0:
            return
        for name, table in ((METRICS, metrics), (SCRAPES, scrapes)):
            _write(table, self.folder / f"{name}-{self._number:05d}.parquet")
        self.rows += metrics.num_rows
        self._number += 1

    def _clear(self) -> None:
        self._times, self._values, self._scrape_times = array("d"), array("d"), array("d")
        self._numbers, self._counts, self._gone, self._scrape_words = (array("q") for _ in range(4))

    def _metrics(self) -> pa.Table:
        times = np.array(self._times).reshape(-1, 2).repeat(np.array(self._counts, dtype=np.int64), axis=0)
        known = np.array(self._series, dtype=np.int64).reshape(-1, 3)
        columns = known[np.array(self._numbers, dtype=np.int64)].reshape(-1, 3)
        gone = np.zeros(len(self._values), dtype=bool)
        gone[np.array(self._gone, dtype=np.int64)] = True
        texts = [self._words.column(columns[:, index]) for index in range(3)]
        values = pa.array(np.array(self._values), pa.float64(), mask=gone)
        return pa.Table.from_arrays([times[:, 0], times[:, 1], *texts, values], schema=METRICS_SCHEMA)

    def _scrapes(self) -> pa.Table:
        times = np.array(self._scrape_times).reshape(-1, 3)
        words = np.array(self._scrape_words, dtype=np.int64).reshape(-1, 2)
        source, reason = (self._words.column(words[:, index]) for index in range(2))
        return pa.Table.from_arrays(
            [times[:, 0], times[:, 1], source, times[:, 2], reason], schema=SCRAPES_SCHEMA
        )


def _write(table: pa.Table, path: Path) -> None:
    scratch = path.with_suffix(".partial")
    pq.write_table(table, scratch, compression="zstd")
    os.replace(scratch, path)


def seal(folder: Path) -> None:
    """Merge a recording's segments into one file a table and remove them; does nothing when it is sealed.

    Rows are sorted by source, metric, labels and time, which compresses best. Raises `OSError`.
    """
    for name in (METRICS, SCRAPES):
        path = folder / f"{name}.parquet"
        segments = sorted(folder.glob(f"{name}-*.parquet"))
        if not path.exists():
            scratch = path.with_suffix(".partial")
            with pq.ParquetWriter(
                scratch, _SCHEMAS[name], compression="zstd", compression_level=COMPRESSION_LEVEL
            ) as writer:
                for group in _groups(segments, _SCHEMAS[name]):
                    writer.write_table(_sorted(group))
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(scratch, path)
    for name in (METRICS, SCRAPES):
        for segment in folder.glob(f"{name}-*.parquet"):
            segment.unlink()


def _groups(segments: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for segment in segments:
        table = _readable(segment)
        if table is None:
            continue
        held.append(table.cast(schema))
        if sum(one.num_rows for one in held) >= ROWS_A_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _sorted(table: pa.Table) -> pa.Table:
    table = table.unify_dictionaries().combine_chunks()
    names = (
        ("t_mono", "labels", "metric", "source") if "metric" in table.column_names else ("source", "t_mono")
    )
    keys = [_sort_key(table.column(name)) for name in names]
    return table.take(pa.array(np.lexsort(keys)))


def _sort_key(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Numbers in the order of the column's values."""
    array_ = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    if not pa.types.is_dictionary(column.type):
        return np.asarray(array_)
    ranks = np.argsort(np.argsort(np.array(array_.dictionary.to_pylist(), dtype=object)))
    return np.asarray(ranks[np.asarray(array_.indices)]) if len(ranks) else np.array([], dtype=np.int64)


def _readable(path: Path) -> pa.Table | None:
    """A segment; None for one that a power cut left empty or torn."""
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError):
        return None


@dataclass(frozen=True)
class Recording:
    """What a recording's folder holds; `unreadable` names segments that a power cut tore."""

    metrics: pa.Table
    scrapes: pa.Table
    sealed: bool
    unreadable: tuple[str, ...] = ()


def read(folder: Path) -> Recording:
    """Read a recording, sealed or left behind by a kill; raises `UserError` when there is none."""
    tables: dict[str, pa.Table] = {}
    torn: list[str] = []
    sealed = all((folder / f"{name}.parquet").exists() for name in _SCHEMAS)
    for name, schema in _SCHEMAS.items():
        files = [folder / f"{name}.parquet"] if sealed else sorted(folder.glob(f"{name}-*.parquet"))
        found = {file.name: _readable(file) for file in files}
        torn += [file for file, table in found.items() if table is None]
        parts = [table.cast(schema) for table in found.values() if table is not None]
        tables[name] = pa.concat_tables(parts).unify_dictionaries() if parts else schema.empty_table()
    if not tables[SCRAPES].num_rows:
        raise UserError("holds no recording", where=folder, remedy="name a folder that a Recorder wrote")
    return Recording(tables[METRICS], tables[SCRAPES], sealed, tuple(torn))


def values(
    recording: Recording,
    metric: str,
    *,
    start: float = -np.inf,
    end: float = np.inf,
    source: str | None = None,
) -> pa.Table:
    """One metric at every scrape that answered with `start <= t_wall < end`: t_wall, source, labels, value.

    `start` and `end` are seconds since the epoch, as a manifest's `started_at`. A series begins with its
    first value and pauses while its source does not show it.
    """
    rows = recording.metrics.filter(pc.equal(recording.metrics["metric"], metric)).to_pandas()
    scrapes = recording.scrapes.filter(pc.is_null(recording.scrapes["reason"])).to_pandas()
    parts: list[pa.Table] = []
    for (name, labels), series in rows.groupby(["source", "labels"], observed=True, sort=True):
        if source is not None and name != source:
            continue
        asked = scrapes[scrapes["source"] == name].sort_values("t_mono")
        changes = series.sort_values("t_mono")
        last = np.searchsorted(changes["t_mono"].to_numpy(), asked["t_mono"].to_numpy(), side="right") - 1
        wall = asked["t_wall"].to_numpy()
        filled = np.where(last >= 0, changes["value"].to_numpy()[last], np.nan)
        shown = (last >= 0) & ~np.isnan(filled) & (wall >= start) & (wall < end)
        count = int(shown.sum())
        columns = [wall[shown], [name] * count, [labels] * count, filled[shown]]
        parts.append(pa.table(columns, names=["t_wall", "source", "labels", "value"]))
    empty = pa.schema([("t_wall", pa.float64()), ("source", pa.string()), ("labels", pa.string())])
    schema = empty.append(pa.field("value", pa.float64()))
    return pa.concat_tables([part.cast(schema) for part in parts]) if parts else schema.empty_table()
