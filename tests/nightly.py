"""Run the parts of the nightly suite one after the other, and write what came of each into docs/nightly.md.

Usage: python -m tests.nightly [PART ...], where a part is a target of `make`; without one, every part. A part
that fails does not keep the others from running; the exit status is 1 then. A part that is not run this time
keeps its row, with the commit and the date that it was run on.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.helpers.places import PROJECT

PARTS = {
    "test-faults": "every fault on the lab",
    "test-containers": "stand-ins of Apptainer and Pyxis on the lab",
    "test-vllm": "the real engine, vLLM on the CPU",
    "test-long": "policies, knee, controller, deployed; a bare pip install; figures of a full run",
    "fuzz": "hostile files by the ten thousand",
}
PAGE = PROJECT / "docs" / "nightly.md"
ENDS = ("passed", "failed", "error")
"""What a closing line of pytest names."""


def summary(output: str) -> str:
    """The closing line of pytest, without its frame; what is there instead, where it never came so far."""
    lines = [line.strip("= ") for line in output.splitlines() if line.strip("= ")]
    closing = [line for line in lines if any(word in line for word in ENDS) and " in " in line]
    return (closing or lines or ["no output"])[-1]


@dataclass(frozen=True)
class Row:
    """What came of one part: when, on which commit, minutes, and how pytest closed."""

    part: str
    began: datetime
    commit: str
    passed: bool
    minutes: float
    closing: str

    def line(self) -> str:
        """Its row of the page."""
        result = "passed" if self.passed else "failed"
        return (
            f"| `make {self.part}` | {PARTS[self.part]} | {result} | {self.minutes:.0f} | {self.closing} "
            f"| {self.began:%Y-%m-%d %H:%M} | {self.commit} |"
        )


def page(rows: list[Row], before: str = "") -> str:
    """The page: these rows, and from the page before them the rows of other parts."""
    lines = {match[1]: match[0] for match in re.finditer(r"^\| `make ([a-z-]+)` .*\|$", before, re.MULTILINE)}
    lines |= {row.part: row.line() for row in rows}
    table = "\n".join(lines[part] for part in PARTS if part in lines)
    return (
        "# The last nightly run\n\n"
        "Written by `make test-nightly`. Times are UTC.\n\n"
        "| part | what | result | minutes | how it closed | began | commit |\n|---|---|---|---|---|---|---|\n"
        f"{table}\n"
    )


def commit_of_tree() -> str:
    """The commit that is checked out, and whether files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def main(parts: list[str]) -> int:
    """Run the parts and write the page after each, so that a run that is cut off leaves what it has."""
    if unknown := set(parts) - set(PARTS):
        print(f"no such part: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    commit = commit_of_tree()
    rows: list[Row] = []
    for part in parts or list(PARTS):
        began, started = datetime.now(UTC), time.monotonic()
        done = subprocess.run(
            ["make", "--no-print-directory", part],
            cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        print(done.stdout, flush=True)
        minutes = (time.monotonic() - started) / 60
        rows.append(Row(part, began, commit, done.returncode == 0, minutes, summary(done.stdout)))
        before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        PAGE.write_text(page(rows, before), encoding="utf-8")
    return int(any(not row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
