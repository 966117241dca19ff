"""Whatever a file holds: numbers, or one message; never a traceback, never a hang."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.hostile import RAW
from tests.fuzz.mutate import MOST_CHARACTERS, change, characters
from tests.fuzz.outcomes import TIMES, attempt, counts
from tests.fuzz.targets import Target, all_targets

TARGETS = all_targets()
LEAST_TRIED = 0.9
"""Share of the planned inputs that must have been tried: Hypothesis leaves out what it has tried already."""


@pytest.mark.timeout(900 * TIMES)
@pytest.mark.parametrize("target", TARGETS, ids=[target.name.replace(" ", "-") for target in TARGETS])
def test_any_file_gives_numbers_or_one_message(target: Target) -> None:
    @settings(
        max_examples=target.examples * TIMES,
        derandomize=TIMES == 1,  # the same inputs each time in `make test`, others each night
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(content=target.inputs)
    def fuzz(content: bytes) -> None:
        attempt(target, content)

    fuzz()
    tried = counts[target.name]
    assert sum(tried.values()) >= LEAST_TRIED * target.examples * TIMES
    assert tried["refused"] > 0, "the inputs are not hostile"
    assert tried["accepted"] > 0, "the inputs never come as far as the reader"


def test_two_thousand_inputs_are_tried() -> None:
    assert sum(target.examples for target in TARGETS) >= 2_000


def test_a_document_that_repeats_stays_small_and_its_copies_are_their_own() -> None:
    document: Any = {"a": [{"b": [RAW.format(0)]}]}
    document = change(document, ("a", 0), 4, 10)
    document = change(document, ("a", 0, "b", 0), 4, 10)
    assert [len(entry["b"]) for entry in document["a"]] == [11] + [1] * 10
    for place in (("a", 0), ("a", 1), ("a", 0, "b", 0)):
        document = change(document, place, 4, 1999)
        assert characters(document) <= MOST_CHARACTERS


def test_the_watch_and_the_count_see_what_breaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The suite itself: a reader that fails and one that never ends are told apart and kept."""
    monkeypatch.setattr("tests.fuzz.outcomes.counts", {})
    monkeypatch.setattr("tests.fuzz.outcomes.FAILED", tmp_path / "failed")
    monkeypatch.setattr("tests.fuzz.outcomes.HANGS_AFTER_S", 0.2)

    def fails(_: object) -> bool:
        raise KeyError("x")

    def hangs(_: object) -> bool:
        while True:
            pass

    from tests.fuzz.outcomes import HangError, counts

    with pytest.raises(KeyError):
        attempt(Target("fails", st.binary(), fails, 1), b"bad")
    with pytest.raises(HangError):
        attempt(Target("hangs", st.binary(), hangs, 1), b"long")
    assert {name: dict(count) for name, count in counts.items()} == {
        "fails": {"tracebacks": 1},
        "hangs": {"hangs": 1},
    }
    assert (tmp_path / "failed" / "fails").read_bytes() == b"bad"
