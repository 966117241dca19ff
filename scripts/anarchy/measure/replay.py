"""A deployment's cells in virtual time: replayed one after the other, sealed with their verdicts, packed.

While it runs, cells are folders as those of live deployments are, so a kill costs the running cell; when all
are sealed they become one Parquet file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anarchy.config import KvPolicy, Policy
from anarchy.engines import virtual
from anarchy.engines.dynamo import dynamo_of
from anarchy.engines.profiles import Profile, write_npz
from anarchy.engines.registry import engine_of
from anarchy.gates.verdict import evaluate
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE, cell_directory
from anarchy.load.workload import WorkloadSpec
from anarchy.measure.attempts import attempts_at, deserves_another, seed_of
from anarchy.measure.manifest import manifest_of
from anarchy.measure.progress import SweepProgress
from anarchy.measure.requests import phases_of, stagger_s, workload_of
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.serving.versions import machine_versions
from anarchy.trace.packed import packed_names, remove_folders, remove_pack, write_pack
from anarchy.trace.reader import CellTrace, read_cell
from anarchy.trace.schema import GateResult, Manifest, WorkerEntry
from anarchy.trace.starts import StackStart, note_start, utc
from anarchy.trace.state import set_aside
from anarchy.trace.writer import seal
from anarchy.virtual.cell import Outcome, VirtualCell, simulate
from anarchy.virtual.errors import CellError
from anarchy.virtual.library import library_versions
from anarchy.virtual.open_cell import simulate_open
from anarchy.virtual.proof import Asked, prove
from anarchy.virtual.replayer import Replayer, ReplayError

TIMING = "timing.npz"


def replay_all(
    plan: DeploymentPlan,
    profile: Profile,
    folder: Path,
    cells: Sequence[Cell],
    progress: SweepProgress,
    start: StackStart,
) -> None:
    """Replay ``cells``, each again where a gate that speaks of the machine fails, and pack the deployment.

    Raises UserError for a policy without effect, and at the end for cells that the library could not replay;
    all others are sealed then.
    """
    unpack(folder)
    stack = engine_of(plan.engine).stack_for("", plan.stack.dynamo)
    assert stack is not None, "the plan names one that its engine has"
    python = stack.python()
    began = time.monotonic()
    logs = folder / "logs"
    make_folder(logs)
    with disk_errors(logs):
        write_npz(profile, logs / TIMING)
    versions = {**library_versions(python, plan.stack.dynamo), **machine_versions()}
    with Replayer(python, logs / "replay.log", folder) as replayer:
        step_s = float(profile.decode_itl_s.min())
        session = _Replay(plan, folder, logs / TIMING, step_s, replayer, versions, start)
        tests = session.prove()
        start.start_s = time.monotonic() - began
        failed: dict[str, str] = {}
        for cell in cells:
            progress.start_cell(cell.name, cell.cost.wall_s)
            try:
                verdict = session.measure(cell, tests[cell.policy.name])
            except (ReplayError, CellError) as error:
                failed[cell.name] = str(error)
                verdict = f"NOT REPLAYED: {error}".partition("\n")[0]
            progress.end_cell(verdict, lasting="NOT" in verdict)
            start.cells_s = time.monotonic() - began - start.start_s
        note_start(folder, start)
    if failed:
        name, why = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} of {len(cells)} cells could not be replayed; {name}: {why}",
            where=logs / "replay.log",
            remedy="run again: the others are kept; a cell that fails again is refused by the library",
        )
    pack(folder, plan, progress.say)


def _event_lag_s(policy: Policy) -> float:
    """How late the router hears of the workers' caches under a policy, model s."""
    return policy.kv_event_lag_s if isinstance(policy, KvPolicy) else 0.0


def _asked_of(policy: Policy) -> Asked:
    """A policy as its proof takes it."""
    tau, omega = policy.pair or (None, None)
    router = virtual.router(policy.pair)
    lag_s = _event_lag_s(policy)
    return Asked(name=policy.name, router=router, tau=tau, omega=omega, kv_event_lag_s=lag_s)


def check_table(plan: DeploymentPlan, profile: Profile) -> None:
    """Refuse a timing table that ends below the longest context: the library would invent the rest."""
    longest = float(profile.decode_context[-1])
    for workload in {cell.workload.name: cell.workload for cell in plan.measurable}.values():
        most = WorkloadSpec(
            output_tokens=workload.output_tokens,
            output_jitter=workload.output_jitter,
            output_slack=workload.output_slack,
        ).output_range[1]
        if workload.input_tokens + most > longest:
            raise UserError(
                f"workload {workload.name} has contexts of up to {workload.input_tokens + most} tokens, and "
                f"timing table {profile.name} ends at {longest:.0f}",
                where=plan.title,
                remedy="shorten prompts or answers, or make a table that goes further (make profiles)",
            )


def pack(folder: Path, plan: DeploymentPlan, say: Callable[[str], None]) -> None:
    """Put all cells of a deployment into one file, where they are not, and remove their folders."""
    names = [cell.name for cell in plan.measurable]
    if not set(names) <= set(packed_names(folder)):
        unpack(folder)
        traces = (read_cell(cell_directory(folder, name)) for name in names)
        if not write_pack(folder, [(trace.manifest, trace.table) for trace in traces]):
            say(f"{len(names)} cells stay folders: one file of them would have an index too long to be read")
            return
    remove_folders(folder, names)


def unpack(folder: Path) -> None:
    """Give the cells of a packed deployment their folders again, so that single ones can be measured anew."""
    names = packed_names(folder)
    for name in names:
        directory = cell_directory(folder, name)
        if not all((directory / file).exists() for file in (MANIFEST_FILE, TRACE_FILE)):
            (directory / MANIFEST_FILE).unlink(missing_ok=True)  # of a folder whose removal was cut off
            trace = read_cell(directory)
            make_folder(directory)
            seal(directory, trace.table, trace.manifest.model_copy(update={"seal": None}))
    if names:
        remove_pack(folder)


@dataclass
class _Replay:
    """A deployment whose cells are replayed."""

    plan: DeploymentPlan
    folder: Path
    timing: Path
    step_s: float
    """The shortest decode step of the timing table."""
    replayer: Replayer
    versions: Mapping[str, str | None]
    start: StackStart

    @property
    def pools(self) -> tuple[int, int]:
        return self.plan.topology.prefill, self.plan.topology.decode

    def engines(self, users: int, input_tokens: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of both pools' workers, for prompts of so many tokens; none: nothing is transferred."""
        limits, per_token = self.plan.limits.model_dump(), self.plan.model.kv_bytes_per_token
        link = virtual.link_gb_s(limits["kv_link_gb_s"], input_tokens, per_token, self.step_s)
        limits["kv_link_gb_s"] = link
        timing = self.timing.resolve()
        return (
            virtual.worker("prefill", timing, limits, per_token, users),
            virtual.worker("decode", timing, limits, per_token, users),
        )

    def prove(self) -> dict[str, dict[str, Any]]:
        """The routing test of each policy; raises UserError for one that takes no effect."""
        policies = [_asked_of(policy) for policy in self.plan.policies]
        try:
            tests = prove(self.replayer, policies, self.engines(1), self.pools)
        except ReplayError as error:
            raise UserError(
                f"the routing test could not be replayed: {error}",
                where=self.plan.title,
                remedy="see logs/replay.log of the deployment; this builds the library again: "
                f"{dynamo_of(self.plan.stack.dynamo).builds}",
            ) from None
        bad = [name for name, test in tests.items() if test.get("ok") is False]
        if bad:
            raise UserError(
                f"routing does not take effect (override_inert) under {', '.join(bad)}: "
                f"{tests[bad[0]]['checks']}",
                where=self.plan.title,
                remedy="the library ignores a setting of the router; build the version that is pinned: "
                f"{dynamo_of(self.plan.stack.dynamo).builds}",
            )
        return tests

    def measure(self, cell: Cell, test: dict[str, Any]) -> str:
        """Replay one cell until its gates are content or its attempts are spent; return its verdict."""
        directory = cell_directory(self.folder, cell.name)
        attempt = attempts_at(self.folder, cell)
        again = True
        while again:
            attempt += 1
            set_aside(directory)
            seed = seed_of(cell, attempt)
            began = time.time()
            outcome = self._simulate(cell, seed)
            gates = self._seal(directory, cell, seed, attempt, outcome, test, began)
            self.start.sealed += 1
            again = deserves_another(gates, attempt, self.plan.experiment.attempts)
        verdict = "valid" if gates.valid else "NOT VALID: " + ", ".join(gates.reasons)
        return f"{verdict}, {outcome.table.num_rows} requests"

    def _simulate(self, cell: Cell, seed: int) -> Outcome:
        tau, omega = cell.policy.pair or (None, None)
        every_s = cell.workload.send_every_s
        # Nobody waits for a slot: in an open loop as many may be in flight as come at all.
        most = cell.cost.requests if every_s else cell.concurrency
        told = VirtualCell(
            workload=workload_of(cell, seed),
            users=cell.concurrency,
            phases=phases_of(cell, self.plan.pool),
            stagger_s=stagger_s(cell),
            deadline_s=cell.timing.deadline_s,
            residence_s=cell.cost.residence_s,
            pools=self.pools,
            engines=self.engines(most, cell.workload.input_tokens),
            router=virtual.router(cell.policy.pair),
            kv_event_lag_s=_event_lag_s(cell.policy),
            labels={"policy": cell.policy.name, "tau": tau, "omega": omega},
        )
        if every_s:
            return simulate_open(told, cell.concurrency / every_s, self.replayer)
        return simulate(told, self.replayer)

    def _seal(
        self,
        directory: Path,
        cell: Cell,
        seed: int,
        attempt: int,
        outcome: Outcome,
        test: dict[str, Any],
        began: float,
    ) -> GateResult:
        make_folder(directory)
        manifest = self._manifest(cell, seed, attempt, outcome, test, began)
        gates = evaluate(CellTrace(directory, manifest, outcome.table), cell.timing.measure_s)
        seal(directory, outcome.table, manifest.model_copy(update={"gates": gates}))
        return gates

    def _manifest(
        self, cell: Cell, seed: int, attempt: int, outcome: Outcome, test: dict[str, Any], began: float
    ) -> Manifest:
        plan, phases = self.plan, outcome.phases
        return manifest_of(
            plan,
            cell,
            seed=seed,
            started_at=utc(began),
            launched_at=self.start.launched_at,
            duration_s=max(phases.measure_end, _last(outcome)),
            workers=tuple(
                WorkerEntry(role=role, index=index, instance_id=str(index))
                for role, count in (("prefill", plan.topology.prefill), ("decode", plan.topology.decode))
                for index in range(count)
            ),
            versions=dict(self.versions),
            client={
                "measure_s": phases.measure_end - phases.measure_start,
                "measure_start_s": phases.measure_start,
                "bounds_hit": list(phases.bounds_hit),
                "replay_s": outcome.replay_s,
                "replayed": outcome.replayed,
                "tries": outcome.tries,
                "took_s": time.time() - began,
            },
            routing_test=test,
            attempt=attempt,
        )


def _last(outcome: Outcome) -> float:
    """When the last request of the trace was over, model s."""
    import pyarrow.compute as pc

    return float(pc.max(outcome.table.column("t_end")).as_py())
