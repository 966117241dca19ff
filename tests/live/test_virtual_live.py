"""The library on its virtual clock: what each setting does there, and a deployment measured with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anarchy.config import Limits
from anarchy.engines import virtual
from anarchy.engines.profiles import load_profile, write_npz
from anarchy.engines.spec import default_dynamo_python
from anarchy.ground.errors import UserError
from anarchy.ground.layout import DYNAMO_1_6_1
from anarchy.load.phases import PhasePlan
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.trace.reader import read_cell, sealed_cells
from anarchy.virtual.arrivals import Arrivals, arrivals_of, poisson_times, write_arrivals
from anarchy.virtual.cell import VirtualCell, simulate
from anarchy.virtual.open_loop import OpenCell, replay_open
from anarchy.virtual.proof import Asked, prove
from anarchy.virtual.replayer import Job, Replayer, ReplayError
from tests.helpers.places import PROFILE, PROJECT

LIMITS = Limits().model_dump()


@pytest.fixture(scope="module")
def timing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("timing") / "timing.npz"
    write_npz(load_profile(PROFILE), path)
    return path


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayer]:
    with Replayer(default_dynamo_python(), tmp_path_factory.mktemp("logs") / "replay.log") as one:
        yield one


def rows(
    replayer: Replayer,
    timing: Path,
    *,
    users: int = 32,
    pools: tuple[int, int] = (1, 2),
    pair: tuple[float, float] | None = (0.0, 1.0),
    stagger_s: float = 0.6,
    spec: WorkloadSpec | None = None,
    **limits: Any,
) -> pd.DataFrame:
    """The measured requests of one cell."""
    told = LIMITS | limits
    engines = [virtual.worker(role, timing, told, 163_840, users) for role in ("prefill", "decode")]
    cell = VirtualCell(
        workload=Workload(spec or WorkloadSpec(), seed=3),
        users=users,
        phases=PhasePlan(warmup_s=2.0, warmup_max_s=62.0, measure_s=4.0, measure_max_s=8.0),
        stagger_s=stagger_s,
        deadline_s=60.0,
        residence_s=0.7,
        pools=pools,
        engines=(engines[0], engines[1]),
        router=virtual.router(pair),
        labels={"policy": "p", "tau": None, "omega": None},
    )
    table: pd.DataFrame = simulate(cell, replayer).table.to_pandas()
    return table[table["phase"] == "measure"]


def ttft(found: pd.DataFrame) -> float:
    return float((found["t_first_token"] - found["t_intended"]).mean())


def asked(name: str, tau: float, omega: float, lag_s: float = 0.0) -> Asked:
    router = virtual.router((tau, omega))
    return Asked(name=name, router=router, tau=tau, omega=omega, kv_event_lag_s=lag_s)


def test_every_pair_and_round_robin_take_effect(replayer: Replayer, timing: Path) -> None:
    pairs = [(tau, omega) for tau in (0.0, 0.3, 0.7, 1.0) for omega in (0.0, 1.0)]
    policies = [asked(f"t{tau}-w{omega}", tau, omega) for tau, omega in pairs]
    turns = Asked(name="turns", router=None, tau=None, omega=None)
    engines = tuple(virtual.worker(role, timing, LIMITS, 163_840, 1) for role in ("prefill", "decode"))
    tests = prove(replayer, [*policies, turns], (engines[0], engines[1]), (2, 4))
    assert {name: test["ok"] for name, test in tests.items()} == dict.fromkeys(tests, True)
    choices = {name: [check["choice"] for check in test["checks"]] for name, test in tests.items()}
    assert choices["t0.0-w0.0"] == choices["t0.0-w1.0"] == ["decode", "prefill"]


def test_a_router_that_ignores_its_settings_would_be_noticed(replayer: Replayer, timing: Path) -> None:
    """The proof can fail: a policy that says tau 0.7 and is replayed with tau 0 does not pass."""
    engines = tuple(virtual.worker(role, timing, LIMITS, 163_840, 1) for role in ("prefill", "decode"))

    class Deaf:
        folder = replayer.folder

        def run(self, job: Job) -> Any:
            return replayer.run(Job(**{**job.__dict__, "router": virtual.router((0.0, 1.0))}))

    tests = prove(Deaf(), [asked("soft", 0.7, 1.0)], (engines[0], engines[1]), (1, 2))  # type: ignore[arg-type]
    assert tests["soft"]["ok"] is False


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayer]:
    """The library of stack 1.6.1, which can hold KV events back."""
    subprocess.run(["envs/build", "dynamo-1.6.1"], cwd=PROJECT, check=True)
    with Replayer(DYNAMO_1_6_1 / "bin" / "python", tmp_path_factory.mktemp("logs") / "replay.log") as one:
        yield one


@pytest.mark.parametrize("lag_s", [0.1, 30.0])
def test_late_kv_events_take_effect(newer: Replayer, timing: Path, lag_s: float) -> None:
    engines = tuple(virtual.worker(role, timing, LIMITS, 163_840, 1) for role in ("prefill", "decode"))
    policies = [asked("late", 0.0, 1.0, lag_s), asked("blind", 0.0, 0.0), asked("soft", 0.7, 1.0)]
    tests = prove(newer, policies, (engines[0], engines[1]), (3, 3))
    assert {name: test["ok"] for name, test in tests.items()} == dict.fromkeys(tests, True)
    late = tests["late"]["checks"][-1]
    assert late["choice"] == "late events"
    early, afterwards = late["drawn"]
    assert early < 0.6 * late["of"] < 0.8 * late["of"] <= afterwards


def test_events_that_are_not_late_would_be_noticed(newer: Replayer, timing: Path) -> None:
    engines = tuple(virtual.worker(role, timing, LIMITS, 163_840, 1) for role in ("prefill", "decode"))

    class InTime:
        folder = newer.folder

        def run(self, job: Job) -> Any:
            return newer.run(Job(**{**job.__dict__, "kv_event_lag_s": 0.0}))

    tests = prove(InTime(), [asked("late", 0.0, 1.0, 3.0)], (engines[0], engines[1]), (2, 2))  # type: ignore[arg-type]
    assert [check["ok"] for check in tests["late"]["checks"]] == [True, True, False]


def test_both_libraries_agree_where_no_event_is_late(
    newer: Replayer, replayer: Replayer, timing: Path
) -> None:
    mine, theirs = (rows(one, timing, users=64, spec=WorkloadSpec(templates=5)) for one in (replayer, newer))
    assert ttft(theirs) == pytest.approx(ttft(mine), rel=0.1)
    assert len(theirs) == pytest.approx(len(mine), rel=0.05)


def test_limits_hold_requests_up(replayer: Replayer, timing: Path) -> None:
    free = rows(replayer, timing, users=64)
    few = rows(replayer, timing, users=64, decode_max_num_seqs=8)
    assert ttft(few) > 10 * ttft(free)
    assert len(few) < len(free)
    # 300 blocks hold 18 requests of two workers each: the rest wait for memory.
    assert ttft(rows(replayer, timing, users=64, num_gpu_blocks=300)) > 1.2 * ttft(free)
    assert ttft(rows(replayer, timing, users=64, max_num_batched_tokens=128)) > 2 * ttft(free)
    slow, none = (rows(replayer, timing, users=64, kv_link_gb_s=link) for link in (0.1, 0.0))
    assert ttft(slow) > 2 * ttft(free) > 2 * ttft(none)


def test_a_short_transfer_costs_a_whole_decode_step(replayer: Replayer, timing: Path) -> None:
    """Why it is left out (`virtual.link_gb_s`): the live stack charges its time, a twentieth of a step."""
    links = (0.0, 64.0, 6.4e4)
    none, short, shorter = (rows(replayer, timing, users=16, kv_link_gb_s=link) for link in links)
    decoding = none["t_last_token"] - none["t_first_token"]
    step = float((decoding / (none["output_tokens"] - 1)).median())
    for transferred in (short, shorter):
        assert ttft(transferred) - ttft(none) == pytest.approx(step, rel=0.5)


def test_templates_are_found_in_the_cache_and_prompts_of_their_own_are_not(
    replayer: Replayer, timing: Path
) -> None:
    assert (rows(replayer, timing)["cached_tokens"] == 0).all()
    assert (rows(replayer, timing, spec=WorkloadSpec(templates=5))["cached_tokens"] > 0).all()
    hot = rows(replayer, timing, users=64, spec=WorkloadSpec(templates=5, skew=2.0))
    assert hot["template"].value_counts(normalize=True).iloc[0] == pytest.approx(0.68, abs=0.08)


def test_of_templates_with_a_tail_the_head_alone_is_found(replayer: Replayer, timing: Path) -> None:
    for tail, known in ((32, 96), (40, 80), (112, 16)):
        found = rows(replayer, timing, spec=WorkloadSpec(templates=5, unique_tail_tokens=tail))
        assert set(found["cached_tokens"]) == {known}, "whole blocks of 16"
    # The last block of a prompt is computed anew even where it is shared.
    assert set(rows(replayer, timing, spec=WorkloadSpec(templates=5))["cached_tokens"]) == {112}


def test_users_think_as_long_as_they_are_told(replayer: Replayer, timing: Path) -> None:
    spec = WorkloadSpec(think_s=1.0)
    found = rows(replayer, timing, users=64, spec=spec).sort_values(["user", "t_sent"])
    workload = Workload(spec, seed=3)
    told = found["request_id"].str.split("-", expand=True).astype(int)
    before = found.groupby("user")["t_end"].shift()
    thought = [workload.think_s(user, turn - 1) for user, turn in told.to_numpy().tolist()]
    gaps = (found["t_sent"] - before - thought).dropna()
    assert len(gaps) > 100
    assert gaps.abs().max() < 1e-9
    # The response-time law: C = X (R + Z).
    rate = len(found) / (found["t_sent"].max() - found["t_sent"].min())
    taken = (found["t_end"] - found["t_sent"]).mean()
    assert rate * (taken + 1.0) == pytest.approx(64, rel=0.15)


def test_an_open_loop_comes_when_it_is_told_and_shares_what_its_blocks_share(
    replayer: Replayer, timing: Path
) -> None:
    """The library counts from the first request; a block of 512 tokens is 32 of its own, whole ones alike."""
    engines = tuple(virtual.worker(role, timing, LIMITS, 163_840, 1) for role in ("prefill", "decode"))
    arrivals = Arrivals(
        at_s=np.array([5.0, 8.0, 11.0, 14.0]),
        input_tokens=np.array([2000, 2000, 1500, 1540]),
        output_tokens=np.array([4, 4, 4, 1]),
        hashes=np.array([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 9, 1, 2, 3, 9]),
        block_size=512,
    )
    trace = replayer.folder / "arrivals.jsonl"
    write_arrivals(trace, arrivals, engine_block_size=16)
    cell = OpenCell(
        trace=trace, arrivals=arrivals, deadline_s=60.0, pools=(1, 1), engines=(engines[0], engines[1]),
        router=virtual.router((0.0, 1.0)), labels={"policy": "p", "tau": 0.0, "omega": 1.0},
    )  # fmt: skip
    found = replay_open(cell, replayer).table.to_pandas()
    assert found["t_sent"].tolist() == [5.0, 8.0, 11.0, 14.0]
    assert found["t_first_token"].between(found["t_sent"], found["t_sent"] + 0.2).all()
    assert found["cached_tokens"].tolist() == [0, 1984, 1024, 1536]
    assert found["output_tokens"].tolist() == [4, 4, 4, 1]
    assert set(found["status"]) == {"ok"}


def test_an_open_loop_that_is_too_much_ends_in_timeouts(replayer: Replayer, timing: Path) -> None:
    engines = tuple(virtual.worker(role, timing, LIMITS, 163_840, 1) for role in ("prefill", "decode"))
    arrivals = arrivals_of(Workload(WorkloadSpec(input_tokens=2048), seed=3), poisson_times(200, 1000, 1), 16)
    trace = replayer.folder / "arrivals.jsonl"
    write_arrivals(trace, arrivals, engine_block_size=16)
    cell = OpenCell(
        trace=trace, arrivals=arrivals, deadline_s=5.0, pools=(1, 1), engines=(engines[0], engines[1]),
        router=virtual.router((0.0, 1.0)), labels={"policy": "p", "tau": 0.0, "omega": 1.0},
    )  # fmt: skip
    found = replay_open(cell, replayer).table.to_pandas()
    late = found["status"] == "timeout"
    assert len(found) == 1000
    assert 0.2 < late.mean() < 0.95
    assert late.tolist()[-50:] == [True] * 50, "the queue grows while requests come"
    assert (found["t_end"].isna() == (found["decode_worker"] < 0)).all()


def test_omega_acts_where_there_are_several_prefill_workers(replayer: Replayer, timing: Path) -> None:
    # Some thirteen requests a template: with few of them chance alone keeps most at one worker.
    ten = WorkloadSpec(templates=10, input_tokens=1024)
    kept, free = (
        rows(replayer, timing, users=16, pools=(2, 4), pair=(0.0, omega), spec=ten) for omega in (1.0, 0.0)
    )

    def at_home(found: pd.DataFrame) -> float:
        """Share of the requests of a template that its most frequent prefill worker took."""
        return float(
            found.groupby("template")["prefill_worker"].agg(lambda w: w.value_counts().max()).sum()
            / len(found)
        )

    assert at_home(kept) > at_home(free) + 0.1


def test_users_in_step_wait_for_each_other_and_a_token_of_jitter_parts_them(
    replayer: Replayer, timing: Path
) -> None:
    one_length = WorkloadSpec(output_jitter=0.0)
    together = ttft(rows(replayer, timing, users=64, stagger_s=0.0, spec=one_length))
    apart = ttft(rows(replayer, timing, users=64, spec=WorkloadSpec(output_jitter=0.0, output_slack=1)))
    assert together > 2 * apart


def test_what_fits_no_worker_is_refused(replayer: Replayer, timing: Path) -> None:
    with pytest.raises(UserError, match="needs more KV blocks"):
        rows(replayer, timing, num_gpu_blocks=4)


def test_a_setting_that_the_library_does_not_know_is_refused_by_it(
    replayer: Replayer, tmp_path: Path
) -> None:
    job = Job(
        trace=tmp_path / "none.jsonl", prefill={"speed": 2}, decode={"block_size": 16}, router={},
        prefill_workers=1, decode_workers=2, until_s=1.0,
    )  # fmt: skip
    with pytest.raises(ReplayError, match="speed"):
        replayer.run(job)


def test_a_deployment_is_replayed_packed_and_estimated(tmp_path: Path) -> None:
    """The commands that a user runs: one Parquet file holds all cells, a second call measures nothing."""
    choices = [
        "experiments=equilibrium", "tier=smoke", "engine=virtual", "models=llama-3.1-70b", "topologies=1p2d",
        f"results={tmp_path}",
    ]  # fmt: skip
    target = tmp_path / "smoke" / "estimates" / "equilibrium" / "llama-3.1-70b_1p2d" / "system.json"
    command = [sys.executable, "-m", "snakemake", str(target), "--config", *choices]
    first = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr[-3000:]
    folder = tmp_path / "smoke" / "raw" / "equilibrium" / "llama-3.1-70b" / "1p2d" / "static" / "1"
    cells = sealed_cells(folder)
    assert [cell.name for cell in cells] == [f"unique-c{C:04d}" for C in (2, 16, 32, 64, 128, 256)]
    assert (folder / "cells.parquet").is_file()
    assert list((folder / "cells").iterdir()) == []
    for cell in cells:
        manifest = read_cell(cell).manifest
        assert (manifest.engine, manifest.gates and manifest.gates.valid) == ("virtual", True)
        assert manifest.routing_test["ok"]
    assert json.loads(target.read_text())["workloads"]["unique"]
    again = subprocess.run([*command, "-n"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "Nothing to be done" in again.stdout + again.stderr
