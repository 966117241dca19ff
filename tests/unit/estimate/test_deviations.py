"""What a reader is told of a workload before numbers are compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from anarchy.config.files import load_study
from anarchy.estimate.deployments import deviations
from anarchy.ground.layout import CONFIG
from anarchy.plan.workbench import open_run

PAPER = "(the paper: 5 templates of 128), 64 output tokens +-30% (the paper's length is not known to us)"

THINKING = "; users think 1.5 s on average after an answer, so fewer than C requests are in flight"

OPEN = "; an open loop: C / 0.5 requests come a second by themselves, and any number is in flight"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"5 prompt templates of 128 tokens {PAPER}"),
        ({"skew": 2.0}, f"5 prompt templates (popularity Zipf 2) of 128 tokens {PAPER}"),
        (
            {"unique_tail_tokens": 32},
            f"5 prompt templates of 128 tokens, the last 32 each request's own {PAPER}",
        ),
        (
            {"think_s": 1.5},
            f"5 prompt templates of 128 tokens {PAPER}{THINKING}",
        ),
        (
            {"send_every_s": 0.5},
            f"5 prompt templates of 128 tokens {PAPER}{OPEN}",
        ),
    ],
)
def test_what_is_said_of_a_workload(changes: dict[str, Any], words: str) -> None:
    plan = open_run({"tier": "smoke", "experiments": ["equilibrium"]}).plans[0]
    workload = load_study(CONFIG).workloads["templates"].model_copy(update=changes)
    cell = replace(plan.cells[0], workload=workload)
    assert deviations([replace(plan, cells=(cell,))], [[]]) == [f"workload templates: {words}"]
