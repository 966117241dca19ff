"""What a report says of the run itself: what was asked, on which machine, predicted against measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import psutil

from anarchy.config import ALL, Choices
from anarchy.ground.layout import PROJECT
from anarchy.plan.workbench import Workbench
from anarchy.tables import System


def run_info(bench: Workbench, systems: Sequence[System]) -> dict[str, Any]:
    """Facts of a run for ``report.render``; wall times in seconds, over the systems of this run."""
    choices = bench.choices
    planned = bench.systems()
    measured = [
        float(deployment["wall_s"])
        for system in systems
        if (system.info["experiment"], *system.key) in planned
        for deployment in system.info["deployments"]
    ]
    return {
        "run": bench.run.digest,
        "tier": choices.tier,
        "systems": [list(system) for system in planned],
        "predicted_s": sum(deployment.predicted.wall_s for deployment in bench.run.deployments),
        "measured_s": sum(measured),
        "command": " ".join(["make reproduce", *_words(choices)]),
        "commit": commit(),
        "machine": {
            "cores": str(os.cpu_count()),
            "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
            "operating system": platform.platform(),
        },
    }


_PLACES: Final = frozenset({"results", "site", "launcher"})
"""Choices of a machine, which say nothing of the study."""


def _words(choices: Choices) -> list[str]:
    """The choices of a run as `make` takes them, tier and experiments among them; where it ran is left out.

    A call that names no experiment measures all: so says `run.yaml`, whatever the model's own default is.
    """
    told = {"tier": choices.tier, "experiments": ",".join(choices.experiments)} | choices.changed()
    if ALL in choices.experiments:
        told.pop("experiments", None)
    return [f"{key.upper()}={value}" for key, value in told.items() if key not in _PLACES]


def commit() -> str | None:
    """Commit of this checkout, with ``-dirty`` where files differ; None outside a checkout or without git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
