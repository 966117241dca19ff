"""What a deployment does when its proofs fail, with the stack's answers made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.engines.mocker import MockerSettings
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from anarchy.serving import stack
from anarchy.serving.faults import DeploymentFaultError, Fault
from anarchy.serving.frontend_api import RefusedError
from anarchy.serving.health import UnhealthyError
from anarchy.serving.selftest import PolicyCheck, SelfTest
from anarchy.serving.stack import Deployment

REFUSED = RefusedError(("127.0.0.1", 1), 503, "not now")


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    policy = RoutingPolicy("static", 0.0, 1.0)
    return Deployment(
        DeploymentSpec("m", 1, 2, (policy,), tmp_path / "logs", settings=MockerSettings(tmp_path / "t.npz"))
    )


def outcome(ok: bool, tested: bool = True) -> SelfTest:
    p_value = 1.0 if ok else 0.0
    numbers = ((1.0, 17.0), (1.0, 0.0), (400, 0), (32, 0))
    check = PolicyCheck("static", 0.0, 1.0, 1.0, *numbers, p_value, p_value, 0.0)
    return SelfTest((check,), (), tested, "", "", 1.0)


@pytest.mark.parametrize(
    ("answers", "runs", "ok"),
    [
        ([outcome(True)], 1, True),
        ([outcome(False), outcome(True)], 2, True),
        ([outcome(False), outcome(False)], 2, False),
        ([outcome(False, tested=False)], 1, False),
    ],
    ids=["passes", "fails once", "fails twice", "untested"],
)
def test_a_failed_routing_self_test_is_repeated_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, answers: list[SelfTest], runs: int, ok: bool
) -> None:
    seeds: list[int] = []

    def test(*_: object, seed: int, **__: object) -> SelfTest:
        seeds.append(seed)
        return answers[len(seeds) - 1]

    monkeypatch.setattr(stack, "routing_self_test", test)
    assert deployment._test_routing({}, ()).ok is ok
    assert len(seeds) == len(set(seeds)) == runs


@pytest.mark.parametrize("error", [REFUSED, OSError(111, "Connection refused")])
def test_a_refusal_at_the_start_is_an_unhealthy_deployment(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(deployment, "check", lambda: ())
    with pytest.raises(UnhealthyError) as caught, deployment._unhealthy_when_refused():
        raise error
    assert caught.value.__cause__ is error
    fault = Fault("process_died", "decode-0", "killed")
    monkeypatch.setattr(deployment, "check", lambda: (fault,))
    with pytest.raises(DeploymentFaultError, match="decode-0"), deployment._unhealthy_when_refused():
        raise error


def test_a_failure_says_where_the_logs_lie(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise UnhealthyError("timed out")

    monkeypatch.setattr(deployment, "start", fail)
    with pytest.raises(UnhealthyError) as caught, deployment:
        pass
    assert caught.value.__notes__ == [f"logs in {deployment.spec.log_dir}"]
