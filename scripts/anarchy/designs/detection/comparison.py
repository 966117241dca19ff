"""What of its estimates can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.designs.staged_metrics import STAGED

SOURCES: Final = STAGED
"""All that has intervals."""
