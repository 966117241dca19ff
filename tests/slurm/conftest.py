"""The lab's real Slurm cluster, brought up once a session in a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anarchy.ground.errors import UserError
from lab import Lab, check_machine, running_lab


@pytest.fixture(scope="session")
def lab_of_session() -> Iterator[Lab]:
    """The lab that is up on this machine already, or one of this session's own that ends with it."""
    try:
        check_machine()
    except UserError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    if theirs := running_lab():
        yield theirs
        theirs.start()  # a test may have taken it down
        return
    folder = Path(tempfile.mkdtemp(prefix="anarchy-lab-"))  # not tmp_path: too long for Slurm's sockets
    ours = Lab(folder)
    try:
        ours.start()
        yield ours
    finally:
        ours.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lab(lab_of_session: Lab) -> Iterator[Lab]:
    """The lab, whole and empty before and after the test, whatever the test did to it."""
    lab_of_session.start()
    yield lab_of_session
    lab_of_session.start()
    if jobs := lab_of_session.query("squeue", "-h", "-p", "b200", "-o", "%A").split():
        lab_of_session.query("scancel", *jobs)
    lab_of_session.wait_nodes()


@pytest.fixture
def env(lab: Lab) -> dict[str, str]:
    """Environment for commands that use the lab."""
    return lab.env()
