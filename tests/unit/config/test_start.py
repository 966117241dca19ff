"""What a start loads: each job of a run is one, and tables, statistics and figures take a second to load."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = ("matplotlib", "pandas", "scipy.stats")


@pytest.mark.parametrize("module", ["anarchy.config", "anarchy.cli.plan_table", "anarchy.measure.sweep"])
def test_a_plan_and_a_sweep_load_no_tables_statistics_or_figures(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_baseline_may_be_what_is_imported_first() -> None:
    code = "import anarchy.routing.baselines.sticky_until_saturated as one; print(one.POLICY.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["StickyUntilSaturated"]
