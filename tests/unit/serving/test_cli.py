"""The command line: what it tells of a failure, and that serving leaves what was measured alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anarchy import report
from anarchy.cli import main as cli
from anarchy.engines.spec import DeploymentSpec
from anarchy.measure import sweep
from anarchy.serving import foreground
from anarchy.serving.faults import DeploymentFaultError, Fault
from anarchy.serving.frontend_api import RefusedError
from anarchy.serving.health import UnhealthyError
from anarchy.serving.supervisor import ProcessDiedError, ProcessExit

DEPLOYMENT = ("equilibrium", "llama-3.1-70b", "1p2d", "static", "1")
LIVE = (*DEPLOYMENT, "--tier", "live")


@pytest.fixture(autouse=True)
def _keep_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_end_with_parent", lambda: None)


def test_serve_keeps_out_of_the_logs_of_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs: list[DeploymentSpec] = []
    monkeypatch.setattr(foreground, "serve", lambda spec, tell: specs.append(spec))
    assert cli.main(["serve", *LIVE, "--port", "20123", "--results", str(tmp_path)]) == 0
    (spec,) = specs
    assert spec.http_ports == (20123,)
    assert spec.log_dir.name == "serve"
    assert spec.log_dir.is_dir()
    assert [path.name for path in tmp_path.rglob("*.log")] == []


def test_what_is_measured_in_virtual_time_is_served_by_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", *DEPLOYMENT, "--results", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "'virtual' is not served" in told
    assert "mocker, vllm" in told


@pytest.mark.parametrize("command", ["serve", "sweep"])
@pytest.mark.parametrize(
    "error",
    [
        DeploymentFaultError([Fault("process_died", "decode-0", "killed")]),
        UnhealthyError("timed out"),
        ProcessDiedError([ProcessExit("guardian", 1, -9, Path("g.log"), "")]),
        RefusedError(("127.0.0.1", 1), 503, "not now"),
        TimeoutError("the guardian did not start decode-0"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_deployment_is_told_without_a_traceback(
    command: str,
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        error.add_note("logs in a/b")
        raise error

    monkeypatch.setattr(foreground, "serve", fail)
    monkeypatch.setattr(sweep, "sweep", fail)
    assert cli.main([command, *LIVE, "--results", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert str(error) in told
    assert "logs in a/b" in told
    assert "remedy: " in told


@pytest.mark.parametrize("command", ["report", "summary"])
def test_nothing_to_report_yet(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--results", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path) in told
    assert "make reproduce" in told


@pytest.mark.parametrize("text", [None, "[{"], ids=["missing", "cut off"])
def test_a_report_needs_the_verdicts(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "load_systems", lambda layout: ["a system"])
    if text is not None:
        for tier in ("quick", "full"):
            (tmp_path / tier).mkdir()
            (tmp_path / tier / "claims.json").write_text(text)
    assert cli.main(["report", "--results", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "claims.json" in told
    assert "anarchy claims" in told


def test_a_full_disk_under_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "sweep.log"
    mkdir = Path.mkdir

    def full(path: Path, *arguments: Any, **options: Any) -> None:
        if path == log.parent:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", full)
    assert cli.main(["sweep", *DEPLOYMENT, "--results", str(tmp_path), "--log", str(log)]) == 2
    told = capsys.readouterr().err
    assert str(log.parent) in told
    assert "no disk space is left" in told


def test_a_reader_that_has_left_is_no_failure() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "anarchy.cli.main", "plan", "--cost"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
