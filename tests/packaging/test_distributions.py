"""The package without the project around it: wheel and sdist are whole, and a bare environment estimates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from anarchy.cli.extras import MODULES
from tests.helpers.places import PROJECT

TRACES = PROJECT / "data" / "sample" / "live" / "raw" / "equilibrium" / "llama-3.1-70b" / "1p2d"
SOURCES = PROJECT / "scripts" / "anarchy"
SHIPPED = {
    f"anarchy/{path.relative_to(SOURCES)}"
    for path in SOURCES.rglob("*")
    if path.suffix in (".py", ".j2") and "__pycache__" not in path.parts
}


def run(*command: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does who has no checkout: nothing of this one is on its path."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | more
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=500
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a wheel and an sdist, made of what git would hand out, without the network."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE", "data/LICENSE", "scripts"):
        (source / name).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", PROJECT / name, source / name], check=True)
    code = (
        "import sys; from setuptools import build_meta as build; folder = sys.argv[1]\n"
        "build.build_sdist(folder); build.build_wheel(folder)"
    )
    done = run(sys.executable, "-c", code, made, cwd=source)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def alone(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel, and the packages of this one by a path."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "further.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    return folder / "bin" / "python"


def test_the_wheel_holds_every_module_and_template(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert set(zipfile.ZipFile(wheel).namelist()) >= SHIPPED
    assert "anarchy/report/page.html.j2" in SHIPPED


def test_the_sdist_holds_every_module_and_template(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2].removeprefix("scripts/") for name in archive.getnames()}
    assert names >= SHIPPED


def test_every_extra_is_declared_and_only_those() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(declared) == set(MODULES)


def test_estimates_without_a_checkout_are_those_of_the_checkout(alone: Path, tmp_path: Path) -> None:
    here = run(sys.executable, "-m", "anarchy.cli.main", "estimate", TRACES, "--format", "json", cwd=PROJECT)
    assert here.returncode == 0, here.stderr
    estimate = ("-m", "anarchy.cli.main", "estimate", TRACES, "--format", "json")
    elsewhere = run(alone, *estimate, cwd=tmp_path)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert json.loads(elsewhere.stdout) == json.loads(here.stdout)


def test_a_command_of_the_study_says_that_there_is_none(alone: Path, tmp_path: Path) -> None:
    done = run(alone, "-m", "anarchy.cli.main", "plan", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no study here" in done.stderr
    assert "remedy: clone the project" in done.stderr


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from anarchy.cli import main\n"
        "sys.modules['psutil'] = None; sys.exit(main.main(['unlock']))"
    )
    done = run(sys.executable, "-c", code, cwd=PROJECT)
    assert done.returncode == 2, done.stderr
    assert "psutil is not installed" in done.stderr
    assert "pip install 'anarchy[serving]'" in done.stderr


@pytest.mark.nightly
def test_a_bare_environment_estimates(dist: Path, tmp_path: Path) -> None:
    """The requirements as they are declared, resolved anew: nothing else is there."""
    (wheel,) = dist.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    bare = tmp_path / "bare" / "bin"
    installed = run(bare / "pip", "install", "-q", wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    done = run(bare / "anarchy", "estimate", TRACES, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    missing = run(bare / "anarchy", "unlock", cwd=tmp_path)
    assert missing.returncode == 2
    assert "pip install 'anarchy[serving]'" in missing.stderr
