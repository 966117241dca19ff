"""The shipped configuration, for tests that spoil it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from anarchy.ground.layout import CONFIG


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the shipped configuration to be spoiled."""
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))
