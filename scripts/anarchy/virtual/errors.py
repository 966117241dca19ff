"""What ends a replay of one cell, and of no other."""

from __future__ import annotations

from anarchy.ground.errors import UserError


class CellError(UserError):
    """One cell asks for what the engine or the machine cannot do; the next one may not."""
