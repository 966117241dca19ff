"""An archive held against its own checksums: what is missing, what was added, what was changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from anarchy.archive.crate import MANIFEST, METADATA
from anarchy.archive.zipped import Archive
from anarchy.ground.bounded import parse_json
from anarchy.ground.errors import UserError

MOST_MANIFEST_BYTES: Final = 256 * 1024 * 1024
"""Of the manifest: 500,000 lines of 500 bytes."""
LINE: Final = re.compile(r"([0-9a-f]{64})  (.+)")
ELSEWHERE: Final = "take the archive from where it was published"


def read_manifest(archive: Archive) -> dict[str, str]:
    """Name of each file -> SHA-256; raises UserError for an archive without a manifest, or with another's."""
    if MANIFEST not in archive.names:
        raise UserError(f"holds no {MANIFEST}", where=archive.path, remedy="name an archive of make archive")
    if archive.size(MANIFEST) > MOST_MANIFEST_BYTES:
        raise UserError(f"{MANIFEST} is too long to be one", where=archive.path, remedy=ELSEWHERE)
    digests: dict[str, str] = {}
    text = archive.read(MANIFEST).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        found = LINE.fullmatch(line)
        if found is None or found[2] in digests:
            what = "is no checksum and name" if found is None else "names a file a second time"
            raise UserError(f"{MANIFEST}: line {number} {what}", where=archive.path, remedy=ELSEWHERE)
        digests[found[2]] = found[1]
    return digests


def problems(archive: Archive, digests: Mapping[str, str]) -> Iterator[str]:
    """Each file that is not as the manifest says, in words; then whether the description can be read."""
    for name in sorted(digests.keys() - archive.names):
        yield f"missing: {name}"
    for name in sorted(archive.names - digests.keys() - {MANIFEST}):
        yield f"added: {name}"
    for name in sorted(digests.keys() & archive.names):
        try:
            digest = hashlib.sha256(archive.read(name)).hexdigest()
        except UserError as error:
            yield f"changed: {error.what}"
            continue
        if digest != digests[name]:
            yield f"changed: {name}: SHA-256 {digest[:12]}..., the manifest says {digests[name][:12]}..."
    if METADATA in archive.names:
        yield from _undescribed(archive)


def _undescribed(archive: Archive) -> Iterator[str]:
    """Files and folders that the description names and the archive lacks."""
    try:
        graph = parse_json(archive.read(METADATA).decode())["@graph"]
        parts = next(one["hasPart"] for one in graph if one["@id"] == "./")
        named = [str(part["@id"]) for part in parts]
    except UserError:
        return  # told as changed
    except (ValueError, KeyError, TypeError, StopIteration):
        yield f"{METADATA}: describes no archive"
        return
    for name in named:
        there = name in archive.names or (
            name.endswith("/") and any(one.startswith(name) for one in archive.names)
        )
        if not there:
            yield f"{METADATA}: describes {name}, which is missing"
