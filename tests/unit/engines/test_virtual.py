"""What the virtual clock is told of a KV transfer."""

from __future__ import annotations

import pytest

from anarchy.engines.virtual import ENGINE, link_gb_s

STEP_S = 0.008


@pytest.mark.parametrize(
    ("link", "tokens", "told"),
    [
        (64.0, 128, 0.0),  # 0.3 ms
        (64.0, 1_500, 0.0),  # 3.8 ms
        (64.0, 1_600, 64.0),  # 4.1 ms: nearer to a step than to nothing
        (4.0, 128, 4.0),  # 5.2 ms
        (0.0, 128, 0.0),
        (64.0, 0, 0.0),
    ],
)
def test_a_transfer_is_rounded_to_a_step_or_to_nothing(link: float, tokens: int, told: float) -> None:
    assert link_gb_s(link, tokens, 163_840, STEP_S) == told


def test_cells_of_before_are_other_cells() -> None:
    """What the library is told of transfers decides a measurement, so it stands in the plan's stack."""
    assert ENGINE.stacks[0].words.endswith(", short transfers left out")
