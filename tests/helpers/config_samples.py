"""Edits of a configuration, and how it is refused then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from anarchy.config import AnyPolicy
from anarchy.config.files import load_study, validate
from anarchy.ground.errors import UserError


def edit(config: Path, file: str, change: Callable[[dict[str, Any]], object]) -> Path:
    path = config / file
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))
    return path


def refused(config: Path, file: str, *words: str) -> UserError:
    """The study is refused; the message names the file and holds the words, and there is a remedy."""
    with pytest.raises(UserError) as caught:
        load_study(config)
    assert Path(str(caught.value.where)) == config / file
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert caught.value.remedy
    return caught.value


def refused_policy(document: dict[str, Any]) -> UserError:
    """The error by which a policy of these keys is refused."""
    with pytest.raises(UserError) as caught:
        validate({"name": "one", "title": "one", **document}, AnyPolicy, where="test")
    return caught.value
