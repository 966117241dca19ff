"""What a checkout's history tells: which commit wrote a heading, and whether a commit is before another."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


class NoHistoryError(Exception):
    """Nothing can be told here; the message says why."""


def history(project: Path) -> History:
    """The whole history of a checkout.

    Raises NoHistoryError without git, outside a checkout of its own (an archive) and in a shallow clone.
    """
    if shutil.which("git") is None:
        raise NoHistoryError("git is not installed")
    told = History(project)
    top = told.run("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != project.resolve():
        raise NoHistoryError("this is no clone: an archive has no history")
    if told.run("rev-parse", "--is-shallow-repository") != "false":
        raise NoHistoryError("this clone is shallow: git fetch --unshallow brings its history")
    return told


class History:
    """Commits of a checkout."""

    def __init__(self, project: Path) -> None:
        self.project = project

    def run(self, *words: str) -> str | None:
        """What git answers; None where it refuses."""
        done = subprocess.run(
            ["git", "-C", str(self.project), *words], capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    def first_with(self, line: str, file: str) -> str | None:
        """The oldest commit after which a file holds this line; None where it never did."""
        found = self.run("log", "--format=%H", f"-S{line}\n", "--", file)
        commits = [commit for commit in (found or "").splitlines() if self._holds(commit, line, file)]
        return commits[-1] if commits else None

    def _holds(self, commit: str, line: str, file: str) -> bool:
        return line in (self.run("show", f"{commit}:{file}") or "").splitlines()

    def knows(self, commit: str) -> bool:
        """Whether a commit is there."""
        return self.run("cat-file", "-e", f"{commit}^{{commit}}") is not None

    def is_before(self, ancestor: str, commit: str) -> bool:
        """Whether a commit is the other one, or an ancestor of it."""
        return self.run("merge-base", "--is-ancestor", ancestor, commit) is not None
