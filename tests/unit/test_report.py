"""What the report computes itself."""

from __future__ import annotations

import pytest

from anarchy.report import _idle_gpu_hours


def test_gpu_hours_that_are_held_and_not_measuring():
    held = {"gpus": 24, "wall_s": 3600.0, "measuring_s": 900.0}
    assert _idle_gpu_hours(held) == pytest.approx(18.0)
    assert _idle_gpu_hours({**held, "gpus": 0}) is None
    assert _idle_gpu_hours({"wall_s": 10.0}) is None
