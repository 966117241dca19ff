"""JSON Lines, plain or gzip, read with the place of every fault."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from anarchy.bounded import MAX_LINE_BYTES, open_regular, parse_json, refuse_utf_16
from anarchy.errors import UserError

GZIP_MAGIC: Final = b"\x1f\x8b"
DAMAGED: Final = "take a whole copy of the file, or leave the line out knowingly and import the rest"
MAX_TOKENS: Final = 2**31 - 1
MAX_NS: Final = 4 * 10**18
"""Wall clock beyond which a time in nanoseconds is a fault of units: the year 2096."""


class Line(NamedTuple):
    """One object of a JSON Lines file and where it stands; line numbers count from 1."""

    path: Path
    number: int
    data: dict[str, Any]

    def fault(self, what: str, remedy: str = DAMAGED) -> UserError:
        """The error that names this line."""
        return UserError(what, where=f"{self.path}:{self.number}", remedy=remedy)

    def part(self, data: dict[str, Any], key: str) -> dict[str, Any]:
        """The object under a key; raises UserError when there is none."""
        value: Any = data.get(key)
        if not isinstance(value, dict):
            raise self.fault(f"has no object {key!r}")
        return value

    def text(self, data: dict[str, Any], key: str) -> str | None:
        """The text under a key, None when there is none."""
        value: Any = data.get(key)
        if value is None:
            return None
        if not (isinstance(value, str) and value and (value.isascii() or _is_unicode(value))):
            raise self.fault(f"{key} is {value!r}, not a text")
        return value

    def whole(self, data: dict[str, Any], key: str, maximum: int = MAX_TOKENS) -> int | None:
        """The whole number under a key, from 0 to `maximum`; None when there is none."""
        value = data.get(key)
        if value is None:
            return None
        if type(value) is not int:
            if type(value) is not float or not value.is_integer():
                raise self.fault(f"{key} is {value!r}, not a whole number")
            value = int(value)
        if not 0 <= value <= maximum:
            raise self.fault(f"{key} is {value}, not within 0 and {maximum}")
        return int(value)

    def nanoseconds(self, data: dict[str, Any], key: str, unit_ns: int) -> int | None:
        """The duration under a key, in ns; `unit_ns` is the length of its unit. None when there is none."""
        value: Any = data.get(key)
        if value is None:
            return None
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self.fault(f"{key} is {value!r}, not a duration")
        if not 0 <= value * unit_ns <= MAX_NS:
            raise self.fault(f"{key} is {value}: a duration is not negative")
        nanoseconds: int = round(value * unit_ns)
        return nanoseconds

    def needed(self, value: Any, key: str) -> Any:
        """The value, which must be there."""
        if value is None:
            raise self.fault(f"has no {key}")
        return value


def json_lines(path: Path) -> Iterator[Line]:
    """Every object of a JSON Lines file in its order; blank lines are passed over.

    Raises UserError with the line number for what is not a whole JSON object, and for a file that is
    missing, unreadable or a truncated gzip. NaN and Infinity are not JSON.
    """
    number = 0
    try:
        with _opened(path) as lines:
            for number, text in enumerate(iter(partial(lines.readline, MAX_LINE_BYTES), b""), start=1):
                if len(text) == MAX_LINE_BYTES:
                    raise UserError(
                        "is no line of a record: it is too long", where=f"{path}:{number}", remedy=DAMAGED
                    )
                if not text.isspace():
                    yield Line(path, number, _object(path, number, text))
    except FileNotFoundError:
        raise UserError("there is no such file", where=path, remedy="check the path") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"the gzip file is truncated or damaged after line {number}: {error}",
            where=path,
            remedy="take a whole copy; of a writer that was killed keep what is whole: "
            f"zcat {path.name} | head -n {number} > whole.jsonl, and import that",
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="give this user read access to it"
        ) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with open_regular(path) as raw:
        if raw.peek(2)[:2] == GZIP_MAGIC:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast("BinaryIO", io.BufferedReader(unpacked))
        else:
            yield raw


def _object(path: Path, number: int, text: bytes) -> dict[str, Any]:
    where = f"{path}:{number}"
    if number == 1:
        refuse_utf_16(text, path)
    try:
        value = parse_json(text.decode("utf-8-sig" if number == 1 else "utf-8"), each_once=False)
    except ValueError as error:
        if not text.endswith(b"\n"):
            raise UserError(
                "the last line is cut off: the writer was killed, or is still writing",
                where=where,
                remedy=f"wait for the writer, or leave that request out knowingly: "
                f"head -n {number - 1} {path.name} > whole.jsonl, and import that",
            ) from None
        raise UserError(f"is not JSON: {error}", where=where, remedy=DAMAGED) from None
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=where, remedy=DAMAGED)
    return value


def _is_unicode(value: str) -> bool:
    """Whether a text has no half of a surrogate pair, which JSON can write and nothing else can."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
