"""A deployment of another stack: what serving is told, what its manifests say, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anarchy.cluster.engine_needs import check_serving
from anarchy.engines.dynamo import DYNAMO_0_9_0
from anarchy.engines.mocker import ENGINE
from anarchy.ground.errors import UserError
from anarchy.measure.manifest import manifest_of
from anarchy.measure.session import Session
from anarchy.measure.sweep import specify
from anarchy.plan.workbench import Workbench, open_run
from anarchy.serving.reuse import ReuseCheck
from anarchy.serving.selftest import PolicyCheck, SelfTest
from anarchy.trace.starts import StackStart

COUNTS_ONCE, COUNTS_EACH = (20, 0, 0), (0, 20, 0)


def bench(stack: str) -> Workbench:
    choices = {"tier": "live", "experiments": ("equilibrium",), "stack": stack}
    return open_run({**choices, "models": ("llama-3.1-70b",), "topologies": ("1p2d",)})


@pytest.mark.parametrize("stack", [one.dynamo for one in ENGINE.stacks])
def test_the_serving_is_told_which_stack_and_has_its_python(stack: str, tmp_path: Path) -> None:
    of = bench(stack)
    (plan,) = of.plans
    spec = specify(of, replace(plan, assume_kv_reuse=False), tmp_path)
    pinned = ENGINE.stack_for("", stack)
    assert pinned is not None
    assert (spec.stack, spec.assume_kv_reuse) == (stack, False)
    assert spec.dynamo_python == pinned.python()


@pytest.mark.parametrize(("stack", "departures"), [("1.5.1", ()), ("0.9.0", DYNAMO_0_9_0.departures)])
def test_manifests_say_what_the_mock_engine_cannot_do(stack: str, departures: tuple[str, ...]) -> None:
    (plan,) = bench(stack).plans
    assert manifest_of(plan, plan.cells[0]).departures == departures


def test_an_environment_that_is_not_built_is_refused_with_its_own_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pinned = ENGINE.stack_for("", "0.9.0")
    assert pinned is not None
    elsewhere = replace(pinned, environment=tmp_path / "none", python=lambda: tmp_path / "none/bin/python")
    engine = replace(ENGINE, stacks=(ENGINE.stacks[0], elsewhere))
    monkeypatch.setattr("anarchy.cluster.engine_needs.engine_of", lambda _: engine)
    with pytest.raises(UserError, match="no such environment") as caught:
        check_serving(None, "mocker", "0.9.0")
    assert caught.value.remedy == "envs/build dynamo-0.9.0"


def proven(chosen: tuple[int, int, int], expected: bool) -> Session:
    """A session of 0.9.0 on a deployment whose self-test ended so."""
    (plan,) = bench("0.9.0").plans
    good = PolicyCheck("static", 0.0, 1.0, 1.0, (1.0, 17.0), (1.0, 0.0), (400, 0), (32, 0), 0.5, 0.5, 0.0)
    test = SelfTest((good,), (), True, "", "inert", 1.0, ReuseCheck(chosen, expected))
    deployment: Any = SimpleNamespace(self_test=test, selector=None)
    progress: Any = None
    return Session(plan, Path(), deployment, progress, StackStart("t", "plan"))


@pytest.mark.parametrize(
    ("chosen", "expected"), [(COUNTS_ONCE, False), (COUNTS_EACH, True), ((10, 10, 0), True)]
)
def test_a_router_that_does_not_count_as_asked_is_refused(
    chosen: tuple[int, int, int], expected: bool
) -> None:
    with pytest.raises(UserError, match="does not count as asked") as caught:
        proven(chosen, expected).prove()
    assert "key 'stack'" in str(caught.value.remedy)


@pytest.mark.parametrize(("chosen", "once"), [(COUNTS_ONCE, True), (COUNTS_EACH, False)])
def test_how_it_counts_is_kept_for_the_manifests(chosen: tuple[int, int, int], once: bool) -> None:
    session = proven(chosen, expected=once)
    assert session.prove() == "built-in routing takes effect (1 settings)"
    told = session.routing_test(session.plan.policies[0])
    assert told["ok"] is True
    assert told["reuse"] == {"chosen": chosen, "expected": once, "counts_once": once, "ok": True}
