"""The zip of an archive: the same bytes each time, and nothing that harms whoever reads it."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from anarchy.archive.zipped import Entry, open_archive, write_zip, zip_beside
from anarchy.ground.errors import UserError

ENTRIES = [Entry("b/run", b"#!/bin/sh\n", executable=True), Entry("a.txt", b"first\n")]


def made(folder: Path, name: str, content: bytes = b"x", mode: int = 0, times: int = 1) -> Path:
    """A zip of somebody else's, with one entry."""
    path = folder / "theirs.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for _ in range(times):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def test_order_and_files_times_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"first\n")
    write_zip(tmp_path / "one.zip", ENTRIES)
    write_zip(tmp_path / "two.zip", [Entry("a.txt", tmp_path / "source"), ENTRIES[0]])
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "source", "two.zip"]


def test_entries_name_no_time_and_no_system(tmp_path: Path) -> None:
    write_zip(tmp_path / "one.zip", ENTRIES)
    with zipfile.ZipFile(tmp_path / "one.zip") as file:
        assert [info.filename for info in file.infolist()] == ["b/", "a.txt", "b/run"]
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        modes = {info.filename: info.external_attr >> 16 for info in file.infolist()}
        assert modes["a.txt"] == stat.S_IFREG | 0o644
        assert modes["b/run"] == stat.S_IFREG | 0o755
        assert {info.create_system for info in file.infolist()} == {3}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_zip(tmp_path / "one.zip", ENTRIES)
    with open_archive(tmp_path / "one.zip") as archive:
        assert archive.names == {"a.txt", "b/run"}
        assert archive.read("a.txt") == b"first\n"
        archive.extract("b/", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../up", "a\\..\\up"])
def test_a_path_that_escapes_is_refused(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(UserError, match=r"theirs\.zip: is refused: .* leads out of the folder"),
        open_archive(made(tmp_path, name)),
    ):
        pass


def test_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a link"), open_archive(made(tmp_path, "a", mode=stat.S_IFLNK)):
        pass


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there twice"), open_archive(made(tmp_path, "a", times=2)):
        pass


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = made(tmp_path, "a", content=bytes(10_000_000))
    with pytest.raises(UserError, match="would unpack to 10,000,000 bytes"), open_archive(bomb):
        pass


@pytest.mark.parametrize(
    ("content", "said"), [(b"not a zip", "is no zip"), (None, "does not exist"), (b"PK\x03\x04", "is no zip")]
)
def test_what_is_no_archive_is_said(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "theirs.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said), open_archive(path):
        pass


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"), open_archive(tmp_path):
        pass


def test_a_pipe_that_nobody_writes_to_is_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a named pipe"), open_archive(tmp_path / "pipe"):
        pass


def test_what_the_disk_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"), open_archive(tmp_path / "file" / "a.zip"):
        pass


@pytest.mark.parametrize("places", [1, -1], ids=["beside the content", "everywhere"])
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, places: int) -> None:
    path = made(tmp_path, "\xe4")
    path.write_bytes(path.read_bytes().replace("\xe4".encode(), b"\xff\xff", places))
    with pytest.raises(UserError, match="take a whole copy"), open_archive(path) as archive:
        archive.read("\xe4")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2], ids=["lzma", "bzip2"])
def test_content_that_does_not_unpack_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "theirs.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a", 99 * b"content")
    content, place = path.read_bytes(), 30 + len("a") + 9  # behind the headers of entry and method
    path.write_bytes(content[:place] + 8 * b"\xff" + content[place + 8 :])
    with pytest.raises(UserError, match="a cannot be read"), open_archive(path) as archive:
        archive.read("a")


def test_a_zip_lies_beside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quick" / "raw").mkdir(parents=True)
    assert zip_beside(Path("results/quick")) == Path("results/quick.zip")
    monkeypatch.chdir(tmp_path / "quick" / "raw")
    assert zip_beside(Path()) == tmp_path / "quick" / "raw.zip"
    assert zip_beside(Path("..")) == tmp_path / "quick.zip"


@pytest.mark.parametrize("error", [FileNotFoundError("of a notebook"), IsADirectoryError("of a notebook")])
def test_what_fails_while_it_is_open_keeps_its_name(tmp_path: Path, error: OSError) -> None:
    write_zip(tmp_path / "one.zip", ENTRIES)
    with pytest.raises(type(error), match="of a notebook"), open_archive(tmp_path / "one.zip"):
        raise error
