"""Text on its way to a terminal: names that others chose must not move its cursor or reorder its lines."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

_HIDDEN: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories without a picture of their own: control characters, those that set the direction of
text, halves of surrogate pairs, and separators of lines."""
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str, keep: str = "") -> str:
    r"""The text with every character that a terminal would obey written as its escape, such as ``\x1b``.

    ``keep``: characters to let through, such as line feeds of a text of several lines. What is visible stays
    as it is, so that applying it twice changes nothing.
    """
    if text.isprintable():
        return text
    if "\n" in keep and "\n" in text:  # line by line: most lines are printable
        return "\n".join(visible(line, keep) for line in text.split("\n"))
    return "".join(_shown(character, keep) for character in text)


def _shown(character: str, keep: str) -> str:
    if character in keep or unicodedata.category(character) not in _HIDDEN:
        return character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableError(error.strerror or str(error)) from None


class UnwritableError(Exception):
    """The output takes no more text, and why: a full disk behind it."""


class VisibleOutput(io.TextIOBase):
    """A stream that shows text of several lines as `visible`; what its encoding lacks becomes an escape too.

    Raises UnwritableError where the stream behind it takes no more, BrokenPipeError where nobody reads it.

    Everything that `anarchy` prints on stdout passes through it. JSON is not changed by it (it has escapes of
    its own); files written by ``-o`` do not pass through it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """``stream``: None where this process was started without one."""
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: SIM115
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write the text and return its length."""
        with _told():
            self._stream.write(visible(text, keep="\n\t"))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with _told():
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream behind it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The file descriptor of the stream behind it."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream behind it."""
        return self._stream.encoding
