"""Times and sizes of the artifact appendix are those that other pages have."""

from __future__ import annotations

import re

from tests.helpers.places import PROJECT

MEASURE = re.compile(r"\d+(?:\.\d+)? (?:min \d+ s|min|s|h|MB|GB)\b")


def test_times_and_sizes_stand_on_the_page_of_commands_or_of_engines() -> None:
    appendix, commands, engines = (
        (PROJECT / "docs" / name).read_text(encoding="utf-8")
        for name in ("appendix.md", "commands.md", "engines.md")
    )
    times = appendix.split("\n## Times\n")[1].split("\n## Experiments\n")[0]
    rows = [line for line in times.splitlines() if line.startswith("| ") and "make redraw" not in line]
    measured = {one for row in rows for one in MEASURE.findall(row)}
    assert len(measured) > 8
    assert {one for one in measured if one not in commands + engines} == set()
