"""Files as this project writes them: whole or not there, and a disk's refusal told as what it is."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from anarchy.ground.errors import UserError

_CANNOT_BE = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR)


def write_json(path: Path, document: object) -> None:
    """Write a JSON file so that it is either whole or not there; NaN and infinity become null."""
    make_folder(path.parent)
    with disk_errors(path):
        scratch = path.with_suffix(f".{os.getpid()}.partial")  # another process may write it too
        scratch.write_text(
            json.dumps(_finite_or_null(document), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        sync(scratch)
        os.replace(scratch, path)


def _finite_or_null(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite_or_null(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_null(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Tell a full disk, and what may not or cannot be written, as what they are."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                "no disk space is left",
                where=where,
                remedy="free space and run again: sealed cells are kept, the interrupted one is repeated",
            ) from error
        if error.errno == errno.EFBIG:
            raise UserError(
                "the file may not grow further",
                where=where,
                remedy="raise the limit of this shell (ulimit -f unlimited) and run again",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                "may not be written",
                where=where,
                remedy="give this user write access, or set results to another folder",
            ) from error
        if error.errno in _CANNOT_BE:
            raise UserError(
                f"cannot be written: {error.strerror}", where=where, remedy="name another place"
            ) from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing; raises UserError saying why it cannot be."""
    with disk_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UserError("is there and is no folder", where=folder, remedy="name another place") from None
        except FileNotFoundError as error:  # /proc and the like say so of whatever one makes there
            raise UserError(
                f"cannot be made: {error.strerror}", where=folder, remedy="name another place"
            ) from error


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replaceable(path: Path) -> Path:
    """The file that takes the place of `path`: what a link leads to is replaced, not the link.

    Raises UserError for a folder, a device and the like.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError("is no regular file, and is not replaced", where=path, remedy="name another file")
    return Path(os.path.realpath(path))


def scratch_of(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.partial")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there; raises UserError where the disk refuses."""
    path = replaceable(path)
    make_folder(path.parent)
    with disk_errors(path):
        scratch = scratch_of(path)
        scratch.write_bytes(content)
        os.replace(scratch, path)
