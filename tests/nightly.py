"""Run the parts of the nightly suite one after the other, and write what came of each into docs/nightly.md.

Usage: python -m tests.nightly [PART ...], where a part is a target of `make`; without one, every part. A part
that fails does not keep the others from running; the exit status is 1 then.
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime

from tests.helpers.places import PROJECT

PARTS = {
    "test-faults": "every fault on the lab",
    "test-containers": "stand-ins of Apptainer and Pyxis on the lab",
    "test-vllm": "the real engine, vLLM on the CPU",
    "test-long": "policies, knee and controller in real deployments; a bare pip install",
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


def page(rows: list[tuple[str, str, float, str]], commit: str, began: datetime) -> str:
    """The page: a row a part, with its minutes and how pytest closed."""
    table = "\n".join(
        f"| `make {part}` | {PARTS[part]} | {result} | {minutes:.0f} | {told} |"
        for part, result, minutes, told in rows
    )
    return (
        "# The last nightly run\n\n"
        f"Written by `make test-nightly`: {began:%Y-%m-%d %H:%M} UTC, commit {commit}.\n\n"
        "| part | what | result | minutes | how it closed |\n|---|---|---|---|---|\n"
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
    began, commit = datetime.now(UTC), commit_of_tree()
    rows: list[tuple[str, str, float, str]] = []
    for part in parts or list(PARTS):
        started = time.monotonic()
        done = subprocess.run(
            ["make", "--no-print-directory", part],
            cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        print(done.stdout, flush=True)
        result = "passed" if done.returncode == 0 else "failed"
        rows.append((part, result, (time.monotonic() - started) / 60, summary(done.stdout)))
        PAGE.write_text(page(rows, commit, began), encoding="utf-8")
    return int(any(result == "failed" for _, result, *_ in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
