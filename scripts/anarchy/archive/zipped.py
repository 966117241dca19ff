"""The zip of an archive: the same bytes each time it is written, and read within bounds.

Nothing is compressed: raw traces and pictures are already, and another zlib would give other bytes.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from anarchy.ground.bounded import open_regular
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, replaceable, scratch_of

EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip can hold; every entry has it."""
UNIX: Final = 3
"""The system that an entry says it comes from, whichever wrote it."""
MOST_ENTRIES: Final = 500_000
"""Of an archive: a run of tier repeats has some thousand files, and this project's code 1,000."""
MOST_TIMES_LARGER: Final = 100
"""What an archive may unpack to, in times of its own size: bombs reach thousands, text of ours ten."""
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
    OSError,  # of bz2, and of the disk
)


@dataclass(frozen=True)
class Entry:
    """One file of an archive: its name there, its content or the file that holds it, whether it is run."""

    name: str
    source: Path | bytes
    executable: bool = False

    def content(self) -> bytes:
        """Its bytes."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


def write_zip(path: Path, entries: Iterable[Entry]) -> None:
    """Write an archive whole or not at all, entries by name, without times, owners and compression.

    Every folder has an entry of its own, as a description that names folders needs it. Raises UserError where
    the disk refuses.
    """
    files = sorted(entries, key=lambda one: one.name)
    folders = {f"{parent}/" for entry in files for parent in PurePosixPath(entry.name).parents} - {"./"}
    target = replaceable(path)
    make_folder(target.parent)
    scratch = scratch_of(target)
    with disk_errors(path):
        try:
            with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as file:
                for folder in sorted(folders):
                    file.writestr(_info(folder, stat.S_IFDIR | 0o755), b"")
                for entry in files:
                    mode = stat.S_IFREG | (0o755 if entry.executable else 0o644)
                    file.writestr(_info(entry.name, mode), entry.content())
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = UNIX
    info.external_attr = mode << 16
    return info


def zip_beside(folder: Path) -> Path:
    """The zip beside a folder, with its name, which `.` and `..` do not tell."""
    named = folder.resolve() if folder.name in ("", "..") else folder
    return named.with_name(f"{named.name}.zip")


class Archive:
    """An archive that is open for reading; `names` are those of its files."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path = path
        self._file = file
        self._infos = {info.filename: info for info in _checked(path, file)}

    @property
    def names(self) -> frozenset[str]:
        """The files in it."""
        return frozenset(self._infos)

    def size(self, name: str) -> int:
        """Bytes of a file, as the archive tells it."""
        return self._infos[name].file_size

    def read(self, name: str) -> bytes:
        """The content of a file; raises UserError where it does not match the zip's own checksum."""
        try:
            return self._file.read(self._infos[name])
        except _UNREADABLE as error:
            raise UserError(
                f"{name} cannot be read: {error}", where=self.path, remedy="take a whole copy of the archive"
            ) from None

    def extract(self, prefix: str, folder: Path) -> None:
        """Write every file below a prefix into a folder, the prefix left out; errors as `read`."""
        for name in sorted(self.names):
            if name.startswith(prefix):
                file = folder / name.removeprefix(prefix)
                make_folder(file.parent)
                with disk_errors(file):
                    file.write_bytes(self.read(name))


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive; raises UserError for what is no zip, or one that could harm whoever unpacks it."""
    with contextlib.ExitStack() as opened:
        # The opening alone: what the caller does with the archive fails by its own name.
        try:
            file = opened.enter_context(open_regular(path))
            archive = Archive(path, opened.enter_context(zipfile.ZipFile(file)))
        except FileNotFoundError:
            raise UserError("does not exist", where=path, remedy="make one: make archive") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise UserError(
                f"is no zip, or is cut off: {error}", where=path, remedy="take a whole copy of the archive"
            ) from None
        except OSError as error:
            raise UserError(
                f"cannot be read: {error.strerror}", where=path, remedy="name a zip that this user may read"
            ) from None
        yield archive


def _checked(path: Path, file: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries that are files; raises UserError for the first that no archive of ours has."""
    infos = file.infolist()
    if len(infos) > MOST_ENTRIES:
        raise _refused(path, f"it has {len(infos):,} entries; at most {MOST_ENTRIES:,} are read")
    seen: set[str] = set()
    for info in infos:
        if why := _harm(info, seen):
            raise _refused(path, f"entry {info.filename!r} {why}")
        seen.add(info.filename)
    unpacked, packed = sum(info.file_size for info in infos), path.stat().st_size
    if unpacked > MOST_TIMES_LARGER * packed:
        raise _refused(path, f"it would unpack to {unpacked:,} bytes, {unpacked // packed:,} times its size")
    return [info for info in infos if not info.is_dir()]


def _harm(info: zipfile.ZipInfo, seen: set[str]) -> str:
    """Why an entry is not read; empty for one that is."""
    name = PurePosixPath(info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or "\\" in info.orig_filename or "\0" in info.orig_filename:
        return "leads out of the folder that it is unpacked into"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if info.filename in seen:
        return "is there twice"
    return "is encrypted" if info.flag_bits & 1 else ""


def _refused(path: Path, why: str) -> UserError:
    return UserError(f"is refused: {why}", where=path, remedy="take the archive from where it was published")
