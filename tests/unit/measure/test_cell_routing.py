"""What routes a cell: frontends, router and controllers by policy, and how they end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anarchy.config import Controller, Policy
from anarchy.config.files import load_study
from anarchy.config.policies import BatchedBaseline
from anarchy.control.detector import PARAMETERS, Regime
from anarchy.control.sources import ClientSource
from anarchy.control.thresholds import Multiples
from anarchy.designs.detection.tier import DetectionTier
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG
from anarchy.load.router import FixedRouter
from anarchy.measure import routing as cell_routing
from anarchy.measure.routing import CellRouting, loop_settings, selector_of
from anarchy.plan.launches import Cell, DeploymentPlan, derive_seed
from anarchy.plan.workbench import open_run
from anarchy.routing.frontends import frontends
from anarchy.routing.routers import AdaptiveRouter, PinnedRouter
from tests.helpers.trace_samples import record
from tests.helpers.waiting import until

KNOWN = load_study(CONFIG).policies
FAST = {"theta1_s": 0.1, "theta2_s": 1.0, "confirm": 1}


def planned(routing: str, experiment: str = "adaptive") -> DeploymentPlan:
    choices = {"tier": "smoke", "experiments": [experiment], "models": ["nemotron-4-340b"]}
    return next(plan for plan in open_run({**choices, "knees": "recorded"}).plans if plan.routing == routing)


def cell_of(plan: DeploymentPlan, policy: Policy) -> Cell:
    """A cell of the plan, under any policy."""
    return replace(plan.cells[0], policy=policy)


def at_once(plan: DeploymentPlan, **settings: Any) -> DeploymentPlan:
    """The plan with other settings of its tier."""
    tier = type(plan.settings).model_validate({**plan.settings.model_dump(), **settings})
    experiment = plan.experiment.model_copy(update={"tiers": {**plan.experiment.tiers, plan.tier: tier}})
    return replace(plan, experiment=experiment)


def made_up(plan: DeploymentPlan, selector: Path | None = Path("selector.sock")) -> Any:
    """A deployment of one prefill and three decode workers, with a frontend for every policy."""
    return SimpleNamespace(
        endpoints={
            frontend.name: ("127.0.0.1", 8000 + number)
            for number, frontend in enumerate(reversed(frontends(plan.policies)))
        },
        workers=(
            SimpleNamespace(role="prefill", instance_id=11),
            *(SimpleNamespace(role="decode", instance_id=21 + index) for index in range(3)),
        ),
        selector=selector,
        model_name="called-so",
        spec=SimpleNamespace(block_size=16, num_gpu_blocks=4096, assume_kv_reuse=None),
    )


def routed(plan: DeploymentPlan, policy: Policy, folder: Path, **more: Any) -> CellRouting:
    return CellRouting(plan, cell_of(plan, policy), made_up(plan, **more), folder)


def test_the_frontends_of_an_adaptive_policy_are_in_the_order_of_its_regimes(tmp_path: Path) -> None:
    plan = planned("builtin")
    routing = routed(plan, KNOWN["adaptive"], tmp_path)
    ports = made_up(plan).endpoints
    assert [endpoint.port for endpoint in routing.endpoints] == [
        ports[name][1] for name in ("static", "adaptive-transition", "adaptive-saturated")
    ]
    assert {endpoint.model for endpoint in routing.endpoints} == {"called-so"}
    assert isinstance(routing.router, AdaptiveRouter)
    served = {frontend.name: (frontend.tau, frontend.omega) for frontend in frontends(plan.policies)}
    by_port = {port: served[name] for name, (_, port) in ports.items()}
    for regime in Regime:
        routing.router.set_regime(regime)
        route = routing.router._route
        assert by_port[routing.endpoints[route.frontend].port] == PARAMETERS[regime]
        assert (route.labels.tau, route.labels.omega, route.labels.regime) == (
            *PARAMETERS[regime],
            regime.word,
        )


@pytest.mark.parametrize("experiment", ["adaptive", "equilibrium"])
def test_a_static_policy_is_a_fixed_route_to_its_own_frontend(tmp_path: Path, experiment: str) -> None:
    plan = planned("builtin" if experiment == "adaptive" else "static", experiment)
    routing = routed(plan, KNOWN["static"], tmp_path)
    assert isinstance(routing.router, FixedRouter)
    assert [endpoint.port for endpoint in routing.endpoints] == [made_up(plan).endpoints["static"][1]]
    route = routing.router.fixed
    assert (route.frontend, route.prefill_id, route.decode_id) == (0, None, None)
    assert (route.labels.policy, route.labels.tau, route.labels.omega) == ("static", 0.0, 1.0)
    with routing:
        routing.start()
        routing.ended(record())
        routing.raise_if_faulty()
        assert routing.finish() == ()
    assert list(tmp_path.iterdir()) == [], "a fixed route leaves nothing beside the trace"


def test_every_pair_of_a_grid_goes_to_its_own_frontend(tmp_path: Path) -> None:
    plan = planned("builtin", "pareto")
    ports = made_up(plan).endpoints
    assert len(plan.policies) == len(ports) == 2
    for policy in plan.policies:
        routing = routed(plan, policy, tmp_path)
        assert [endpoint.port for endpoint in routing.endpoints] == [ports[policy.name][1]]


@pytest.mark.parametrize("name", ["pinned-static", "pinned-adaptive"])
def test_a_pinned_policy_of_dynamos_asks_the_deployments_selector(tmp_path: Path, name: str) -> None:
    plan = planned("pinned")
    routing = routed(plan, KNOWN[name], tmp_path)
    assert isinstance(routing.router, PinnedRouter)
    selection = routing.router._selection
    assert selection is not None
    assert selection.socket == Path("selector.sock")
    assert len(routing.endpoints) == 1


@pytest.mark.parametrize("name", ["round-robin", "random", "least-loaded", "power-of-two", "batched-optimal"])
def test_a_baseline_has_no_selection_and_its_own_seed(tmp_path: Path, name: str) -> None:
    plan = planned("pinned")
    router = routed(plan, KNOWN[name], tmp_path, selector=None).router
    assert isinstance(router, PinnedRouter)
    assert router._selection is None
    assert router._pools["prefill"].instance_ids == (11,)
    assert router._pools["decode"].instance_ids == (21, 22, 23)
    again = routed(plan, KNOWN[name], tmp_path, selector=None).router
    assert isinstance(again, PinnedRouter)
    assert again._rng.getstate() == router._rng.getstate()
    other = replace(plan.cells[0], policy=KNOWN[name], seed=derive_seed("another"))
    apart = CellRouting(plan, other, made_up(plan, None), tmp_path).router
    assert isinstance(apart, PinnedRouter)
    assert apart._rng.getstate() != router._rng.getstate()


def test_a_batch_is_collected_in_the_deployments_own_time(tmp_path: Path) -> None:
    plan = planned("pinned")
    assert plan.model.dilation > 1
    policy = KNOWN["batched-optimal"]
    router = routed(plan, policy, tmp_path).router
    assert isinstance(router, PinnedRouter)
    assert isinstance(policy, BatchedBaseline)
    assert policy.batch_s is not None
    assert router._batch is not None
    assert router._batch._seconds == pytest.approx(policy.batch_s * plan.model.dilation)


def test_the_selector_knows_every_worker_of_each_role() -> None:
    selector = selector_of(made_up(planned("pinned")))
    assert {name: len(pool.events) for name, pool in selector.pools.items()} == {"prefill": 1, "decode": 3}
    assert {(pool.block_size, pool.blocks) for pool in selector.pools.values()} == {(16, 4096)}


def test_thresholds_in_seconds_need_no_baseline() -> None:
    seconds = loop_settings(Controller(theta1_s=1.0, theta2_s=10.0, confirm=2), 5.0, 6, 2.0)
    assert seconds.multiples is None
    assert (seconds.detector.theta1, seconds.detector.theta2, seconds.detector.confirm) == (1.0, 10.0, 2)
    assert (seconds.period_s, seconds.dilation) == (5.0, 2.0)


def test_thresholds_in_multiples_wait_for_the_baseline_of_the_tier() -> None:
    given = Controller(theta1_times=2.0, theta2_times=20.0, weight=0.25, hysteresis=0.1)
    multiples = loop_settings(given, 0.25, 4, 3.0)
    assert multiples.multiples == Multiples(2.0, 20.0, 4)
    assert (multiples.detector.weight, multiples.detector.hysteresis) == (0.25, 0.1)
    assert (multiples.period_s, multiples.dilation) == (0.25, 3.0)


def test_the_controller_sets_the_router_and_its_log_is_sealed_with_the_cell(tmp_path: Path) -> None:
    plan = at_once(planned("builtin"), poll_s=0.02)
    adaptive = KNOWN["adaptive"].model_copy(update={"controller": Controller(source="client", **FAST)})
    with routed(plan, adaptive, tmp_path) as routing:
        assert isinstance(routing.router, AdaptiveRouter)
        assert routing.router._route.labels.regime == "below"
        routing.start()

        def slow() -> bool:
            routing.ended(record(0, t_first_token=9.0, t_last_token=9.5))
            assert isinstance(routing.router, AdaptiveRouter)
            return routing.router._route.labels.regime == "saturated"

        until(slow)
        assert routing.router._route.frontend == Regime.SATURATED
        routing.raise_if_faulty()
        assert routing.finish() == (tmp_path / "controller.jsonl",)
    assert '"switch"' in (tmp_path / "controller.jsonl").read_text()


def test_what_only_watches_sets_nothing_and_leaves_a_log_of_its_own(tmp_path: Path) -> None:
    plan = planned("static", "saturation")
    assert isinstance(plan.settings, DetectionTier)
    assert plan.settings.watch == ("prometheus", "client")
    with routed(plan, KNOWN["static"], tmp_path) as routing:
        assert isinstance(routing.router, FixedRouter)
        assert routing.finish() == (
            tmp_path / "controller-prometheus.jsonl",
            tmp_path / "controller-client.jsonl",
        )


def test_a_pinned_cell_seals_its_decisions_and_its_controllers_log(tmp_path: Path) -> None:
    plan = planned("pinned")
    with routed(plan, KNOWN["pinned-adaptive"], tmp_path) as routing:
        assert isinstance(routing.router, PinnedRouter)
        routing.router._decisions.open()
        assert routing.finish() == (tmp_path / "controller.jsonl", tmp_path / "decisions.parquet")
    assert {path.name for path in tmp_path.iterdir()} == {"controller.jsonl", "decisions.parquet"}


def test_a_controllers_failure_ends_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(ClientSource):
        def poll(self, t: float) -> Any:
            raise UserError("the disk is full", where=tmp_path, remedy="free some")

    monkeypatch.setattr(cell_routing, "ClientSource", Full)
    plan = at_once(planned("builtin"), poll_s=0.02)
    with routed(plan, KNOWN["adaptive-client"], tmp_path) as routing:
        routing.raise_if_faulty()
        routing.start()
        ends = time.monotonic() + 60.0
        with pytest.raises(UserError, match="the disk is full"):  # noqa: PT012
            while time.monotonic() < ends:
                routing.raise_if_faulty()
                time.sleep(0.002)
        with pytest.raises(UserError, match="the disk is full"):
            routing.finish()
