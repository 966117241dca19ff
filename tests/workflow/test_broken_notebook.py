"""A notebook that fails: status 1, the executed notebook is kept, the report shows what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT
from tests.helpers.warm import run_python
from tests.workflow.commands import snakemake_words

PARTS = ("Snakefile", "data", "docs", "envs", "notebooks", "profiles", "scripts", "workflow")
CHOICES = ("tier=smoke", "experiments=equilibrium", "models=nemotron-4-340b")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the project, the last cell of whose ladder notebook fails."""
    copy = tmp_path / "project"
    copy.mkdir()
    for part in PARTS:
        if (PROJECT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "sample", "*.egg-info")
            shutil.copytree(PROJECT / part, copy / part, ignore=ignored)
        else:
            shutil.copy(PROJECT / part, copy / part)
    (copy / ".envs").symlink_to(PROJECT / ".envs")
    file = copy / "notebooks" / "equilibrium.ipynb"
    notebook = json.loads(file.read_text(encoding="utf-8"))
    notebook["cells"][-1] = {
        "cell_type": "code", "id": "fails", "metadata": {}, "outputs": [], "execution_count": None,
        "source": ["raise ValueError('this cell fails')"],
    }  # fmt: skip
    file.write_text(json.dumps(notebook), encoding="utf-8")
    return copy


@pytest.mark.nightly
def test_the_report_is_made_and_shows_it(broken: Path, tmp_path: Path) -> None:
    maker = [sys.executable, str(PROJECT / "tests/workflow/made_up/make_python.py"), str(tmp_path / "python")]
    python = subprocess.run(maker, check=True, capture_output=True, text=True).stdout.strip()
    words = snakemake_words(tmp_path / "results", *CHOICES)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = run_python(*words, cwd=broken, env=env, timeout=500, starts=python)
    assert done.returncode == 1
    assert "this cell fails" in done.stderr
    folder = tmp_path / "results" / "smoke"
    assert "this cell fails" in (folder / "notebooks/equilibrium_nemotron-4-340b_1p2d.ipynb").read_text()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "was not drawn: its notebook did not run to its end" in page
    assert "three regimes" in page
    assert f"report: {folder / 'report.html'}" in done.stderr
