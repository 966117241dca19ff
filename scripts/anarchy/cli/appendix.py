"""Parts of the artifact appendix that the code and the recorded runs know: docs/appendix.md.

Each function makes one part in Markdown; `anarchy.cli.pages` writes them into the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from anarchy.claims import verdicts
from anarchy.cli.doctor import MAX_CONCURRENCY, MIN_CORES, MIN_DISK, MIN_MEMORY, PORTS
from anarchy.config.experiments import Experiment
from anarchy.config.files import load_study
from anarchy.ground.layout import CONFIG, PROJECT
from anarchy.ground.preflight import PYTHON_NEEDED, open_files_needed

SAMPLE: Final = PROJECT / "data" / "sample"
LOCKS: Final = PROJECT / "envs"
PACKAGE = re.compile(r"^[A-Za-z0-9._-]+(?:\[[^\]]*\])?==", re.MULTILINE)


def requirements() -> str:
    """What `anarchy doctor` asks of a machine."""
    python = ".".join(map(str, PYTHON_NEEDED))
    return _table(
        ("what", "at least"),
        [
            ("Python", python),
            ("cores", str(MIN_CORES)),
            ("memory that is free", _size(MIN_MEMORY)),
            ("disk that is free", _size(MIN_DISK)),
            (
                f"open files a process, up to C = {MAX_CONCURRENCY}",
                f"{open_files_needed(MAX_CONCURRENCY):,}",
            ),
            ("ports on the loopback interface", str(PORTS)),
            ("GPU", "none"),
        ],
    )


def environments(folder: Path = LOCKS) -> str:
    """Every locked environment: how many packages, and what its first comment says that it is for."""
    rows = []
    for lock in sorted(folder.glob("*.lock")):
        source = lock.with_suffix(".in")
        what = _first_sentence(source) if source.is_file() else "declared in pyproject.toml"
        packages = len(PACKAGE.findall(lock.read_text(encoding="utf-8")))
        rows.append((f"`{lock.stem}`", str(packages), what))
    return _table(("environment", "packages", "what for"), rows)


def experiments() -> str:
    """Every experiment and what its tiers measure."""
    study = load_study(CONFIG)
    ordered = sorted(study.experiments.values(), key=lambda one: one.id)
    rows = [(f"{one.id} `{one.name}`", one.title, _tiers(one)) for one in ordered]
    return _table(("experiment", "what", "tiers: systems x launches, engine"), rows)


def recorded(folder: Path = SAMPLE) -> str:
    """The runs whose raw traces come with the artifact: cells, requests, disk."""
    rows = []
    for run in sorted(path.parent for path in folder.glob("*/raw")):
        cells = [_read(file) for file in sorted(run.rglob("manifest.json"))]
        if not cells:  # of some runs only the deployments are recorded, without their traces
            continue
        rows.append(
            (
                f"`{run.name}`",
                str(len(list(run.rglob("deployment.json")))),
                f"{sum(cell['gates']['valid'] for cell in cells)} of {len(cells)}",
                f"{sum(cell['seal']['rows'] for cell in cells):,}",
                _size(sum(file.stat().st_size for file in run.rglob("*") if file.is_file())),
            )
        )
    return _table(("run", "deployments", "cells, valid", "requests", "disk"), rows)


def claims() -> str:
    """Every claim: its published value, and the command that measures what it is about."""
    study = load_study(CONFIG)
    rows = [
        (
            claim.id,
            claim.claim,
            claim.published.text,
            study.experiments[claim.experiment].id,
            f"`make reproduce EXPERIMENTS={claim.experiment}`",
        )
        for claim in verdicts.load().claims
    ]
    return _table(("claim", "what", "published", "experiment", "command"), rows)


PARTS: Final = {
    "requirements": requirements,
    "environments": environments,
    "experiments": experiments,
    "recorded": recorded,
    "claims": claims,
}
"""Part of the page -> what makes it."""


def _first_sentence(source: Path) -> str:
    comment = takewhile(lambda line: line.startswith("#"), source.read_text(encoding="utf-8").splitlines())
    return re.split(r"(?<=\.)\s", " ".join(line.removeprefix("#").strip() for line in comment))[0]


def _tiers(one: Experiment) -> str:
    return "; ".join(
        f"{name}: {len(one.systems_of(name))} x {tier.launches}, `{tier.engine}`"
        for name, tier in one.tiers.items()
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _size(count: int) -> str:
    return f"{count / 1e9:.0f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
