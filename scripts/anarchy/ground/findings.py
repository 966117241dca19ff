"""What was looked at on a machine or a cluster before a run, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anarchy.ground.errors import EXIT_USER_ERROR


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is as needed, what was seen, and what to do otherwise."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True
    """What is not required is wanted by some commands only, named in the remedy."""


def exit_status(findings: Iterable[Finding]) -> int:
    """0, or 2 when something required is missing."""
    return EXIT_USER_ERROR if any(map(is_blocking, findings)) else 0


def is_blocking(finding: Finding) -> bool:
    """Say whether this finding keeps a run from working."""
    return finding.required and not finding.ok


def render(findings: Iterable[Finding]) -> str:
    """The findings as text: one line each, the remedy under what is not as needed, a verdict at the end."""
    findings = list(findings)
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    for finding in findings:
        mark = "ok     " if finding.ok else "MISSING" if is_blocking(finding) else "absent "
        lines.append(f"{mark}  {finding.name:{width}}  {finding.detail}")
        if not finding.ok and finding.remedy:
            lines.append(f"{'':{9 + width}}  remedy: {finding.remedy}")
    missing = [finding.name for finding in findings if is_blocking(finding)]
    lines.append("")
    lines.append(
        f"Not ready: {', '.join(missing)}. Do what the remedies say, then run `anarchy doctor` again."
        if missing
        else "Ready: nothing that a run needs is missing. `anarchy plan --cost` says how long one takes."
    )
    return "\n".join(lines)
