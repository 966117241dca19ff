"""Deployments on a virtual clock through the lab: jobs of one CPU on a partition of their own, no GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from anarchy.trace.packed import packed_names
from lab import Lab
from tests.helpers.places import PROJECT

SITE = PROJECT / "slurm" / "lab" / "site.yaml"

pytestmark = [pytest.mark.slurm, pytest.mark.nightly]


def jobs(lab: Lab) -> list[dict[str, str]]:
    """What Slurm knows of every job, those that ended in the last minutes among them."""
    lines = lab.query("scontrol", "-o", "show", "job").splitlines()
    return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]


def test_a_replay_is_a_job_of_one_cpu_on_its_own_partition(
    lab: Lab, env: dict[str, str], tmp_path: Path
) -> None:
    before = {job["JobId"] for job in jobs(lab)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "measure", "--profile", "slurm"),
            *("--anarchy-init-seconds-before-status-checks", "5", "--config"),
            *("engine=virtual", "tier=smoke", "experiments=equilibrium", "models=llama-3.1-70b"),
            *("topologies=1p2d", f"site={SITE}", f"results={tmp_path / 'results'}"),
        ],
        cwd=PROJECT, env=env, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = (job for job in jobs(lab) if job["JobId"] not in before)
    assert (job["JobState"], job["Partition"], job["NumCPUs"]) == ("COMPLETED", "cpus", "1")
    assert "gpu" not in job.get("ReqTRES", "") + job.get("TresPerNode", "")
    deployment = (
        tmp_path / "results" / "smoke" / "raw" / "equilibrium" / "llama-3.1-70b" / "1p2d" / "static" / "1"
    )
    assert len(packed_names(deployment)) == 6, "tier smoke's grid, in one file"
