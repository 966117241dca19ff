"""Estimates to draw from, written once in a run of the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from anarchy.ground.layout import Layout
from tests.helpers.shared import made_once
from tests.helpers.synthetic_cache import write_cache
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
    shutil.copytree(made_once(tmp_path_factory, "notebook-estimates", write_all), root, dirs_exist_ok=True)
    return root


def write_all(root: Path) -> None:
    """The estimates of every experiment."""
    write_results(root)
    write_staged(root, "saturation")
    write_staged(root, "adaptive")
    write_pareto(root)
    write_engines(root, workloads=("unique", "templates"))
    write_readings(root, launches=3)
    write_split(root)
    write_cache(root)
    write_results(
        root, tier="full", grid=(2, 16, 64, 128, 256), workloads=("unique", "templates"), launches=3
    )


@pytest.fixture(scope="session")
def quick(results: Path) -> Layout:
    """Layout of tier quick."""
    return Layout(results / "quick")
