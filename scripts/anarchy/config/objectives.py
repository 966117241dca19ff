"""Latency objectives of a study."""

from __future__ import annotations

from typing import Final

from anarchy.config.values import PositiveSeconds, Strict

RATES: Final = ("within_ttft", "within_itl", "goodput")
"""Names of the rates of requests that keep the TTFT objective, the ITL objective, and both."""


class Objectives(Strict):
    """What a request must keep to count (service level objectives), model seconds."""

    ttft_s: PositiveSeconds
    """Time to first token, at most."""
    itl_s: PositiveSeconds
    """Mean inter-token latency of the request, at most."""
