"""Little's law before and after a change at one C."""

from __future__ import annotations

import pytest

from anarchy.stats.little import decode_growth


def test_both_sides_hold_the_same_users() -> None:
    ttft, decode, rate, ratio, gain = 0.5, 2.0, 40.0, 0.87, 29.0
    after = decode * decode_growth(ratio, gain, ttft / decode)
    assert ratio * rate * (ttft / gain + after) == pytest.approx(rate * (ttft + decode))


def test_nothing_changed_is_no_growth() -> None:
    assert decode_growth(1.0, 1.0, 0.3) == pytest.approx(1.0)


def test_less_throughput_with_a_shorter_ttft_takes_longer_decoding() -> None:
    assert decode_growth(0.87, 29.0, 0.01) > 1.0 / 0.87
    assert decode_growth(0.87, 29.0, 1.0) > decode_growth(0.87, 29.0, 0.1)


@pytest.mark.parametrize("given", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, 0.0)])
def test_what_is_not_above_zero_is_refused(given: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        decode_growth(*given)


def test_what_no_decode_time_satisfies_is_refused() -> None:
    with pytest.raises(ValueError, match="no decode time"):
        decode_growth(10.0, 0.5, 1.0)
