"""Reading files within bounds: regular files only, UTF-8 only, JSON no larger and no deeper than it may be.

Every bound on what a file may hold stands here with its reason (those of YAML alone in `bounded_yaml`, bounds
on what a study may ask for in `config_values`). What is beyond a bound is refused before it costs time or
memory, as one UserError that names the file and the line or key.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from anarchy.ground.errors import UserError

MAX_CONFIG_BYTES: Final = 128 * 1024
"""Of a YAML file: the longest of this project has 9 KB, and 100 KB take more than a second to read."""
MAX_JSON_BYTES: Final = 16 * 1024 * 1024
"""Of a JSON document: a manifest has 13 KB; with 20,000 workers, the most that it may have, 4 MB."""
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""Of a line of JSON Lines: a record with every gap between 100,000 tokens has 2 MB."""
MAX_DEPTH: Final = 50
"""Of lists and mappings in one another: ours are 8 deep. Some hundreds are too many for Python's stack."""
MAX_DIGITS: Final = 20
"""Of a whole number: 64 bits have 20. Python reads thousands, in time that grows with their square."""

LARGEST_SEED: Final = 2**63 - 1
"""Of a seed: what a signed 64-bit number holds."""
MOST_WORKERS: Final = 10_000
"""Of a pool, in a study, a manifest and an option; and nodes of a cluster."""

_TEXT_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Possessive and with an end that may be missing: linear in the length of any text."""
_HALF: Final = re.compile("[\ud800-\udfff]")
_STEP: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_DENIED: Final = (errno.EACCES, errno.EPERM)
_MEND: Final = "take a whole file of the format"


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading bytes.

    Raises UserError for a folder, a named pipe, whose writer may never come, or a device, which may have no
    end; OSError for a file that is not there or may not be read.
    """
    return open(path, "rb", opener=_regular)


def _regular(path: str, flags: int) -> int:
    # Without O_NONBLOCK the call would wait for a pipe's writer.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        raise UserError(f"cannot be read: it is {kind}, not a file", where=Path(path), remedy="name a file")
    return descriptor


def read_bytes(path: Path, limit: int, *, missing: str = "check the path") -> bytes:
    """The content of a file of at most `limit` bytes; ``missing`` is the remedy where there is none.

    Raises UserError for a file that is absent, unreadable, longer, or no regular file.
    """
    try:
        with open_regular(path) as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise UserError("does not exist", where=path, remedy=missing) from None
    except OSError as error:
        remedy = "give this user read access to it" if error.errno in _DENIED else "check the path"
        raise UserError(f"cannot be read: {error.strerror}", where=path, remedy=remedy) from None
    if len(content) > limit:
        raise UserError(
            f"is longer than {limit} bytes, more than a file of this kind needs",
            where=path,
            remedy="name the right file, or leave out what does not belong there",
        )
    return content


def read_text(path: Path, limit: int = MAX_CONFIG_BYTES, *, missing: str = "check the path") -> str:
    """The text of a UTF-8 file, with or without its mark of three bytes; as `read_bytes` otherwise.

    Raises UserError naming the first byte that is not UTF-8.
    """
    return decode(read_bytes(path, limit, missing=missing), path)


def decode(content: bytes, path: Path) -> str:
    """The text of a file's bytes; raises UserError naming the first byte that is not UTF-8."""
    refuse_utf_16(content, path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        name = shlex.quote(path.name)
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"is not UTF-8: byte {error.start}, in line {line}, is 0x{content[error.start]:02x}",
            where=path,
            remedy=f"write it as UTF-8; from Latin-1: iconv -f LATIN1 -t UTF-8 {name} > new",
        ) from None


def refuse_utf_16(content: bytes, path: Path) -> None:
    """Refuse a file by its first bytes where they are of UTF-16, with its mark or without."""
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    if marked or b"\0" in content[:4]:
        at = 0 if marked else content.find(b"\0")
        raise UserError(
            f"is not UTF-8 but looks like UTF-16 (byte {at} is 0x{content[at]:02x})",
            where=path,
            remedy=f"write it as UTF-8: iconv -f UTF-16 -t UTF-8 {shlex.quote(path.name)} > new",
        )


class OutOfBoundsError(ValueError):
    """What is JSON and may not be read, in words, with its key."""


class _BadNumberError(ValueError):
    """A number beyond the bounds, somewhere."""


def parse_json(text: str, *, each_once: bool = True) -> Any:
    """The value that a text of JSON stands for.

    Raises json.JSONDecodeError, a ValueError, for what is no JSON; OutOfBoundsError, another, for depth and
    digits beyond the bounds, numbers that are not finite, halves of a surrogate pair, and with ``each_once``
    a key that stands twice in one object.
    """
    _check_depth(text)
    try:
        value = (_UNIQUE if each_once else _PLAIN).decode(text)
    except _BadNumberError as error:
        raise OutOfBoundsError(f"{_key_of_bad_number(text)}{error}") from None
    if "\\u" in text:
        _check_unicode(value)
    return value


def load_json(path: Path, *, remedy: str = _MEND, missing: str = "check the path") -> dict[str, Any]:
    """The object that a JSON file holds; ``remedy`` for bad content, ``missing`` for no file.

    Raises UserError as `read_text`, and for what `parse_json` refuses or what is no object.
    """
    text = read_text(path, MAX_JSON_BYTES, missing=missing)
    try:
        document = parse_json(text)
    except OutOfBoundsError as error:
        raise UserError(str(error), where=path, remedy=remedy) from None
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", where=path, remedy=remedy) from None
    if not isinstance(document, dict):
        raise UserError("is not a JSON object", where=path, remedy=remedy)
    return document


def _check_depth(text: str) -> None:
    """Refuse depth before the parser recurses into it; brackets inside of texts do not count."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _TEXT_OR_BRACKET.finditer(text):
        depth += _STEP.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise OutOfBoundsError(f"lists and objects are nested more than {MAX_DEPTH} deep")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS and (count := len(digits.lstrip("-"))) > MAX_DIGITS:
        raise _BadNumberError(f"a whole number of {count} digits; at most {MAX_DIGITS} are read")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _BadNumberError(f"{text[:40]} is larger than every number that a computer holds")
    return value


def _no_number(name: str) -> NoReturn:
    raise _BadNumberError(f"{name} is not a number")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise OutOfBoundsError(f"key {_short(key)!r} stands there twice")
            seen.add(key)
    return found


def _key_of_bad_number(text: str) -> str:
    """Where the first number stands that cannot be read, found by reading again with marks in their place."""

    def marked(read: Callable[[str], Any]) -> Callable[[str], Any]:
        def reading(digits: str) -> Any:
            try:
                return read(digits)
            except _BadNumberError:
                return _BadNumberError

        return reading

    decoder = json.JSONDecoder(
        parse_int=marked(_whole), parse_float=marked(_finite), parse_constant=marked(_no_number)
    )
    try:
        document = decoder.decode(text)
    except ValueError:  # and further on it is not even JSON
        return ""
    return next((_key(path) for path, value in _leaves(document) if value is _BadNumberError), "")


def _check_unicode(document: Any) -> None:
    """Refuse halves of a surrogate pair, which JSON can write and nothing else can."""
    for path, value in _leaves(document):
        for text in (*path, value):
            if isinstance(text, str) and (half := _HALF.search(text)) is not None:
                raise OutOfBoundsError(f"{_key(path)}\\u{ord(half[0]):04x} is half of a character")


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that holds no other, with the keys and places that lead to it."""
    if value and isinstance(value, dict):
        for key, entry in value.items():
            yield from _leaves(entry, (*path, key))
    elif value and isinstance(value, list):
        for place, entry in enumerate(value):
            yield from _leaves(entry, (*path, str(place)))
    else:
        yield path, value


def _key(path: tuple[str, ...]) -> str:
    return f"key {_short('.'.join(path))!r}: " if path else ""


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."


_PLAIN: Final = json.JSONDecoder(parse_int=_whole, parse_float=_finite, parse_constant=_no_number)
_UNIQUE: Final = json.JSONDecoder(
    object_pairs_hook=_each_once, parse_int=_whole, parse_float=_finite, parse_constant=_no_number
)
"""Made once: `json.loads` with an option would make one a call."""
