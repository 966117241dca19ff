"""`anarchy leaks`: names, addresses and secrets in a folder, told with what they should read."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.cli.main import main


def test_a_node_an_address_and_a_token_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2-of-this-test")
    (tmp_path / "clean.log").write_text("healthy after 3.1 s\n")
    assert main(["leaks", str(tmp_path), "gpu-17"]) == 0
    (tmp_path / "worker.log").write_text("on gpu-17\nfrom 198.51.100.7\ntoken hunter2-of-this-test\n")
    assert main(["leaks", str(tmp_path), "gpu-17"]) == 1
    said = capsys.readouterr().out
    assert "worker.log, line 1: on node02" in said
    assert "line 2: from <address>" in said
    assert "line 3: token <secret>" in said
    assert "hunter2" not in said
    assert "3 places" in said


def test_letters_of_a_picture_are_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = "iVBORw0KGgo" + 200 * "AAAA/vm1+x"
    page = tmp_path / "report.html"
    page.write_text(f'<img src="data:image/png;base64,{picture}=="> drawn\n')
    assert main(["leaks", str(tmp_path), "vm1"]) == 0
    page.write_text(f'<img src="data:image/png;base64,{picture}=="> drawn on vm1\n')
    assert main(["leaks", str(tmp_path), "vm1"]) == 1
    assert "drawn on node" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "content"), [("log.gz", b"\x1f\x8bnot gzip"), ("table.parquet", b"PAR1")])
def test_what_cannot_be_read_is_not_called_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["leaks", str(tmp_path)]) == 2
    assert name in capsys.readouterr().err
    assert main(["leaks", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
