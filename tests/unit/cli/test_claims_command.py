"""`anarchy claims`: a line a claim, and a status that a script can ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.claims import load
from anarchy.cli import main as cli
from tests.helpers.synthetic_estimates import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    write_results(root)
    return root


def claims(results: Path, *options: str) -> int:
    return cli.main(["claims", "--tier", "quick", "--results", str(results), *options])


def test_every_claim_has_a_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert claims(results) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [claim.id for claim in load().claims]
    assert lines[7].startswith("C8   not testable here  Past the knee of 70B 1P/5D")


def test_a_verdict_that_must_not_be_ends_with_1(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert claims(results, "--fail-on", "not testable here") == 1
    listed = "C4, C5, C6, C8, C9, C10, C11, C13, P1, P5, Q1, Q2"
    assert f"--fail-on not testable here: {listed}" in capsys.readouterr().err
    assert (results / "quick" / "claims.json").is_file()


def test_a_verdict_that_no_claim_has_ends_with_0(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims(results)
    found = {line[5:23].strip() for line in capsys.readouterr().out.splitlines()}
    absent = {"reproduced", "not reproduced", "inconclusive"} - found
    assert absent, "the sample has every verdict, so this test asks nothing"
    assert claims(results, "--fail-on", absent.pop()) == 0


def test_a_word_that_is_no_verdict_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["claims", "--fail-on", "failed"])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert (
        "'failed' is no verdict; known: reproduced, not reproduced, inconclusive, not testable here" in told
    )
