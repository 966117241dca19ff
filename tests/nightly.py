"""Run the parts of the nightly suite one after the other, and write what came of each into docs/nightly.md.

Usage: python -m tests.nightly [--failed] [PART ...], where a part is a target of `make`; without one, every
part. A part that fails does not keep the others from running; the exit status is 1 then. A part that is
not run keeps its row, with the commit and the date that it was run on. With --failed only the tests that
failed the last time are run again, after a mend, and the part gets a second row below its own.
"""

from __future__ import annotations

import argparse
import os
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
    "test-lab": "every topology, knee, policies and virtual cells as jobs on the lab",
    "test-long": "policies, knee and controller on one machine; a bare pip install; figures of a full run",
    "fuzz": "hostile files by the ten thousand",
}
PAGE = PROJECT / "docs" / "nightly.md"
AGAIN = ", what had failed"
"""Behind the name of a part of which only the failed tests were run again."""
FAILED_ALONE = "--last-failed --last-failed-no-failures=none"
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
    again: bool = False

    def line(self) -> str:
        """Its row of the page."""
        result = "passed" if self.passed else "failed"
        return (
            f"| `make {self.part}`{AGAIN if self.again else ''} | {PARTS[self.part]} | {result} "
            f"| {self.minutes:.0f} | {self.closing} | {self.began:%Y-%m-%d %H:%M} | {self.commit} |"
        )


def page(rows: list[Row], before: str = "") -> str:
    """The page: these rows, and from the page before them the rows of other parts."""
    found = re.finditer(rf"^\| `make ([a-z-]+)`({AGAIN})? .*\|$", before, re.MULTILINE)
    lines = {(match[1], bool(match[2])): match[0] for match in found}
    for row in rows:
        if not row.again:
            lines.pop((row.part, True), None)  # it was about the run before
        lines[row.part, row.again] = row.line()
    order = [(part, again) for part in PARTS for again in (False, True)]
    table = "\n".join(lines[key] for key in order if key in lines)
    return (
        "# The last nightly run\n\n"
        "Written by `make test-nightly`. Times are UTC.\n\n"
        "| part | what | result | minutes | how it closed | began | commit |\n|---|---|---|---|---|---|---|\n"
        f"{table}\n"
    )


def failed_parts(text: str) -> list[str]:
    """Parts whose own row on the page says that they failed."""
    failed = re.findall(r"^\| `make ([a-z-]+)` \| [^|]* \| failed \|", text, re.MULTILINE)
    return [part for part in PARTS if part in failed]


def _part(word: str) -> str:
    if word not in PARTS:
        raise argparse.ArgumentTypeError(f"no such part: {word}; known: {', '.join(PARTS)}")
    return word


def commit_of_tree() -> str:
    """The commit that is checked out, and whether files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def main(arguments: list[str]) -> int:
    """Run the parts and write the page after each, so that a run that is cut off leaves what it has."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly", description=__doc__)
    parser.add_argument("--failed", action="store_true", help="only the tests that failed the last time")
    parser.add_argument("parts", nargs="*", metavar="PART", type=_part, help=", ".join(PARTS))
    options = parser.parse_args(arguments)
    commit = commit_of_tree()
    every = list(PARTS)
    environment = dict(os.environ)
    if options.failed:
        every = failed_parts(PAGE.read_text(encoding="utf-8"))
        environment["PYTEST_ADDOPTS"] = f"{environment.get('PYTEST_ADDOPTS', '')} {FAILED_ALONE}"
    rows: list[Row] = []
    for part in options.parts or every:
        began, started = datetime.now(UTC), time.monotonic()
        done = subprocess.run(
            ["make", "--no-print-directory", part],
            cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        print(done.stdout, flush=True)
        minutes = (time.monotonic() - started) / 60
        passed, closing = done.returncode == 0, summary(done.stdout)
        rows.append(Row(part, began, commit, passed, minutes, closing, options.failed))
        before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        PAGE.write_text(page(rows, before), encoding="utf-8")
    return int(any(not row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
