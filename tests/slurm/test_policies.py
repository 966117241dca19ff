"""E2, E3 and E4 over the nodes of the lab at tier smoke, in both routing ways."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from anarchy.plan.workbench import open_run
from anarchy.trace.reader import read_manifest
from lab import Lab
from tests.helpers.gated import told_of_the_machine
from tests.helpers.places import PROJECT
from tests.slurm.fault_tools import POLL, SITE

EXPERIMENTS = "saturation,adaptive,pareto"
WHOLE_S = 1800.0
"""After this something hangs; a busy machine alone takes a fraction of it."""

pytestmark = [pytest.mark.slurm, pytest.mark.nightly, pytest.mark.timeout(3600)]


def test_policies_over_three_nodes(tmp_path: Path, lab: Lab, env: dict[str, str]) -> None:
    choices = [
        "tier=smoke",
        f"experiments={EXPERIMENTS}",
        "knees=recorded",
        f"site={SITE}",
        f"results={tmp_path / 'results'}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "measure", "--profile", "slurm", *POLL, "--config", *choices],
        cwd=PROJECT, env=env, capture_output=True, text=True, timeout=WHOLE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    planned = open_run(
        {
            "tier": "smoke",
            "experiments": EXPERIMENTS.split(","),
            "knees": "recorded",
            "launcher": "slurm",
            "site": str(SITE),
        }
    ).plans
    assert {deployment.routing for deployment in planned} == {"static", "builtin", "pinned"}
    for deployment in planned:
        folder = (tmp_path / "results" / "smoke" / "raw").joinpath(*map(str, deployment.key))
        for cell in deployment.cells:
            manifest = read_manifest(folder / "cells" / cell.name)
            assert manifest.plan_hash == cell.plan_hash, cell.name
            assert [worker.node for worker in manifest.workers] == ["node01", "node02", "node03"]
            assert manifest.way == cell.policy.way
            assert manifest.gates is not None
            assert told_of_the_machine(manifest.gates.reasons), (cell.name, manifest.gates)
            if cell.policy.kind in ("kv", "adaptive"):
                assert manifest.routing_test["ok"] is True, cell.name
            # The policy chooses on the first node; the request was served there, on whichever node that is.
            trace = pq.read_table(folder / "cells" / cell.name / "trace.parquet", columns=["status"])
            assert "misrouted" not in trace["status"].to_pylist(), cell.name
    assert lab.query("squeue", "-h").strip() == ""
