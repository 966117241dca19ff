"""JSON Lines, plain or gzip, read with the place of every fault; on request what is whole of a torn file."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from anarchy.ground.bounded import MAX_LINE_BYTES, open_regular, parse_json, refuse_utf_16
from anarchy.ground.errors import UserError

GZIP_MAGIC: Final = b"\x1f\x8b"
TORN: Final = (
    "take a whole copy; of a writer that was killed or whose disk was full, take what is whole: add "
    "--accept-torn to the same command, what is missing is told and counted"
)
IMPOSSIBLE: Final = (
    "take the file as its program wrote it; docs/traces.md lists what is read of it. One that was edited, or "
    "is of another version, has to be recorded again"
)
MAX_TOKENS: Final = 2**31 - 1
MAX_NS: Final = 4 * 10**18
"""Wall clock beyond which a time in nanoseconds is a fault of units: the year 2096."""
MAX_BLANK_LINES: Final = 1_000_000
"""No program writes any; a thousand times more of them fit into a gzip file of a megabyte."""
CHUNK: Final = 1 << 18
"""Bytes read at a time ..."""
SMALL: Final = 1 << 12
"""... and of a gzip file: of one that is damaged, what so many bytes stand for is lost before the damage."""
ANY_GZIP: Final = 31
"""zlib's word for a gzip header and its checksum."""


class Line(NamedTuple):
    """One object of a JSON Lines file and where it stands; line numbers count from 1."""

    path: Path
    number: int
    data: dict[str, Any]

    def fault(self, what: str, remedy: str = IMPOSSIBLE) -> UserError:
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


@dataclass
class Torn:
    """What was not whole in files that were read all the same."""

    files: dict[Path, list[str]] = field(default_factory=dict)
    """By file, what is missing of it, a record known to be missing each; what a file would have held after
    its end is not known."""

    ends: set[Path] = field(default_factory=set)
    """Files whose end is missing; the others have a hole."""

    @property
    def records(self) -> int:
        """Records that are known to be missing."""
        return sum(map(len, self.files.values()))

    def miss(self, path: Path, what: str, *, end: bool) -> None:
        """Count one record, which is the end of its file or not."""
        self.files.setdefault(path, []).append(what)
        if end:
            self.ends.add(path)

    def notes(self) -> list[str]:
        """What is missing, file by file, for the notes of an import."""
        return [
            f"torn: {path.name}: {each[0]}"
            + (f", and {len(each) - 1} more" if len(each) > 1 else "")
            + "; what is whole of it was taken"
            for path, each in self.files.items()
        ]


def json_lines(path: Path, torn: Torn | None = None) -> Iterator[Line]:
    """Every object of a JSON Lines file in its order; blank lines are passed over.

    Raises UserError with the line number for what is not a whole JSON object (NaN and Infinity are not JSON),
    for a damaged gzip, and for a file that is missing or unreadable. With `torn`, lines that are not whole
    and a damaged end are left out and counted there.
    """
    number = blank = 0
    try:
        with open_regular(path) as file:
            for number, text in enumerate(_lines(_plain(file)), start=1):
                if len(text) > MAX_LINE_BYTES:
                    raise UserError(
                        f"is no line of a record: it is longer than {MAX_LINE_BYTES} bytes",
                        where=f"{path}:{number}",
                        remedy=IMPOSSIBLE,
                    )
                if text.isspace():
                    blank += 1
                    if blank > MAX_BLANK_LINES:
                        what = f"holds more than {MAX_BLANK_LINES} blank lines"
                        raise UserError(what, where=path, remedy=IMPOSSIBLE)
                    continue
                try:
                    yield Line(path, number, _object(path, number, text))
                except UserError as fault:
                    if torn is None:
                        raise
                    end = not text.endswith(b"\n")
                    torn.miss(path, fault.what if end else f"line {number} {fault.what}", end=end)
    except FileNotFoundError:
        raise UserError("there is no such file", where=path, remedy="check the path") from None
    except zlib.error as error:
        missing = f"the gzip file is truncated or damaged after line {number}: {error}"
        if torn is None:
            raise UserError(missing, where=path, remedy=TORN) from None
        torn.miss(path, missing, end=True)
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="give this user read access to it"
        ) from None


def _plain(file: BinaryIO) -> Iterator[bytes]:
    """The file's content in pieces, unpacked if it is gzip; zlib.error after all that a damaged one holds."""
    head = file.read(SMALL)
    if not head.startswith(GZIP_MAGIC):
        while head:
            yield head
            head = file.read(CHUNK)
        return
    unpacker = zlib.decompressobj(ANY_GZIP)
    while head:
        yield unpacker.decompress(head)
        head = file.read(SMALL)
        if unpacker.eof:  # another member may follow, or the zeros that fill a block
            head = (unpacker.unused_data + head).lstrip(b"\0")
            if head:
                unpacker = zlib.decompressobj(ANY_GZIP)
    yield unpacker.flush()
    if not unpacker.eof:
        raise zlib.error("its end is missing")


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines with their ends, and what follows the last end; nothing after a line that is too long."""
    rest: list[bytes] = []
    for piece in pieces:
        *whole, last = piece.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line, b"\n"])
            rest.clear()
        rest.append(last)
        if sum(map(len, rest)) > MAX_LINE_BYTES:
            break
    if any(rest):
        yield b"".join(rest)


def _object(path: Path, number: int, text: bytes) -> dict[str, Any]:
    where = f"{path}:{number}"
    if number == 1:
        refuse_utf_16(text, path)
    try:
        value = parse_json(text.decode("utf-8-sig" if number == 1 else "utf-8"), each_once=False)
    except ValueError as error:
        if not text.endswith(b"\n"):
            what = "the last line is cut off: the writer was killed, or is still writing"
            raise UserError(what, where=where, remedy=TORN) from None
        raise UserError(f"is not JSON: {error}", where=where, remedy=TORN) from None
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=where, remedy=TORN)
    return value


def _is_unicode(value: str) -> bool:
    """Whether a text has no half of a surrogate pair, which JSON can write and nothing else can."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
