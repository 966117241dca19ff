"""Which library replays: one of another known stack is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.ground.errors import UserError
from anarchy.virtual import library

PYTHON = Path("bin/python")


@pytest.mark.parametrize(("found", "stack"), [("1.5.1", "1.5.1"), ("1.6.1", "1.6.1"), ("9.9.9", "1.5.1")])
def test_the_library_that_was_asked_for_and_one_that_nobody_knows_are_taken(
    monkeypatch: pytest.MonkeyPatch, found: str, stack: str
) -> None:
    monkeypatch.setattr(library, "serving_versions", lambda _, needed: dict.fromkeys(needed, found))
    assert library.library_versions(PYTHON, stack) == {"ai-dynamo-runtime": found}


@pytest.mark.parametrize(("found", "stack"), [("1.6.1", "1.5.1"), ("1.5.1", "1.6.1"), ("0.9.0", "1.5.1")])
def test_the_library_of_another_stack_is_refused(
    monkeypatch: pytest.MonkeyPatch, found: str, stack: str
) -> None:
    monkeypatch.setattr(library, "serving_versions", lambda _, needed: dict.fromkeys(needed, found))
    with pytest.raises(
        UserError, match=f"stack {stack} was asked for.*has ai-dynamo-runtime {found}"
    ) as caught:
        library.library_versions(PYTHON, stack)
    builds = "make setup" if stack == "1.5.1" else "envs/build dynamo-1.6.1"
    assert builds in caught.value.remedy
