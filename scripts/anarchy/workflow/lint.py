"""`snakemake --lint` of this workflow, less what is so by choice: ``python -m anarchy.workflow.lint``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from anarchy.ground.layout import PROJECT

BY_CHOICE: Final[Mapping[str, str]] = {
    "Specify a conda environment or container for each rule.": "every rule runs in the project's own locked "
    "environment, .envs/driver, which `make setup` builds with hashes"
}
"""Title of a finding that stays -> why."""

_PLACE = re.compile(r"Lints for (.+):$")
_TITLE = re.compile(r"    \* (.+):$")


def findings(text: str) -> Iterator[str]:
    """Every finding that is not by choice, a line each; ``text``: what `snakemake --lint` prints.

    Its JSON is never printed by the command line (Snakemake 9.27), so the text is read.
    """
    place = ""
    for line in text.splitlines():
        if match := _PLACE.match(line):
            place = match[1]
        elif (match := _TITLE.match(line)) and match[1] not in BY_CHOICE:
            yield f"{place}: {match[1]}"


def main() -> int:
    """Print every finding; exit status 1 where there is one, or where Snakemake cannot read the workflow."""
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    if "Lints for " not in text and done.returncode != 0:
        print(text, file=sys.stderr)
        return 1
    left = list(findings(text))
    for line in left:
        print(line)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
