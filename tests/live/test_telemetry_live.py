"""A real deployment is recorded: its series are there, counters only grow, and a kill leaves a recording."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anarchy.ground.errors import UserError
from anarchy.serving.frontend_api import Connection
from anarchy.serving.stack import Deployment
from anarchy.telemetry.fingerprint import fingerprint, spec_words
from anarchy.telemetry.metrics import TIMEOUT_S, Source
from anarchy.telemetry.node import node_facts
from anarchy.telemetry.recorder import Recorder, deployment_sources
from anarchy.telemetry.recording import read, seal, values
from tests.live.live_spec import one_prefill_two_decode

pytestmark = pytest.mark.live

REQUESTS = 12


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("stack")
    with Deployment(one_prefill_two_decode(folder)) as running:
        yield running


def ask(deployment: Deployment, requests: int) -> None:
    with Connection(deployment.endpoints["static"]) as frontend:
        for number in range(requests):
            frontend.complete(deployment.spec.model, [number] * 64, 16)


def sources_of(deployment: Deployment) -> list[Source]:
    workers = {worker.name: (deployment.spec.host, worker.system_port) for worker in deployment.workers}
    return deployment_sources(deployment.endpoints, workers)


@pytest.fixture(scope="module")
def recorded(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Recorder, float]:
    folder = tmp_path_factory.mktemp("recording") / "telemetry"
    sources = sources_of(deployment)
    with Recorder(folder, sources, gpu_nodes=()) as recorder:
        time.sleep(2.0)
        asked_at = time.time()
        ask(deployment, REQUESTS)
        time.sleep(2.0)
    return folder, recorder, asked_at


def test_every_process_answered_every_second(recorded: tuple[Path, Recorder, float]) -> None:
    folder, recorder, _ = recorded
    # A machine that stops for half a second makes a scrape late, and nothing else goes wrong.
    assert {reason for _, reason in recorder.errors} <= {f"no answer within {TIMEOUT_S:g} s"}
    assert recorder.sealed
    scrapes = read(folder).scrapes.to_pandas()
    assert set(scrapes["source"]) == {"frontend-static", "prefill-0", "decode-0", "decode-1"}
    assert scrapes.groupby("source", observed=True).size().nunique() == 1
    answered = scrapes[scrapes["reason"].isna()].groupby("source", observed=True).size()
    assert answered.min() >= 2
    assert len(scrapes) - answered.sum() == sum(recorder.errors.values())


def test_dynamo_s_series_are_there_and_counters_only_grow(recorded: tuple[Path, Recorder, float]) -> None:
    folder, _, asked_at = recorded
    recording = read(folder)
    names = set(recording.metrics["metric"].combine_chunks().dictionary.to_pylist())
    assert {
        "dynamo_frontend_time_to_first_token_seconds_bucket",
        "dynamo_frontend_inter_token_latency_seconds_sum",
        "dynamo_frontend_inflight_requests",
        "dynamo_frontend_worker_active_decode_blocks",
        "dynamo_component_requests_total",
        "dynamo_component_uptime_seconds",
    } <= names
    for name in sorted(names):
        if name.endswith(("_total", "_count", "_bucket")) and name.startswith("dynamo_"):
            series = values(recording, name).to_pandas()
            for _, one in series.groupby(["source", "labels"]):
                assert one.sort_values("t_wall")["value"].is_monotonic_increasing, name
    tokens = values(recording, "dynamo_frontend_output_tokens_total").to_pandas().sort_values("t_wall")
    before = tokens[tokens["t_wall"] < asked_at]["value"].iloc[-1]
    assert tokens["value"].iloc[-1] - before == REQUESTS * 16


def test_the_fingerprint_of_a_running_deployment(deployment: Deployment, tmp_path: Path) -> None:
    facts = node_facts()
    words = spec_words(deployment.spec)
    path = fingerprint([facts], deployment=words, versions=deployment.versions).write(tmp_path)
    document = json.loads(path.read_text())
    assert document["versions"]["ai-dynamo"] == "1.5.1"
    assert document["deployment"]["decode"] == 2
    assert document["nodes"]["node01"]["cpu"]["value"]["threads"]
    assert str(deployment.spec.log_dir) not in path.read_text()


RECORDING_PROCESS = """
import json, sys, time
from pathlib import Path
from anarchy.telemetry.metrics import Source
from anarchy.telemetry.recorder import Recorder
sources = [Source(*source) for source in json.loads(sys.argv[2])]
Recorder(Path(sys.argv[1]), sources, flush_s=2.0).start()
print("on", flush=True)
time.sleep(600)
"""


def holds_the_requests(folder: Path) -> bool:
    """Whether segments of some seconds are written, and the requests are in them."""
    try:
        requests = values(read(folder), "dynamo_frontend_requests_total").to_pandas()
    except UserError:  # no segment yet
        return False
    return bool(requests["t_wall"].nunique() >= 4 and requests["value"].max() >= REQUESTS)


def test_kill_9_of_the_recording_process_leaves_its_segments(deployment: Deployment, tmp_path: Path) -> None:
    sources = sources_of(deployment)
    told = json.dumps([(source.name, source.url) for source in sources])
    folder = tmp_path / "telemetry"
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDING_PROCESS, str(folder), told], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    ask(deployment, REQUESTS)
    ends = time.monotonic() + 60.0
    while not holds_the_requests(folder) and time.monotonic() < ends:
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = read(folder)
    assert not left.sealed
    assert left.unreadable == ()
    requests = values(left, "dynamo_frontend_requests_total").to_pandas()
    assert requests["t_wall"].nunique() >= 4
    assert requests["value"].max() >= REQUESTS
    seal(folder)
    assert values(read(folder), "dynamo_frontend_requests_total").to_pandas().equals(requests)
