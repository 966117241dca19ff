"""Pinned routing on the real thing: Dynamo's selection service, and a deployment that obeys the pins."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest
from scipy.stats import fisher_exact

from anarchy.config import AdaptivePolicy, AnyPolicy, KvPolicy, Policy
from anarchy.config.files import validate
from anarchy.engines.dynamo import DYNAMO_1_5_1
from anarchy.ground.errors import UserError
from anarchy.ground.layout import DYNAMO_PYTHON, ENVS, PROJECT
from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.routing.proof import prove_pinned
from anarchy.routing.routers import ROLES, PinnedRouter, Selection
from anarchy.routing.selector import Choice, Selector, SelectorPool
from anarchy.serving.faults import DeploymentFaultError
from anarchy.serving.selector_process import service_command
from anarchy.serving.stack import Deployment
from anarchy.trace.decisions import DecisionLog, read_decisions
from anarchy.trace.schema import RequestRecord
from tests.live.live_spec import one_prefill_two_decode

DILATION = 2.0
DEADLINE_S = 10.0
C = 16
BLOCKS = 65_536
NO_MODEL = Path("model")
"""The selection service asks for none."""
PROMPT = tuple(range(1000, 1128))
Found = TypeVar("Found")

pytestmark = pytest.mark.live


def kv(tau: float, omega: float) -> Policy:
    return KvPolicy(name="kv", title="KV router", way="pinned", tau=tau, omega=omega)


@contextmanager
def serving(python: Path = DYNAMO_PYTHON) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A selector of its own, without a deployment."""
    with tempfile.TemporaryDirectory(prefix="anarchy-") as folder:
        path = Path(folder) / "selector.sock"
        command = service_command(python, path, DYNAMO_1_5_1.selector_core, NO_MODEL)
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            try:
                ends = time.monotonic() + 60.0
                while not path.exists():
                    assert process.poll() is None, "the selector ended at its start"
                    assert time.monotonic() < ends, "the selector does not start"
                    time.sleep(0.01)
                yield process, path
            finally:
                process.kill()


def ask(path: Path, body: Callable[[Selector], Awaitable[Found]], workers: int = 2) -> Found:
    """Talk to a selector about a decode pool on a connection of its own."""

    async def talk() -> Found:
        selector = Selector([SelectorPool.modelled("decode", workers, 16, BLOCKS)])
        try:
            await selector.open(path)
            return await body(selector)
        finally:
            await selector.close()

    return asyncio.run(talk())


@pytest.mark.parametrize("workers", [2, pytest.param(5, marks=pytest.mark.nightly)])
def test_dynamo_takes_tau_and_omega_of_every_request(workers: int) -> None:
    policies = [kv(tau, omega) for tau, omega in ((0.0, 1.0), (0.7, 0.3), (1.0, 0.0))]
    adaptive = AdaptivePolicy(name="adaptive", title="Adaptive", way="pinned")
    with serving() as (_, path):
        proof = prove_pinned(path, [*policies, adaptive], workers=workers, block_size=16, seed=11)
        assert proof.ok, proof.checks
        assert len(proof.checks) == 5
        # The proof leaves nothing behind, and can be made again.
        assert prove_pinned(path, policies[:1], workers=workers, block_size=16, seed=12).ok


def test_a_request_says_whether_shared_blocks_count_once() -> None:
    """The override's `assume_kv_reuse`, both ways; and with it, tau and omega act as before."""
    unshared = kv(0.0, 1.0).model_copy(update={"assume_kv_reuse": False})
    shared = kv(0.0, 1.0).model_copy(update={"assume_kv_reuse": True})
    with serving() as (_, path):
        proof = prove_pinned(path, [kv(0.7, 1.0), shared, unshared], workers=3, block_size=16, seed=13)
    assert proof.ok, proof
    assert [(one.expected, one.counts_once) for one in proof.reuse] == [
        (True, True),
        (True, True),
        (False, False),
    ]


def test_a_dynamo_that_ignores_what_it_is_told_is_found_out() -> None:
    """1.6.1 takes the override without a word and routes by its own defaults: tau 0, omega 1."""
    subprocess.run(["envs/build", "dynamo-1.6.1"], cwd=PROJECT, check=True)
    with serving(ENVS / "dynamo-1.6.1" / "bin" / "python") as (_, path):
        refused = prove_pinned(path, [kv(0.7, 0.3)], workers=2, block_size=16, seed=11)
        assert not refused.ok
        assert refused.routing_test()["ok"] is False
        by_chance = prove_pinned(path, [kv(0.0, 1.0)], workers=2, block_size=16, seed=11)
        assert [check.ok for check in by_chance.checks] == [True, False]
        assert not by_chance.ok


def test_a_prompt_counts_from_its_first_token_until_the_request_ends() -> None:
    async def body(selector: Selector) -> None:
        first = await selector.choose("decode", "a", PROMPT, 0.0, 1.0)
        assert (first.costs, first.loads, first.overlaps) == ((16.0, 16.0), (0.0, 0.0), (0.0, 0.0))
        there = first.worker
        # 8 blocks of each to prefill there; in use are 8, which both share.
        waiting = await selector.choose("decode", "", PROMPT, 0.0, 1.0, reserve=False)
        assert (waiting.costs[there], waiting.costs[1 - there]) == (24.0, 16.0)
        assert (waiting.loads[there], waiting.worker) == (8.0, 1 - there)
        selector.prefilled("decode", "a")
        seen = await until(selector, lambda choice: choice.overlaps[there] == 1.0)
        # Blocks that active requests share are counted once: with the prompt there, it costs nothing more.
        assert (seen.costs[there], seen.costs[1 - there], seen.worker) == (8.0, 16.0, there)
        selector.freed("decode", "a")
        after = await selector.choose("decode", "", PROMPT, 0.0, 1.0, reserve=False)
        assert after.loads == (0.0, 0.0)
        assert after.overlaps[there] == 1.0

    async def until(selector: Selector, there: Callable[[Choice], bool]) -> Choice:
        for _ in range(200):
            choice = await selector.choose("decode", "", PROMPT, 0.0, 1.0, reserve=False)
            if there(choice):
                return choice
            await asyncio.sleep(0.005)
        raise AssertionError(choice)

    with serving() as (_, path):
        ask(path, body)


def test_reservations_end_with_their_connection_and_caches_do_not() -> None:
    async def leave(selector: Selector) -> int:
        choice = await selector.choose("decode", "a", PROMPT, 0.0, 1.0)
        selector.stored("decode", 0, PROMPT)
        await selector.choose("decode", "", PROMPT, 0.0, 1.0, reserve=False)
        return choice.worker

    async def look(selector: Selector) -> tuple[float, ...]:
        await asyncio.sleep(0.1)
        choice = await selector.choose("decode", "", PROMPT, 0.0, 1.0, reserve=False)
        assert choice.loads == (0.0, 0.0)
        return choice.overlaps

    with serving() as (_, path):
        ask(path, leave)
        assert ask(path, look) == (1.0, 0.0)
        with pytest.raises(UserError, match="announced with other workers"):
            ask(path, look, workers=3)


def test_a_selector_that_is_killed_fails_the_next_choice_and_is_not_waited_for() -> None:
    async def body(selector: Selector) -> None:
        await selector.choose("decode", "a", PROMPT, 0.0, 1.0)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(UserError, match="has gone"):  # one that is waited for "did not answer within"
            await selector.choose("decode", "b", PROMPT, 0.0, 1.0)

    with serving() as (process, path):
        ask(path, body)


@pytest.mark.parametrize("how", ["SIGTERM", "stdin"])
def test_a_selector_ends_when_it_is_told_or_left_alone(how: str) -> None:
    with serving() as (process, path):
        if how == "stdin":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.terminate()
        assert process.wait(60.0) == 0
        assert list(path.parent.iterdir()) == []


def test_a_selector_does_not_outlive_the_one_who_started_it(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="anarchy-") as folder:
        path = Path(folder) / "selector.sock"
        command = " ".join(service_command(DYNAMO_PYTHON, path, DYNAMO_1_5_1.selector_core, NO_MODEL))
        # The shell starts it in the background, tells its id, and is gone.
        shell = subprocess.run(
            ["sh", "-c", f"{command} </dev/null >{tmp_path}/log 2>&1 & echo $!; sleep 1.5"],
            capture_output=True,
            text=True,
            check=True,
        )
        selector = int(shell.stdout)
        ends = time.monotonic() + 60.0
        while alive(selector) and time.monotonic() < ends:
            time.sleep(0.05)
        assert not alive(selector)
        assert "listening" in (tmp_path / "log").read_text()


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("pinned")
    with Deployment(one_prefill_two_decode(folder, dilation=DILATION, selector=True)) as running:
        yield running


def load(
    deployment: Deployment,
    policy: Policy,
    folder: Path,
    *,
    templates: int = 0,
    seed: int = 9,
    watch: Callable[[], None] | None = None,
) -> list[RequestRecord]:
    """A few seconds of load by a pinned policy; the decisions are sealed in `folder`."""
    assert deployment.selector is not None
    ids = {role: [w.instance_id for w in deployment.workers if w.role == role] for role in ROLES}
    spec = deployment.spec
    pools = [
        SelectorPool.modelled(role, len(ids[role]), spec.block_size, spec.num_gpu_blocks) for role in ROLES
    ]
    decisions = DecisionLog(folder)
    router = PinnedRouter(
        policy,
        ids["prefill"],
        ids["decode"],
        selection=Selection(Selector(pools), deployment.selector),
        decisions=decisions,
        seed=3,
        dilation=DILATION,
    )
    host, port = next(iter(deployment.endpoints.values()))
    config = ClientConfig(
        (Endpoint(host, port, spec.model),),
        C,
        PhasePlan(warmup_s=0.4, measure_s=1.2, measure_max_s=3.0),
        deadline_s=DEADLINE_S,
        stagger_s=0.3,
        dilation=DILATION,
        prefill_workers={str(worker): index for index, worker in enumerate(ids["prefill"])},
        decode_workers={str(worker): index for index, worker in enumerate(ids["decode"])},
    )
    records: list[RequestRecord] = []
    workload = Workload(WorkloadSpec(output_tokens=32, templates=templates), seed=seed)
    try:
        run_client(config, workload, records.append, router=router, watch=watch or deployment.raise_if_faulty)
    finally:
        decisions.seal()
    return records


@pytest.mark.parametrize(
    "kind",
    ["kv", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("round_robin", "batched_optimal"))],
)
def test_every_request_is_served_where_its_decision_says(
    deployment: Deployment, tmp_path: Path, kind: str
) -> None:
    policy = (
        kv(0.7, 1.0)
        if kind == "kv"
        else validate(
            {"name": kind.replace("_", "-"), "title": kind, "kind": kind, "way": "pinned"},
            AnyPolicy,
            where="test",
        )
    )
    records = load(deployment, policy, tmp_path)
    assert {record.status for record in records} == {"ok"}
    assert len(records) > 30
    rows = {row["request_id"]: row for row in read_decisions(tmp_path / "decisions.parquet").to_pylist()}
    for record in records:
        row = rows[record.request_id]
        assert (row["decode_worker"], row["prefill_worker"]) == (record.decode_worker, record.prefill_worker)
    assert len(Counter(record.decode_worker for record in records)) == 2
    wall_us = sorted(row["wall_us"] for row in rows.values())
    print(f"{kind}: {len(rows)} decisions, median {wall_us[len(wall_us) // 2]:.0f} us")


@pytest.mark.nightly
def test_omega_acts_on_the_decode_choice(deployment: Deployment, tmp_path: Path) -> None:
    """With omega 4 a request goes where its own prompt lies, with omega 0 where the least load is.

    At omega 1 the holder's 8 blocks are worth one request of load: too little to tell in so short a time.
    """
    to_holder = {}
    for omega in (0.0, 4.0):
        folder = tmp_path / f"{omega:g}"
        # Prompts of its own for each: the selector remembers those of the other.
        load(deployment, kv(0.0, omega), folder, templates=60, seed=100 + int(omega))
        rows = [
            row
            for row in read_decisions(folder / "decisions.parquet").to_pylist()
            if sorted(row["overlaps"]) == [0.0, 1.0]
        ]
        assert len(rows) >= 20, "too few prompts lay on one worker alone"
        for row in rows:
            assert row["omega"] == omega
            assert row["costs"][row["decode_worker"]] == min(row["costs"])
        to_holder[omega] = (sum(row["overlaps"][row["decode_worker"]] == 1.0 for row in rows), len(rows))
    (few, some), (many, others) = to_holder[0.0], to_holder[4.0]
    print(f"to the prompt's holder: omega 0 {few} of {some}, omega 4 {many} of {others}")
    assert many / others > few / some
    assert fisher_exact(np.array([[few, some - few], [many, others - many]])).pvalue < 0.01


@pytest.mark.nightly
def test_requests_pinned_to_a_worker_that_leaves_fail_and_nothing_hangs(
    tmp_path: Path,
) -> None:
    spec = one_prefill_two_decode(tmp_path, dilation=DILATION, selector=True)
    with Deployment(spec) as running:
        started = time.monotonic()
        victims = [running.pids["decode-1"]]

        def kill_once() -> None:
            if time.monotonic() - started > 2.0 and victims:
                os.kill(victims.pop(), signal.SIGKILL)

        records = load(running, kv(1.0, 1.0), tmp_path / "cell", watch=kill_once)
        statuses = Counter(record.status for record in records)
        assert time.monotonic() - started < 120.0
        print(dict(statuses))
        assert statuses["ok"] > 0
        assert set(statuses) > {"ok"}, "no request was pinned to the worker that left"
        with pytest.raises(DeploymentFaultError, match="decode-1"):
            running.raise_if_faulty()


@pytest.mark.nightly
def test_a_decode_worker_that_dies_under_pinned_load_ends_it_at_once(tmp_path: Path) -> None:
    spec = one_prefill_two_decode(tmp_path, dilation=DILATION, selector=True)
    with Deployment(spec) as running:
        started = time.monotonic()
        victims, killed = [running.pids["decode-1"]], list[float]()

        def watch() -> None:
            if victims and time.monotonic() - started > 2.0:
                os.kill(victims.pop(), signal.SIGKILL)
                killed.append(time.monotonic())
            running.raise_if_faulty()

        with pytest.raises(DeploymentFaultError, match="process_died decode-1"):
            load(running, kv(1.0, 1.0), tmp_path / "cell", watch=watch)
        took = time.monotonic() - killed[0]
        print(f"ended {took:.2f} s after the kill")
        assert took < DEADLINE_S * DILATION, "not when the requests to it time out"
        assert read_decisions(tmp_path / "cell" / "decisions.parquet").num_rows > 0
