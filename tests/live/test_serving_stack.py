"""A real Dynamo deployment with mock engines: it proves itself, keeps model time, and leaves nothing."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from anarchy.engines.profiles import load_profile
from anarchy.engines.spec import RoutingPolicy
from anarchy.ground.errors import UserError
from anarchy.serving.faults import DeploymentFaultError
from anarchy.serving.foreground import serve
from anarchy.serving.frontend_api import Address, Connection
from anarchy.serving.selftest import routing_self_test
from anarchy.serving.stack import Deployment
from tests.helpers.places import PROFILE, with_tests
from tests.helpers.waiting import until
from tests.live.live_spec import DILATION, two_policies

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(two_policies(tmp_path_factory.mktemp("stack"))) as running:
        yield running


def test_workers_are_listed_in_order(deployment: Deployment) -> None:
    assert [(worker.role, worker.index) for worker in deployment.workers] == [
        ("prefill", 0),
        ("decode", 0),
        ("decode", 1),
    ]
    assert len({worker.instance_id for worker in deployment.workers}) == 3
    assert list(deployment.endpoints) == ["argmin", "soft"]
    assert deployment.check() == ()


def test_every_worker_answered_at_every_frontend(deployment: Deployment) -> None:
    proven = {(probe.policy, probe.decode) for probe in deployment.probes}
    assert proven >= {(policy, f"decode-{index}") for policy in ("argmin", "soft") for index in (0, 1)}
    assert {probe.prefill for probe in deployment.probes} == {"prefill-0"}


def test_routing_takes_effect(deployment: Deployment) -> None:
    report = deployment.self_test
    assert report is not None
    assert report.tested
    assert report.ok, report
    assert [check.policy for check in (*report.checks, *report.contrasts)] == [
        "argmin",
        "soft",
        "contrast-tau-1",
    ]
    # What tells 1.5.1 from 0.9.0 (test_stack_090_live.py).
    assert report.reuse is not None
    assert report.reuse.counts_once is False
    argmin = report.checks[0]
    assert argmin.drawn[argmin.costs.index(max(argmin.costs))] == 0
    assert 0 < report.seconds < 60
    assert "contrast" not in " ".join(deployment.pids)


def test_a_wrong_expectation_fails_the_self_test(deployment: Deployment) -> None:
    report = routing_self_test(
        deployment.endpoints,
        deployment.spec.model,
        deployment.workers,
        deployment.spec.policies,
        (),
        block_size=deployment.spec.block_size,
        seed=1,
        check=deployment.raise_if_faulty,
        expected_tau={"argmin": 0.7, "soft": 0.0},
    )
    assert not report.ok
    assert not any(check.ok for check in report.checks)


def test_everything_listens_on_the_loopback(deployment: Deployment) -> None:
    for pid in deployment.pids.values():
        for socket in psutil.Process(pid).net_connections("inet"):
            if socket.status == psutil.CONN_LISTEN:
                assert socket.laddr.ip in {"127.0.0.1", "::1"}, (pid, socket)


def test_cpu_memory_and_versions_are_recorded(deployment: Deployment) -> None:
    cpu = deployment.cpu_seconds()
    assert cpu.keys() == {
        "event-broker",
        "prefill-0",
        "decode-0",
        "decode-1",
        "frontend-argmin",
        "frontend-soft",
        "guardian",
    }
    assert cpu["decode-0"] > 0
    assert all(0 < resident < 1e9 for resident in deployment.memory_bytes().values())
    assert {"ai-dynamo", "ai-dynamo-runtime", "python", "kernel", "cpu"} <= deployment.versions.keys()


def token_times(address: Address, model: str, prompt: list[int], tokens: int) -> list[float]:
    connection = http.client.HTTPConnection(*address)
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
    }
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    times: list[float] = []
    for line in connection.getresponse():
        if line.startswith(b"data: {") and b'"finish_reason"' not in line:
            times.append(time.monotonic())
    connection.close()
    assert len(times) == tokens
    return times


@pytest.mark.parametrize("length", [128, 1024])
def test_itl_follows_the_table_when_dilation_is_divided_out(deployment: Deployment, length: int) -> None:
    rng = random.Random(length)
    prompts = [[rng.randrange(10, 30_000) for _ in range(length)] for _ in range(5)]
    medians: list[float] = []
    for prompt in prompts:
        times = token_times(deployment.endpoints["argmin"], deployment.spec.model, prompt, 32)
        medians.append(statistics.median(later - earlier for earlier, later in itertools.pairwise(times)))
    expected = load_profile(PROFILE).itl_s(length + 16, length + 16)
    # A busy machine makes tokens late and none early: the quietest request tells the table's time.
    assert 0.9 * expected < min(medians) / DILATION < 1.5 * expected


def test_too_few_sequences_for_the_load_are_told_before_anything_starts(tmp_path: Path) -> None:
    spec = two_policies(tmp_path, max_num_seqs=64)
    with pytest.raises(UserError, match="max_num_seqs"), Deployment(spec, max_concurrency=128):
        pass


def test_a_port_in_use_is_told_before_anything_starts(deployment: Deployment, tmp_path: Path) -> None:
    taken = deployment.endpoints["argmin"][1]
    spec = two_policies(tmp_path, http_ports=(taken, taken + 1))
    with pytest.raises(UserError, match="in use"), Deployment(spec):
        pass
    assert not spec.log_dir.exists()


def test_a_dead_worker_is_noticed_at_once(tmp_path: Path) -> None:
    spec = two_policies(tmp_path, policies=(RoutingPolicy("argmin", 0.0, 1.0),), decode=1)
    with Deployment(spec) as running:
        assert running.self_test is not None
        assert not running.self_test.tested
        processes = [psutil.Process(pid) for pid in running.pids.values()]
        os.kill(running.workers[1].pid, signal.SIGKILL)
        ends = time.monotonic() + 60.0
        while not running.check() and time.monotonic() < ends:
            time.sleep(0.05)
        (fault,) = running.check()
        assert (fault.kind, fault.process) == ("process_died", "decode-0")
        with pytest.raises(DeploymentFaultError, match=r"decode-0.*SIGKILL"):
            running.raise_if_faulty()
    # By process, not by number: on a busy machine a number is soon given to another. What has ended is
    # listed as running until its parent was told.
    until(lambda: not any(process.is_running() for process in processes))


def test_serve_tells_where_and_ends(tmp_path: Path) -> None:
    said: list[str] = []
    spec = two_policies(tmp_path, policies=(RoutingPolicy("argmin", 0.0, 1.0),), decode=1)
    serve(spec, tell=said.append, stop_after_s=0.3)
    assert any(line.startswith("argmin (tau 0, omega 1): http://127.0.0.1:") for line in said)


PARENT = """
import json, sys, time
from pathlib import Path
from tests.live.live_spec import two_policies
from anarchy.engines.spec import RoutingPolicy
from anarchy.serving.stack import Deployment
spec = two_policies(Path(sys.argv[1]), policies=(RoutingPolicy("argmin", 0.0, 1.0),))
with Deployment(spec) as running:
    told = {"guardian": running.guardian_pid, "pids": list(running.pids.values())}
    print(json.dumps(told), flush=True)
    if sys.argv[2] == "exception":
        raise RuntimeError("on purpose")
    while sys.argv[2] != "normal":
        running.raise_if_faulty()
        time.sleep(0.05)
"""


@pytest.mark.parametrize(
    "way",
    [
        "normal",
        pytest.param("exception", marks=pytest.mark.nightly),
        "SIGINT",
        pytest.param("SIGTERM", marks=pytest.mark.nightly),
        "SIGKILL",
        pytest.param("guardian", marks=pytest.mark.nightly),
    ],
)
def test_no_process_survives(way: str, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with errors.open("w") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(tmp_path), way],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**with_tests(), "TMPDIR": str(tmp_path)},
        )
    with parent:
        assert parent.stdout is not None
        line = parent.stdout.readline()
        assert line, errors.read_text()
        told = json.loads(line)
        assert len(told["pids"]) == 5
        if way == "guardian":
            os.kill(told["guardian"], signal.SIGKILL)
        elif way.startswith("SIG"):
            parent.send_signal(signal.Signals[way])
        status = parent.wait(timeout=60)
    pids = [told["guardian"], *told["pids"]]
    deadline = time.monotonic() + 60
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    assert (status == 0) == (way == "normal")
    while list(tmp_path.glob("anarchy-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("anarchy-*")) == []


def test_a_second_connection_is_reused(deployment: Deployment) -> None:
    with Connection(deployment.endpoints["soft"]) as connection:
        first = connection.complete(deployment.spec.model, [7, 8, 9], 2)
        second = connection.complete(deployment.spec.model, [7, 8, 9], 3)
    assert (first.output_tokens, second.output_tokens) == (2, 3)
