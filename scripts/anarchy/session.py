"""A running deployment that cells are measured on, one after the other, each sealed with its verdict."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anarchy.errors import UserError
from anarchy.layout import cell_directory
from anarchy.load.cell import ClientConfig, Labels
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.report import ClientReport
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.plan import Cell, DeploymentPlan
from anarchy.progress import SweepProgress
from anarchy.serving.health import UnhealthyError
from anarchy.serving.stack import Deployment
from anarchy.sittings import Sitting, note_sitting, utc
from anarchy.trace.gates import MACHINE_GATES, evaluate
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import Manifest, WorkerCount, WorkerEntry
from anarchy.trace.state import CellState, cell_state, set_aside
from anarchy.trace.writer import TraceWriter, read_rows, seal

MEASURED = frozenset({CellState.DONE, CellState.INVALID})
"""States of a cell that was measured to its end under this plan."""
FAULT_KNOWN_S = 2.0
"""How long after a process has died its deployment knows it at the latest."""


class Session:
    """A running deployment that cells are measured on."""

    def __init__(
        self,
        plan: DeploymentPlan,
        folder: Path,
        deployment: Deployment,
        progress: SweepProgress,
        sitting: Sitting,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.deployment = deployment
        self.progress = progress
        self.sitting = sitting
        self.device: str | None = None
        """What the engines compute on, for the manifests (`devices.device_seen`)."""

    def prove(self) -> str:
        """What the routing self-test found, for people; raises UnhealthyError when the policy has no effect.

        Nothing is measured on such a deployment: every cell would end as `override_inert`.
        """
        test = self.deployment.self_test
        if test is None or not test.tested:
            return "routing not tested: " + (test.reason if test else "no self-test")
        if not test.ok:
            raise UnhealthyError(
                f"routing policy {self.plan.policy.name} does not take effect (override_inert): {test.checks}"
            )
        return "routing policy takes effect"

    def routing_test(self) -> dict[str, Any]:
        """The deployment's routing self-test as plain values."""
        test = self.deployment.self_test
        if test is None or not test.tested:
            return {"reason": test.reason} if test else {}
        checks = [{**asdict(check), "ok": check.ok} for check in (*test.checks, *test.contrasts)]
        p_value = min(min(check["p_value"], check["p_value_dispatched"]) for check in checks)
        return {"ok": test.ok, "p_value": p_value, "omega": test.omega, "checks": checks}

    def measure_all(self, cells: Sequence[Cell], started: float) -> None:
        """Measure cells in order, each again where a gate that speaks of the machine fails."""
        queue = deque((cell, attempts_at(self.folder, cell) + 1) for cell in cells)
        while queue:
            cell, attempt = queue.popleft()
            manifest = self.measure(cell, attempt)
            self.sitting.cells_s = time.monotonic() - started - self.sitting.start_s
            note_sitting(self.folder, self.sitting)
            if _deserves_another(manifest, attempt, self.plan.experiment.attempts):
                self.progress.again(cell.cost.wall_s)
                queue.append((cell, attempt + 1))

    def measure(self, cell: Cell, attempt: int) -> Manifest:
        """Measure one cell, seal it, and return its manifest with the verdict of the gates."""
        directory = cell_directory(self.folder, cell.name)
        set_aside(directory)
        self.progress.start_cell(cell.name, cell.cost.wall_s)
        with TraceWriter(directory) as writer:
            try:
                report = run_client(
                    self._client_config(cell),
                    self._workload(cell),
                    writer.append,
                    on_progress=self.progress.update,
                    watch=self.deployment.raise_if_faulty,
                )
            except UserError:
                self._tell_the_cause()
                raise
        self.deployment.raise_if_faulty()  # what died since the last look, before the cell is sealed
        table = read_rows(writer.path)
        manifest = self._manifest(cell, attempt, report)
        # Gates look at the cell as a reader will see it; the seal comes last.
        gates = evaluate(CellTrace(directory, manifest, table), cell.timing.measure_s)
        manifest = seal(directory, table, manifest.model_copy(update={"gates": gates}))
        self.sitting.sealed += 1
        verdict = "valid" if gates.valid else "NOT VALID: " + ", ".join(gates.reasons)
        self.progress.end_cell(f"{verdict}, {table.num_rows} requests")
        return manifest

    def _tell_the_cause(self) -> None:
        """Raise the deployment's fault behind a refused connection, known a moment later at times."""
        ends = time.monotonic() + FAULT_KNOWN_S
        while time.monotonic() < ends:
            self.deployment.raise_if_faulty()
            time.sleep(0.05)

    def _client_config(self, cell: Cell) -> ClientConfig:
        plan, timing = self.plan, cell.timing
        host, port = self.deployment.endpoints[plan.policy.name]
        return ClientConfig(
            endpoint=Endpoint(host, port, plan.model.name),
            concurrency=cell.concurrency,
            phases=PhasePlan(
                warmup_s=timing.warmup_s,
                warmup_max_s=timing.warmup_s + timing.deadline_s,
                measure_s=timing.measure_s,
                measure_max_s=timing.measure_max_s,
                min_requests=timing.min_windows * plan.pool,
            ),
            labels=Labels(plan.policy.name, plan.policy.tau, plan.policy.omega),
            deadline_s=timing.deadline_s,
            # Over one unloaded request, so that the opening burst is a steady arrival of users.
            stagger_s=min(cell.cost.residence_s, max(timing.warmup_s, 0.1)),
            dilation=plan.model.dilation,
            prefill_workers=self._indices("prefill"),
            decode_workers=self._indices("decode"),
        )

    def _indices(self, role: str) -> dict[str, int]:
        return {str(w.instance_id): w.index for w in self.deployment.workers if w.role == role}

    def _workload(self, cell: Cell) -> Workload:
        workload = cell.workload
        return Workload(
            WorkloadSpec(
                input_tokens=workload.input_tokens,
                output_tokens=workload.output_tokens,
                output_jitter=workload.output_jitter,
                templates=workload.templates,
            ),
            seed=cell.seed,
        )

    def _manifest(self, cell: Cell, attempt: int, report: ClientReport) -> Manifest:
        plan = self.plan
        return Manifest(
            cell=cell.name,
            model=plan.model.name,
            topology=plan.topology.name,
            policy=plan.policy.name,
            concurrency=cell.concurrency,
            n_workers=WorkerCount(prefill=plan.topology.prefill, decode=plan.topology.decode),
            launch=plan.trial,
            experiment=plan.experiment.name,
            tier=plan.tier,
            workload=cell.workload.name,
            engine=plan.engine,
            device=self.device,
            dilation=plan.model.dilation,
            plan_hash=cell.plan_hash,
            seed=cell.seed,
            started_at=utc(report.started_at),
            launched_at=self.sitting.launched_at,
            duration_s=report.duration_s,
            workers=tuple(
                WorkerEntry(
                    role=worker.role,
                    index=worker.index,
                    instance_id=str(worker.instance_id),
                    node=worker.seat.node.alias,
                    gpus=worker.seat.gpus,
                )
                for worker in self.deployment.workers
            ),
            versions=dict(self.deployment.versions),
            client=client_facts(report),
            routing_test=self.routing_test(),
            attempt=attempt,
        )


def client_facts(report: ClientReport) -> dict[str, Any]:
    """What the client says of itself, for the manifest and its gates; delays in wall seconds."""

    def wall(model_s: float | None) -> float | None:
        return None if model_s is None else model_s * report.dilation

    measured = (
        None
        if report.measure_start_s is None or report.measure_end_s is None
        else report.measure_end_s - report.measure_start_s
    )
    return {
        "measure_s": measured,
        "cpu_share": report.cpu_share_measure,
        "host_cpu_share": report.host_cpu_share_measure,
        "loop_lag_p99_s": wall(report.loop_lag_measure.p99),
        "schedule_delay_p99_s": wall(report.schedule_delay.p99),
        "report": asdict(report),
    }


def attempts_at(folder: Path, cell: Cell) -> int:
    """How often a cell has been measured to its end under this plan."""
    kept = [*folder.glob(f"attempts/{cell.name}.*"), cell_directory(folder, cell.name)]
    return sum(cell_state(directory, cell.plan_hash) in MEASURED for directory in kept)


def _deserves_another(manifest: Manifest, attempt: int, attempts: int) -> bool:
    reasons = set(manifest.gates.reasons) if manifest.gates else set()
    return attempt < attempts and bool(reasons) and reasons <= MACHINE_GATES
