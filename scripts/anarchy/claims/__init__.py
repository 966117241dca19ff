"""Published value against measured interval: a verdict on every claim of the paper.

`model` says what a claim is, `ladder` and `policies` hold the rules, `verdicts` asks them, `scoreboard` says
which verdict stands for a claim, `files` and `markdown` write;
`readings` asks them once more, under every reading of PoA-hat, and `settings` of every setting of a sample;
`whole` does all of it.
"""

from __future__ import annotations

from anarchy.claims.files import COLUMNS, read, render_csv, write
from anarchy.claims.markdown import render_markdown
from anarchy.claims.model import Claim, Published, against_range
from anarchy.claims.readings import judge_readings, write_readings
from anarchy.claims.scoreboard import scoreboard
from anarchy.claims.settings import judge_settings, write_settings
from anarchy.claims.verdicts import CLAIMS_FILE, Verdict, judge, load
from anarchy.claims.whole import judge_and_write

__all__ = [
    "CLAIMS_FILE",
    "COLUMNS",
    "Claim",
    "Published",
    "Verdict",
    "against_range",
    "judge",
    "judge_and_write",
    "judge_readings",
    "judge_settings",
    "load",
    "read",
    "render_csv",
    "render_markdown",
    "scoreboard",
    "write",
    "write_readings",
    "write_settings",
]
