"""Published value against measured interval: a verdict on every claim of the paper.

`model` says what a claim is, `ladder` and `policies` hold the rules, `verdicts` asks them, `files` writes.
"""

from __future__ import annotations

from anarchy.claims.files import COLUMNS, read, render_csv, render_markdown, write
from anarchy.claims.model import Claim, Published, against_range
from anarchy.claims.verdicts import CLAIMS_FILE, Verdict, judge, load

__all__ = [
    "CLAIMS_FILE",
    "COLUMNS",
    "Claim",
    "Published",
    "Verdict",
    "against_range",
    "judge",
    "load",
    "read",
    "render_csv",
    "render_markdown",
    "write",
]
