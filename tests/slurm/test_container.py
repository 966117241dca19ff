"""The whole path with the serving stack in a container, on the lab; both runtimes are stand-ins.

There is no Apptainer and no Pyxis to be had on the machines that run the tests. What is shown: which
processes are started through the runtime and which are not, with which words, on which nodes; that a
deployment behind it measures valid cells; and that all of it ends with the deployment, however that ends. The
stand-ins say what they cannot show.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from anarchy.config.files import load_study
from anarchy.ground.layout import CONFIG, DYNAMO_PYTHON
from lab import HERE, PROJECT, Lab
from tests.helpers.gated import told_of_the_machine
from tests.slurm import apptainer_stand_in, pyxis_stand_in

pytestmark = [pytest.mark.slurm, pytest.mark.nightly, pytest.mark.timeout(3600)]

MODEL = "llama-3.1-70b"
WORKERS = {"node01": 2, "node02": 1}
"""Workers of 1P/2D, two of four GPUs on a node."""
NAMES = {"etcd", "event_broker.py", "dynamo.frontend", "dynamo.mocker"}
PATIENCE_S = 900.0
"""After this something hangs; a busy machine alone takes a fraction of it."""


@dataclass(frozen=True)
class Bench:
    """A site whose serving stack is in a container, and everything that a call of it needs."""

    runtime: str
    folder: Path
    env: Mapping[str, str]

    @property
    def site(self) -> Path:
        return self.folder / "site.yaml"

    @property
    def record(self) -> Path:
        return self.folder / "record.jsonl"

    @property
    def image(self) -> Path:
        return self.folder / {"apptainer": "serving.sif", "pyxis": "serving.sqsh"}[self.runtime]

    @property
    def program(self) -> str:
        """What the doctor looks for on the nodes."""
        return {"apptainer": "apptainer", "pyxis": "enroot"}[self.runtime]

    @property
    def deployment(self) -> Path:
        return self.folder / "results/smoke/raw/equilibrium" / MODEL / "1p2d/static/1"

    def calls(self) -> list[dict[str, Any]]:
        """Every call of the stand-in."""
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def processes(self) -> list[psutil.Process]:
        """Every process that works for this site, the call of snakemake included."""
        return [process for process in psutil.process_iter() if self._ours(process)]

    def start(self) -> subprocess.Popen[bytes]:
        """Call snakemake in the background."""
        choices = ["tier=smoke", "experiments=equilibrium", f"models={MODEL}", f"site={self.site}"]
        choices.append(f"results={self.folder / 'results'}")
        argv = [
            *(sys.executable, "-m", "snakemake", str(self.deployment / "deployment.json")),
            *("--profile", "slurm", "--anarchy-init-seconds-before-status-checks", "5", "--config", *choices),
        ]
        with (self.folder / "snakemake.log").open("w") as log:
            return subprocess.Popen(argv, cwd=PROJECT, env=dict(self.env), stdout=log, stderr=log)

    def said(self) -> str:
        return (self.folder / "snakemake.log").read_text()

    def _ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("STAND_IN_RECORD") == str(self.record) and (
                process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


STAND_INS = {"apptainer": ("apptainer", apptainer_stand_in), "pyxis": ("srun", pyxis_stand_in)}
"""Runtime -> the program that is put first in PATH, and what it is made of."""


@pytest.fixture(params=sorted(STAND_INS))
def bench(request: pytest.FixtureRequest, tmp_path: Path, lab: Lab) -> Bench:
    programs = tmp_path / "bin"
    programs.mkdir()
    name, module = STAND_INS[request.param]
    stand_in = programs / name
    stand_in.write_text(f"#!{sys.executable} -I\n{Path(str(module.__file__)).read_text()}")
    (programs / "enroot").write_text("#!/bin/sh\nexit 1\n")  # the doctor looks whether it is there
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {
        **lab.env(),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "STAND_IN_RECORD": str(tmp_path / "record.jsonl"),
        "PYTHONPATH": str(tmp_path),  # the host's, which must not reach the image
    }
    found = Bench(request.param, tmp_path, environment)
    found.image.write_bytes(b"the image\n")
    container = {
        "runtime": found.runtime,
        "image": str(found.image),
        "python": str(DYNAMO_PYTHON),
        "etcd": "etcd",
    }
    site = yaml.safe_load((HERE / "site.yaml").read_text())
    found.site.write_text(yaml.safe_dump({**site, "container": container}))
    return found


def test_the_serving_stack_runs_inside_the_image_and_the_sweep_outside(bench: Bench, lab: Lab) -> None:
    run = bench.start()
    inside: dict[str, set[str]] = {}
    homes: set[str] = set()
    sweeps = 0
    try:
        ends = time.monotonic() + PATIENCE_S
        while run.poll() is None and time.monotonic() < ends:
            for process in bench.processes():
                name, node, variables = looked_at(process)
                if name in NAMES:
                    assert variables.get("INSIDE_IMAGE") == "1", f"{name} runs outside the image"
                    assert "PYTHONPATH" not in variables
                    inside.setdefault(name, set()).add(node)
                    homes.add(variables["HOME"])
                elif name == "sweep":
                    assert "INSIDE_IMAGE" not in variables
                    sweeps += 1
            time.sleep(0.5)
    finally:
        end(run)
    assert run.returncode == 0, bench.said()
    assert sweeps
    # The stand-ins set HOME anew, as the runtimes do; etcd alone has no setting of ours.
    assert inside == {**{name: {"node01"} for name in NAMES}, "dynamo.mocker": set(WORKERS)}
    assert len([home for home in homes if not home.startswith(str(bench.deployment))]) == 1

    asked = [name_of(call["command"]) for call in bench.calls()]
    assert asked.count("dynamo.mocker") == sum(WORKERS.values())
    assert {*NAMES, "versions"} == set(asked)
    for call in bench.calls():
        assert call["image"] == str(bench.image)
        assert call["pythonpath"] is None
        assert {f"{PROJECT}:{PROJECT}", f"{bench.deployment}:{bench.deployment}"} <= set(call["mounts"])
        if bench.runtime == "pyxis":
            on_gpus = name_of(call["command"]) == "dynamo.mocker"
            assert ("--gres=gpu:b200:8" if on_gpus else "--gres=none") in call["step"]

    manifests = [json.loads(path.read_text()) for path in bench.deployment.glob("cells/*/manifest.json")]
    grid = load_study(CONFIG).experiments["equilibrium"].tiers["smoke"].grid
    assert sorted(manifest["concurrency"] for manifest in manifests) == list(grid)
    for manifest in manifests:
        assert told_of_the_machine(manifest["gates"]["reasons"]), manifest["gates"]
    for manifest in manifests:
        assert [(w["node"], w["gpus"]) for w in manifest["workers"]] == [
            ("node01", [0, 1, 2, 3]),
            ("node01", [4, 5, 6, 7]),
            ("node02", [0, 1, 2, 3]),
        ]
        assert manifest["versions"]["ai-dynamo"]
    fingerprint = json.loads((bench.deployment / "fingerprint.json").read_text())
    assert fingerprint["deployment"]["container"] == {
        "runtime": bench.runtime,
        "image": bench.image.name,
        "digest": f"sha256:{hashlib.sha256(bench.image.read_bytes()).hexdigest()}",
        "reason": "",
    }
    nothing_left(bench, lab)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_runs_inside_ends_with_the_sweep(bench: Bench, lab: Lab, number: signal.Signals) -> None:
    run = bench.start()
    try:
        until(lambda: "dynamo.mocker" in [looked_at(process)[0] for process in bench.processes()], PATIENCE_S)
        (sweep,) = [process for process in bench.processes() if looked_at(process)[0] == "sweep"]
        sweep.send_signal(number)
        run.wait(PATIENCE_S)
    finally:
        end(run)
    assert run.returncode != 0
    nothing_left(bench, lab)


def test_the_doctor_tries_the_image_on_the_nodes(bench: Bench) -> None:
    def doctor(text: str) -> tuple[int, str]:
        site = bench.folder / "tried.yaml"
        site.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "anarchy.cli.main", "doctor", "--site", site],
            cwd=PROJECT, env=dict(bench.env), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, " ".join(done.stdout.split())

    good = bench.site.read_text()
    status, said = doctor(good)
    assert status == 0, said
    assert f"{bench.program} on 3 nodes" in said
    assert "ai-dynamo 1." in said
    for old, new, what in (
        (str(bench.image), f"/nowhere/{bench.image.name}", "not readable on node01, node02, node03"),
        (str(DYNAMO_PYTHON), "/nowhere/python", "/nowhere/python"),
        (str(DYNAMO_PYTHON), "python3", "lacks ai-dynamo"),
        ("etcd: etcd", "etcd: /nowhere/etcd", "no /nowhere/etcd inside"),
    ):
        status, said = doctor(good.replace(old, new))
        assert status == 2, said
        assert what in said
    (bench.folder / "bin" / bench.program).unlink()
    status, said = doctor(good)
    assert status == 2
    assert f"no {bench.program} on node01, node02, node03" in said


def looked_at(process: psutil.Process) -> tuple[str, str, Mapping[str, str]]:
    """What a process is, its node, and its environment; empty where it has ended."""
    try:
        argv, variables = process.cmdline(), process.environ()
    except psutil.Error:
        return "", "", {}
    if not argv or {"apptainer", "srun", "env"} & {Path(word).name for word in argv[:4]}:
        return "", "", {}  # who starts it, not itself
    return name_of(argv), variables.get("SLURMD_NODENAME", ""), variables


def name_of(argv: list[str]) -> str:
    """What a command is."""
    words = {Path(word).name for word in argv}
    if {"sweep", "equilibrium"} <= words:
        return "sweep"
    if "-c" in words:
        return "versions"
    return next(
        (name for name in sorted(NAMES - {"etcd"}) if name in words), "etcd" if "etcd" in words else ""
    )


def nothing_left(bench: Bench, lab: Lab) -> None:
    """No job is with Slurm, no process on any node, no scratch folder in the results."""
    until(lambda: not lab.query("squeue", "-h").strip(), PATIENCE_S)
    until(lambda: not bench.processes(), PATIENCE_S)
    until(lambda: not list(bench.deployment.glob("anarchy-*")), PATIENCE_S)


def until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"waited {timeout_s:.0f} s"
        time.sleep(0.2)


def end(run: subprocess.Popen[bytes]) -> None:
    """End a call that has not ended by itself."""
    if run.poll() is None:
        run.kill()
        run.wait()
