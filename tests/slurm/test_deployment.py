"""Deployments over the nodes of the lab, by `snakemake --profile slurm`: real Slurm, Dynamo and etcd."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from anarchy.telemetry.alias import Anonymiser
from anarchy.telemetry.leaks import find_leaks
from lab import Lab
from tests.helpers.gated import told_of_the_machine
from tests.helpers.places import PROJECT

TOKEN = "hunter2-of-this-test"
SITE = PROJECT / "slurm" / "lab" / "site.yaml"
SYSTEMS = {
    "nemotron-4-340b/1p2d": [("node01", 8), ("node02", 8), ("node03", 8)],
    "llama-3.1-70b/1p2d": [("node01", 4), ("node01", 4), ("node02", 4)],
    "llama-3.1-70b/1p5d": [
        ("node01", 4),
        ("node01", 4),
        ("node02", 4),
        ("node02", 4),
        ("node03", 4),
        ("node03", 4),
    ],
}
"""Node and number of GPUs of each worker, prefill first, as the paper places them."""

AROUND = {
    "SLURM_JOB_ID": "999999",
    "SLURM_JOBID": "999999",
    "SLURM_NTASKS": "1",
    "SLURM_MEM_PER_NODE": "10",
    "SLURM_CPU_BIND": "rank",
    "SBATCH_RESERVATION": "nosuch",
    "SBATCH_MEM_PER_NODE": "9999999",
}
"""What an allocation around a call, and defaults of its user, would have Slurm's commands do."""

pytestmark = pytest.mark.slurm


def snakemake(results: Path, *words: str) -> list[str]:
    return [
        *(sys.executable, "-m", "snakemake", "measure", "--profile", "slurm"),
        *("--anarchy-init-seconds-before-status-checks", "5", "--config"),
        *("tier=smoke", "experiments=equilibrium", f"site={SITE}", f"results={results}", *words),
    ]


def mockers(process: psutil.Process) -> int:
    """Mock workers among the descendants of a node's first process."""
    found = 0
    for child in process.children(recursive=True):
        try:
            command = child.cmdline()
        except psutil.Error:
            continue
        found += "dynamo.mocker" in command and command[0].endswith("python")
    return found


def node_pids(lab: Lab) -> dict[str, int]:
    """First process of each node."""
    return {name: pid for name, pid in lab.status().pids.items() if name.startswith("node")}


def manifests(results: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(results.glob("smoke/raw/equilibrium/*/*/static/1/cells/*/manifest.json")):
        model, topology = path.parts[-7], path.parts[-6]
        found.setdefault(f"{model}/{topology}", []).append(json.loads(path.read_text()))
    return found


@pytest.fixture
def results(tmp_path: Path, lab: Lab) -> Path:
    return tmp_path / "results"


@pytest.mark.nightly  # 277 s on a quiet machine
@pytest.mark.timeout(1800)
def test_every_topology_over_its_nodes(results: Path, lab: Lab, env: dict[str, str]) -> None:
    secret = {"HF_TOKEN": TOKEN, "NGC_API_KEY": TOKEN}
    foreign = results.parent / "foreign"
    foreign.mkdir()
    (foreign / "anarchy.py").write_text("raise SystemExit('a foreign module was imported')")
    around = env | secret | AROUND | {"PYTHONPATH": str(foreign)}
    with (results.parent / "snakemake.log").open("w") as log:
        run = subprocess.Popen(snakemake(results), cwd=PROJECT, env=around, stdout=log, stderr=log)
    most = dict.fromkeys(("node01", "node02", "node03"), 0)
    try:
        ends = time.monotonic() + 1500
        while run.poll() is None and time.monotonic() < ends:
            for name, pid in node_pids(lab).items():
                most[name] = max(most[name], mockers(psutil.Process(pid)))
            time.sleep(1.0)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    said = (results.parent / "snakemake.log").read_text()
    assert run.returncode == 0, said
    assert most == {"node01": 2, "node02": 2, "node03": 2}, "workers ran where they were placed"
    measured = manifests(results)
    assert set(measured) == set(SYSTEMS)
    for system, cells in measured.items():
        assert len(cells) == 6, "tier smoke's grid"
        for manifest in cells:
            assert [(w["node"], len(w["gpus"])) for w in manifest["workers"]] == SYSTEMS[system]
            seats = [(w["node"], gpu) for w in manifest["workers"] for gpu in w["gpus"]]
            assert len(set(seats)) == len(seats), "no two workers share a GPU"
        assert all(told_of_the_machine(manifest["gates"]["reasons"]) for manifest in cells), system
    # Nothing is left, and no host or user is named in what will be published.
    assert lab.query("squeue", "-h").strip() == ""
    assert all(mockers(psutil.Process(pid)) == 0 for pid in node_pids(lab).values())
    for fingerprint in results.glob("smoke/raw/**/fingerprint.json"):
        document = json.loads(fingerprint.read_text())
        assert document["slurm"]["value"]["partition"] == "b200"
        assert set(document["nodes"]) <= {"node01", "node02", "node03"}
    # A token of the caller's environment, which every process had, was written nowhere.
    names = Anonymiser(secrets={TOKEN})
    assert find_leaks(results.parent, names) == []
    assert find_leaks(PROJECT / ".snakemake" / "slurm_logs", names) == []
    again = subprocess.run(
        snakemake(results), cwd=PROJECT, env=env, capture_output=True, text=True, timeout=120
    )
    assert "Nothing to be done" in again.stdout + again.stderr, "valid cells are not measured again"


def test_a_job_outside_slurm_is_refused(results: Path) -> None:
    words = ["nemotron-4-340b", "1p2d", "static", "1", "--tier", "smoke", "--results", str(results)]
    words += ["--launcher", "slurm", "--site", str(SITE)]
    done = subprocess.run(
        [sys.executable, "-m", "anarchy.cli.main", "sweep", "equilibrium", *words],
        cwd=PROJECT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "this is not a Slurm job" in done.stderr


def test_the_site_is_checked_against_the_cluster(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    def doctor(text: str) -> tuple[int, str]:
        (tmp_path / "site.yaml").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "anarchy.cli.main", "doctor", "--site", tmp_path / "site.yaml"],
            cwd=PROJECT, env=env | AROUND, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout

    good = SITE.read_text()
    by_cpu = good.replace("memory_mb_per_node: 8000", "memory_mb_per_cpu: 2G\ngpu_flag: gpus-per-node")
    for text in (good, good.replace("gres: gpu:b200", "gres: gpu"), by_cpu):
        status, said = doctor(text)
        assert status == 0, said
        assert "3 nodes answer on lo" in said
        assert "this runs inside job 999999" in said
    for old, new, what in (
        ("partition: b200", "partition: b300", "there is no 'b300'"),
        ("gres: gpu:b200", "gres: gpu:h100", "0 nodes have 8 x gpu:h100"),
        ("max_minutes: 240", "max_minutes: 2000", "the partition allows 1-00:00:00"),
        ("interface: lo", "interface: ib0", "interface ib0"),
    ):
        status, said = doctor(good.replace(old, new))
        assert status == 2, said
        assert what in said
