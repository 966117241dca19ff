"""Searching files for what an anonymiser would take out, before anybody publishes them."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from anarchy.ground.errors import UserError
from anarchy.telemetry.alias import Anonymiser

NOT_TEXT = frozenset({".pdf", ".png", ".npz", ".partial"})
"""Files without words: pictures, tables of numbers, and what was never finished."""
ENCODED = re.compile(
    r"[A-Za-z0-9+/]{1000,}={0,2}|(?<=d=['\"])[Mm](?:[MLHVCSQTAZmlhvcsqtaz0-9eE., +-]|%20)*(?=['\"])"
)
"""A picture in a notebook or a page: any short name is somewhere in enough random letters of Base64, and any
address in the numbers of an outline."""
EXCERPT = 160


@dataclass(frozen=True)
class Leak:
    """A name, address or secret in a file: where, and what the text should be instead."""

    path: Path
    place: str
    clean: str


def find_leaks(folder: Path, anonymiser: Anonymiser) -> list[Leak]:
    """Every text under a folder that the anonymiser would change: names of files, lines, Parquet's strings.

    Reads plain text, gzip and Parquet, and of pages and notebooks not the pictures in them. Raises UserError
    for what cannot be read: it is not proven clean.
    """
    if not folder.is_dir():
        raise UserError("is no folder", where=folder, remedy="name results, or a part of them")
    return [
        leak
        for path in sorted(folder.rglob("*"))
        for leak in leaks_in(path, str(path.relative_to(folder)), anonymiser)
    ]


def leaks_in(path: Path, name: str, anonymiser: Anonymiser) -> list[Leak]:
    """The same of one file or folder, its name as it is published; errors as `find_leaks`."""
    texts = [("its name", name)]
    if path.is_file() and path.suffix not in NOT_TEXT:
        try:
            texts += _texts(path)
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            raise UserError(
                f"cannot be read, so that nobody knows what it names: {error}",
                where=path,
                remedy="take a whole copy of it, or remove it",
            ) from None
    cleaned = [(place, text, anonymiser.text(text)) for place, text in texts]
    return [Leak(path, place, clean.strip()[:EXCERPT]) for place, text, clean in cleaned if clean != text]


def aliased(text: str, anonymiser: Anonymiser) -> str:
    """A text with everything replaced that the anonymiser would change, pictures in it left as they are."""
    pictures = ENCODED.findall(text)
    between = [anonymiser.text(part) for part in ENCODED.split(text)]
    return "".join(part + picture for part, picture in zip(between, [*pictures, ""], strict=True))


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Every piece of text of a file with its place."""
    if path.suffix == ".parquet":
        yield from _strings(path)
        return
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        yield f"line {number}", ENCODED.sub("", line)


def _strings(path: Path) -> Iterator[tuple[str, str]]:
    table = pq.read_table(path)
    for key, value in (table.schema.metadata or {}).items():
        yield f"metadata {key.decode()}", value.decode("utf-8", "replace")
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            for value in column.cast(pa.string()).unique().drop_null().to_pylist():
                yield f"column {name}", value
