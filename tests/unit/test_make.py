"""What `make` hands on of its words, and what `envs/build` leaves as it is; nothing is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from anarchy.ground.files import sha256_of
from tests.helpers.places import PROJECT


def dry(words: Sequence[str], said: Mapping[str, str]) -> str:
    """What `make` would run, whatever called these tests."""
    env = {name: word for name, word in os.environ.items() if not name.startswith(("MAKE", "TIER"))}
    return subprocess.run(
        ["make", "-n", *words], cwd=PROJECT, env={**env, **said}, capture_output=True, text=True, check=True
    ).stdout


def choices(words: Sequence[str], said: Mapping[str, str]) -> list[str]:
    """What `make` would tell Snakemake."""
    return dry(words, said).partition("bin/snakemake")[2].partition("--config")[2].replace("\\\n", "").split()


@pytest.mark.parametrize(
    ("words", "said", "told"),
    [
        (["reproduce"], {}, []),
        (["reproduce"], {"TIER": ""}, []),
        (["reproduce", "TIER="], {}, []),
        (["reproduce"], {"TIER": "live"}, ["tier=live"]),
        (["reproduce", "TIER=full"], {"TIER": "live"}, ["tier=full"]),
        (["reproduce", "MODELS=a,b"], {"TIER": "live"}, ["tier=live", "models=a,b"]),
    ],
)
def test_a_tier_of_the_environment_is_the_one_that_is_measured(
    words: Sequence[str], said: Mapping[str, str], told: list[str]
) -> None:
    """It is the one that `make clean` removes."""
    assert choices(words, said) == told


@pytest.mark.parametrize("words", [["clean", "TIER="], ["clean"]])
def test_an_empty_tier_removes_no_other(words: Sequence[str]) -> None:
    assert dry(words, {"TIER": ""}).split() == ["rm", "-rf", "results/quick"]


def test_the_lab_has_a_tier_of_its_own_where_none_is_said() -> None:
    assert choices(["lab-reproduce"], {})[2:] == ["experiments=equilibrium", "tier=live"]
    assert choices(["lab-reproduce"], {"TIER": "full"})[2:] == ["experiments=equilibrium", "tier=full"]


def test_an_environment_that_is_whole_is_found_through_a_link(tmp_path: Path) -> None:
    """To build it again would take `envs/uv.lock`, which is not there."""
    (tmp_path / "real" / "envs").mkdir(parents=True)
    shutil.copy(PROJECT / "envs" / "build", tmp_path / "real" / "envs")
    lock = tmp_path / "real" / "envs" / "small.lock"
    lock.touch()
    built = tmp_path / "real" / ".envs" / "small"
    venv.create(built, symlinks=True)
    (built / ".stamp").write_text(sha256_of(lock))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    done = subprocess.run(
        [tmp_path / "link" / "envs" / "build", "small"],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
