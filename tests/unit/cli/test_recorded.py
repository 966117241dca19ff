"""Tables of the README are those of the recorded runs, whatever these say."""

from __future__ import annotations

import json
from pathlib import Path

from anarchy.cli import recorded

VERDICT = {
    "id": "C1", "claim": "it grows", "sentence": "It grows.", "verdict": "inconclusive", "reason": "",
    "workload": "unique", "way": "", "engine": "simulated", "published": "3 to 4",
    "parts": [{"quantity": "growth", "measured": 2.5, "lo": 2.0, "hi": 3.5}],
}  # fmt: skip
HEAD = "system,plateau_lo,plateau_hi,knee_lo,knee_hi,deepest_concurrency,deepest_lo,deepest_hi"


def test_a_verdict_stands_with_published_and_measured_value(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text(json.dumps([VERDICT]))
    assert recorded.verdicts(tmp_path).splitlines()[2:] == [
        "| C1 | It grows. | inconclusive | 3 to 4 | growth: 2.50 [2.00, 3.50] | simulated |"
    ]


def test_a_range_holds_the_intervals_of_every_run(tmp_path: Path) -> None:
    folder = tmp_path / "summaries"
    folder.mkdir()
    (folder / "a.csv").write_text(f"{HEAD}\n70B,0.9,1.0,90,100,1024,10,11\n")
    (folder / "b.csv").write_text(f"{HEAD}\n70B,0.95,1.1,80,95,1024,10.5,12\n")
    told = recorded.expected(tmp_path)
    assert "2 recorded runs" in told
    assert told.splitlines()[-1] == "| 70B | 0.900 to 1.10 | 80.0 to 100 | 10.0 to 12.0 |"


def test_an_interval_of_live_cells_is_told_and_none_of_virtual_time(tmp_path: Path) -> None:
    part = {"system": "70B", "quantity": "growth", "measured": 2.5, "lo": 2.0, "hi": 3.5}
    verdicts = [
        {**VERDICT, "parts": [part, {**part, "quantity": "open", "lo": None}]},
        {**VERDICT, "id": "C2", "engine": "simulated in virtual time", "parts": [part]},
    ]
    (tmp_path / "claims.json").write_text(json.dumps(verdicts))
    assert recorded.expected_live(tmp_path).splitlines()[4:] == ["| 70B | growth | 2.00 to 3.50 |"]
