"""`controller.jsonl`: every poll and every switch, one JSON object a line, readable after a kill."""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from anarchy.ground.bounded import parse_json
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors

if TYPE_CHECKING:
    from anarchy.trace.reader import CellTrace

LOG_FILE: Final = "controller.jsonl"
LOG_SCHEMA: Final = 1


class ControllerLog:
    """Appends records to a file; each reaches the operating system as it is written. Use it in a `with`.

    An infinite bound becomes null. Raises `UserError` when the disk is full or the file may not be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file = path.open("a+b")
            except IsADirectoryError:
                raise UserError("is a folder", where=path, remedy="name a file") from None
            # A killed writer may have left half a line; the next record must not be glued to it.
            if self._file.tell() and not _ends_whole(self._file.fileno(), self._file.tell()):
                self._file.write(b"\n")

    def write(self, kind: str, **facts: Any) -> None:
        """Append one record, `{"kind": kind, ...}`."""
        line = json.dumps({"kind": kind, **_plain(facts)}, allow_nan=False, ensure_ascii=False)
        with disk_errors(self.path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file; may be called twice."""
        with disk_errors(self.path):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class LogRecords:
    """What a log holds: its records in order, and the numbers of the lines that could not be read."""

    records: tuple[Mapping[str, Any], ...]
    unreadable: tuple[int, ...]

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """The records of one kind: start, baseline, poll, switch, end."""
        return [record for record in self.records if record["kind"] == kind]


def read_log(path: Path) -> LogRecords:
    """Read a log, also of a writer that was killed in the middle of a line or still writes.

    A line that is not whole is left out and its number told. Raises `UserError` when there is no such file.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="name a log that a controller wrote"
        ) from error
    records: list[Mapping[str, Any]] = []
    unreadable: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line.decode("utf-8"), each_once=False)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("kind"), str):
            records.append(record)
        else:
            unreadable.append(number)
    return LogRecords(tuple(records), tuple(unreadable))


def clock_offset(start: Mapping[str, Any], trace: CellTrace) -> float:
    """What turns the times of a log into times of its cell, model s, given the log's record `start`.

    Both clocks are anchored to the wall's. Raises `UserError` where the manifest has no anchor.
    """
    try:
        zero = datetime.datetime.fromisoformat(trace.manifest.started_at).timestamp()
    except ValueError:
        raise UserError(
            f"key 'started_at' is no time: {trace.manifest.started_at!r}",
            where=trace.directory,
            remedy="restore the manifest, or measure this cell again",
        ) from None
    return (float(start["at_wall_s"]) - zero) / trace.manifest.dilation


def _ends_whole(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
