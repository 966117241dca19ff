"""The report of a whole run, and of one that broke off because a notebook failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anarchy import claims
from anarchy.designs.loading import load_systems
from anarchy.plan.workbench import Workbench
from anarchy.report.page import render, write
from anarchy.report.run_info import run_info
from anarchy.report.summary import write_summary


def write_report(bench: Workbench, verdicts: Sequence[Mapping[str, Any]]) -> Path:
    """Draw what shows systems together and write report.html; returns where.

    ``verdicts``: rows of claims.json. Raises UserError when no system has estimates.
    """
    systems = load_systems(bench.layout)
    write_summary(bench.layout, verdicts)
    readings = claims.judge_readings(claims.load(), [system.document for system in systems])
    return write(bench.layout, render(bench.layout, run_info(bench, systems), verdicts, readings))


def write_broken_off(bench: Workbench) -> Path:
    """The same of a run of which a notebook failed: its figures and tables are said to be missing.

    Claims are judged by the estimates that there are, and no file of theirs is written: that is for the rule.
    """
    documents = [system.document for system in load_systems(bench.layout)]
    verdicts = claims.judge(claims.load(), documents)
    return write_report(bench, [dataclasses.asdict(verdict) for verdict in verdicts])
