"""A running deployment that cells are measured on, one after the other, each sealed with its verdict."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anarchy.config import Policy
from anarchy.gates.verdict import evaluate
from anarchy.ground.errors import UserError
from anarchy.ground.layout import cell_directory
from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.report import ClientReport
from anarchy.measure.attempts import attempts_at, deserves_another, seed_of
from anarchy.measure.manifest import manifest_of
from anarchy.measure.progress import SweepProgress
from anarchy.measure.requests import phases_of, stagger_s, workload_of
from anarchy.measure.routing import CellRouting
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.routing.proof import PinnedProof, prove_pinned
from anarchy.serving.health import UnhealthyError
from anarchy.serving.selftest import SelfTest
from anarchy.serving.stack import Deployment
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import Manifest, RequestRecord, WorkerEntry
from anarchy.trace.starts import StackStart, note_start, utc
from anarchy.trace.state import set_aside
from anarchy.trace.writer import TraceWriter, read_rows, seal

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
        start: StackStart,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.deployment = deployment
        self.progress = progress
        self.start = start
        self.pinned: PinnedProof | None = None
        """The proof of pinned routing, where a policy routes that way."""
        self.device: str | None = None
        """What the engines compute on, for the manifests (`devices.device_seen`)."""

    def prove(self) -> str:
        """Prove that every policy takes effect, and say so; raises UnhealthyError when one has no effect.

        Nothing is measured on such a deployment: every cell would end as `override_inert`.
        """
        said = []
        if any(policy.way == "builtin" for policy in self.plan.policies):
            said.append(self._judge(self.deployment.self_test, "built-in"))
        if (socket := self.deployment.selector) is not None:
            spec = self.deployment.spec
            self.pinned = prove_pinned(
                socket,
                self.plan.policies,
                workers=spec.decode,
                block_size=spec.block_size,
                seed=spec.seed,
                assume_kv_reuse=spec.assume_kv_reuse,
            )
            said.append(self._judge(self.pinned, "pinned"))
        return ", ".join(said)

    def _judge(self, test: SelfTest | PinnedProof | None, way: str) -> str:
        if test is None or not test.tested:
            return f"{way} routing not tested: " + (test.reason if test else "no self-test")
        if not test.ok:
            failed = [check for check in test.checks if not check.ok]
            counted = [test.reuse] if isinstance(test, SelfTest) else test.reuse
            reuse = next((one for one in counted if one is not None and not one.ok), None)
            if not failed and reuse is not None:
                raise UserError(
                    f"{way} routing does not count as asked (override_inert): {reuse.words}",
                    where=f"{self.plan.title}, key 'assume_kv_reuse'",
                    remedy="ask for what this stack does, or take another (key 'stack')",
                )
            raise UnhealthyError(
                f"{way} routing does not take effect (override_inert) under "
                f"{', '.join(check.policy for check in failed) or 'the contrast'}: {failed}"
            )
        return f"{way} routing takes effect ({len(test.checks)} settings)"

    def routing_test(self, policy: Policy) -> dict[str, Any]:
        """The proof that a policy takes effect, as plain values: that of its way to route."""
        if not policy.asks_dynamo:
            return {"reason": "the client chooses alone; a request served elsewhere is an error (misrouted)"}
        if policy.way == "pinned":
            return self.pinned.routing_test() if self.pinned else {}
        test = self.deployment.self_test
        if test is None or not test.tested:
            return {"reason": test.reason} if test else {}
        checks = [{**asdict(check), "ok": check.ok} for check in (*test.checks, *test.contrasts)]
        p_value = min(min(check["p_value"], check["p_value_dispatched"]) for check in checks)
        told = {"ok": test.ok, "p_value": p_value, "omega": test.omega, "checks": checks}
        if test.reuse is not None:
            told["reuse"] = {**asdict(test.reuse), "counts_once": test.reuse.counts_once, "ok": test.reuse.ok}
        return told

    def measure_all(self, cells: Sequence[Cell], started: float) -> None:
        """Measure cells in order, each again where a gate that speaks of the machine fails."""
        queue = deque((cell, attempts_at(self.folder, cell) + 1) for cell in cells)
        while queue:
            cell, attempt = queue.popleft()
            manifest = self.measure(cell, attempt)
            self.start.cells_s = time.monotonic() - started - self.start.start_s
            note_start(self.folder, self.start)
            if deserves_another(manifest.gates, attempt, self.plan.experiment.attempts):
                self.progress.again(cell.cost.wall_s)
                queue.append((cell, attempt + 1))

    def measure(self, cell: Cell, attempt: int) -> Manifest:
        """Measure one cell, seal it, and return its manifest with the verdict of the gates."""
        directory = cell_directory(self.folder, cell.name)
        set_aside(directory)
        seed = seed_of(cell, attempt)
        self.progress.start_cell(cell.name, cell.cost.wall_s)
        with (
            TraceWriter(directory) as writer,
            CellRouting(self.plan, cell, self.deployment, directory) as routing,
        ):

            def keep(record: RequestRecord) -> None:
                writer.append(record)
                routing.ended(record)

            def watch() -> None:
                self.deployment.raise_if_faulty()
                routing.raise_if_faulty()

            try:
                report = run_client(
                    self._client_config(cell, routing.endpoints),
                    workload_of(cell, seed),
                    keep,
                    router=routing.router,
                    on_start=routing.start,
                    on_progress=self.progress.update,
                    watch=watch,
                )
            except UserError:
                self._tell_the_cause()
                raise
            companions = routing.finish()
        self.deployment.raise_if_faulty()  # what died since the last look, before the cell is sealed
        table = read_rows(writer.path)
        manifest = self._manifest(cell, attempt, seed, report)
        # Gates look at the cell as a reader will see it; the seal comes last.
        gates = evaluate(CellTrace(directory, manifest, table), cell.timing.measure_s)
        manifest = seal(directory, table, manifest.model_copy(update={"gates": gates}), companions=companions)
        self.start.sealed += 1
        verdict = "valid" if gates.valid else "NOT VALID: " + ", ".join(gates.reasons)
        self.progress.end_cell(f"{verdict}, {table.num_rows} requests")
        return manifest

    def _tell_the_cause(self) -> None:
        """Raise the deployment's fault behind a refused connection, known a moment later at times."""
        ends = time.monotonic() + FAULT_KNOWN_S
        while time.monotonic() < ends:
            self.deployment.raise_if_faulty()
            time.sleep(0.05)

    def _client_config(self, cell: Cell, endpoints: tuple[Endpoint, ...]) -> ClientConfig:
        plan, timing = self.plan, cell.timing
        return ClientConfig(
            endpoints=endpoints,
            concurrency=cell.concurrency,
            phases=None if cell.stages else phases_of(cell, plan.pool),
            stages=cell.stages,
            deadline_s=timing.deadline_s,
            stagger_s=stagger_s(cell),
            dilation=plan.model.dilation,
            prefill_workers=self._indices("prefill"),
            decode_workers=self._indices("decode"),
        )

    def _indices(self, role: str) -> dict[str, int]:
        return {str(w.instance_id): w.index for w in self.deployment.workers if w.role == role}

    def _manifest(self, cell: Cell, attempt: int, seed: int, report: ClientReport) -> Manifest:
        return manifest_of(
            self.plan,
            cell,
            stages=report.stages,
            device=self.device,
            seed=seed,
            started_at=utc(report.started_at),
            launched_at=self.start.launched_at,
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
            client=report.facts(),
            routing_test=self.routing_test(cell.policy),
            attempt=attempt,
        )
