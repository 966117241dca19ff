"""Small cells for the tests of the load client, and a router that writes down what it is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.report import ClientReport
from anarchy.load.router import FixedRouter, Labels, Route, Router
from anarchy.load.workload import Request, Workload, WorkloadSpec
from anarchy.trace.schema import RequestRecord
from tests.helpers.load_fault_server import DECODE_IDS, PREFILL_IDS, FaultServer, Reply

if TYPE_CHECKING:
    from anarchy.config.loads import Stage

WORKLOAD = Workload(WorkloadSpec(input_tokens=16, output_tokens=10), seed=3)
SLOW = Reply(delay=0.002)
LABELS = Labels("kv", 0.7, 1.0)
FIXED = FixedRouter(Route(LABELS))


def config(*ports: int, concurrency: int = 4, stages: tuple[Stage, ...] = (), **changes: Any) -> ClientConfig:
    """A cell of less than a second; one endpoint a port."""
    phases = {"warmup_s": 0.2, "measure_s": 0.4, "measure_max_s": 2.0} | changes.pop("phases", {})
    fields: dict[str, Any] = {
        "deadline_s": 5.0,
        "stagger_s": 0.1,
        "prefill_workers": {str(PREFILL_IDS[0]): 0},
        "decode_workers": {str(worker): index for index, worker in enumerate(DECODE_IDS)},
    }
    return ClientConfig(
        tuple(Endpoint("127.0.0.1", port, "m") for port in ports),
        concurrency,
        None if stages else PhasePlan(**phases),
        stages,
        **(fields | changes),
    )


def run_cell(
    server: FaultServer,
    *others: FaultServer,
    router: Router = FIXED,
    workload: Workload = WORKLOAD,
    **changes: Any,
) -> tuple[ClientReport, list[RequestRecord]]:
    """Run a cell against servers, and return the report and what the sink took."""
    records: list[RequestRecord] = []
    cell = config(*(each.port for each in (server, *others)), **changes)
    return run_client(cell, workload, records.append, router=router), records


def late_s(report: ClientReport) -> float:
    """How late anything in a cell may be: well above what its own ticker saw of the machine, model s."""
    assert report.loop_lag.max is not None
    return 0.1 + 3 * report.loop_lag.max


class NotingRouter:
    """Routes as a function says, and writes down every call."""

    def __init__(self, choose: Any = lambda number, t: Route(LABELS), takes_s: float = 0.0) -> None:
        self.choose = choose
        self.takes_s = takes_s
        self.asked: list[tuple[str, float]] = []
        self.routed: list[str] = []
        self.first: list[str] = []
        self.endings: list[tuple[str, RequestRecord]] = []
        self.calls: list[str] = []

    async def open(self) -> None:
        self.calls.append("open")

    async def route(self, request_id: str, request: Request, t: float) -> Route:
        self.asked.append((request_id, t))
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        route = self.choose(len(self.asked) - 1, t)
        self.routed.append(request_id)
        assert isinstance(route, Route)
        return route

    def first_token(self, request_id: str) -> None:
        assert request_id in self.routed
        assert request_id not in self.ended_ids
        self.first.append(request_id)

    def ended(self, request_id: str, record: RequestRecord) -> None:
        assert record.request_id == request_id
        self.endings.append((request_id, record))

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.calls.append("close")

    @property
    def ended_ids(self) -> list[str]:
        return [request_id for request_id, _ in self.endings]
