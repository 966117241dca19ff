"""system.json of a system measured over a grid of C."""

from __future__ import annotations

from typing import Literal

from anarchy.estimate.document import LadderWorkload, SystemDocument


class LadderDocument(SystemDocument):
    """A system measured over a grid of C under one policy."""

    design: Literal["ladder"]
    policy: str
    workloads: dict[str, LadderWorkload]


DOCUMENT = LadderDocument
