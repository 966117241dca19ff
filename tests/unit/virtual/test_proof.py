"""The proof of routing on the virtual clock; with the library itself: tests/live/test_virtual_live.py."""

from __future__ import annotations

import pytest

from anarchy.virtual.proof import confirmed


@pytest.mark.parametrize(
    ("answers", "ok", "asked"),
    [([True], True, 1), ([False, True], True, 2), ([False, False], False, 2)],
    ids=["passes", "failed by chance", "fails"],
)
def test_a_failure_must_repeat(answers: list[bool], ok: bool, asked: int) -> None:
    left = list(answers)
    assert confirmed(lambda: {"ok": left.pop(0)})["ok"] is ok
    assert len(answers) - len(left) == asked
