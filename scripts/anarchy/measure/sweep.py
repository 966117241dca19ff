"""Measure one deployment's ladder of cells: start, prove, measure and seal each cell, stop.

Resumable by cell: a cell is done when its sealed trace matches its plan hash, so a run that was cut off
loses the running cell and no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anarchy.cluster.allocation import Allocation, allocate
from anarchy.cluster.engine_needs import check_serving, served_model
from anarchy.cluster.local import this_machine
from anarchy.config import AdaptivePolicy, Policy
from anarchy.control.detector import PARAMETERS
from anarchy.engines.devices import device_seen
from anarchy.engines.dynamo import USUAL
from anarchy.engines.engine import ServedModel
from anarchy.engines.registry import engine_of, served_by
from anarchy.engines.spec import DeploymentSpec, slots
from anarchy.gates.registry import machine_gates
from anarchy.ground import preflight
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, write_json
from anarchy.ground.layout import cell_directory
from anarchy.measure.progress import SweepProgress
from anarchy.measure.recording import recorded
from anarchy.measure.replay import check_table, pack, replay_all
from anarchy.measure.session import Session
from anarchy.plan.knee import PLAN_FILE, plan_document, read_plan
from anarchy.plan.launches import Cell, DeploymentPlan, UnboundDeployment, derive_seed
from anarchy.plan.workbench import Workbench
from anarchy.routing.frontends import frontends
from anarchy.serving.stack import SCRATCH_PREFIX, Deployment
from anarchy.serving.versions import serving_packages
from anarchy.telemetry.fingerprint import commit_words
from anarchy.telemetry.running_on import running_on, wall_span
from anarchy.trace.reader import read_manifest
from anarchy.trace.schema import Manifest
from anarchy.trace.starts import StackStart, note_start, read_starts, utc
from anarchy.trace.state import CellState, cell_state

RUNNING_BYTES_PER_REQUEST = 1_600
"""Disk of one request while its deployment runs: its JSON row, and two lines in the frontend's log, which
Dynamo writes whatever the log level; sealed and compressed they take a tenth (measured)."""
COMPRESS_ABOVE = 1_000_000
"""Logs above so many bytes are compressed when their deployment has ended."""
LOGS_FOLDER = "logs"


def sweep(
    bench: Workbench, deployment: UnboundDeployment, *, expect: str | None = None, log: Path | None = None
) -> Path:
    """Bring every cell of a deployment to a sealed trace and return the path of its summary.

    Its loads are bound to the knee here, and what they come to is written down before the first cell; with
    ``expect``, another plan hash than this is refused. What is said goes to stderr and, with ``log``, to that
    file as well. Raises UserError for whatever can be known before the start, and for a deployment that
    cannot be started, cannot prove itself or dies; cells sealed by then are kept.
    """
    folder = bench.folder(deployment)
    with _only_one(folder):
        plan = _as_expected(bench.bound(deployment), expect)
        for left in folder.glob(f"{SCRATCH_PREFIX}*"):  # of a node that lost its power
            shutil.rmtree(left, ignore_errors=True)
        open_cells = [cell for cell in plan.measurable if is_open(folder, cell)]
        _write_plan(bench, deployment, plan, folder)
        if open_cells:
            _check_before_start(bench, plan, folder, open_cells)
            _measure(bench, plan, folder, open_cells, log)
        elif engine_of(plan.engine).replayed:
            _pack_left(plan, folder, log)
        summary = bench.layout.summary(*plan.key)
        write_json(summary, _summarise(plan, folder))
        return summary


def _pack_left(plan: DeploymentPlan, folder: Path, log: Path | None) -> None:
    """Pack cells that a kill left sealed and not packed."""
    cells = len(plan.measurable)
    with SweepProgress(plan.title, cells, cells, 0.0, 0.0, log) as progress:
        pack(folder, plan, progress.say)


def _as_expected(plan: DeploymentPlan, expected: str | None) -> DeploymentPlan:
    """The plan, if it is the one that the caller knows: a job may have waited in a queue meanwhile."""
    if expected and plan.plan_hash != expected:
        raise UserError(
            "another plan would be measured than the one submitted: the knee's loads.json, or the code, "
            "changed since",
            where=plan.title,
            remedy="run snakemake again; cells that the change does not concern are kept",
        )
    return plan


def _write_plan(bench: Workbench, deployment: UnboundDeployment, plan: DeploymentPlan, folder: Path) -> None:
    """Seal what the loads were bound to, before the first cell; what cells were bound to already stays."""
    if read_plan(folder / PLAN_FILE).get("plan_hash") == plan.plan_hash:
        return
    measured = bench.knee_source(deployment) == "measured"
    loads = bench.layout.loads(*deployment.key[1:3]) if measured else None
    document = plan_document(plan, bench.run.digest, bench.knee_origin(deployment), loads)
    write_json(folder / PLAN_FILE, document)


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
        return gates is not None and set(gates.reasons) <= machine_gates()
    return state is not CellState.DONE


def _check_before_start(bench: Workbench, plan: DeploymentPlan, folder: Path, cells: list[Cell]) -> None:
    check_serving(bench.site, plan.engine, plan.stack.dynamo)
    if engine_of(plan.engine).replayed:
        check_table(plan, bench.profiles[plan.model.profile])
        return
    served_by(plan.engine).settings(_served_model(bench, plan), None)
    preflight.check_open_files(max(cell.concurrency * _frontends(cell.policy) for cell in cells))
    requests = sum(cell.cost.requests for cell in cells)
    preflight.check_disk(folder, requests * RUNNING_BYTES_PER_REQUEST + 50_000_000)


def _frontends(policy: Policy) -> int:
    """To how many frontends a user's requests may go, each over a connection of its own."""
    return len(PARAMETERS) if isinstance(policy, AdaptivePolicy) and policy.way == "builtin" else 1


def _measure(
    bench: Workbench, plan: DeploymentPlan, folder: Path, cells: list[Cell], log: Path | None
) -> None:
    """Start the deployment and measure ``cells``, each again when a gate that speaks of the machine fails."""
    predicted = sum(cell.cost.wall_s for cell in cells)
    largest = max(cell.concurrency for cell in cells)
    done = len(plan.measurable) - len(cells)
    elsewhere = _elsewhere_s(bench, plan)
    stack = "" if plan.stack.dynamo == USUAL else plan.stack.dynamo
    start = StackStart(
        utc(time.time()), plan.plan_hash, engine=plan.engine, stack=stack, commit=commit_words()
    )
    started = time.monotonic()
    with SweepProgress(plan.title, len(plan.measurable), done, predicted, elsewhere, log) as progress:
        doing = "replaying" if engine_of(plan.engine).replayed else "starting"
        progress.say(
            f"{doing} {plan.topology.prefill} prefill and {plan.topology.decode} decode workers, "
            f"{len(cells)} of {len(plan.measurable)} cells to measure{_knee_words(bench, plan)}"
        )
        note_start(folder, start)
        if engine_of(plan.engine).replayed:
            with _timed(start, folder, started):
                replay_all(plan, bench.profiles[plan.model.profile], folder, cells, progress, start)
            return
        allocation = (
            this_machine(plan, bench.site)
            if bench.cluster is None
            else allocate(plan, bench.cluster, folder, progress.say)
        )
        start.gpus = len(allocation.nodes) * allocation.gpus_per_node
        with _timed(start, folder, started):
            spec = specify(bench, plan, folder / LOGS_FOLDER, allocation)
            with Deployment(spec, max_concurrency=largest, launcher=allocation.launcher) as deployment:
                session = Session(plan, folder, deployment, progress, start)
                proof = session.prove()
                start.start_s = time.monotonic() - started
                progress.say(f"healthy after {start.start_s:.1f} s, {proof}")
                with recorded(deployment, folder) as nodes:
                    session.device = device_seen(plan.engine, bench.site.device if bench.site else "", nodes)
                    _refuse_a_mixture(plan, folder, session.device, deployment.versions)
                    session.measure_all(cells, started)
    _compress_logs(folder / LOGS_FOLDER)


@contextlib.contextmanager
def _timed(start: StackStart, folder: Path, started: float) -> Iterator[None]:
    """Note what a start took, also one that failed: its time was held all the same."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(UserError, OSError):  # a full disk, say: the failure itself is what is told
            _note_end(start, folder, started)
        raise
    _note_end(start, folder, started)


def _note_end(start: StackStart, folder: Path, started: float) -> None:
    took = time.monotonic() - started
    if start.start_s:
        start.stop_s = took - start.start_s - start.cells_s
    else:
        start.start_s = took  # it never came up
    note_start(folder, start)


def _refuse_a_mixture(
    plan: DeploymentPlan, folder: Path, device: str | None, versions: Mapping[str, str | None]
) -> None:
    """Raise UserError where sealed cells of this plan were measured on another device or serving stack.

    The plan's hash knows how a site names these, not what lies behind the name.
    """
    for cell in plan.measurable:
        directory = cell_directory(folder, cell.name)
        if cell_state(directory, cell.plan_hash) is not CellState.DONE:
            continue
        sealed = read_manifest(directory)
        before = {"device": sealed.device, **{name: sealed.versions.get(name) for name in serving_packages()}}
        now = {"device": device, **{name: versions.get(name) for name in serving_packages()}}
        if before != now:
            words = (f"{name} {before[name]}, now {now[name]}" for name in now if before[name] != now[name])
            raise UserError(
                f"cells of this deployment were measured on something else: {', '.join(words)}",
                where=directory,
                remedy="go on with the same nodes and stack, or move this deployment's folder away",
            )


def _elsewhere_s(bench: Workbench, plan: DeploymentPlan) -> float:
    """Predicted wall seconds of the run's other deployments that are not complete."""
    seconds = 0.0
    for other in bench.deployments:
        if other.key == plan.key or bench.layout.summary(*other.key).exists():
            continue
        seconds += _left_s(bench, other)
    return seconds


def _left_s(bench: Workbench, other: UnboundDeployment) -> float:
    """Predicted wall seconds of a deployment's open cells; of all where its knee or cells cannot be read."""
    try:
        cells = bench.bound(other).measurable
        open_cells = [cell for cell in cells if is_open(bench.folder(other), cell)]
    except (UserError, OSError):  # another sweep may be writing there
        return bench.predicted(other).wall_s
    return other.start_s + sum(cell.cost.wall_s for cell in open_cells)


def _knee_words(bench: Workbench, plan: DeploymentPlan) -> str:
    """Whose knee the loads are multiples of, for the log."""
    if plan.knee.value is None:
        return ""
    return f"; loads are multiples of the {bench.choices.knees} knee, C = {plan.knee.value}"


def _compress_logs(logs: Path) -> None:
    for log in logs.glob("*.log"):
        if log.stat().st_size > COMPRESS_ABOVE:
            with disk_errors(logs), log.open("rb") as plain, gzip.open(f"{log}.gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            log.unlink()


def specify(
    bench: Workbench, plan: DeploymentPlan, logs: Path, allocation: Allocation | None = None
) -> DeploymentSpec:
    """Translate a planned deployment into what the serving stack is told.

    What the engine reads is written into ``logs``, where every process's log goes as well.
    """
    largest = max(cell.concurrency for cell in plan.cells)
    limits = plan.limits
    return DeploymentSpec(
        model=plan.model.name,
        prefill=plan.topology.prefill,
        decode=plan.topology.decode,
        settings=served_by(plan.engine).settings(_served_model(bench, plan), logs),
        max_num_seqs=slots(largest),
        decode_max_num_seqs=limits.decode_max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        num_gpu_blocks=limits.num_gpu_blocks,
        policies=frontends(plan.policies),
        selector=any(policy.way == "pinned" for policy in plan.policies),
        log_dir=logs,
        seed=derive_seed(plan.plan_hash, "self-test"),
        stack=plan.stack.dynamo,
        assume_kv_reuse=plan.assume_kv_reuse,
        **(allocation or this_machine(plan, bench.site)).spec_fields,
    )


def _served_model(bench: Workbench, plan: DeploymentPlan) -> ServedModel:
    return served_model(bench.site, plan, bench.profiles[plan.model.profile], bench.choices.site)


def _summarise(plan: DeploymentPlan, folder: Path) -> dict[str, Any]:
    """What a finished deployment was; the cells speak for themselves in their manifests."""
    manifests = [read_manifest(cell_directory(folder, cell.name)) for cell in plan.measurable]
    unmeasured = {"no_knee": plan.knee.reason} if len(manifests) < len(plan.cells) else {}
    machines = running_on(folder, [span for of in manifests if (span := wall_span(of)) is not None])
    return {
        "deployment": plan.title,
        "plan_hash": plan.plan_hash,
        **unmeasured,
        **({} if machines is None else {"running_on": machines}),
        "predicted_s": plan.wall_s,
        "sittings": read_starts(folder, plan.plan_hash, {of.launched_at for of in manifests}),
        "routing_test": routing_tests(manifests),
        "cells": {
            manifest.cell: {"valid": manifest.gates.valid, "reasons": manifest.gates.reasons}
            for manifest in manifests
            if manifest.gates is not None
        },
    }


def routing_tests(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """The proofs of a deployment's ways to route as one: it holds where each of them does."""
    # Those that have proven something last: beside a proof, a baseline's cell has none to tell.
    told = sorted(manifests, key=lambda manifest: "ok" in manifest.routing_test)
    each = {manifest.way: manifest.routing_test for manifest in told}
    tested = [test for test in each.values() if "ok" in test]
    if not each:
        return {"reason": "nothing was measured"}
    if len(tested) < 2:
        return next(iter(tested or each.values()))
    return {
        "ok": all(test["ok"] for test in tested),
        "p_value": min(test["p_value"] for test in tested),
        "checks": [check for test in tested for check in test["checks"]],
    }


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the deployment's folder against a second sweep; the kernel frees it however this one ends."""
    make_folder(folder)
    with disk_errors(folder):
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
