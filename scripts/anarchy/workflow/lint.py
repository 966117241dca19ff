"""`snakemake --lint` of this workflow, less what is so by choice: ``python -m anarchy.workflow.lint``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from anarchy.ground.layout import PROJECT

BY_CHOICE: Final[Mapping[str, str]] = {
    "Specify a conda environment or container for each rule.": "every rule runs in a locked environment of the "
    "project's own, .envs/driver, which `make setup` builds with hashes"
}
"""Title of a finding that stays -> why."""


def findings(report: Mapping[str, Any]) -> Iterator[str]:
    """Every finding that is not by choice, a line each; ``report``: what `snakemake --lint json` prints."""
    for kind in ("rules", "snakefiles"):
        for place in report.get(kind, []):
            name = place.get("rule") or place.get("snakefile") or kind
            for lint in place.get("lints", []):
                if lint["title"] not in BY_CHOICE:
                    yield f"{name}: {lint['title']}"


def main() -> int:
    """Print every finding; exit status 1 where there is one, or where Snakemake cannot read the workflow."""
    command = [sys.executable, "-m", "snakemake", "--lint", "json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    start = done.stdout.find("{")
    if start < 0:
        print(done.stdout + done.stderr, file=sys.stderr)
        return 1
    left = list(findings(json.loads(done.stdout[start:])))
    for line in left:
        print(line)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
