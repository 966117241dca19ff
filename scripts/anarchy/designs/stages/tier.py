"""Stages under several policies."""

from __future__ import annotations

from typing import Literal

from anarchy.config.staged import StagedTier


class StagesTier(StagedTier):
    """Stages under every policy of a set, adaptive ones among them."""

    design: Literal["stages"] = "stages"


TIER = StagesTier
