"""system.json of a system measured in stages under several policies."""

from __future__ import annotations

from typing import Literal

from anarchy.estimate.document import StagedDocument


class StagesDocument(StagedDocument):
    """A system measured in stages under several policies."""

    design: Literal["stages"]


DOCUMENT = StagesDocument
