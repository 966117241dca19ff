"""Where everything lies: every path of a run, computed in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
"""Root of the project; the package is installed in place."""

CONFIG = PROJECT / "workflow" / "config"
SCHEMAS = PROJECT / "workflow" / "schemas"
PROFILES = PROJECT / "data" / "profiles"
ENVS = PROJECT / ".envs"
DYNAMO_PYTHON = ENVS / "dynamo" / "bin" / "python"

TRACE_FILE = "trace.parquet"
MANIFEST_FILE = "manifest.json"
REQUESTS_FILE = "requests.jsonl"


@dataclass(frozen=True)
class Layout:
    """The folders of one tier of results; ``root`` is results/<tier>."""

    root: Path

    def deployment(self, experiment: str, model: str, topology: str, routing: str, trial: int) -> Path:
        """Folder of one deployment's raw data; never rewritten once sealed."""
        return self.root / "raw" / experiment / model / topology / routing / str(trial)

    def summary(self, experiment: str, model: str, topology: str, routing: str, trial: int) -> Path:
        """Written when the whole ladder of a deployment has been measured."""
        return self.deployment(experiment, model, topology, routing, trial) / "deployment.json"

    def estimate(self, experiment: str, model: str, topology: str) -> Path:
        """One row a cell: PoA-hat, its interval and what stands beside it."""
        return self.root / "estimates" / experiment / f"{model}_{topology}.parquet"

    def figure(self, experiment: str, name: str, suffix: str) -> Path:
        """One figure in one format."""
        return self.root / "figures" / experiment / f"{name}.{suffix}"

    def table(self, experiment: str, name: str, suffix: str) -> Path:
        """One table in one format."""
        return self.root / "tables" / experiment / f"{name}.{suffix}"

    def notebook(self, experiment: str, model: str, topology: str) -> Path:
        """The executed notebook, kept also when it fails."""
        return self.root / "notebooks" / f"{experiment}_{model}_{topology}.ipynb"

    @property
    def report(self) -> Path:
        """The report, one file."""
        return self.root / "report.html"


def cell_directory(deployment: Path, cell: str) -> Path:
    """Folder of one cell's trace and manifest."""
    return deployment / "cells" / cell
