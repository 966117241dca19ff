"""What goes into an archive: the results of one run, and the code at the commit that is checked out."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anarchy.archive.zipped import Entry
from anarchy.designs.drawn import drawn_files
from anarchy.designs.loading import design_in
from anarchy.ground.errors import UserError
from anarchy.ground.layout import PROJECT, Layout, cell_directory
from anarchy.plan.run import read_run
from anarchy.telemetry.alias import Anonymiser
from anarchy.telemetry.leaks import Leak, aliased, leaks_in
from anarchy.trace.packed import packed_names
from anarchy.trace.reader import read_cell

CODE: Final = "code/"
RESULTS: Final = "results/"
"""Where the project and the run lie in an archive."""
LEFT_OUT: Final = frozenset({"logs", "benchmarks", "serve"})
"""Folders of results with what processes printed, which names nodes, or with times of this machine."""
NOT_CODE: Final = "data/sample"
"""Recorded runs of others: the archive holds one run, with its own traces."""
FOR_PEOPLE: Final = frozenset({".html", ".ipynb", ".md", ".csv", ".tex", ".svg"})
"""Suffixes of files that are read and no longer computed with: names in them are replaced."""
SEALED: Final = frozenset({"raw", "runs", "estimates", "knees"})
"""Folders of which every byte counts: a name in them is refused, not replaced."""
JOB: Final = re.compile(r'("job_id": ")[^"]*(")')
FINGERPRINT: Final = "fingerprint.json"
MOST_TOLD: Final = 10
MAKE: Final = "make a run first: make redraw, or make reproduce"
GIT_TIMEOUT_S: Final = 120


@dataclass(frozen=True)
class Code:
    """The project as git has it: the commit, its date, and every file of it but recorded runs."""

    commit: str
    date: str
    entries: tuple[Entry, ...]


def code_of(project: Path = PROJECT) -> Code:
    """The project at the commit that is checked out; raises UserError outside of a checkout."""
    commit = _git(project, "rev-parse", "HEAD").decode().strip()
    date = _git(project, "show", "-s", "--format=%cI", "HEAD").decode().strip()
    tar = _git(project, "archive", "--format=tar", "HEAD", "--", ".", f":(exclude){NOT_CODE}")
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        entries = tuple(
            Entry(CODE + member.name, _member(file, member), executable=bool(member.mode & 0o100))
            for member in file
            if member.isfile()
        )
    return Code(commit, date, entries)


def refuse_changes(project: Path = PROJECT) -> None:
    """Raise UserError where tracked files differ from the commit: the run was made with other code."""
    changed = _git(project, "status", "--porcelain", "--untracked-files=no").decode().splitlines()
    if changed:
        raise UserError(
            f"{len(changed)} files differ from the commit that would be archived as the code of this run",
            where=project,
            remedy="commit them, or put them back, and call make archive again:",
            options=[line.strip() for line in changed[:MOST_TOLD]],
        )


def _git(project: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", *words], cwd=project, capture_output=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error).encode()
        raise UserError(
            f"git does not tell the code of this run: {told.decode(errors='replace').strip()}",
            where=project,
            remedy="make the archive in a clone of the project, with git installed",
        ) from None
    return done.stdout


def _member(file: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = file.extractfile(member)
    assert content is not None  # of a regular file
    return content.read()


def results_of(folder: Path, anonymiser: Anonymiser) -> list[Entry]:
    """Every file of a run's results that is archived, names replaced in those that are for people.

    Raises UserError for a folder that holds no finished run, a trace that does not match its seal, and names
    that stand where nothing may be replaced.
    """
    check_finished(folder)
    check_seals(folder)
    entries, leaks = list[Entry](), list[Leak]()
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if path.name == FINGERPRINT:
            text = JOB.sub(r"\1<job>\2", path.read_text(encoding="utf-8"))
            entries.append(Entry(RESULTS + name, text.encode()))
            leaks += leaks_in(path, name, anonymiser)
        elif path.suffix in FOR_PEOPLE and path.relative_to(folder).parts[0] not in SEALED:
            text = aliased(path.read_text(encoding="utf-8"), anonymiser)
            entries.append(Entry(RESULTS + name, text.encode()))
        else:
            entries.append(Entry(RESULTS + name, path))
            leaks += leaks_in(path, name, anonymiser)
    _refuse(leaks)
    return entries


def check_finished(folder: Path) -> None:
    """Raise UserError naming the first thing that a finished run has and this folder has not.

    Of every system that was asked for: estimates, figures and tables. A run that broke off has a report, too.
    """
    layout = Layout(folder)
    _check_there((layout.latest_run, layout.claims.with_suffix(".json"), layout.report))
    planned = read_run(layout.latest_run).deployments
    for one in dict.fromkeys(
        (one.experiment, one.model, one.topology) for one in planned if not one.prerequisite
    ):
        estimates = layout.estimates(*one)
        _check_there((estimates / "system.json",))
        design, info = design_in(estimates)
        drawn = drawn_files(layout, design, one[0], estimates.name, list(info.get("workloads", ())))
        _check_there((*(estimates / file for file in design.files), *drawn))


def _check_there(paths: Iterable[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise UserError("is not there, so this is no finished run", where=path, remedy=MAKE)


def check_seals(folder: Path) -> None:
    """Read every trace of a run; raises UserError for the first that does not match its seal."""
    for file in sorted((folder / "raw").rglob("deployment.json")):
        cells = file.parent / "cells"
        loose = sorted(path.name for path in cells.iterdir()) if cells.is_dir() else []
        for name in dict.fromkeys((*packed_names(file.parent), *loose)):
            read_cell(cell_directory(file.parent, name))


def _files(folder: Path) -> Iterator[Path]:
    """Every regular file, hidden and unfinished ones left out, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and path.suffix != ".partial" and LEFT_OUT.isdisjoint(parts[:-1]):
            yield path


def _refuse(leaks: Sequence[Leak]) -> None:
    if leaks:
        raise UserError(
            f"{len(leaks)} places in files that are never rewritten name a host, user, address or secret",
            where=leaks[0].path,
            remedy="keep results in a folder whose path names nobody, and measure again what was recorded "
            "with names; shown as they should read:",
            options=[f"{leak.path}, {leak.place}: {leak.clean}" for leak in leaks[:MOST_TOLD]],
        )
