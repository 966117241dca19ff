"""Dynamo's own request trace of the real stack, imported: the same requests that the load client saw."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from anarchy.engines.spec import RoutingPolicy
from anarchy.ground.errors import UserError
from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.router import FixedRouter, Labels, Route
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.serving.placement import ProcessPlan
from anarchy.serving.stack import Deployment
from anarchy.trace.importers import Facts, detect, import_trace
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import RequestRecord
from tests.live.live_spec import MODEL, one_prefill_two_decode

DILATION = 2.0
CONCURRENCY = 8
DROPPED = "request trace bus lagged"
"""What a frontend logs when it drops records of its trace, which is best effort."""

pytestmark = pytest.mark.live


class TracedDeployment(Deployment):
    """A deployment whose frontends write request traces: one plain file, one in gzip segments."""

    def _launch_one(self, plan: ProcessPlan) -> None:
        formats = {"frontend-plain": "jsonl", "frontend-rolled": "jsonl_gz"}
        if plan.name in formats:
            traced = {
                "DYN_REQUEST_TRACE": "1",
                "DYN_REQUEST_TRACE_FILE_PATH": str(trace_path(self.spec.log_dir.parent, plan.name)),
                "DYN_REQUEST_TRACE_FILE_FORMAT": formats[plan.name],
                "DYN_REQUEST_TRACE_FILE_FLUSH_INTERVAL_MS": "100",
                "DYN_REQUEST_TRACE_FILE_ROLL_LINES": "60",
            }
            plan = dataclasses.replace(plan, environment={**plan.environment, **traced})
        super()._launch_one(plan)


def trace_path(folder: Path, frontend: str) -> Path:
    return folder / ("plain.jsonl" if frontend == "frontend-plain" else "rolled")


def load(deployment: Deployment, policy: str) -> list[RequestRecord]:
    """What the client saw in a short closed loop."""
    host, port = deployment.endpoints[policy]
    seen: list[RequestRecord] = []
    config = ClientConfig(
        (Endpoint(host, port, MODEL),),
        CONCURRENCY,
        PhasePlan(warmup_s=0.5, measure_s=1.5, measure_max_s=10.0, min_requests=40),
        deadline_s=20.0,
        stagger_s=0.2,
        dilation=DILATION,
        prefill_workers={str(w.instance_id): w.index for w in deployment.workers if w.role == "prefill"},
        decode_workers={str(w.instance_id): w.index for w in deployment.workers if w.role == "decode"},
    )
    router = FixedRouter(Route(Labels(policy, 0.0, 1.0)))
    report = run_client(config, Workload(WorkloadSpec(), seed=5), seen.append, router=router)
    assert report.status_counts == {"ok": len(seen)}, report.error_samples
    return seen


def until_written(source: Path, since_s: float, requests: int) -> None:
    """Wait for Dynamo's writer, which is behind on a busy machine; whoever asked looks what there is then."""
    ends = time.monotonic() + 30.0
    while time.monotonic() < ends:
        with contextlib.suppress(UserError):  # a segment or line that is still being written
            if (
                len(rows_since(import_trace(source, Facts(concurrency=CONCURRENCY, model=MODEL)), since_s))
                >= requests
            ):
                return
        time.sleep(0.5)


def rows_since(trace: CellTrace, wall_s: float) -> list[dict[str, Any]]:
    """Rows sent after a time of the wall clock: a start tries its frontends, and that is traced too."""
    zero = datetime.datetime.fromisoformat(trace.manifest.started_at).timestamp()
    return [row for row in trace.table.to_pylist() if zero + row["t_sent"] >= wall_s]


@pytest.mark.nightly
def test_dynamos_request_trace_is_the_load_that_was_sent(tmp_path: Path) -> None:
    policies = (RoutingPolicy("plain", 0.0, 1.0), RoutingPolicy("rolled", 0.7, 1.0))
    spec = one_prefill_two_decode(tmp_path, policies, dilation=DILATION)
    seen: dict[str, tuple[float, list[RequestRecord]]] = {}
    with TracedDeployment(spec) as deployment:
        ids = {(w.role, w.index): str(w.instance_id) for w in deployment.workers}
        for policy in ("plain", "rolled"):
            time.sleep(0.1)  # what came before is of an earlier millisecond
            started = time.time()
            seen[policy] = (started, load(deployment, policy))
        for policy, (started, records) in seen.items():
            until_written(trace_path(tmp_path, f"frontend-{policy}"), started, len(records))

    assert len(list(tmp_path.glob("rolled.*.jsonl.gz"))) > 2
    for policy, (started, records) in seen.items():
        source = trace_path(tmp_path, f"frontend-{policy}")
        assert detect(source) == "dynamo"
        trace = import_trace(source, Facts(concurrency=CONCURRENCY, model=MODEL))
        rows = rows_since(trace, started)
        if len(rows) < len(records):  # best effort, on a starved machine: Dynamo must have said so
            assert DROPPED in (tmp_path / "logs" / f"frontend-{policy}.log").read_text()
        assert {(w.role, w.instance_id) for w in trace.manifest.workers} == {
            (role, name) for (role, _), name in ids.items()
        }
        by_index = {w.index: w.instance_id for w in trace.manifest.workers if w.role == "decode"}
        assert Counter((by_index[row["decode_worker"]], row["output_tokens"]) for row in rows) <= Counter(
            (ids["decode", record.decode_worker], record.output_tokens) for record in records
        )
        assert {row["prefill_worker"] for row in rows} == {0}
        for row in rows:
            assert row["t_sent"] < row["t_last_token"]
            assert row["t_first_token"] is None
            assert (row["t_intended"], row["status"]) == (None, "ok")
