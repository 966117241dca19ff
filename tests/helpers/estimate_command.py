"""`anarchy estimate` as tests call it."""

from __future__ import annotations

from typing import Final

import pytest

from anarchy.cli.main import main

FEW: Final = ("-B", "200")
"""Few replicates: what they say is tested elsewhere."""


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a call that is refused, with a remedy and without any output."""
    assert main(["estimate", *map(str, arguments), *FEW]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "remedy:" in printed.err
    return printed.err
