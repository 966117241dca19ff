"""What a user can get wrong is one message (what, where, remedy), status 2, no traceback, nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT
from tests.helpers.warm import run_python

Command = Callable[..., subprocess.CompletedProcess[str]]
PARTS = ("Snakefile", "data", "envs", "notebooks", "profiles", "scripts", "workflow")
SWEEP = ("sweep", "equilibrium", "nemotron-4-340b", "1p2d", "static", "1", "--tier", "smoke")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project to spoil; its environments are the real ones."""
    copy = tmp_path / "project"
    for part in PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / part)
    (copy / ".envs").symlink_to(PROJECT / ".envs")
    return copy


@pytest.fixture
def run(project: Path) -> Command:
    """Run a Python module of the copy, in the copy."""

    def call(
        *words: str, limit: Callable[[], None] | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        changed = {**os.environ, "PYTHONPATH": str(project / "scripts"), **env}
        if limit is None:
            return run_python("-m", *words, cwd=project, env=changed, timeout=120)
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=project,
            env=changed,
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=limit,
        )

    return call


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The message names what, where and a remedy; nothing else is said."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "remedy:" in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


EXPERIMENT = "workflow/config/experiments/equilibrium.yaml"


@pytest.mark.parametrize(
    "command", [("anarchy.cli.main", "plan"), ("snakemake", "-n")], ids=["anarchy", "snakemake"]
)
@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (EXPERIMENT, "c_ref:", "c_reff:", ("equilibrium.yaml", "unknown key 'c_reff'", "'c_ref'")),
        (EXPERIMENT, "warmup_s: 2.0", "warm_s: 2.0", ("unknown key", "warm_s", "'warmup_s'")),
        (
            EXPERIMENT,
            "concurrency: [2, 16, 32, 64, 128, 256]",
            "concurrency: [0, 8]",
            ("tiers.smoke.concurrency.0",),
        ),
        (
            EXPERIMENT,
            "concurrency: [2, 16, 32, 64, 128, 256]",
            "concurrency: [8, 16.5]",
            ("tiers.smoke.concurrency.1",),
        ),
        (
            EXPERIMENT,
            "concurrency: [2, 16, 32, 64, 128, 256]",
            "concurrency: []",
            ("tiers.smoke", "concurrency", "empty"),
        ),
        (
            EXPERIMENT,
            "concurrency: [2, 16, 32, 64, 128, 256]",
            "concurrency: [96]",
            ("no C between 8 and c_ref",),
        ),
        (
            "workflow/config/topologies/1p5d.yaml",
            "decode: 5",
            "decode: 6",
            ("1 prefill + 6 decode = 7 workers of 4 GPUs need 28 GPUs", "room for 6 workers"),
        ),
        (
            "workflow/config/policies/static.yaml",
            "tau: 0.0",
            "tau: -1",
            ("static.yaml", "'tau'", "at least 0"),
        ),
        ("workflow/config/policies/static.yaml", "omega: 1.0", "omega: .nan", ("'omega'", "a finite number")),
        (
            "workflow/config/policies/adaptive.yaml",
            "  source: prometheus",
            "  theta1_s: 10.0\n  theta2_s: 1.0\n  source: prometheus",
            ("adaptive.yaml", "'controller'", "theta1 is 10 s and theta2 1 s", "0 < theta1 < theta2"),
        ),
        (
            "workflow/config/policies/random.yaml",
            "way: pinned",
            "way: builtin",
            ("random.yaml", "Dynamo's router has no random", "set way: pinned"),
        ),
        (
            "workflow/config/experiments/adaptive.yaml",
            "policies: [static, adaptive, adaptive-client]",
            "policies: [static, adaptiv]",
            ("adaptive.yaml", "'routing.builtin'", "did you mean 'adaptive"),
        ),
        ("data/profiles/llama-3.1-70b-tp4/decode.csv", "1", "7", ("decode.csv",)),
    ],
)
def test_a_wrong_file(
    project: Path,
    run: Command,
    command: tuple[str, ...],
    file: str,
    old: str,
    new: str,
    words: tuple[str, ...],
) -> None:
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(run(*command), *words)


RUN = "workflow/config/run.yaml"


@pytest.mark.parametrize(
    "command", [("anarchy.cli.main", "plan"), ("snakemake", "-n")], ids=["anarchy", "snakemake"]
)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("is empty",)),
        (b"tier:\n\tquick\n", ("line 2", "cannot start any token")),
        (b"- tier\n", ("is a list, not a mapping",)),
        (b"tier: quick\n---\ntier: full\n", ("line 2", "another document")),
        (b"tier: quick # \xe9\n", ("is not UTF-8: byte 14", "iconv")),
        (b"seed: " + b"9" * 5000, ("key 'seed'", "5000 digits")),
        (b"models: " + b"[" * 3000 + b"]" * 3000, ("nested more than",)),
        # Snakemake would run the expression.
        (b"__use_yte__: true\ntier: ?open('ran', 'w').name\n", ("unknown key '__use_yte__'",)),
    ],
    ids=["empty", "tab", "list", "two documents", "latin-1", "digits", "brackets", "template"],
)
def test_a_run_file_that_is_none(
    project: Path, run: Command, command: tuple[str, ...], content: bytes, words: tuple[str, ...]
) -> None:
    (project / RUN).write_bytes(content)
    done = run(*command)
    refused(done, RUN, *words)
    assert "Snakefile" not in done.stderr
    assert not (project / "ran").exists()


@pytest.mark.parametrize(
    "command", [("anarchy.cli.main", "plan"), ("snakemake", "-n")], ids=["anarchy", "snakemake"]
)
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("launches: 1\n", "launches: 999999999\n", ("launches'", "at most 1000")),
        ("launches: 1\n", "launches: 900\n", ("deployments in all", "at most 2000 are planned")),
        (
            "concurrency: [16]\n",
            "concurrency: &a [16]\n    stages: " + "[*a, " * 20 + "*a" + "]" * 20 + "\n",
            ("tiers.one-cell.stages",),
        ),
    ],
    ids=["one count", "their product", "aliases"],
)
def test_counts_that_nobody_could_measure(
    project: Path, run: Command, command: tuple[str, ...], old: str, new: str, words: tuple[str, ...]
) -> None:
    path = project / EXPERIMENT
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    refused(run(*command), "equilibrium.yaml", *words)


@pytest.mark.parametrize("command", [("anarchy.cli.main", "plan"), ("snakemake", "-n")])
def test_foreign_modules_on_the_path_are_not_imported(
    project: Path, run: Command, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Modules of a cluster set PYTHONPATH. What Snakemake itself needs it has imported by then."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    by_snakemake = command[0] == "snakemake"
    for name in ("matplotlib", "scipy", "seaborn", "anarchy" if by_snakemake else "numpy"):
        (foreign / f"{name}.py").write_text("raise SystemExit('a foreign module was imported')")
    path = [foreign] if by_snakemake else [project / "scripts", foreign]
    done = run(*command, PYTHONPATH=os.pathsep.join(map(str, path)))
    assert done.returncode == 0, done.stderr


def test_a_missing_timing_table(project: Path, run: Command) -> None:
    (project / "data/profiles/nemotron-4-340b-tp8/prefill.csv").unlink()
    refused(run("anarchy.cli.main", "plan"), "prefill.csv")


@pytest.mark.parametrize("stamp", [None, "0" * 64], ids=["missing", "half-built"])
def test_an_environment_that_is_not_whole(project: Path, run: Command, stamp: str | None) -> None:
    (project / ".envs").unlink()
    if stamp is not None:
        (project / ".envs/dynamo").mkdir(parents=True)
        (project / ".envs/dynamo/.stamp").write_text(stamp)
    refused(run("anarchy.cli.main", *SWEEP), ".envs/dynamo", "make setup")


def test_an_environment_that_a_later_deployment_lacks(project: Path, run: Command) -> None:
    """What this machine cannot measure to its end is refused before the first deployment starts."""
    (project / ".envs").unlink()
    (project / ".envs").mkdir()
    for name in ("driver", "dynamo"):
        (project / ".envs" / name).symlink_to(PROJECT / ".envs" / name)
    done = run("snakemake", "--config", "tier=why", "experiments=herding", f"results={project / 'results'}")
    refused(done, ".envs/dynamo-0.9.0", "envs/build dynamo-0.9.0")
    assert not list((project / "results").rglob("deployment.json"))
    assert "measuring" not in done.stdout + done.stderr


def test_too_few_open_files(run: Command) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    refused(run("anarchy.cli.main", *SWEEP, limit=few), "open files", "ulimit -n")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a small file system; test_trace_writer covers the writer")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_no_disk_space(run: Command, small_disk: Path) -> None:
    refused(
        run("anarchy.cli.main", *SWEEP, "--results", str(small_disk)),
        "small/smoke/raw",
        "are free",
        "are needed",
    )


def test_a_port_in_use(run: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused(run("anarchy.cli.main", "serve", *SWEEP[1:], "--port", str(port)), str(port), "in use")


def test_a_python_that_is_too_old(project: Path) -> None:
    old = project / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["envs/build", "driver"],
        cwd=project,
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    refused(done, "Python 3.9.2 is too old", "3.11 or newer")


def test_a_build_that_was_cut_off_starts_again(project: Path) -> None:
    """No stamp, no environment: what lies there is removed before the build."""
    (project / ".envs").unlink()
    half = project / ".envs/driver"
    half.mkdir(parents=True)
    (half / "leftover").touch()
    (project / ".envs/uv").symlink_to(PROJECT / ".envs/uv")
    (project / "envs/driver.lock").write_text("no-such-package-for-this-test==1.0 --hash=sha256:" + "0" * 64)
    done = subprocess.run(
        ["envs/build", "driver"],
        cwd=project,
        env={**os.environ, "PYTHON": sys.executable, "UV_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    refused(done, "envs/driver.lock")
    assert not (half / "leftover").exists()
    assert not (half / ".stamp").exists()
