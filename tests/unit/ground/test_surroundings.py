"""What a caller's environment holds of other Pythons and other Slurm jobs reaches no process of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anarchy.ground.layout import PROJECT
from anarchy.ground.surroundings import (
    foreign_to_slurm,
    outside_any_job,
    own_environment,
    without_foreign_python,
)
from anarchy.serving.versions import serving_versions

CALLER = {
    "PATH": "/bin",
    "HOME": "/h",
    "HF_TOKEN": "t",
    "CUDA_VISIBLE_DEVICES": "0",
    "PYTHONUNBUFFERED": "1",
    "SLURM_CONF": "/site/slurm.conf",
    "SLURM_JWT": "j",
}
FOREIGN_PYTHON = {
    "PYTHONPATH": "/x",
    "PYTHONHOME": "/x",
    "PYTHONSTARTUP": "/x/s.py",
    "PYTHONOPTIMIZE": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "JUPYTER_PATH": "/x",
    "JUPYTER_CONFIG_DIR": "/x",
    "JUPYTER_DATA_DIR": "/x",
    "IPYTHONDIR": "/x",
    "JPY_PARENT_PID": "1",
    "MPLBACKEND": "QtAgg",
}
FOREIGN_SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_CPU_BIND": "rank",
    "SLURMD_NODENAME": "n1",
    "SBATCH_ACCOUNT": "a",
    "SRUN_CPUS_PER_TASK": "1",
    "SALLOC_PARTITION": "p",
    "SINFO_FORMAT": "%n",
    "SQUEUE_FORMAT": "%i",
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_CLUSTERS": "all",
    "PMI_RANK": "0",
    "PMIX_RANK": "0",
}
EVERYTHING = {**CALLER, **FOREIGN_PYTHON, **FOREIGN_SLURM}


def test_each_kind_goes_and_everything_else_stays() -> None:
    assert outside_any_job(EVERYTHING) == {**CALLER, **FOREIGN_PYTHON}
    assert without_foreign_python(EVERYTHING) == {**CALLER, **FOREIGN_SLURM}
    assert foreign_to_slurm(EVERYTHING) == sorted(FOREIGN_SLURM)


def test_a_job_keeps_what_slurm_told_it_and_learns_where_the_controller_is() -> None:
    submitting = own_environment(EVERYTHING, in_job=False)
    assert set(submitting) - set(CALLER) == {"PYTHONPATH", "PYTHONNOUSERSITE", "ANARCHY_SLURM_CONF"}
    # The executor's job step keeps the job's number and drops the rest of Slurm's variables.
    step = {name: value for name, value in submitting.items() if not name.startswith("SLURM_")}
    job = own_environment({**step, "SLURM_JOB_ID": "78"}, in_job=True)
    assert (job["SLURM_JOB_ID"], job["SLURM_CONF"]) == ("78", "/site/slurm.conf")
    without_conf = {"PATH": "/bin", "SLURM_JOB_ID": "1"}
    assert "SLURM_CONF" not in own_environment(own_environment(without_conf, in_job=False), in_job=True)


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """An environment whose modules all end the process that imports them."""
    for name in ("anarchy", "numpy", "matplotlib", "pydantic"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a foreign module was imported')")
    return {**os.environ, **FOREIGN_SLURM, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "x")}


def test_a_process_that_keeps_it_out_starts_its_own_children(hostile: dict[str, str], tmp_path: Path) -> None:
    child = "import sys, json, os, numpy, anarchy; print(json.dumps([sys.flags.no_user_site, [*os.environ]]))"
    code = (
        "import subprocess, sys\n"
        "from anarchy.ground.surroundings import keep_out; keep_out(in_job=False)\n"
        "import numpy, anarchy.ground.layout\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    env = {**hostile, "PYTHONPATH": os.pathsep.join((str(PROJECT / "scripts"), hostile["PYTHONPATH"]))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    no_user_site, names = json.loads(done.stdout)
    assert no_user_site == 1
    assert set(names).isdisjoint(FOREIGN_SLURM)
    assert set(names).isdisjoint(set(FOREIGN_PYTHON) - {"PYTHONPATH"})


def test_the_serving_python_is_asked_as_it_will_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in FOREIGN_PYTHON.items():
        monkeypatch.setenv(name, value)
    answer = {"serving-python": "3", "ai-dynamo": "1", "ai-dynamo-runtime": "1", "pyzmq": "1"}
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\n[ -z \"$PYTHONPATH$JUPYTER_PATH$PYTHONHOME\" ] || exit 1\necho '{json.dumps(answer)}'\n"
    )
    python.chmod(0o755)
    assert serving_versions(python) == answer
