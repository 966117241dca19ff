"""Commands run in this process, held to what a command may do with a bad file."""

from __future__ import annotations

import io
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from typing import Final

from anarchy.cli.main import main

HIDDEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what a terminal obeys, or shows in another place."""
LONGEST_MESSAGE: Final = 20_000
"""Characters said of one bad file at most: what is wrong is cut at 1,000, remedies may list."""


def command(*words: object, taken: tuple[int, ...] = (0,)) -> bool:
    """Run `anarchy WORDS` here: True for an exit status in `taken`, False for 2 with one message.

    All that it says must be plain text.
    """
    said, complained = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(complained):
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:
            status = int(str(end.code))
    for text in (said.getvalue(), complained.getvalue()):
        hidden = [c for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN]
        assert not hidden, f"control characters {hidden[:5]} reach the terminal: {text[:500]!r}"
    assert status in (*taken, 2), f"exit status {status}: {complained.getvalue()[:500]}"
    if status == 2:
        remedies = [line for line in complained.getvalue().split("\n") if line.startswith("  remedy: ")]
        assert len(remedies) == 1, complained.getvalue()[:500]
        assert len(complained.getvalue()) < LONGEST_MESSAGE, complained.getvalue()[:500]
    return status in taken
