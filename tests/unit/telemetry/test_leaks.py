"""What of a page counts as text that may name a place."""

from __future__ import annotations

from pathlib import Path

from anarchy.telemetry.alias import Anonymiser
from anarchy.telemetry.leaks import find_leaks


def test_outlines_of_a_picture_are_numbers_and_no_addresses(tmp_path: Path) -> None:
    outline = "M3 4-10.20.30.40 5z"
    page = tmp_path / "report.html"
    page.write_text(f"<path d='{outline}'/><img src=\"data:image/svg+xml,<path%20d='{outline}'/>\">")
    assert find_leaks(tmp_path, Anonymiser()) == []
    page.write_text(f"<p>{outline}</p>")
    assert len(find_leaks(tmp_path, Anonymiser())) == 1
