"""What a sweep still has to measure, and what it remembers of earlier starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anarchy.config import Policy
from anarchy.ground.errors import UserError
from anarchy.ground.layout import cell_directory
from anarchy.measure import session as session_module
from anarchy.measure.attempts import attempts_at
from anarchy.measure.session import Session
from anarchy.measure.sweep import _frontends, _left_s, _refuse_a_mixture, _timed, is_open, routing_tests
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.plan.workbench import open_run
from anarchy.routing.frontends import frontends
from anarchy.routing.proof import PairCheck, PinnedProof
from anarchy.serving.faults import DeploymentFaultError, Fault
from anarchy.serving.health import UnhealthyError
from anarchy.serving.selftest import PolicyCheck, SelfTest
from anarchy.trace.schema import GateResult
from anarchy.trace.starts import SITTINGS_FILE, StackStart, note_start, read_starts, recorded_start_s
from anarchy.trace.state import set_aside
from tests.helpers.trace_samples import manifest, sealed


@pytest.fixture
def cell() -> Cell:
    return open_run({"tier": "smoke", "knees": "recorded"}).plans[0].cells[0]


@pytest.mark.parametrize(
    ("reasons", "still_open"),
    [
        ((), False),
        (("client_bound",), True),
        (("errors", "worker_silent"), True),
        (("not_steady",), False),
        (("client_bound", "not_steady"), False),
    ],
)
def test_only_the_machine_earns_a_cell_another_attempt(
    tmp_path: Path, cell: Cell, reasons: tuple[str, ...], still_open: bool
) -> None:
    gates = GateResult(valid=not reasons, reasons=reasons)
    sealed(cell_directory(tmp_path, cell.name), plan_hash=cell.plan_hash, gates=gates)
    assert is_open(tmp_path, cell) is still_open


def test_a_cell_of_another_plan_or_none_is_open(tmp_path: Path, cell: Cell) -> None:
    assert is_open(tmp_path, cell)
    sealed(cell_directory(tmp_path, cell.name), plan_hash="another", gates=GateResult(valid=True))
    assert is_open(tmp_path, cell)


@pytest.mark.parametrize(
    "error", [OSError("moved away"), UserError("cut", where="cells.json", remedy="none")]
)
def test_another_deployment_that_cannot_be_read_is_left_as_predicted(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> bool:
        raise error

    bench = open_run({"tier": "smoke", "knees": "recorded"})
    monkeypatch.setattr("anarchy.measure.sweep.is_open", fails)
    other = bench.deployments[0]
    assert _left_s(bench, other) == bench.predicted(other).wall_s


def test_attempts_are_counted_over_starts_and_only_under_this_plan(tmp_path: Path, cell: Cell) -> None:
    directory = cell_directory(tmp_path, cell.name)
    for plan_hash in (cell.plan_hash, "another", cell.plan_hash):
        sealed(directory, plan_hash=plan_hash, gates=GateResult(valid=False, reasons=("client_bound",)))
        set_aside(directory)
    assert attempts_at(tmp_path, cell) == 2


def test_a_start_that_was_killed_is_known_up_to_its_last_cell(tmp_path: Path) -> None:
    start = StackStart("2026-01-01T00:00:00+00:00", "plan")
    note_start(tmp_path, start)
    note_start(tmp_path, replace(start, start_s=4.0, cells_s=30.0, sealed=2))
    note_start(tmp_path, StackStart("2026-01-02T00:00:00+00:00", "another plan", cells_s=99.0))
    with (tmp_path / SITTINGS_FILE).open("a") as file:
        file.write(json.dumps({"plan_hash": "plan"})[:-3])
    found = read_starts(tmp_path, "plan")
    assert [(entry["wall_s"], entry["sealed"]) for entry in found] == [(34.0, 2)]
    kept = read_starts(tmp_path, "plan", {"2026-01-02T00:00:00+00:00"})
    assert [entry["cells_s"] for entry in kept] == [30.0, 99.0], "a cell of the plan before was kept"


def test_a_start_that_failed_was_held_all_the_same(tmp_path: Path) -> None:
    start = StackStart("2026-01-01T00:00:00+00:00", "plan", gpus=16)
    with pytest.raises(RuntimeError, match="on purpose"), _timed(start, tmp_path, time.monotonic() - 30.0):
        raise RuntimeError("on purpose")
    ((_, told),) = ((s["launched_at"], s) for s in read_starts(tmp_path, "plan"))
    assert told["gpus"] == 16
    assert 30.0 <= told["start_s"] == told["wall_s"]


def test_the_next_start_is_predicted_from_the_recorded_ones(tmp_path: Path) -> None:
    for trial, (took, sealed_cells, engine) in enumerate(
        [(100, 3, "vllm"), (400, 0, "vllm"), (140, 1, "vllm"), (4, 9, "mocker")]
    ):
        folder = tmp_path / f"quick/raw/equilibrium/m/1p2d/static/{trial}"
        folder.mkdir(parents=True)
        note_start(folder, StackStart("t", "plan", start_s=took, sealed=sealed_cells, engine=engine))
    assert recorded_start_s(tmp_path, "vllm", "m") == 120.0, "the one that sealed nothing did not come up"
    assert recorded_start_s(tmp_path, "mocker", "m") == 4.0
    assert recorded_start_s(tmp_path, "vllm", "another") is None


def test_cells_of_two_devices_or_stacks_are_not_mixed(tmp_path: Path) -> None:
    plan = open_run({"tier": "smoke", "knees": "recorded"}).plans[0]
    cell = plan.cells[0]
    directory = cell_directory(tmp_path, cell.name)
    b200 = {"ai-dynamo": "1.5.1", "vllm": "0.28.0"}
    sealed(
        directory, plan_hash=cell.plan_hash, gates=GateResult(valid=True), device="NVIDIA B200", versions=b200
    )
    _refuse_a_mixture(plan, tmp_path, "NVIDIA B200", {**b200, "python": "3.12"})
    for device, versions in (("NVIDIA H200", b200), ("NVIDIA B200", {**b200, "vllm": "0.29.0"})):
        with pytest.raises(
            UserError, match=r"measured on something else: (device NVIDIA B200, now|vllm 0.28.0, now)"
        ):
            _refuse_a_mixture(plan, tmp_path, device, versions)


def test_a_refused_connection_is_told_as_the_death_behind_it() -> None:
    class Dying:
        looks = 0

        def raise_if_faulty(self) -> None:
            self.looks += 1
            if self.looks == 3:
                raise DeploymentFaultError(
                    [Fault("process_died", "frontend-static", "exited with status 137")]
                )

    session = Session.__new__(Session)
    session.deployment = Dying()  # type: ignore[assignment]
    with pytest.raises(DeploymentFaultError, match="process_died frontend-static"):
        session._tell_the_cause()


def test_no_start_at_all_is_no_fault(tmp_path: Path) -> None:
    assert read_starts(tmp_path, "plan") == []


def planned(routing: str, experiment: str = "adaptive") -> DeploymentPlan:
    choices = {"tier": "smoke", "experiments": [experiment], "models": ["nemotron-4-340b"]}
    return next(plan for plan in open_run({**choices, "knees": "recorded"}).plans if plan.routing == routing)


def test_only_a_built_in_adaptive_policy_takes_several_frontends() -> None:
    builtin, pinned = planned("builtin"), planned("pinned")
    assert _frontends(named(builtin, "adaptive")) == 3
    assert _frontends(named(builtin, "static")) == 1
    assert _frontends(named(pinned, "pinned-adaptive")) == 1


def session_of(plan: DeploymentPlan, folder: Path, self_test: SelfTest | None = None) -> Session:
    """A session on a deployment that is only made up."""
    pinned = any(policy.way == "pinned" for policy in plan.policies)
    deployment: Any = SimpleNamespace(
        endpoints={policy.name: ("127.0.0.1", 8000 + n) for n, policy in enumerate(frontends(plan.policies))},
        workers=tuple(
            SimpleNamespace(role=role, index=index, instance_id=10 + number)
            for number, (role, index) in enumerate((("prefill", 0), ("decode", 0), ("decode", 1)))
        ),
        selector=Path("selector.sock") if pinned else None,
        model_name=plan.model.name,
        spec=SimpleNamespace(decode=2, block_size=16, num_gpu_blocks=4096, seed=5, assume_kv_reuse=None),
        self_test=self_test,
        raise_if_faulty=lambda: None,
    )
    progress: Any = SimpleNamespace(start_cell=lambda *_: None, update=lambda *_: None)
    return Session(plan, folder, deployment, progress, StackStart("t", "plan"))


@pytest.mark.parametrize("routing", ["builtin", "pinned"])
def test_every_attempt_at_a_cell_sends_other_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: str
) -> None:
    class EnoughError(Exception):
        pass

    sent = []

    def run_client(config: Any, workload: Any, *_: Any, **__: Any) -> None:
        sent.append(workload)
        raise EnoughError

    monkeypatch.setattr(session_module, "run_client", run_client)
    plan = planned(routing)
    session, cell = session_of(plan, tmp_path), plan.cells[0]
    for attempt in (1, 2, 3, 2):
        with pytest.raises(EnoughError):
            session.measure(cell, attempt)
    assert [workload.seed for workload in sent[:1]] == [cell.seed]
    assert len({workload.seed for workload in sent}) == 3
    assert sent[1].seed == sent[3].seed, "an attempt that was cut off begins as it did"
    prompts = [{workload.request(user, k).prompt for user in range(4) for k in range(4)} for workload in sent]
    assert not prompts[0] & prompts[1]
    assert not prompts[1] & prompts[2]


def pair_check(policy: str, p_value: float) -> PairCheck:
    return PairCheck(
        *(policy, 0.7, 1.0, 0.0, 0.0, (9.0, 8.0), 0.0, (0.3, 0.7), (120, 280), (10, 22)),
        *(p_value, p_value, 0.0, 0.0),
    )


def self_test(p_value: float, *, contrast: float = 0.5, tested: bool = True) -> SelfTest:
    def check(policy: str, p: float) -> PolicyCheck:
        return PolicyCheck(policy, 0.0, 1.0, 1.0, (1.0, 17.0), (1.0, 0.0), (400, 0), (32, 0), p, p, 0.0)

    checks = (check("static", p_value),) if tested else ()
    return SelfTest(
        checks, (check("contrast", contrast),), tested, "" if tested else "one worker", "inert", 1.0
    )


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Makes the proof of pinned routing end as told, and tells what it was asked."""
    asked: list[Any] = []

    def make(*checks: PairCheck) -> list[Any]:
        def prove_pinned(socket: Path, policies: Any, **more: Any) -> PinnedProof:
            asked.append((socket, [policy.name for policy in policies], more))
            return PinnedProof(checks, bool(checks), "" if checks else "one decode worker", 0.1)

        monkeypatch.setattr(session_module, "prove_pinned", prove_pinned)
        return asked

    return make


def test_pinned_policies_that_take_no_effect_are_not_measured(tmp_path: Path, proven: Any) -> None:
    plan = planned("pinned")
    asked = proven(pair_check("pinned-static", 0.4), pair_check("pinned-adaptive-transition", 1e-9))
    session = session_of(plan, tmp_path)
    with pytest.raises(UnhealthyError, match=r"override_inert\) under pinned-adaptive-transition:"):
        session.prove()
    socket, names, more = asked[0]
    assert socket == Path("selector.sock")
    assert names == [policy.name for policy in plan.policies]
    assert (more["workers"], more["block_size"]) == (2, 16)


def test_a_proof_that_holds_is_said_and_kept_for_the_manifests(tmp_path: Path, proven: Any) -> None:
    plan = planned("pinned")
    proven(pair_check("pinned-static", 0.4), pair_check("contrast", 0.03))
    session = session_of(plan, tmp_path)
    assert session.prove() == "pinned routing takes effect (2 settings)"
    for name in ("pinned-static", "pinned-adaptive"):
        told = session.routing_test(named(plan, name))
        assert (told["ok"], told["p_value"], len(told["checks"])) == (True, 0.03, 2)
    baseline = session.routing_test(named(plan, "batched-optimal"))
    assert list(baseline) == ["reason"], "nothing of Dynamo's chose there"


def named(plan: DeploymentPlan, name: str) -> Policy:
    return next(policy for policy in plan.policies if policy.name == name)


@pytest.mark.parametrize(
    ("test", "under"),
    [(self_test(1e-9), "static"), (self_test(0.5, contrast=1e-9), "the contrast")],
    ids=["policy", "contrast"],
)
def test_built_in_policies_that_take_no_effect_are_not_measured(
    tmp_path: Path, test: SelfTest, under: str
) -> None:
    with pytest.raises(UnhealthyError, match=rf"built-in routing .*override_inert\) under {under}:"):
        session_of(planned("builtin"), tmp_path, test).prove()


def test_the_proof_of_a_way_is_told_of_its_own_policies(tmp_path: Path, proven: Any) -> None:
    plan, pinned = planned("builtin"), planned("pinned")
    both = replace(plan, policies=(*plan.policies, *pinned.policies))
    proven(pair_check("pinned-static", 0.2))
    session = session_of(both, tmp_path, self_test(0.5))
    assert (
        session.prove()
        == "built-in routing takes effect (1 settings), pinned routing takes effect (1 settings)"
    )
    built_in = session.routing_test(named(both, "adaptive"))
    assert (built_in["p_value"], built_in["omega"]) == (0.5, "inert")
    assert [check["policy"] for check in built_in["checks"]] == ["static", "contrast"]
    assert session.routing_test(named(both, "pinned-adaptive"))["p_value"] == 0.2


def test_with_one_worker_nothing_is_tested_and_it_is_said(tmp_path: Path, proven: Any) -> None:
    proven()
    session = session_of(planned("pinned"), tmp_path)
    assert session.prove() == "pinned routing not tested: one decode worker"
    assert session.routing_test(named(session.plan, "pinned-static")) == {"reason": "one decode worker"}
    untested = session_of(planned("builtin"), tmp_path, self_test(0.5, tested=False))
    assert untested.prove() == "built-in routing not tested: one worker"
    assert untested.routing_test(named(untested.plan, "static")) == {"reason": "one worker"}


BUILTIN: dict[str, Any] = {"ok": True, "p_value": 0.4, "omega": "inert", "checks": [{"policy": "static"}]}
PINNED: dict[str, Any] = {
    "ok": False,
    "p_value": 0.0,
    "omega": "tested",
    "checks": [{"policy": "pinned-static"}],
}
BASELINE = {"reason": "the client chooses by itself"}


@pytest.mark.parametrize(
    ("tests", "merged"),
    [
        ([("builtin", BUILTIN), ("builtin", BUILTIN)], BUILTIN),
        ([("pinned", PINNED)], PINNED),
        ([("pinned", BASELINE)], BASELINE),
        ([("pinned", BASELINE), ("pinned", PINNED)], PINNED),
        ([("pinned", PINNED), ("pinned", BASELINE)], PINNED),
        (
            [("builtin", BUILTIN), ("pinned", PINNED)],
            {"ok": False, "p_value": 0.0, "checks": [*BUILTIN["checks"], *PINNED["checks"]]},
        ),
    ],
    ids=["one way", "pinned", "baseline", "baseline first", "baseline last", "two ways"],
)
def test_a_deployment_tells_the_proofs_of_its_ways_as_one(
    tests: list[tuple[str, dict[str, Any]]], merged: dict[str, Any]
) -> None:
    sealed_cells = [manifest(way=way, routing_test=test) for way, test in tests]
    assert routing_tests(sealed_cells) == merged
