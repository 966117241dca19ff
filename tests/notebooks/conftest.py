"""Estimates to draw from, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.ground.layout import Layout
from tests.helpers.synthetic_engines import write_engines
from tests.helpers.synthetic_estimates import write_results
from tests.helpers.synthetic_pareto import write_pareto
from tests.helpers.synthetic_readings import write_readings
from tests.helpers.synthetic_split import write_split
from tests.helpers.synthetic_staged import write_staged


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with tiers quick (one launch, every experiment) and full (E1, three launches)."""
    root = tmp_path_factory.mktemp("results")
    write_results(root)
    write_staged(root, "saturation")
    write_staged(root, "adaptive")
    write_pareto(root)
    write_engines(root, workloads=("unique", "templates"))
    write_readings(root, launches=3)
    write_split(root)
    write_results(
        root, tier="full", grid=(2, 16, 64, 128, 256), workloads=("unique", "templates"), launches=3
    )
    return root


@pytest.fixture(scope="session")
def quick(results: Path) -> Layout:
    """Layout of tier quick."""
    return Layout(results / "quick")
