"""The files of Dynamo's request trace: one plain file, or gzip segments `<prefix>.NNNNNN.jsonl.gz`."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from anarchy.ground.errors import UserError

SEGMENT: Final = re.compile(r"(?P<prefix>.+)\.(?P<number>\d{6})\.jsonl\.gz")


def all_files(sources: Sequence[Path], accept_gaps: bool) -> tuple[tuple[Path, ...], list[str]]:
    """The files of all sources, each once, and what is to be said of them."""
    files: list[Path] = []
    notes: list[str] = []
    for source in sources:
        here = trace_files(source, accept_gaps)
        again = [file for file in here if file.resolve() in {other.resolve() for other in files}]
        if again:
            raise UserError("is named twice", where=again[0], remedy="name each file once")
        files += here
        notes += _notes_of_files(here, source)
    if len(sources) > 1:
        notes.append(f"merged from {len(sources)} traces, whose wall clocks are taken to agree")
    return tuple(files), notes


def trace_files(source: Path, accept_gaps: bool = False) -> tuple[Path, ...]:
    """The files of a trace in their order: one file, or the segments of one prefix, unless told without gap.

    Raises UserError where there is none, and for segments of several traces.
    """
    if source.is_file():
        return (source,)
    folder, pattern = (source, "*") if source.is_dir() else (source.parent, glob.escape(source.name))
    segments: dict[str, list[Path]] = {}
    for path in _beside(folder, pattern):
        segments.setdefault(_segment(path)[0], []).append(path)
    if not segments:
        raise UserError(
            "is neither a file nor a folder or prefix of segments <prefix>.NNNNNN.jsonl.gz",
            where=source,
            remedy="name the file that DYN_REQUEST_TRACE_FILE_PATH named, or its folder",
        )
    if len(segments) > 1:
        raise UserError(
            f"holds the segments of several traces: {', '.join(sorted(segments))}",
            where=source,
            remedy="name one of them by its prefix; those of one deployment's frontends are one cell: "
            "anarchy import "
            + " ".join(shlex.quote(str(folder / prefix)) for prefix in sorted(segments))
            + " -o FOLDER",
        )
    (files,) = segments.values()
    gaps = _gaps(files)
    if gaps and not accept_gaps:
        raise UserError(
            f"segment {gaps[0]:06d} is missing between {files[0].name} and {files[-1].name}",
            where=source,
            remedy="bring it back, or take what is there: --accept-torn; the cell is marked where its "
            "requests in flight fall short of its concurrency",
        )
    return tuple(files)


def holds_segments(folder: Path) -> bool:
    """Whether a folder holds segments of a request trace."""
    return bool(_beside(folder, "*"))


def trace_of(path: Path) -> Path:
    """What the segments of one trace have in common: their folder and prefix; of a plain file, itself."""
    return path.with_name(_segment(path)[0]) if SEGMENT.fullmatch(path.name) else path


def _gaps(files: Sequence[Path]) -> list[int]:
    """Numbers of the segments that are missing between the first and the last."""
    numbers = {_segment(path)[1] for path in files}
    return sorted(set(range(min(numbers), max(numbers))) - numbers)


def _beside(folder: Path, pattern: str) -> list[Path]:
    """Segments whose prefix matches, in the order of their numbers."""
    return sorted(folder.glob(f"{pattern}.{'[0-9]' * 6}.jsonl.gz"))


def _segment(path: Path) -> tuple[str, int]:
    found = SEGMENT.fullmatch(path.name)
    assert found is not None, path
    return found["prefix"], int(found["number"])


def _notes_of_files(files: Sequence[Path], source: Path) -> list[str]:
    notes = []
    if source.is_file() and SEGMENT.fullmatch(source.name):
        prefix, _ = _segment(source)
        others = len(_beside(source.parent, glob.escape(prefix))) - 1
        if others:
            notes.append(f"one segment of a trace was imported, {others} others lie beside it")
    elif len(files) > 1 and _segment(files[0])[1] > 0:
        notes.append(f"the trace begins with segment {_segment(files[0])[1]:06d}: earlier ones are not there")
    if len(files) > 1 and (gaps := _gaps(files)):
        notes.append(f"torn: segments {', '.join(f'{number:06d}' for number in gaps)} are missing")
    return notes
