"""Progress without a terminal: one line a cell, the rest of the whole run in each."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.measure.progress import SweepProgress, clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00 min"), (59.6, "1:00 min"), (3599, "59:59 min"), (3600, "1:00 h"), (9000, "2:30 h")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_line_for_each_cell_with_what_is_left_in_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "sweep.log"
    with SweepProgress("model/1p2d", 3, 1, predicted_s=40.0, elsewhere_s=600.0, log=log) as progress:
        progress.start_cell("unique-c0008", 20.0)
        progress.end_cell("valid, 100 requests")
        progress.start_cell("unique-c0016", 20.0)
        progress.end_cell("NOT VALID: errors, 3 requests")
    first, second = capsys.readouterr().err.splitlines()
    assert "model/1p2d  unique-c0008: valid, 100 requests (0 s); 2/3 cells, about" in first
    assert "unique-c0016: NOT VALID: errors, 3 requests (0 s); 3/3 cells, about" in second
    # The cells took no time although 20 s were predicted: 30 % of that lesson is taken after each.
    assert "about 7:14 min left in all" in first
    assert "about 4:54 min left in all" in second
    assert log.read_text().splitlines() == [first, second]


def test_another_attempt_is_one_cell_more(capsys: pytest.CaptureFixture[str]) -> None:
    with SweepProgress("model/1p2d", 2, 0, predicted_s=40.0, elsewhere_s=0.0) as progress:
        progress.start_cell("unique-c0008", 20.0)
        progress.end_cell("NOT VALID: client_bound, 9 requests")
        progress.again(20.0)
        progress.start_cell("unique-c0008", 20.0)
        progress.end_cell("valid, 100 requests")
    assert "2/3 cells" in capsys.readouterr().err.splitlines()[-1]
