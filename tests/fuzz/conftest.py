"""A nightly run writes what came of it into the docs."""

from __future__ import annotations

import time

import pytest

from anarchy.ground.layout import PROJECT
from tests.fuzz import outcomes

_began = time.monotonic()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page where a report was asked for."""
    if outcomes.REPORT and outcomes.counts:
        page = outcomes.report(time.monotonic() - _began)
        (PROJECT / outcomes.REPORT).write_text(page, encoding="utf-8")
