"""Waiting for what was started: the services that all need, then every worker, then every frontend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from anarchy.engines.spec import DeploymentSpec, Worker
from anarchy.serving.discovery import check_limits, registered_at
from anarchy.serving.frontend_api import Connection
from anarchy.serving.health import etcd_is_up, knows_all, registered_instance, wait_until
from anarchy.serving.nats import NATS, ask_nats, check_nats, nats_server
from anarchy.serving.placement import FrontendPlan, Ports, WorkerPlan

T = TypeVar("T")
Progress = Callable[[str], None]


class Waiting:
    """How long to wait for a deployment's processes, and what to ask meanwhile.

    `deadline` is in monotonic seconds; `check` raises where a process has died; `logs` has a path for each
    process. Every method raises `UnhealthyError` after the deadline.
    """

    def __init__(
        self,
        spec: DeploymentSpec,
        deadline: float,
        *,
        check: Callable[[], None],
        progress: Progress,
        logs: Mapping[str, Path],
    ) -> None:
        self._spec, self._deadline = spec, deadline
        self._check, self._progress, self._logs = check, progress, logs

    def services(self, ports: Ports) -> None:
        """Wait for etcd and for NATS, where there are such; raises UserError for a NATS that will not do."""
        host = self._spec.host
        for port in ports.etcd[:1]:
            self._until(f"etcd (log {self._logs['etcd']})", lambda port=port: etcd_is_up((host, port)))  # type: ignore[misc]
        if NATS in self._logs:
            server = self._until(
                f"the NATS server (log {self._logs[NATS]})", lambda: ask_nats((host, ports.broker_publish))
            )
            check_nats(server, nats_server(self._spec.dynamo_python))

    def workers(
        self, plans: Sequence[WorkerPlan], pids: Mapping[str, int], discovery: Path
    ) -> tuple[Worker, ...]:
        """Every worker when it has registered; raises UserError for one with other limits than were given."""
        found = []
        for plan in plans:
            name = plan.process.name
            self._progress(f"waiting for {name} to register")
            instance = self._until(
                f"{name} to register (log {self._logs[name]})",
                lambda plan=plan: self._instance(plan, discovery),  # type: ignore[misc]
            )
            found.append(
                Worker(
                    plan.index,
                    plan.role,
                    instance,
                    pids[name],
                    plan.system_port,
                    self._logs[name],
                    plan.process.seat,
                )
            )
        return tuple(found)

    def _instance(self, plan: WorkerPlan, discovery: Path) -> int | None:
        """Instance id of a worker, once both it and its system port are there."""
        host = plan.process.seat.node.address
        if self._spec.dynamo.tells_instance:
            return registered_instance(host, plan.system_port)
        registered = registered_at(discovery, plan.role, plan.request_port)
        if registered is None:
            return None
        check_limits(self._spec, plan.role, plan.process.name, registered)
        with Connection((host, plan.system_port)) as system:
            system.metrics()
        return registered.instance_id

    def frontends(self, plans: Sequence[FrontendPlan], model: str, workers: Sequence[Worker]) -> None:
        """Wait until every frontend serves the model and knows exactly these workers."""
        for frontend in plans:
            name = frontend.process.name
            self._progress(f"waiting for {name} to know all workers")
            self._until(
                f"{name} to know all workers (log {self._logs[name]})",
                lambda port=frontend.port: knows_all((self._spec.host, port), model, workers),  # type: ignore[misc]
            )

    def selector(self, socket: Path) -> None:
        """Wait for the selector's socket."""
        self._until(f"the selector (log {self._logs['selector']})", lambda: socket.is_socket() or None)

    def _until(self, what: str, poll: Callable[[], T | None]) -> T:
        return wait_until(f"waiting for {what}", poll, self._deadline, self._check)
