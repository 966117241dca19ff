"""system.json of a system measured in stages while detectors watched."""

from __future__ import annotations

from typing import Literal

from anarchy.estimate.document import StagedDocument


class DetectionDocument(StagedDocument):
    """A system measured in stages under static policies, while detectors watched."""

    design: Literal["detection"]


DOCUMENT = DetectionDocument
