"""What routes one cell: the frontends its client sends to, its router, and the controllers beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from anarchy.config import AdaptivePolicy, Controller, Policy
from anarchy.config.tiers import Watching
from anarchy.control.detector import Detector, Regime
from anarchy.control.loop import LoopSettings
from anarchy.control.observation import Source
from anarchy.control.running import RunningControllers, Watch
from anarchy.control.sources import ClientSource, PrometheusSource
from anarchy.control.thresholds import Multiples
from anarchy.load.payload import Endpoint
from anarchy.load.router import FixedRouter, Labels, Route, Router
from anarchy.plan.launches import Cell, DeploymentPlan, derive_seed
from anarchy.routing.frontends import frontend_of
from anarchy.routing.routers import ROLES, AdaptiveRouter, PinnedRouter, Selection
from anarchy.routing.selector import Selector, SelectorPool
from anarchy.serving.stack import Deployment
from anarchy.trace.control_log import LOG_FILE
from anarchy.trace.decisions import DecisionLog
from anarchy.trace.schema import RequestRecord


class CellRouting:
    """The routing of one cell, ready for the load client; a `with` opens its logs and ends its controllers.

    `endpoints` are the frontends in the order that a route's number means.
    """

    def __init__(self, plan: DeploymentPlan, cell: Cell, deployment: Deployment, directory: Path) -> None:
        self._plan, self._cell, self._deployment = plan, cell, deployment
        self._directory = directory
        self._client_sources: list[ClientSource] = []
        self._decisions: DecisionLog | None = None
        self._set_regime: Callable[[Regime], None] = lambda _: None
        names = _frontends_of(plan, cell.policy)
        self.endpoints = tuple(self._endpoint(name) for name in names)
        self.router = self._router()
        self._controllers = RunningControllers(self._watches())

    def __enter__(self) -> Self:
        self._controllers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._controllers.__exit__(kind, error, trace)
        finally:
            if self._decisions is not None:
                self._decisions.close()

    def start(self) -> None:
        """Start the controllers when the first stage has settled: the ramp is no baseline."""
        stages = self._cell.stages
        self._controllers.start(stages[0].settle_s * self._plan.model.dilation if stages else 0.0)

    def ended(self, record: RequestRecord) -> None:
        """Hear of a request that has ended."""
        for source in self._client_sources:
            source.append(record)

    def raise_if_faulty(self) -> None:
        """Raise what ended a controller early, if anything did."""
        self._controllers.raise_if_failed()

    def finish(self) -> tuple[Path, ...]:
        """End the controllers, and return the files to seal beside the trace."""
        self._controllers.stop()
        self._controllers.raise_if_failed()
        decisions = () if self._decisions is None else (self._decisions.seal(),)
        return (*self._controllers.logs, *decisions)

    def _endpoint(self, frontend: str) -> Endpoint:
        host, port = self._deployment.endpoints[frontend]
        return Endpoint(host, port, self._deployment.model_name)

    def _router(self) -> Router:
        policy = self._cell.policy
        if policy.way == "pinned":
            return self._pinned()
        if isinstance(policy, AdaptivePolicy):
            router = AdaptiveRouter(policy.name, {regime: regime.value for regime in Regime})
            self._set_regime = router.set_regime
            return router
        return FixedRouter(Route(Labels(policy.name, *(policy.pair or (None, None)))))

    def _pinned(self) -> PinnedRouter:
        deployment, policy = self._deployment, self._cell.policy
        selection = None
        if policy.asks_dynamo:
            assert deployment.selector is not None
            selection = Selection(selector_of(deployment), deployment.selector)
        self._decisions = DecisionLog(self._directory)
        router = PinnedRouter(
            policy,
            *(tuple(w.instance_id for w in deployment.workers if w.role == role) for role in ROLES),
            selection=selection,
            decisions=self._decisions,
            seed=derive_seed(self._cell.seed, "choices"),
            dilation=self._plan.model.dilation,
        )
        if isinstance(policy, AdaptivePolicy):
            self._set_regime = router.set_regime
        return router

    def _watches(self) -> list[Watch]:
        """The controller of an adaptive policy, and those that only watch: each with a log of its own."""
        watching = self._plan.settings.watching
        if watching is None:
            return []
        policy = self._cell.policy
        watches = [
            self._watch(Controller(source=source), watching, f"controller-{source}.jsonl")
            for source in watching.sources
        ]
        if isinstance(policy, AdaptivePolicy):
            watches.insert(0, self._watch(policy.controller, watching, LOG_FILE, self._set_regime))
        return watches

    def _watch(
        self,
        settings: Controller,
        watching: Watching,
        log: str,
        on_switch: Callable[[Regime], None] = lambda _: None,
    ) -> Watch:
        return Watch(
            self._source(settings),
            loop_settings(settings, watching.poll_s, watching.baseline_polls, self._plan.model.dilation),
            self._directory / log,
            on_switch,
        )

    def _source(self, settings: Controller) -> Source:
        if settings.source == "client":
            source = ClientSource()
            self._client_sources.append(source)
            return source
        urls = [f"http://{endpoint}/metrics" for endpoint in self.endpoints]
        return PrometheusSource(urls, dilation=self._plan.model.dilation)


def selector_of(deployment: Deployment) -> Selector:
    """A client of the deployment's selector that knows its pools."""
    spec, reuse = deployment.spec, deployment.spec.assume_kv_reuse
    sizes = {role: sum(worker.role == role for worker in deployment.workers) for role in ROLES}
    return Selector(
        [
            SelectorPool.modelled(role, sizes[role], spec.block_size, spec.num_gpu_blocks, reuse)
            for role in ROLES
        ]
    )


def loop_settings(
    controller: Controller, poll_s: float, baseline_polls: int, dilation: float
) -> LoopSettings:
    """A controller's settings as its loop takes them."""
    multiples = None if controller.in_seconds else Multiples(*controller.thresholds, baseline_polls)
    detector = Detector(*controller.thresholds, controller.weight, controller.confirm, controller.hysteresis)
    return LoopSettings(detector, multiples, period_s=poll_s, dilation=dilation)


def _frontends_of(plan: DeploymentPlan, policy: Policy) -> tuple[str, ...]:
    """Names of the frontends that a policy's requests go to, in the order of its regimes."""
    if isinstance(policy, AdaptivePolicy) and policy.way == "builtin":
        return tuple(frontend_of(plan.policies, policy, regime) for regime in Regime)
    return (frontend_of(plan.policies, policy),)
