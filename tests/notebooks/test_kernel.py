"""The kernel that draws is this project's own, whatever kernels, modules and start-up files lie around."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from anarchy.ground.layout import PROJECT

LOOK = """
import json, os, sys
import anarchy, numpy
print(json.dumps([sys.executable, anarchy.__file__, numpy.__file__, word, [*os.environ]]))
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [
        nbformat.v4.new_code_cell('word = "stored"', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(LOOK),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(document, tmp_path / "look.ipynb")
    return tmp_path / "look.ipynb"


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """A home, a JUPYTER_PATH, a PYTHONPATH and an IPython that each end what takes them for the project's."""
    home, foreign = tmp_path / "home", tmp_path / "foreign"
    fatal = "raise SystemExit('this is not the project')\n"
    for kernels in (foreign / "kernels", home / ".local" / "share" / "jupyter" / "kernels"):
        (kernels / "python3").mkdir(parents=True)
        spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "x", "language": "python"}
        (kernels / "python3" / "kernel.json").write_text(json.dumps(spec))
    for startup in (home / ".ipython", foreign):
        (startup / "profile_default" / "startup").mkdir(parents=True)
        (startup / "profile_default" / "startup" / "00.py").write_text(fatal)
    for module in ("anarchy", "numpy", "matplotlib", "papermill"):
        (foreign / f"{module}.py").write_text(fatal)
    (foreign / "startup.py").write_text(fatal)
    return {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_PATH": str(foreign),
        "JUPYTER_DATA_DIR": str(foreign),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "IPYTHONDIR": str(foreign),
        "SLURM_JOB_ID": "77",
        # First the package itself, so that this very call finds it; all the rest is foreign.
        "PYTHONPATH": f"{PROJECT / 'scripts'}{os.pathsep}{foreign}",
        "PYTHONSTARTUP": str(foreign / "startup.py"),
    }


def test_no_foreign_kernel_module_or_startup_file_is_used(
    notebook: Path, hostile: dict[str, str], tmp_path: Path
) -> None:
    executed = tmp_path / "executed.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "anarchy.workflow.notebooks", notebook, executed, "word=given"],
        cwd=tmp_path, env=hostile, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (output,) = nbformat.read(executed, 4).cells[-1].outputs
    python, package, numpy, word, names = json.loads(output["text"])
    assert python == sys.executable
    assert Path(package).parents[1] == PROJECT / "scripts"
    assert Path(numpy).is_relative_to(sys.prefix)
    assert word == "given"
    assert [name for name in names if name.startswith(("SLURM_", "JUPYTER_", "PYTHONSTARTUP"))] == []


def test_a_cell_that_fails_is_told_and_kept(notebook: Path, hostile: dict[str, str], tmp_path: Path) -> None:
    document = nbformat.read(notebook, 4)
    document.cells[-1].source = "raise ValueError(word)"
    nbformat.write(document, notebook)
    executed = tmp_path / "executed.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "anarchy.workflow.notebooks", notebook, executed, "word=a cell that fails"],
        cwd=tmp_path, env=hostile, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "ValueError: a cell that fails" in done.stderr
    assert "a cell that fails" in executed.read_text()
