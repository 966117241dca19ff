"""The documentation builds as a site: no warning, every link followed, nothing fetched from a network."""

from __future__ import annotations

import subprocess

import pytest

from tests.helpers.places import PROJECT


@pytest.mark.nightly
def test_the_site_builds_without_a_warning() -> None:
    done = subprocess.run(["make", "docs"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "nothing is fetched from a network" in done.stdout
    assert (PROJECT / "site" / "concepts.html").is_file()
