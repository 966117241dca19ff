"""What an experiment is called in the report."""

from __future__ import annotations

import pytest

from anarchy.designs.registry import design_of
from anarchy.report.titles import title_of


@pytest.mark.parametrize(
    ("design", "experiment", "title"),
    [
        ("split", "split", "G1, beyond the paper: the split between prefill and decode (game 1)"),
        ("split", "sharing", "G3, the split of workers with and without shared prefixes"),
        ("engines", "split-live", "V2, splits on the live stack and on the virtual clock"),
        ("split", "of-somebody-else", "G1, beyond the paper: the split between prefill and decode (game 1)"),
    ],
)
def test_experiments_of_one_design_are_told_apart(design: str, experiment: str, title: str) -> None:
    assert title_of(design_of(design), experiment) == title
