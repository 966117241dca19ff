"""The lab is a real Slurm cluster: jobs, GPUs, faults, Snakemake's executor, and nothing left afterwards."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab_processes
from anarchy.ground.errors import UserError
from lab import CONTROLLER_PORT, HERE, NODES, SYSTEM_CONF, Lab, address, main

pytestmark = pytest.mark.slurm

PATIENCE_S = 240.0
"""Far beyond what Slurm needs: it ends a test that would hang, and says nothing about speed."""
LAB = [sys.executable, str(HERE / "lab.py")]
SNAKEFILE = r"""
rule all:
    input: "nodes.txt"

rule deployment:
    output: "nodes.txt"
    log: "deployment.log"
    resources:
        mpi="srun", nodes=3, tasks=3, tasks_per_gpu=0, gres="gpu:8", cpus_per_task=4, mem_mb=10000, runtime=5,
        slurm_partition="b200", slurm_extra="'--ntasks-per-node=1'",
    shell:
        r'''
        {{
        env | grep SLURM_ | sort
        for node in $(scontrol show hostnames "$(squeue -h -j $SLURM_JOB_ID -o %N)"); do
            srun --exact --mem=0 -N1 -n1 -w $node --gres=gpu:4 \
                sh -c 'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"' >> {output} &
        done
        wait
        }} > {log} 2>&1
        '''
"""


@pytest.fixture(scope="module", autouse=True)
def overtime(lab_of_session: Lab) -> str:
    """A job that will hit its time limit of a minute (Slurm has no shorter one) while the other tests run."""
    return submit(lab_of_session, "-p", "short", "-t", "1", "-w", "node01", "--mem=100", "sleep 300")


def submit(lab: Lab, *options: str) -> str:
    """Submit a job of one command, the last argument, and return its number."""
    *rest, command = options
    return lab.query("sbatch", "--parsable", "--output=/dev/null", *rest, f"--wrap={command}")


def until_state(lab: Lab, job: str, *states: str) -> None:
    """Wait until a job is in one of these states."""
    ends = time.monotonic() + PATIENCE_S
    while (state := lab.job_state(job)) not in states:
        assert time.monotonic() < ends, f"job {job} is {state} after {PATIENCE_S:.0f} s, not {states}"
        time.sleep(0.1)


def test_srun_reaches_three_nodes_that_know_their_names_and_addresses(lab: Lab) -> None:
    said = lab.query("srun", "-N3", "sh", "-c", "echo $(hostname) $(hostname -i)")
    assert sorted(said.splitlines()) == [f"{name} {address(name)}" for name in NODES]


def test_a_job_on_three_nodes_has_eight_gpus_on_each(lab: Lab) -> None:
    said = lab.query("srun", "-N3", "--gres=gpu:b200:8", "sh", "-c", "echo $(hostname) $CUDA_VISIBLE_DEVICES")
    assert sorted(said.splitlines()) == [f"{name} 0,1,2,3,4,5,6,7" for name in NODES]


def test_what_no_node_has_is_refused_at_once(lab: Lab) -> None:
    for option in ("--gres=gpu:9", "--mem=600G", "--cpus-per-task=33", "--time=2-0"):
        with pytest.raises(subprocess.CalledProcessError):
            lab.query("sbatch", option, "--wrap=true")


def test_daemons_do_not_pass_their_mark_to_jobs(lab: Lab) -> None:
    assert lab_processes.MARK not in lab.query("srun", "env")


def test_scancel_ends_a_job(lab: Lab) -> None:
    job = submit(lab, "sleep 300")
    until_state(lab, job, "RUNNING")
    lab.query("scancel", job)
    until_state(lab, job, "CANCELLED")


@pytest.mark.nightly
def test_power_cut_of_a_node_fails_its_job_and_the_node_comes_back(lab: Lab) -> None:
    # No step on the node: an srun that loses its task may end the job (FAILED) before Slurm misses the node.
    job = submit(lab, "-N2", "-w", "node02,node03", "sleep 300")
    until_state(lab, job, "RUNNING")
    lab.kill_node("node03")
    assert not lab.status().whole
    until_state(lab, job, "NODE_FAIL")
    assert lab.node_states()["node03"].startswith("down")
    lab.restore_node("node03")
    assert lab.status().whole
    assert lab.query("srun", "-w", "node03", "hostname") == "node03"


def test_a_job_outlives_the_controller(lab: Lab) -> None:
    job = submit(lab, "sleep 4")
    until_state(lab, job, "RUNNING")
    lab.stop_controller()
    assert "slurmctld" not in lab.status().pids
    lab.start_controller()
    until_state(lab, job, "COMPLETED")


def test_snakemake_runs_a_rule_on_three_nodes(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    options = (
        "--anarchy-status-command",
        "squeue",
        "--anarchy-no-requeue",
        "--anarchy-init-seconds-before-status-checks",
        "3",
    )
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--executor", "anarchy", "--jobs", "2", *options],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    log = tmp_path / "deployment.log"
    assert done.returncode == 0, done.stderr + (log.read_text() if log.is_file() else "")
    assert sorted((tmp_path / "nodes.txt").read_text().splitlines()) == [f"{name} 0,1,2,3" for name in NODES]


def test_up_repairs_and_is_idempotent(lab: Lab) -> None:
    again = [*LAB, "up", "--folder", str(lab.folder)]
    assert "already up" in subprocess.run(again, capture_output=True, text=True, check=True).stdout
    lab.kill_node("node02")
    assert "started again: node02" in subprocess.run(again, capture_output=True, text=True, check=True).stdout


def test_a_second_lab_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another lab has its folder"):
        Lab(Path("/tmp/anarchy-lab-second")).start()
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(UserError, match=r"not a folder of the lab|too long"):
        Lab(tmp_path).stop()
    assert (tmp_path / "mine").read_text() == "keep"


@pytest.mark.nightly
def test_a_job_ends_at_its_time_limit(lab: Lab, overtime: str) -> None:
    until_state(lab, overtime, "TIMEOUT")


@pytest.fixture
def nothing_up(lab_of_session: Lab) -> Iterator[Lab]:
    """The lab taken down; the next test that needs it brings it up."""
    lab_of_session.stop()
    yield lab_of_session
    lab_of_session.stop()


def leftovers(lab: Lab) -> list[str]:
    """What there still is of a lab: processes, mounts, link, folder."""
    daemons = lab_processes.named(frozenset({"munged", "slurmctld", "slurmd", "slurmstepd"}))
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(lab.folder) in line]
    found = [*lab_processes.marked(lab.folder), *daemons, *mounts]
    return [
        *map(str, found),
        *(str(path) for path in (SYSTEM_CONF, lab.folder) if path.exists() or path.is_symlink()),
    ]


def test_down_leaves_nothing_and_may_be_called_twice(nothing_up: Lab) -> None:
    assert leftovers(nothing_up) == []
    assert "not up" in nothing_up.stop()
    nothing_up.start()
    job = submit(nothing_up, "-N3", "srun sleep 300")
    until_state(nothing_up, job, "RUNNING")
    done = subprocess.run(
        [*LAB, "down", "--folder", str(nothing_up.folder)], capture_output=True, text=True, check=True
    )
    assert "down" in done.stdout
    assert leftovers(nothing_up) == []


@pytest.mark.parametrize("delay_s", [0.06, 0.09, 0.12, 0.16])
def test_an_up_that_is_killed_is_cleaned_up(nothing_up: Lab, delay_s: float) -> None:
    with subprocess.Popen([*LAB, "up", "--folder", str(nothing_up.folder)], stdout=subprocess.DEVNULL) as up:
        time.sleep(delay_s)
        up.kill()
    nothing_up.stop()
    assert leftovers(nothing_up) == []


def end_all_at_once(lab: Lab) -> None:
    """Kill every daemon, as the end of a container does: folder and link stay."""
    processes = [lab_processes.read_record(record) for record in (lab.folder / "pids").iterdir()]
    lab_processes.end([process for process in processes if process], signal.SIGKILL)
    while lost := lab_processes.marked(lab.folder):
        lab_processes.end(lost, signal.SIGKILL)


@pytest.mark.parametrize("left", ["all", "of the boot before", "the link alone"])
def test_a_dead_lab_elsewhere_is_replaced(nothing_up: Lab, left: str) -> None:
    other = Lab(Path("/tmp/anarchy-lab-dead"))
    try:
        other.start()
        end_all_at_once(other)
        if left == "of the boot before":
            (other.folder / "boot_id").write_text("the boot before")
        elif left == "the link alone":
            shutil.rmtree(other.folder)
        assert nothing_up.start() == "the lab is up"
        assert not other.folder.exists()
        nothing_up.stop()
        assert leftovers(nothing_up) == []
    finally:
        other.stop()


def test_a_folder_from_before_a_reboot_is_replaced(nothing_up: Lab) -> None:
    nothing_up.start()
    end_all_at_once(nothing_up)
    (nothing_up.folder / "boot_id").write_text("the boot before")
    for record in (nothing_up.folder / "pids").iterdir():  # pids and start times that are somebody else's now
        record.write_text(Path("/proc/self/stat").read_text())
    assert nothing_up.start() == "the lab is up"
    nothing_up.stop()
    assert leftovers(nothing_up) == []


def test_what_others_made_is_refused_and_kept(nothing_up: Lab) -> None:
    SYSTEM_CONF.write_text("ClusterName=real")
    try:
        with pytest.raises(UserError, match="did not make"):
            nothing_up.start()
        nothing_up.stop()
        assert SYSTEM_CONF.read_text() == "ClusterName=real"
    finally:
        SYSTEM_CONF.unlink()
    assert leftovers(nothing_up) == []


def test_a_taken_port_is_told(nothing_up: Lab) -> None:
    with (
        socket.create_server(("127.0.0.1", CONTROLLER_PORT + 2)),
        pytest.raises(UserError, match=f"port {CONTROLLER_PORT + 2} is taken"),
    ):
        nothing_up.start()
    assert leftovers(nothing_up) == []


def test_a_start_that_fails_says_why_and_leaves_nothing(
    nothing_up: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.NODE_SCRIPT", "echo no power >&2; exit 1")
    with pytest.raises(UserError, match=r"(?s)node0. ended.*no power"):
        nothing_up.start()
    assert leftovers(nothing_up) == []


def test_who_is_not_root_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["up", "--folder", str(tmp_path / "lab")]) == 2
    assert "needs root" in capsys.readouterr().err
