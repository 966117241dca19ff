"""Published value against measured interval: a verdict on every claim of the paper.

`model` says what a claim is, `ladder` and `policies` hold the rules, `verdicts` asks them, `scoreboard` says
which verdict stands for a claim, `files` and `markdown` write;
`readings` asks them once more, under every reading of PoA-hat.
"""

from __future__ import annotations

from anarchy.claims.files import COLUMNS, read, render_csv, write
from anarchy.claims.markdown import render_markdown
from anarchy.claims.model import Claim, Published, against_range
from anarchy.claims.readings import judge_readings, write_readings
from anarchy.claims.scoreboard import scoreboard
from anarchy.claims.verdicts import CLAIMS_FILE, Verdict, judge, load

__all__ = [
    "CLAIMS_FILE",
    "COLUMNS",
    "Claim",
    "Published",
    "Verdict",
    "against_range",
    "judge",
    "judge_readings",
    "load",
    "read",
    "render_csv",
    "render_markdown",
    "scoreboard",
    "write",
    "write_readings",
]
