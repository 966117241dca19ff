"""Every verdict of a run, judged and written: the claims, and both exploratory tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anarchy.claims.files import write
from anarchy.claims.model import System
from anarchy.claims.readings import judge_readings, write_readings
from anarchy.claims.settings import judge_settings, write_settings
from anarchy.claims.verdicts import Verdict, judge, load


def judge_and_write(documents: Sequence[System], root: Path) -> list[Verdict]:
    """Judge every claim and write what came out into ``root``; returns the verdicts that stand.

    ``documents``: `tables.System.document` of each system. Raises UserError where a file cannot be written.
    """
    known = load()
    verdicts = judge(known, documents)
    write(verdicts, root)
    write_readings(judge_readings(known, documents), root)
    write_settings(judge_settings(known, documents), root)
    return verdicts
