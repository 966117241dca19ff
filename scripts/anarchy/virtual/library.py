"""Which library replays: its versions, and that it is the one that was asked for."""

from __future__ import annotations

from pathlib import Path

from anarchy.engines.dynamo import STACKS, USUAL, dynamo_of
from anarchy.engines.virtual import LIBRARY
from anarchy.ground.errors import UserError
from anarchy.serving.versions import serving_versions


def library_versions(python: Path, stack: str = USUAL) -> dict[str, str | None]:
    """Versions of the environment that replays.

    Raises UserError as `serving_versions`, and where its library is that of another known stack: routers
    differ. A version that nobody here knows is taken, and proven like any.
    """
    versions = serving_versions(python, needed=(LIBRARY,))
    found = versions[LIBRARY]
    if found != stack and found in STACKS:
        raise UserError(
            f"stack {stack} was asked for, and this environment has {LIBRARY} {found}",
            where=python,
            remedy=f"{dynamo_of(stack).builds}; or ask for the stack that it has (key 'stack')",
        )
    return versions
