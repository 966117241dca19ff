"""Little's law in a closed loop: C users are always somewhere, C = X (TTFT + decode time).

Source: Little 1961. Without think time a user either waits for the first token or gets the others.
"""

from __future__ import annotations


def decode_growth(throughput_ratio: float, ttft_gain: float, ttft_over_decode: float) -> float:
    """How many times longer decoding takes after a change at the same C.

    `throughput_ratio`: throughput after over before. `ttft_gain`: TTFT before over after.
    `ttft_over_decode`: TTFT over decode time, before. Errors: ValueError on what is not above 0, and where no
    decode time would do.
    """
    if min(throughput_ratio, ttft_gain, ttft_over_decode) <= 0.0:
        raise ValueError("throughput, TTFT and decode time are above 0")
    after = (1.0 + ttft_over_decode) / throughput_ratio - ttft_over_decode / ttft_gain
    if after <= 0.0:
        raise ValueError("no decode time satisfies Little's law: the first token alone takes longer")
    return after
