"""A deployment: start it, prove it healthy, watch it, stop it, and leave no process behind."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from anarchy.engines.registry import served_by
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy, Worker
from anarchy.ground.surroundings import without_foreign_python
from anarchy.serving.faults import DEPLOYMENT_ERRORS, DeploymentFaultError, Fault, FaultKind
from anarchy.serving.frontend_api import Address, RefusedError
from anarchy.serving.health import (
    PORT_TAKEN_MARK,
    LogWatch,
    Probe,
    UnhealthyError,
    probe_workers,
)
from anarchy.serving.model_folder import write_model_folder
from anarchy.serving.placement import Placement, Ports, ProcessPlan, place
from anarchy.serving.ports import free_ports
from anarchy.serving.registration import Waiting
from anarchy.serving.requirements import check_before_start, check_engine, check_stack
from anarchy.serving.selftest import SelfTest, contrast_policies, routing_self_test
from anarchy.serving.supervisor import Supervisor
from anarchy.serving.versions import machine_versions, serving_versions

Progress = Callable[[str], None]
Launcher = Callable[[ProcessPlan, Path], tuple[str, ...]]
"""Command that starts a process at its seat, given its plan and the folder to run in."""

SCRATCH_PREFIX = "anarchy-"


@dataclass(frozen=True)
class StartTimes:
    """Seconds that each step of a start took."""

    launch: float
    register: float
    probe: float
    self_test: float

    @property
    def total(self) -> float:
        """Seconds from the first process to a proven deployment."""
        return self.launch + self.register + self.probe + self.self_test


def _silent(_: str) -> None:
    """Progress of a caller that wants none."""


def here(plan: ProcessPlan, _: Path) -> tuple[str, ...]:
    """Launcher of a deployment on this machine alone."""
    return plan.command


class Deployment:
    """A running deployment: a `with` starts it, proves it healthy, and stops it however it ends.

    After the start `endpoints` maps each policy's name to its frontend's (host, port), `workers` lists the
    workers (prefill 0..P-1, then decode 0..D-1), `model_name` is what requests call the model, `self_test`
    holds the routing self-test (its `ok` is the caller's to act on), `probes` the health probes, `versions`
    what it runs on and `start_times` what the start cost; `selector` is the socket of the selector, where the
    spec asks for one. Raises `UserError` for what the user can mend, `UnhealthyError` when it does not come
    up, `DeploymentFaultError` or `ProcessDiedError` when a process dies meanwhile. Not for several threads at
    once.
    """

    def __init__(
        self,
        spec: DeploymentSpec,
        *,
        progress: Progress = _silent,
        max_concurrency: int | None = None,
        launcher: Launcher = here,
    ) -> None:
        self.spec = spec
        self._launcher = launcher
        self._answer_s = served_by(spec.engine).answer_s
        self.endpoints: dict[str, Address] = {}
        self.workers: tuple[Worker, ...] = ()
        self.probes: tuple[Probe, ...] = ()
        self.self_test: SelfTest | None = None
        self.versions: dict[str, str | None] = {}
        self.start_times: StartTimes | None = None
        self._progress = progress
        self._concurrency = spec.max_num_seqs if max_concurrency is None else max_concurrency
        self._supervisor: Supervisor | None = None
        self._scratch: Path | None = None
        self._discovery: Path | None = None
        self._sockets: Path | None = None
        self.selector: Path | None = None
        self.model_name = spec.model
        self._watch = LogWatch({})
        self._logs: dict[str, Path] = {}
        self._lost: dict[str, Fault] = {}
        self._ended: set[str] = set()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException as error:
            self._note_logs(error)
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._note_logs(error)
        self.stop()

    @property
    def guardian_pid(self) -> int:
        """Process id of the guardian that owns all processes."""
        return self._running().guardian_pid

    @property
    def pids(self) -> dict[str, int]:
        """Process id of every process, by name (`prefill-0`, `frontend-<policy>`, `event-broker`)."""
        return {name: pid for name, pid in self._running().pids.items() if name not in self._ended}

    def start(self) -> None:
        """Check, start all processes in parallel, wait until healthy, and run the routing self-test."""
        spec = self.spec
        self._check_before()
        spec.log_dir.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=spec.scratch))
        self._discovery = self._scratch / "discovery"
        if spec.discovery == "etcd" and spec.container is None:
            # On this node's own disk: etcd waits for each write, and on a network file system loses leases.
            self._discovery = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
        if spec.selector:  # a socket's path must be short, so not in the scratch folder of a cluster
            self._sockets = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
            self.selector = self._sockets / "selector.sock"
        contrasts = contrast_policies(spec.policies) if spec.decode > 1 else ()
        ports = self._choose_ports(len(contrasts))
        model_folder = self._model_folder(self._scratch)
        self.model_name = spec.model_name(model_folder)
        placement = place(
            spec,
            ports,
            model_folder=model_folder,
            discovery_dir=self._discovery,
            home=self._scratch,
            contrasts=contrasts,
            selector=self.selector,
        )
        started = time.monotonic()
        deadline = started + spec.start_timeout_s
        rng = random.Random(spec.seed)
        self._launch(placement, ports, deadline)
        launched = time.monotonic()

        everyone = {plan.policy.name: (spec.host, plan.port) for plan in placement.frontends}
        self._register(placement, deadline)
        registered = time.monotonic()

        self.endpoints = {policy.name: everyone[policy.name] for policy in spec.policies}
        self._progress("asking every worker through every frontend")
        with self._unhealthy_when_refused():
            self.probes = probe_workers(
                everyone,
                self.model_name,
                self.workers,
                rng=rng,
                deadline=deadline,
                check=self.raise_if_faulty,
                answer_s=self._answer_s,
            )
        probed = time.monotonic()

        self._progress("testing that the routing policies take effect")
        with self._unhealthy_when_refused():
            self.self_test = self._test_routing(everyone, contrasts)
        for contrast in contrasts:
            self._end(f"frontend-{contrast.name}")
        tested = time.monotonic()
        self.start_times = StartTimes(
            launched - started, registered - launched, probed - registered, tested - probed
        )
        self._progress(f"healthy after {self.start_times.total:.1f} s")

    def stop(self) -> None:
        """End every process, wait for the last one, and remove the scratch folder. May be called twice."""
        if self._supervisor is not None:
            self._supervisor.stop()
        for folder in self._folders():
            shutil.rmtree(folder, ignore_errors=True)
        self._scratch = self._discovery = self._sockets = self.selector = None

    def check(self) -> tuple[Fault, ...]:
        """Every fault so far; empty when all is well. Cheap enough to call ten times a second (0.04 ms)."""
        died = tuple(
            Fault("process_died", gone.name, str(gone))
            for gone in self._running().exits()
            if gone.name not in self._ended
        )
        for name, line in self._watch.lost():
            kind: FaultKind = "port_taken" if PORT_TAKEN_MARK in line else "discovery_lost"
            self._lost.setdefault(name, Fault(kind, name, self._meant(line) + line.strip()))
        return (*died, *(fault for name, fault in self._lost.items() if name not in self._ended))

    def _meant(self, line: str) -> str:
        """The worker that a line speaks of by its instance id, by name and node; empty when it names none."""
        found = re.search(r"worker_id: (\d+)", line)
        for worker in self.workers:
            if found and worker.instance_id == int(found[1]):
                node = worker.seat.node
                return f"lost {worker.name} on {node.slurm_name or node.alias}: "
        return ""

    def raise_if_faulty(self) -> None:
        """Raise `DeploymentFaultError` with every fault of `check`, if there is any."""
        faults = self.check()
        if faults:
            raise DeploymentFaultError(faults)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds (user + system) of every process since its start, by name; the guardian's too."""
        pids = {**self.pids, "guardian": self.guardian_pid}
        seconds: dict[str, float] = {}
        for name, pid in pids.items():
            try:
                used = psutil.Process(pid).cpu_times()
            except psutil.NoSuchProcess:
                continue  # `check` tells of its death
            seconds[name] = used.user + used.system
        return seconds

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory of every process, by name."""
        resident: dict[str, int] = {}
        for name, pid in self.pids.items():
            try:
                resident[name] = psutil.Process(pid).memory_info().rss
            except psutil.NoSuchProcess:
                continue  # `check` tells of its death
        return resident

    def _note_logs(self, error: BaseException | None) -> None:
        if isinstance(error, DEPLOYMENT_ERRORS):
            error.add_note(f"logs in {self.spec.log_dir}")

    @contextlib.contextmanager
    def _unhealthy_when_refused(self) -> Iterator[None]:
        """Tell an answer that was refused or never came as what it means at the start."""
        try:
            yield
        except (RefusedError, OSError) as error:
            self.raise_if_faulty()  # a process that died is the cause, the refusal its sign
            raise UnhealthyError(str(error)) from error

    def _test_routing(self, frontends: Mapping[str, Address], contrasts: Sequence[RoutingPolicy]) -> SelfTest:
        """Test the routing, and once more after a failure: chance alone fails 4 of 10,000 launches."""
        spec = self.spec

        def test(seed: int) -> SelfTest:
            """Draw with one seed."""
            return routing_self_test(
                frontends,
                self.model_name,
                self.workers,
                spec.policies,
                contrasts,
                dynamo=spec.dynamo,
                shares=spec.dynamo.shares(spec.assume_kv_reuse),
                block_size=spec.block_size,
                hold_tokens=spec.hold_tokens,
                answer_s=self._answer_s,
                seed=seed,
                check=self.raise_if_faulty,
            )

        first = test(spec.seed)
        if first.ok or not first.tested:
            return first
        self._progress("a routing policy does not seem to take effect: testing once more")
        return test(spec.seed + 1)

    def _check_before(self) -> None:
        check_before_start(self.spec, self._concurrency)
        self.versions = {**self._serving_versions(), **machine_versions()}
        check_stack(self.spec, self.versions)
        check_engine(self.spec, self.versions)

    def _serving_versions(self) -> dict[str, str | None]:
        """Ask the serving Python, inside the image where there is one, as every process will be started."""
        spec = self.spec
        if spec.container is None:
            return serving_versions(spec.dynamo_python)
        folder = spec.scratch or spec.log_dir
        return serving_versions(
            spec.dynamo_python,
            lambda command: self._launcher(ProcessPlan("versions", command, {}), folder),
            timeout_s=spec.start_timeout_s,
        )

    def _model_folder(self, scratch: Path) -> Path:
        """Where the engine finds the model: its weights, or a folder without any where it is simulated."""
        return self.spec.settings.model_folder or write_model_folder(scratch / "model")

    def _choose_ports(self, contrasts: int) -> Ports:
        spec = self.spec
        free = free_ports(spec.host, Ports.needed(spec, contrasts), avoid=spec.http_ports)
        return Ports.of(spec, free)

    def _launch(self, placement: Placement, ports: Ports, deadline: float) -> None:
        self._progress(f"starting {len(placement.processes)} processes")
        self._supervisor = Supervisor(grace_s=served_by(self.spec.engine).grace_s, scratch=self._folders())
        for plan in placement.infrastructure:
            self._launch_one(plan)
        self._waiting(deadline).services(ports)
        for worker in placement.workers:
            self._launch_one(worker.process)
        if not self.spec.dynamo.frontends_follow:
            self._launch_frontends(placement)

    def _launch_frontends(self, placement: Placement) -> None:
        for frontend in placement.frontends:
            self._launch_one(frontend.process)
        # The selector's own workers come and go with its pools: no discovery is lost there.
        self._watch = LogWatch({name: log for name, log in self._logs.items() if name != "selector"})

    def _waiting(self, deadline: float) -> Waiting:
        return Waiting(
            self.spec, deadline, check=self.raise_if_faulty, progress=self._progress, logs=self._logs
        )

    def _folders(self) -> list[Path]:
        """The folders that are this deployment's own, and go with it."""
        return [f for f in (self._scratch, self._discovery, self._sockets) if f is not None]

    def _launch_one(self, plan: ProcessPlan) -> None:
        assert self._scratch is not None
        log_path = self.spec.log_dir / f"{plan.name}.log"
        log_path.unlink(missing_ok=True)
        self._logs[plan.name] = log_path
        inherited = without_foreign_python(os.environ)
        inherited = {name: value for name, value in inherited.items() if not name.startswith("DYN_")}
        self._running().start(
            plan.name,
            self._launcher(plan, self._scratch),
            env={**inherited, **plan.environment},
            log_path=log_path,
            cwd=self._scratch,
        )

    def _register(self, placement: Placement, deadline: float) -> None:
        waiting = self._waiting(deadline)
        assert self._discovery is not None
        self.workers = waiting.workers(placement.workers, self.pids, self._discovery)
        if self.spec.dynamo.frontends_follow:
            self._launch_frontends(placement)
        waiting.frontends(placement.frontends, self.model_name, self.workers)
        if self.selector is not None:
            waiting.selector(self.selector)

    def _end(self, name: str) -> None:
        self._ended.add(name)
        self._running().end(name)

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError("the deployment was not started")
        return self._supervisor
