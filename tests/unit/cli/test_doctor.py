"""Pre-flight checks and the doctor: each passes where it should and tells the remedy where it should not."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from anarchy.cli import doctor
from anarchy.ground import locks, preflight
from anarchy.ground.errors import UserError
from anarchy.ground.findings import Finding, exit_status, is_blocking, render
from anarchy.ground.layout import PROFILES

# --- Python ---


@pytest.mark.parametrize("version", [(3, 11), (3, 11, 0), (3, 12, 4), (3, 14, 0), (4, 0, 0)])
def test_python_new_enough(version: tuple[int, ...]) -> None:
    preflight.check_python(version)


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 13), (3, 9)])
def test_python_too_old(version: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"too old: 3\.11 or newer") as caught:
        preflight.check_python(version)
    assert "make setup PYTHON=" in caught.value.remedy


# --- open files ---


def with_limits(soft: int, hard: int, concurrency: int) -> subprocess.CompletedProcess[str]:
    """Check in a process of its own: a hard limit that was lowered stays low."""
    code = f"""
        import resource, subprocess, sys
        from anarchy.ground.errors import UserError
        from anarchy.ground.preflight import check_open_files
        resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
        try:
            print(check_open_files({concurrency}))
        except UserError as error:
            print(error)
            sys.exit(2)
        print(resource.getrlimit(resource.RLIMIT_NOFILE))
        print(subprocess.check_output("ulimit -n", shell=True, text=True))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def test_enough_open_files_change_nothing() -> None:
    done = with_limits(1024, 2048, 64)
    assert done.stdout.split() == ["1024", "(1024,", "2048)", "1024"], done.stderr


def test_a_low_soft_limit_is_raised_and_children_inherit_it() -> None:
    done = with_limits(256, 4096, 512)
    needed = preflight.open_files_needed(512)
    assert done.stdout.split() == [f"{needed}", f"({needed},", "4096)", f"{needed}"], done.stderr


@pytest.mark.parametrize(("spare", "status"), [(0, 0), (-1, 2)])
def test_a_low_hard_limit_is_refused_at_the_edge(spare: int, status: int) -> None:
    needed = preflight.open_files_needed(512)
    done = with_limits(256, needed + spare, 512)
    assert done.returncode == status, done.stderr
    if status:
        assert f"at most {needed - 1} open files are allowed, C = 512 needs {needed}" in done.stdout
        assert f"ulimit -Hn {needed}" in done.stdout


def test_no_limit_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: unlimited)
    assert preflight.check_open_files(10**6) == resource.RLIM_INFINITY


# --- disk ---


def test_disk_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    free = preflight.check_disk(tmp_path / "not" / "yet", 1)
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(("needed", "fails"), [(1000, False), (1001, True)])
def test_disk_at_the_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: int, fails: bool) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    if not fails:
        assert preflight.check_disk(tmp_path, needed) == 1000
        return
    with pytest.raises(UserError, match=r"0\.0 MB of disk are free") as caught:
        preflight.check_disk(tmp_path / "below", needed)
    assert caught.value.where == tmp_path
    assert "free space" in caught.value.remedy


# --- environments ---


@pytest.fixture
def environment(tmp_path: Path) -> tuple[Path, Path]:
    lock, env = tmp_path / "driver.lock", tmp_path / "env"
    lock.write_text("numpy==1\n")
    env.mkdir()
    (env / ".stamp").write_text(locks.environment_digest(lock) + "\n")
    return env, lock


def test_a_whole_environment_passes(environment: tuple[Path, Path]) -> None:
    locks.check_environment(*environment)


def test_the_stamp_is_what_sha256sum_prints(environment: tuple[Path, Path]) -> None:
    env, lock = environment
    printed = subprocess.check_output(["sha256sum", str(lock)], text=True).split()[0]
    assert (env / ".stamp").read_text().strip() == printed


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda env, lock: (env / ".stamp").unlink(), "half-built environment"),
        (lambda env, lock: (env / ".stamp").write_text(""), "half-built environment"),
        (lambda env, lock: (env / ".stamp").write_text("0" * 64), "outdated environment"),
        (lambda env, lock: lock.write_text("numpy==2\n"), "outdated environment"),
        (lambda env, lock: shutil.rmtree(env), "no such environment"),
    ],
)
def test_a_spoiled_environment_is_refused(
    environment: tuple[Path, Path], spoil: Callable[[Path, Path], object], what: str
) -> None:
    spoil(*environment)
    with pytest.raises(UserError, match=what) as caught:
        locks.check_environment(*environment)
    assert caught.value.remedy == "make setup"
    assert caught.value.where == environment[0]


def test_a_lost_lock_file_is_told(environment: tuple[Path, Path]) -> None:
    environment[1].unlink()
    with pytest.raises(UserError, match="lock file is missing") as caught:
        locks.check_environment(*environment)
    assert "git checkout" in caught.value.remedy


# --- the lock of Snakemake ---


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("x")
    return tmp_path


def test_no_lock(tmp_path: Path) -> None:
    assert preflight.remove_stale_lock(tmp_path) is False
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    assert preflight.remove_stale_lock(tmp_path) is False
    assert doctor.snakemake_lock(tmp_path).ok


def test_a_lock_left_over_is_told_and_removed(locked: Path) -> None:
    finding = doctor.snakemake_lock(locked)
    assert is_blocking(finding)
    assert "unlock" in finding.remedy
    assert preflight.remove_stale_lock(locked) is True
    assert doctor.snakemake_lock(locked).ok
    assert preflight.remove_stale_lock(locked) is False


def test_the_lock_of_a_run_in_progress_stays(locked: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("bin") / "snakemake"
    script.write_text("import time; print('up', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, str(script)], cwd=locked, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        assert preflight.snakemake_in(locked) == running.pid
        assert preflight.remove_stale_lock(locked) is False
        assert doctor.snakemake_lock(locked).ok
        assert f"process {running.pid}" in doctor.snakemake_lock(locked).detail
        running.kill()
    assert preflight.remove_stale_lock(locked) is True


def test_a_snakemake_elsewhere_does_not_count(locked: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "snakemake").write_text("import time; print('up', flush=True); time.sleep(60)")
    command = [sys.executable, str(elsewhere / "snakemake")]
    with subprocess.Popen(command, cwd=elsewhere, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        assert preflight.snakemake_in(locked) is None
        running.kill()


# --- the doctor ---


def test_this_machine_is_diagnosed_and_nothing_hangs() -> None:
    start = time.monotonic()
    findings = doctor.diagnose()
    assert time.monotonic() - start < 120
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names)) == 12
    assert all(finding.detail for finding in findings)
    assert all(finding.ok or finding.remedy for finding in findings)


def test_exit_status_looks_at_what_is_required() -> None:
    good, bad = Finding("a", True, "x"), Finding("b", False, "x", "do", required=True)
    wanted = Finding("c", False, "x", "do", required=False)
    assert exit_status([good, wanted]) == 0
    assert exit_status([good, wanted, bad]) == 2


def test_rendering_teaches() -> None:
    text = render(
        [
            Finding("cores", True, "2 usable", "never shown"),
            Finding("disk", False, "none free", "free some"),
            Finding("chromium", False, "no browser", "get one", required=False),
        ]
    )
    assert "ok       cores     2 usable" in text
    assert "MISSING  disk      none free\n" + " " * 19 + "remedy: free some" in text
    assert "absent   chromium  no browser" in text
    assert "never shown" not in text
    assert text.endswith("Not ready: disk. Do what the remedies say, then run `anarchy doctor` again.")
    assert render([Finding("cores", True, "2")]).splitlines()[-1].startswith("Ready:")


@pytest.mark.parametrize(("count", "ok"), [(1, False), (2, True), (64, True)])
def test_cores(monkeypatch: pytest.MonkeyPatch, count: int, ok: bool) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))
    assert doctor.cores().ok is ok


@pytest.mark.parametrize(("available", "ok"), [(doctor.MIN_MEMORY, True), (doctor.MIN_MEMORY - 1, False)])
def test_memory(monkeypatch: pytest.MonkeyPatch, available: int, ok: bool) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=available))
    assert doctor.memory().ok is ok


def fake_python(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


LOCK = "ai-dynamo==1.5.1 \\\n    --hash=sha256:0\nai-dynamo-runtime==1.5.1 \\\n    --hash=sha256:0\n"


@pytest.mark.parametrize(
    ("body", "ok", "word"),
    [
        ("echo 1.5.1 1.5.1", True, "1.5.1 and 1.5.1"),
        ("echo 1.6.1 1.5.1", False, "the lock says 1.5.1 and 1.5.1"),
        ("echo 'ModuleNotFoundError: dynamo' >&2; exit 1", False, "cannot be imported: ModuleNotFoundError"),
        ("exit 1", False, "cannot be imported: no message"),
        ("exec sleep 20", False, "does not run"),
        ("true", False, "the lock says"),
    ],
)
def test_serving_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, ok: bool, word: str
) -> None:
    lock = tmp_path / "dynamo.lock"
    lock.write_text(LOCK)
    monkeypatch.setattr(doctor, "IMPORT_TIMEOUT_S", 1.0)
    finding = doctor.dynamo_stack(fake_python(tmp_path, body), lock)
    assert finding.ok is ok
    assert word in finding.detail
    assert "make setup" in finding.remedy


def test_serving_stack_without_an_environment(tmp_path: Path) -> None:
    finding = doctor.dynamo_stack(tmp_path / "python", tmp_path / "dynamo.lock")
    assert not finding.ok
    assert finding.remedy == "make setup"


def test_loopback_ports() -> None:
    assert doctor.loopback_ports().ok


def test_loopback_ports_that_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(socket, "socket", Refusing)
    finding = doctor.loopback_ports(4)
    assert not finding.ok
    assert "only 0 of 4 ports" in finding.detail
    assert "ip link set lo up" in finding.remedy


def test_no_more_files_may_be_opened_for_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", refuse)
    assert "only 0 of 4 ports" in doctor.loopback_ports(4).detail


def test_timing_tables(tmp_path: Path) -> None:
    assert doctor.timing_tables(PROFILES).ok
    assert not doctor.timing_tables(tmp_path).ok
    copy = Path(shutil.copytree(PROFILES, tmp_path / "profiles"))
    table = sorted(copy.glob("*/decode.csv"))[0]
    table.write_text(table.read_text()[:-10])
    finding = doctor.timing_tables(copy)
    assert not finding.ok
    assert str(table) in finding.detail
    assert finding.remedy


def test_chromium_is_wanted_but_not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    finding = doctor.chromium()
    assert not finding.ok
    assert not finding.required
    assert "no browser" in finding.detail
    assert "make test" in finding.remedy


@pytest.mark.parametrize("browser", [True, False])
@pytest.mark.parametrize("driver", [True, False])
def test_the_part_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, browser: bool, driver: bool
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/opt/chromium" if browser else None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if driver else None)
    finding = doctor.chromium()
    assert finding.ok is (browser and driver)
    assert ("playwright" in finding.detail) is not driver
    assert ("no browser" in finding.detail) is not browser
    assert ("/opt/chromium" in finding.detail) is (browser and driver)
    if not finding.ok:
        assert ("playwright" in finding.remedy) is not driver
        assert ("chromium" in finding.remedy) is not browser


def test_an_environment_that_is_missing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ENVS", tmp_path)
    finding = doctor.environment("dynamo")
    assert is_blocking(finding)
    assert "no such environment" in finding.detail
    assert finding.remedy == "make setup"
