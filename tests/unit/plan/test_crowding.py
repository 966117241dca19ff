"""C above what the decode workers run at once is told and not refused: it may be what is studied."""

from __future__ import annotations

from typing import Any

import pytest

from anarchy.cli.main import main
from anarchy.config import Limits
from anarchy.plan.crowding import beyond_limits
from anarchy.plan.launches import Launch
from anarchy.plan.workbench import open_run


def warned(**choices: Any) -> list[str]:
    return beyond_limits(open_run({"tier": "gpu", "experiments": ["protocol"], **choices}).plans)


def with_limit(monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    """Another limit for every set of every experiment."""
    monkeypatch.setattr(Launch, "limits", Limits(decode_max_num_seqs=limit))


def test_a_limit_that_holds_everybody_and_no_limit_warn_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warned() == [], "60 on each of two workers, and 96 users"
    with_limit(monkeypatch, 48)
    assert warned() == [], "just as many"
    with_limit(monkeypatch, None)
    assert warned() == []


def test_more_users_than_run_at_once_are_told_once_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with_limit(monkeypatch, 47)
    free, limited = warned()
    assert "protocol/llama-3.1-70b/1p2d/free" in free
    assert "C = 96" in free
    assert "2 x 47 = 94 requests at once" in free
    assert "/limited" in limited


def test_the_plan_prints_it_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_limit(monkeypatch, 10)
    assert main(["plan", "--tier", "gpu", "--experiments", "protocol"]) == 0
    assert "warning: protocol/llama-3.1-70b/1p2d/free" in capsys.readouterr().out
