"""Latency objectives of a study."""

from __future__ import annotations

from anarchy.config.values import PositiveSeconds, Strict


class Objectives(Strict):
    """What a request must keep to count (service level objectives), model seconds."""

    ttft_s: PositiveSeconds
    """Time to first token, at most."""
    itl_s: PositiveSeconds
    """Mean inter-token latency of the request, at most."""
