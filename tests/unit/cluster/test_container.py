"""What is run inside the site's image, and in which words: every builder, without a runtime."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anarchy.cluster import image_check
from anarchy.cluster.allocation import site_launcher
from anarchy.cluster.container import (
    folders_of,
    image_of,
    inside,
    mounts,
    pyxis_flags,
    without_host_python,
)
from anarchy.cluster.settings_check import slurm_settings
from anarchy.cluster.slurm import step_command
from anarchy.config.site import Container, Site
from anarchy.engines.hosts import Node, Seat
from anarchy.engines.image import ServingImage, image_path, serving_image
from anarchy.ground.errors import UserError
from anarchy.ground.layout import PROJECT
from anarchy.serving.placement import ProcessPlan
from anarchy.serving.versions import serving_versions, told_versions, versions_command

FIRST = Node("node01", "gpu-16", "198.51.100.16", "ib0")
NODE = Node("node02", "gpu-17", "198.51.100.17", "ib0")
DIGEST = f"sha256:{'a' * 64}"
CLEAN = ("env", "--unset=PYTHONPATH", "--unset=PYTHONHOME", "--unset=VIRTUAL_ENV")
WORKER = ProcessPlan("prefill-0", ("python3", "-m", "w"), {"DYN_A": "x , y"}, Seat(NODE, (4, 5)))
FRONTEND = ProcessPlan("frontend-static", ("python3", "-m", "f"), {"HOME": "/s/h"})
ETCD = ProcessPlan("etcd", ("etcd", "--name", "anarchy"), {})


def site(runtime: str, **container: Any) -> Site:
    image = {"apptainer": "/images/d.sif", "pyxis": f"nvcr.io#nvidia/x@{DIGEST}", "none": ""}[runtime]
    return Site(
        partition="b200",
        gres="gpu:b200",
        interface="lo",
        container=Container.model_validate({"runtime": runtime, "image": image, **container}),
    )


# --- the command of one process ---


def test_apptainer_wraps_the_command_with_its_variables_inside() -> None:
    mounted = site("apptainer", mounts=("/m:/m",))
    assert inside(mounted, ("python3", "-m", "f"), {"A": "1"}, "/s", ["/p", "/s"]) == (
        *("apptainer", "exec", "--nv", "--no-home", "--writable-tmpfs", "--pwd", "/s"),
        *("--bind", "/p:/p,/s:/s,/m:/m", "/images/d.sif"),
        *("env", "A=1", "python3", "-m", "f"),
    )  # fmt: skip


def test_pyxis_is_told_by_flags_of_srun() -> None:
    assert inside(site("pyxis"), ("python3",), {"A": "1"}, "/s", ["/s"]) == ("env", "A=1", "python3")
    assert pyxis_flags(site("pyxis", mounts=("/m:/n",)), "/s", ["/p", "/s"]) == (
        f"--container-image=nvcr.io#nvidia/x@{DIGEST}",
        "--container-mounts=/p:/p,/s:/s,/m:/n",
        "--container-workdir=/s",
        "--no-container-mount-home",
    )
    assert pyxis_flags(site("apptainer"), "/s", ["/s"]) == ()


@pytest.mark.parametrize("runtime", ["apptainer", "pyxis"])
def test_a_step_of_a_worker_in_a_container(runtime: str) -> None:
    command = step_command(
        NODE, ("python3",), site(runtime),
        job_gpus=8, gpus=(4, 5), chdir="/s", environment={"DYN_A": "x , y"}, folders=("/s",),
    )  # fmt: skip
    assert command[: len(CLEAN) + 1] == (*CLEAN, "srun")
    assert {"--nodelist=gpu-17", "--gres=gpu:b200:8", "--overlap", "--chdir=/s"} <= set(command)
    # What must hold is set last, inside, whatever the image says.
    assert command[-4:] == ("env", "DYN_A=x , y", "CUDA_VISIBLE_DEVICES=4,5", "python3")
    assert ("apptainer" in command) == (runtime == "apptainer")


def test_env_becomes_the_command_and_keeps_the_hosts_python_out() -> None:
    asked = [sys.executable, "-c", "import os; print(os.getpid(), os.environ.get('PYTHONPATH'))"]
    with subprocess.Popen(
        without_host_python(asked),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "/host"},
    ) as process:
        assert process.communicate()[0].split() == [str(process.pid), "None"]


# --- which process runs where ---


def launched(runtime: str, process: ProcessPlan, **container: Any) -> tuple[str, ...]:
    return site_launcher(site(runtime, **container), FIRST, ("/p", "/s"))(process, Path("/s/scratch"))


def test_without_a_container_nothing_changes() -> None:
    assert launched("none", FRONTEND) == FRONTEND.command
    assert launched("none", ETCD) == ETCD.command
    worker = launched("none", WORKER)
    assert worker[0] == "srun"
    assert worker[-5:] == ("env", "CUDA_VISIBLE_DEVICES=4,5", *WORKER.command)


def test_with_apptainer_the_first_node_wraps_its_own_processes() -> None:
    frontend = launched("apptainer", FRONTEND)
    assert frontend[: len(CLEAN) + 2] == (*CLEAN, "apptainer", "exec")
    assert "srun" not in frontend
    assert frontend[-5:] == ("env", "HOME=/s/h", *FRONTEND.command)
    assert frontend[frontend.index("--pwd") + 1] == "/s/scratch"
    worker = launched("apptainer", WORKER)
    assert worker.index("srun") < worker.index("apptainer")
    assert "--nodelist=gpu-17" in worker


def test_with_pyxis_the_first_node_takes_a_step_without_gpus() -> None:
    frontend = launched("pyxis", FRONTEND)
    assert {"srun", "--nodelist=gpu-16", "--overlap", "--gres=none"} <= set(frontend)
    assert "--container-workdir=/s/scratch" in frontend
    assert not any(word.startswith("CUDA_VISIBLE_DEVICES") for word in frontend)
    assert "--nodelist=gpu-17" in launched("pyxis", WORKER)


@pytest.mark.parametrize("runtime", ["apptainer", "pyxis"])
def test_etcd_comes_from_the_image_where_the_site_says_so(runtime: str) -> None:
    assert launched(runtime, ETCD) == ETCD.command
    inner = launched(runtime, ETCD, etcd="/usr/local/bin/etcd/etcd")
    assert inner[0] == "env"
    assert ("srun" in inner) == (runtime == "pyxis")


# --- folders ---


def test_folders_are_those_that_are_there(tmp_path: Path) -> None:
    weights, hub = tmp_path / "weights", tmp_path / "hf" / "hub"
    weights.mkdir()
    hub.mkdir(parents=True)
    known = site("apptainer").model_copy(
        update={"models": {"m": str(weights), "gone": "/nowhere", "hub": "org/m"}}
    )
    assert folders_of(known, "m", {}, tmp_path) == tuple(sorted({str(PROJECT), str(tmp_path), str(weights)}))
    assert folders_of(known, "gone", {}) == (str(PROJECT),)
    assert folders_of(known, "unnamed", {}) == (str(PROJECT),)
    assert str(hub) in folders_of(known, "hub", {"HF_HUB_CACHE": str(hub)})
    assert set(folders_of(known, "hub", {"HF_HOME": str(hub.parent)})) >= {str(hub), str(hub.parent)}


def test_weights_that_are_links_bring_the_folder_of_their_files(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "0f").write_text("weights")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0f")
    known = site("apptainer").model_copy(update={"models": {"m": str(snapshot)}})
    assert set(folders_of(known, "m", {})) == {str(PROJECT), str(snapshot), str(blobs)}


def test_outer_folders_are_mounted_first(tmp_path: Path) -> None:
    inner = tmp_path / "a"
    inner.mkdir()
    found = folders_of(site("apptainer"), "m", {}, inner, tmp_path)
    assert found.index(str(tmp_path)) < found.index(str(inner))


@pytest.mark.parametrize("name", ["/a,b", "/a:b"])
def test_a_folder_that_cannot_be_mounted_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="comma or a colon"):
        mounts(site("apptainer"), [name])


# --- the image and its digest ---


@pytest.mark.parametrize(
    ("image", "is_file"),
    [
        ("/images/d.sif", True), ("./d.sqsh", True), ("images/d.sif", True), ("/images/sandbox", True),
        ("nvcr.io#nvidia/x:1", False), ("docker://nvcr.io/nvidia/x:1", False), ("ubuntu", False),
        ("oras://registry/x.sif", False),
    ],
)  # fmt: skip
def test_files_and_addresses_are_told_apart(image: str, is_file: bool) -> None:
    assert (image_path(image) is not None) is is_file


def test_a_file_is_named_from_the_project() -> None:
    assert image_of(site("apptainer", image="envs/container/d.sif")) == str(PROJECT / "envs/container/d.sif")
    assert image_of(site("apptainer", image="/images/d.sif")) == "/images/d.sif"
    assert image_of(site("pyxis", image="nvcr.io#nvidia/x:1")) == "nvcr.io#nvidia/x:1"


def test_an_address_has_the_digest_that_it_names(tmp_path: Path) -> None:
    known = tmp_path / "images.json"
    named = serving_image("pyxis", f"nvcr.io#nvidia/x@{DIGEST}", known)
    assert (named.digest, named.reason) == (DIGEST, "")
    tagged = serving_image("pyxis", "nvcr.io#nvidia/x:1.5.1", known)
    assert tagged.digest is None
    assert "tag may have moved" in tagged.reason
    assert serving_image("apptainer", str(tmp_path), known).reason.startswith("a folder has no digest")
    assert not known.exists()


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, known = tmp_path / "d.sif", tmp_path / "cache" / "images.json"
    image.write_bytes(b"one")
    digest = f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    assert serving_image("apptainer", str(image), known) == ServingImage("apptainer", "d.sif", digest)
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert serving_image("apptainer", str(image), known).digest == digest
    image.write_bytes(b"changed")
    assert serving_image("apptainer", str(image), known).digest != digest
    assert [path.name for path in known.parent.iterdir()] == ["images.json"]


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such image here"):
        serving_image("apptainer", str(tmp_path / "gone.sif"), tmp_path / "images.json")


# --- versions inside ---


def test_versions_are_asked_through_the_launcher(dynamo_answers: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def start(command: tuple[str, ...]) -> tuple[str, ...]:
        asked.append(command)
        return (str(dynamo_answers), *command)

    found = serving_versions(Path("python3"), start)  # no such file here: it is inside
    assert found["ai-dynamo"] == "1.5.1"
    assert asked == [versions_command(Path("python3"))]


@pytest.fixture
def dynamo_answers(tmp_path: Path) -> Path:
    """An entry point that prints a banner before the answer."""
    program = tmp_path / "image"
    answer = json.dumps(
        {"serving-python": "3.12.3", "ai-dynamo": "1.5.1", "ai-dynamo-runtime": "1.5.1", "pyzmq": "27"}
    )
    program.write_text(f"#!/bin/sh\necho '== NVIDIA =='\necho '{answer}'\n")
    program.chmod(0o755)
    return program


def test_an_image_that_does_not_serve_is_told() -> None:
    for start, what in (
        (lambda _: ("false",), "does not work"),
        (lambda _: ("/nowhere/apptainer",), "does not answer"),
        (lambda _: ("sleep", "9"), "does not answer"),
        (
            lambda _: ("echo", '{"serving-python": "3.12.3", "pyzmq": "27"}'),
            "lacks ai-dynamo, ai-dynamo-runtime",
        ),
    ):
        with pytest.raises(UserError, match=what) as caught:
            serving_versions(Path("python3"), start, timeout_s=0.3)
        assert "container.image" in caught.value.remedy
    assert told_versions("nothing\n") == {}


# --- doctor ---

CONFIG = """Configuration data as of 2026-01-01T00:00:00
MinJobAge               = {age}
ProctrackType           = {tracking}
SLURM_VERSION           = {version}
"""


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({}, set()),
        ({"age": "0 sec"}, set()),  # never forgotten
        ({"age": "60 sec"}, {"MinJobAge"}),
        ({"tracking": "proctrack/pgid"}, {"ProctrackType"}),
        ({"version": "20.02.7"}, {"Slurm's version"}),
        ({"version": "25.05.1"}, set()),
    ],
)
def test_slurms_settings(changed: dict[str, str], failing: set[str]) -> None:
    said = {"age": "300 sec", "tracking": "proctrack/cgroup", "version": "22.05.8", **changed}
    found = slurm_settings(CONFIG.format(**said))
    assert {finding.name for finding in found if not finding.ok} == failing
    assert all(finding.remedy for finding in found)


def test_settings_that_are_not_told_fail() -> None:
    assert [finding.ok for finding in slurm_settings("")] == [False, False, True]


def answer(name: str, **changes: Any) -> dict[str, Any]:
    return {"slurm_name": name, "program": "/usr/bin/apptainer", "image_readable": True, **changes}


def test_runtime_and_image_are_looked_for_on_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_check, "image_contents", lambda *_: [])
    for changes, failing in (
        ({}, set()),
        ({"program": None}, {"container runtime"}),
        ({"image_readable": False}, {"image"}),
    ):
        found = image_check.container(
            site("apptainer"), [answer("n1"), answer("n2", **changes)], "", "mocker"
        )
        assert {finding.name for finding in found if not finding.ok} == failing
        assert all("n2" in finding.detail for finding in found if not finding.ok)
    assert image_check.container(site("none"), [answer("n1")], "", "mocker") == []
    assert (
        image_check.container(site("apptainer"), [], "", "mocker") == []
    )  # the nodes did not answer, which is told


def test_pyxis_is_looked_for_in_srun() -> None:
    told = [answer("n1", image_readable=None)]
    (pyxis,) = [
        f
        for f in image_check.container(site("pyxis"), told, "  --container=BUNDLE", "mocker")
        if f.name == "Pyxis"
    ]
    assert not pyxis.ok
    assert pyxis.detail == "srun lacks --container-image"


def test_what_is_in_the_image_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "srun").write_text('#!/bin/sh\ncat "$(dirname "$0")/answer"\n')
    (tmp_path / "srun").chmod(0o755)
    versions = {"serving-python": "3.12.3", "ai-dynamo": "1.5.1", "ai-dynamo-runtime": "1.5.1", "pyzmq": "27"}
    good = f'{json.dumps(versions)}\n{{"program": "/usr/bin/etcd"}}\n'
    for text, oks in (
        (good, [True, True]),
        (good.replace('"/usr/bin/etcd"', "null"), [True, False]),
        (good.replace('"pyzmq"', '"zmq"'), [False, True]),
        ("", [False]),
    ):
        (tmp_path / "answer").write_text(text)
        found = image_check.image_contents(site("apptainer", etcd="etcd"), "mocker")
        assert [finding.ok for finding in found] == oks
    (tmp_path / "answer").write_text(good)
    for engine, ok in (("mocker", True), ("vllm", False)):
        assert image_check.image_contents(site("apptainer"), engine)[0].ok is ok
