"""The one error that a user can cause, and so must be able to mend."""

from __future__ import annotations

from pathlib import Path

EXIT_USER_ERROR = 2


class UserError(Exception):
    """A fault outside the program, told as what is wrong, where, and what to do about it.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where is not None else ""
        return f"{where}{self.what}\n  remedy: {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross process boundaries with its parts."""
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


def _rebuild(kind: type[UserError], what: str, where: str | Path | None, remedy: str) -> UserError:
    return kind(what, where=where, remedy=remedy)
