"""Files and folders that a command is asked to write: proven to be possible before the work begins."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, replaceable, scratch_of


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder for what the block writes into it; if the block fails, nothing of it is left.

    Raises UserError for one that holds something already and for one that cannot be made or written.
    """
    with disk_errors(folder):
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                "is there already, and a trace is never overwritten",
                where=folder,
                remedy="name a new folder, or remove this one",
            )
    with _writable(folder):
        try:
            yield
        except BaseException:
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            raise


@contextmanager
def new_file(file: Path) -> Iterator[None]:
    """Make sure that the block can write a file, `tables.write_whole`; if it fails, no folder of it is left.

    Raises UserError for a folder, a device and the like, and where no such file can be made.
    """
    if os.path.isdir(file):
        raise UserError("is a folder", where=file, remedy="name a file: -o FILE")
    target = replaceable(file)
    with _writable(target.parent):
        with disk_errors(file):
            scratch_of(target).touch()
            scratch_of(target).unlink()
        yield


def _prove(folder: Path) -> None:
    """Write a file that is gone again, since only that proves that one can be written."""
    with disk_errors(folder):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except FileNotFoundError as error:  # /proc and the like say so of whatever one makes there
            raise UserError(
                f"takes no file: {error.strerror}", where=folder, remedy="name another place"
            ) from error


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make a folder, prove that it takes a file, and remove again what was made where the block fails."""
    made = list(takewhile(lambda one: not os.path.lexists(one), (folder, *folder.parents)))
    try:
        make_folder(folder)
        _prove(folder)
        yield
    except BaseException:
        for one in made:
            with suppress(OSError):
                one.rmdir()
        raise
