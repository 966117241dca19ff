"""The one error that a user can cause, and so must be able to mend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anarchy.ground.terminal import visible

EXIT_USER_ERROR = 2
LONGEST = 1000
"""Characters of what is wrong that are shown: a file's content may stand in it."""


class UserError(Exception):
    """A fault outside the program, told as what is wrong, where, and what to do about it.

    ``options`` are what the remedy may choose from, a line each. The command line prints it without a
    traceback and exits with status 2. As text it holds nothing that a terminal would obey.
    """

    def __init__(
        self, what: str, *, where: str | Path | None = None, remedy: str, options: Sequence[str] = ()
    ) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        self.options = tuple(options)
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{visible(str(self.where))}: " if self.where is not None else ""
        what = visible(self.what)
        what = what if len(what) <= LONGEST else f"{what[:LONGEST]} ..."
        # A line each, so that no name in it can begin a line of its own.
        remedy = "\n    ".join(visible(line) for line in (self.remedy, *self.options))
        return f"{where}{what}\n  remedy: {remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross process boundaries with its parts."""
        return (_rebuild, (type(self), self.what, self.where, self.remedy, self.options))


def _rebuild(
    kind: type[UserError], what: str, where: str | Path | None, remedy: str, options: Sequence[str]
) -> UserError:
    return kind(what, where=where, remedy=remedy, options=options)
