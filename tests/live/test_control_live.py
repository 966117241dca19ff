"""Both sources beside a real deployment under load: they see every request, and what the coarse one costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anarchy.control.detector import Detector, Regime
from anarchy.control.loop import ControlLoop, LoopSettings
from anarchy.control.pages import read_page
from anarchy.control.sources import ClientSource, PrometheusSource
from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.router import FixedRouter, Labels, Route
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.serving.frontend_api import Connection
from anarchy.serving.stack import Deployment
from anarchy.trace.control_log import ControllerLog, LogRecords, read_log
from anarchy.trace.schema import RequestRecord
from tests.live.live_spec import one_prefill_two_decode

DILATION = 2.0
PERIOD_S = 1.0
C = 48
ROUTER = FixedRouter(Route(Labels("static", 0.0, 1.0)))

pytestmark = [pytest.mark.live, pytest.mark.nightly]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("control")
    with Deployment(one_prefill_two_decode(folder, dilation=DILATION)) as running:
        yield running


def controlled(
    deployment: Deployment, folder: Path
) -> tuple[list[RequestRecord], dict[str, LogRecords], list[Regime]]:
    """Load it with a controller on each source beside it: records, logs, and what was switched."""
    host, port = deployment.endpoints["static"]
    client = ClientSource()
    sources: tuple[PrometheusSource | ClientSource, ...] = (
        PrometheusSource([f"http://{host}:{port}/metrics"], dilation=DILATION),
        client,
    )
    logs = [ControllerLog(folder / f"{source.name}.jsonl") for source in sources]
    switched: list[Regime] = []
    loops = [
        ControlLoop(
            source,
            # Any load at all is above a threshold of 1 ms: whether the switch happens is what is tested.
            LoopSettings(Detector(0.001, 1000.0), period_s=PERIOD_S, dilation=DILATION),
            log=log,
            on_switch=switched.append,
        )
        for source, log in zip(sources, logs, strict=True)
    ]
    threads = [threading.Thread(target=loop.run) for loop in loops]
    for thread in threads:
        thread.start()
    time.sleep(0.5)  # the first scrape is before the first request
    records: list[RequestRecord] = []

    def sink(record: RequestRecord) -> None:
        records.append(record)
        client.append(record)

    config = ClientConfig(
        (Endpoint(host, port, deployment.spec.model),),
        C,
        PhasePlan(warmup_s=1.0, measure_s=3.5, measure_max_s=6.0),
        deadline_s=20.0,
        stagger_s=0.4,
        dilation=DILATION,
    )
    run_client(
        config, Workload(WorkloadSpec(), seed=5), sink, router=ROUTER, watch=deployment.raise_if_faulty
    )
    time.sleep(1.5 * PERIOD_S * DILATION)  # one more poll takes what is left
    for loop in loops:
        loop.stop()
    for thread in threads:
        thread.join(60.0)
        assert not thread.is_alive()
    for log in logs:
        log.close()
    return records, {log.path.stem: read_log(log.path) for log in logs}, switched


def test_both_sources_see_every_request_and_switch(deployment: Deployment, tmp_path: Path) -> None:
    records, logs, switched = controlled(deployment, tmp_path)
    assert {record.status for record in records} == {"ok"}
    for name, log in logs.items():
        polls = log.of("poll")
        assert sum(poll["requests"] for poll in polls) == len(records), name
        assert [switch["to"] for switch in log.of("switch")] == ["transition"], name
        assert log.of("end")[0]["reason"] == "stopped"
    assert switched == [Regime.TRANSITION] * 2


def test_the_histogram_s_bracket_begins_below_the_client_s_p99(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Prefill ends before the client has its first token, so each TTFT of the frontend is the shorter one."""
    host, port = deployment.endpoints["static"]
    coarse = PrometheusSource([f"http://{host}:{port}/metrics"], dilation=DILATION)
    exact = ClientSource()
    coarse.begin(0.0)
    exact.begin(0.0)
    config = ClientConfig(
        (Endpoint(host, port, deployment.spec.model),),
        C,
        PhasePlan(warmup_s=0.5, measure_s=2.0, measure_max_s=4.0),
        deadline_s=20.0,
        stagger_s=0.4,
        dilation=DILATION,
    )
    run_client(config, Workload(WorkloadSpec(), seed=6), exact.append, router=ROUTER)
    seen, true = coarse.poll(5.0), exact.poll(5.0)
    assert seen.requests == true.requests
    assert seen.p99 is not None
    assert true.p99 is not None
    assert seen.bracket is not None
    lower, upper = seen.bracket
    assert lower <= seen.p99 <= upper
    assert lower < true.p99
    with Connection((host, port)) as frontend:
        page = read_page(frontend.metrics())
    (histogram,) = page.histograms.values()
    assert page.process, "Dynamo's page names the process that wrote it"
    print(
        f"\nC = {C}, {seen.requests} requests: client P99 {true.p99 * 1e3:.1f} ms, histogram "
        f"{seen.p99 * 1e3:.1f} ms in ({lower * 1e3:.1f}, {upper * 1e3:.1f}]; edges {histogram.edges} s (wall)"
    )
