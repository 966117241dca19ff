"""Tables of a system measured in stages."""

from __future__ import annotations

from typing import Final

from anarchy.estimate.columns import STAGED

TABLES: Final = STAGED
"""By the stems of their files."""
