"""What a nightly run writes down."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import nightly
from tests.helpers.places import PROJECT

BEGAN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("x\n===== 3 passed, 1 skipped in 2.00s =====\n", "3 passed, 1 skipped in 2.00s"),
        ("= 1 failed, 2 passed in 9s =\nmake: *** [Makefile:82: fuzz] Error 1\n", "1 failed, 2 passed in 9s"),
        ("could not install slurmctld\n", "could not install slurmctld"),
        ("", "no output"),
    ],
)
def test_how_a_part_closed(output: str, told: str) -> None:
    assert nightly.summary(output) == told


def test_a_row_names_date_commit_and_result() -> None:
    text = nightly.page([nightly.Row("fuzz", BEGAN, "abc-dirty", False, 14.6, "1 failed in 9s")])
    assert (
        "| `make fuzz` | hostile files by the ten thousand | failed | 15 | 1 failed in 9s "
        "| 2026-01-02 03:04 | abc-dirty |"
    ) in text


def test_a_part_that_is_not_run_keeps_its_row() -> None:
    before = nightly.page(
        [nightly.Row(part, BEGAN, "abc", False, 14.6, "1 failed") for part in ("fuzz", "test-vllm")]
    )
    after = nightly.page([nightly.Row("fuzz", BEGAN, "def", True, 1.0, "1 passed")], before)
    rows = [line for line in after.splitlines() if line.startswith("| `make")]
    assert [row.split("|")[-2].strip() for row in rows] == ["abc", "def"]


def test_what_had_failed_has_a_row_of_its_own_until_the_part_is_run_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[str] = []

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        options.append(f"{command[-1]}{env.get('PYTEST_ADDOPTS', '')}")
        return subprocess.CompletedProcess(command, 0, "= 1 passed in 1s =", "")

    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setattr(nightly, "commit_of_tree", lambda: "mended")
    monkeypatch.setattr(nightly, "PAGE", tmp_path / "nightly.md")
    monkeypatch.setattr("tests.nightly.subprocess.run", run)
    before = [nightly.Row(part, BEGAN, "abc", part != "fuzz", 9.0, "1 failed") for part in nightly.PARTS]
    nightly.PAGE.write_text(nightly.page(before))
    assert nightly.main(["--failed"]) == 0
    assert options == [f"fuzz {nightly.FAILED_ALONE}"]
    first, second = nightly.PAGE.read_text().splitlines()[-2:]
    assert first == before[-1].line()
    assert second.startswith("| `make fuzz`, what had failed |")
    assert second.endswith("| mended |")
    assert nightly.main(["fuzz"]) == 0
    assert "what had failed" not in nightly.PAGE.read_text()


def test_a_part_that_fails_keeps_no_other_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command[-1])
        return subprocess.CompletedProcess(command, int(command[-1] == "fuzz"), "1 passed in 1s", "")

    monkeypatch.setattr(nightly, "commit_of_tree", lambda: "abc")
    monkeypatch.setattr(nightly, "PAGE", tmp_path / "nightly.md")
    monkeypatch.setattr("tests.nightly.subprocess.run", run)
    assert nightly.main(["fuzz", "test-vllm"]) == 1
    assert calls == ["fuzz", "test-vllm"]
    assert "| `make test-vllm` | the real engine, vLLM on the CPU | passed |" in nightly.PAGE.read_text()


def test_every_part_is_a_target_of_make() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert all(f"\n{part}:" in makefile for part in nightly.PARTS)


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        nightly.main(["no-such-part"])
    assert "no such part: no-such-part; known: test-faults" in capsys.readouterr().err
