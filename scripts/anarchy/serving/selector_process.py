"""The process that pinned policies ask, run by the serving environment: Dynamo's own choice of a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from anarchy.ground.errors import UserError

SERVICE: Final = Path(__file__).with_name("selector_service.py")
SOCKET_CHARACTERS: Final = 80
"""Longest path of the socket: the kernel takes 107, and the sockets of the events append theirs."""


def service_command(python: Path, socket_path: Path, core: str, model_folder: Path) -> tuple[str, ...]:
    """Command of the selector's process, run by the serving environment's Python; `core` is what chooses.

    -P keeps the script's own folder off the import path. Raises UserError for a path that is too long.
    """
    if len(str(socket_path)) > SOCKET_CHARACTERS:
        raise UserError(
            f"{len(str(socket_path))} characters are too many for the path of a Unix socket",
            where=socket_path,
            remedy=f"use a scratch folder with a shorter name: {SOCKET_CHARACTERS} characters in all at most",
        )
    asked = ("--socket", str(socket_path), "--core", core, "--model-folder", str(model_folder))
    return (str(python), "-P", str(SERVICE), *asked)
