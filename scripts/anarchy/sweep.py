"""Measure one deployment's ladder of cells: start, prove, measure and seal each cell, stop.

Resumable by cell: a cell is done when its sealed trace matches its plan hash, so a run that was cut off
loses the running cell and no more.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import gzip
import json
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anarchy import predict, preflight
from anarchy.cluster.allocation import Allocation, allocate
from anarchy.errors import UserError
from anarchy.layout import DYNAMO_LOCK, ENVS, cell_directory
from anarchy.load.cell import ClientConfig, Labels
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.report import ClientReport
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.plan import Cell, DeploymentPlan, derive_seed
from anarchy.progress import SweepProgress
from anarchy.serving.health import UnhealthyError
from anarchy.serving.profiles import write_npz
from anarchy.serving.spec import DeploymentSpec, RoutingPolicy
from anarchy.serving.stack import Deployment
from anarchy.study import Workbench
from anarchy.telemetry.deployment import recorded
from anarchy.trace.gates import MACHINE_GATES, evaluate
from anarchy.trace.reader import CellTrace, read_manifest
from anarchy.trace.schema import Manifest, WorkerCount, WorkerEntry
from anarchy.trace.state import CellState, cell_state, set_aside
from anarchy.trace.writer import TraceWriter, disk_errors, read_rows, seal, write_json

ENGINE_LABEL = {"mocker": "simulated", "vllm": "B200"}
"""What figures and tables call the engine."""
RUNNING_BYTES_PER_REQUEST = 1_600
"""Disk of one request while its deployment runs: its JSON row, and two lines in the frontend's log, which
Dynamo writes whatever the log level; sealed and compressed they take a tenth (measured)."""
COMPRESS_ABOVE = 1_000_000
"""Logs above so many bytes are compressed when their deployment has ended."""
LOGS_FOLDER = "logs"
SITTINGS_FILE = "sittings.jsonl"
"""What each start of a deployment's stack took, a line after each cell; beside deployment.json."""


MEASURED = frozenset({CellState.DONE, CellState.INVALID})
"""States of a cell that was measured to its end under this plan."""


@dataclass
class Sitting:
    """One start of the stack: wall seconds that were and were not spent measuring, and cells sealed."""

    launched_at: str
    plan_hash: str
    start_s: float = 0.0
    cells_s: float = 0.0
    stop_s: float = 0.0
    sealed: int = 0

    @property
    def wall_s(self) -> float:
        """Wall seconds of the whole sitting."""
        return self.start_s + self.cells_s + self.stop_s


def sweep(bench: Workbench, plan: DeploymentPlan, *, log: Path | None = None) -> Path:
    """Bring every cell of a deployment to a sealed trace and return the path of its summary.

    What is said goes to stderr and, with ``log``, to that file as well.
    Raises UserError for whatever can be known before the start, and for a deployment that cannot be
    started, cannot prove itself or dies; cells sealed by then are kept.
    """
    folder = bench.folder(plan)
    with _only_one(folder):
        open_cells = [cell for cell in plan.cells if is_open(folder, cell)]
        if open_cells:
            _check_before_start(folder, open_cells)
            _measure(bench, plan, folder, open_cells, log)
        summary = bench.layout.summary(*plan.key)
        write_json(summary, _summarise(plan, folder))
        return summary


def is_open(folder: Path, cell: Cell) -> bool:
    """Whether a cell is still to be measured.

    A cell that failed only because of the machine is; one that failed because of what it showed is not:
    measuring until the values please would bias them. Attempts made by earlier calls do not close it: calling
    again is the user's word that the machine is free now.
    """
    directory = cell_directory(folder, cell.name)
    state = cell_state(directory, cell.plan_hash)
    if state is CellState.INVALID:
        gates = read_manifest(directory).gates
        return gates is not None and set(gates.reasons) <= MACHINE_GATES
    return state is not CellState.DONE


def _check_before_start(folder: Path, cells: list[Cell]) -> None:
    preflight.check_environment(ENVS / "dynamo", DYNAMO_LOCK)
    preflight.check_open_files(max(cell.concurrency for cell in cells))
    requests = sum(cell.cost.requests for cell in cells)
    preflight.check_disk(folder, requests * RUNNING_BYTES_PER_REQUEST + 50_000_000)


def _measure(
    bench: Workbench, plan: DeploymentPlan, folder: Path, cells: list[Cell], log: Path | None
) -> None:
    """Start the deployment and measure ``cells``, each again when a gate that speaks of the machine fails."""
    predicted = sum(cell.cost.wall_s for cell in cells)
    largest = max(cell.concurrency for cell in cells)
    done = len(plan.cells) - len(cells)
    elsewhere = _elsewhere_s(bench, plan)
    sitting = Sitting(_utc(time.time()), plan.plan_hash)
    started = time.monotonic()
    with SweepProgress(plan.title, len(plan.cells), done, predicted, elsewhere, log) as progress:
        progress.say(
            f"starting {plan.topology.prefill} prefill and {plan.topology.decode} decode workers, "
            f"{len(cells)} of {len(plan.cells)} cells to measure"
        )
        _note_sitting(folder, sitting)
        allocation = allocate(plan, bench.site, folder, progress.say)
        spec = specify(bench, plan, folder / LOGS_FOLDER, allocation)
        with Deployment(spec, max_concurrency=largest, launcher=allocation.launcher) as deployment:
            sitting.start_s = time.monotonic() - started
            session = _Session(plan, folder, deployment, progress, sitting)
            progress.say(f"healthy after {sitting.start_s:.1f} s, {session.prove()}")
            with recorded(deployment, folder):
                session.measure_all(cells, started)
        sitting.stop_s = time.monotonic() - started - sitting.start_s - sitting.cells_s
        _note_sitting(folder, sitting)
    _compress_logs(folder / LOGS_FOLDER)


def _elsewhere_s(bench: Workbench, plan: DeploymentPlan) -> float:
    """Predicted wall seconds of the run's other deployments that are not complete."""
    seconds = 0.0
    for other in bench.deployments:
        if other.key == plan.key or bench.layout.summary(*other.key).exists():
            continue
        open_cells = [cell for cell in other.cells if is_open(bench.folder(other), cell)]
        seconds += predict.START_S + sum(cell.cost.wall_s for cell in open_cells)
    return seconds


def _compress_logs(logs: Path) -> None:
    for log in logs.glob("*.log"):
        if log.stat().st_size > COMPRESS_ABOVE:
            with disk_errors(logs), log.open("rb") as plain, gzip.open(f"{log}.gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            log.unlink()


def _note_sitting(folder: Path, sitting: Sitting) -> None:
    """Append where a sitting stands; the last line of each start counts, so a kill loses one cell's time."""
    with disk_errors(folder), (folder / SITTINGS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**asdict(sitting), "wall_s": sitting.wall_s}) + "\n")


def read_sittings(folder: Path, plan_hash: str) -> list[dict[str, Any]]:
    """Every start of a deployment under this plan, in order; a line that was cut off is left out."""
    path = folder / SITTINGS_FILE
    latest: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            sitting = json.loads(line)
        except json.JSONDecodeError:
            continue
        if sitting.get("plan_hash") == plan_hash:
            latest[sitting["launched_at"]] = sitting
    return list(latest.values())


def attempts_at(folder: Path, cell: Cell) -> int:
    """How often a cell has been measured to its end under this plan."""
    kept = [*folder.glob(f"attempts/{cell.name}.*"), cell_directory(folder, cell.name)]
    return sum(cell_state(directory, cell.plan_hash) in MEASURED for directory in kept)


def _deserves_another(manifest: Manifest, attempt: int, attempts: int) -> bool:
    reasons = set(manifest.gates.reasons) if manifest.gates else set()
    return attempt < attempts and bool(reasons) and reasons <= MACHINE_GATES


def specify(
    bench: Workbench, plan: DeploymentPlan, logs: Path, allocation: Allocation | None = None
) -> DeploymentSpec:
    """Translate a planned deployment into what the serving stack is told.

    Writes the timing table for it into ``logs``, where every process's log goes as well.
    """
    with disk_errors(logs):
        logs.mkdir(parents=True, exist_ok=True)
        timing = logs / "timing.npz"
        write_npz(bench.profiles[plan.model.profile], timing)
    largest = max(cell.concurrency for cell in plan.cells)
    return DeploymentSpec(
        model=plan.model.name,
        prefill=plan.topology.prefill,
        decode=plan.topology.decode,
        profile=timing,
        dilation=plan.model.dilation,
        # Past this the engine answers 503 to everything that follows.
        max_num_seqs=max(1024, 2 * largest),
        kv_bytes_per_token=plan.model.kv_bytes_per_token,
        policies=(RoutingPolicy(plan.policy.name, plan.policy.tau, plan.policy.omega),),
        log_dir=logs,
        seed=derive_seed(plan.plan_hash, "self-test"),
        **(allocation or Allocation()).spec_fields,
    )


class _Session:
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
            _note_sitting(self.folder, self.sitting)
            if _deserves_another(manifest, attempt, self.plan.experiment.attempts):
                self.progress.again(cell.cost.wall_s)
                queue.append((cell, attempt + 1))

    def measure(self, cell: Cell, attempt: int) -> Manifest:
        """Measure one cell, seal it, and return its manifest with the verdict of the gates."""
        directory = cell_directory(self.folder, cell.name)
        set_aside(directory)
        self.progress.start_cell(cell.name, cell.cost.wall_s)
        with TraceWriter(directory) as writer:
            report = run_client(
                self._client_config(cell),
                self._workload(cell),
                writer.append,
                on_progress=self.progress.update,
                watch=self.deployment.raise_if_faulty,
            )
        table = read_rows(writer.path)
        manifest = self._manifest(cell, attempt, report)
        # Gates look at the cell as a reader will see it; the seal comes last.
        gates = evaluate(CellTrace(directory, manifest, table), cell.timing.measure_s)
        manifest = seal(directory, table, manifest.model_copy(update={"gates": gates}))
        self.sitting.sealed += 1
        verdict = "valid" if gates.valid else "NOT VALID: " + ", ".join(gates.reasons)
        self.progress.end_cell(f"{verdict}, {table.num_rows} requests")
        return manifest

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
            dilation=plan.model.dilation,
            plan_hash=cell.plan_hash,
            seed=cell.seed,
            started_at=_utc(report.started_at),
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


def _utc(wall_clock: float) -> str:
    return datetime.datetime.fromtimestamp(wall_clock, datetime.UTC).isoformat(timespec="milliseconds")


def _summarise(plan: DeploymentPlan, folder: Path) -> dict[str, Any]:
    """What a finished deployment was; the cells speak for themselves in their manifests."""
    manifests = [read_manifest(cell_directory(folder, cell.name)) for cell in plan.cells]
    return {
        "deployment": plan.title,
        "plan_hash": plan.plan_hash,
        "predicted_s": plan.wall_s,
        "sittings": read_sittings(folder, plan.plan_hash),
        "routing_test": manifests[-1].routing_test,
        "cells": {
            manifest.cell: {"valid": manifest.gates.valid, "reasons": manifest.gates.reasons}
            for manifest in manifests
            if manifest.gates is not None
        },
    }


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the deployment's folder against a second sweep; the kernel frees it however this one ends."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock_file = (folder / ".lock").open("w")
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another sweep is measuring this deployment",
                where=folder,
                remedy="wait for it, or end it, and run again",
            ) from None
        yield
