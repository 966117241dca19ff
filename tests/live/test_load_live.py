"""The load client against the real serving stack with mock engines."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator

import pytest

from anarchy.config.loads import Stage
from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.report import ClientReport
from anarchy.load.router import FixedRouter, Labels, Route
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.serving.stack import Deployment
from anarchy.trace.schema import RequestRecord
from tests.live.live_spec import one_prefill_two_decode

DILATION = 2.0
LABELS = Labels("static", 0.0, 1.0)
ROUTE = Route(LABELS)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("load")
    with Deployment(one_prefill_two_decode(folder, dilation=DILATION)) as running:
        yield running


def run_cell(
    deployment: Deployment,
    workload: Workload,
    concurrency: int,
    *,
    min_requests: int = 0,
    route: Route = ROUTE,
    stages: tuple[Stage, ...] = (),
) -> tuple[ClientReport, list[RequestRecord]]:
    host, port = deployment.endpoints["static"]
    records: list[RequestRecord] = []
    config = ClientConfig(
        (Endpoint(host, port, deployment.spec.model),),
        concurrency,
        None if stages else PhasePlan(0.5, measure_s=1.5, measure_max_s=10.0, min_requests=min_requests),
        stages,
        deadline_s=20.0,
        stagger_s=0.4,
        dilation=DILATION,
        prefill_workers=index_of(deployment, "prefill"),
        decode_workers=index_of(deployment, "decode"),
    )
    watch = deployment.raise_if_faulty
    report = run_client(config, workload, records.append, router=FixedRouter(route), watch=watch)
    return report, records


def index_of(deployment: Deployment, role: str) -> dict[str, int]:
    return {str(worker.instance_id): worker.index for worker in deployment.workers if worker.role == role}


def test_unique_prompts_get_exactly_what_they_asked_for(deployment: Deployment) -> None:
    workload = Workload(WorkloadSpec(), seed=11)
    report, records = run_cell(deployment, workload, 16, min_requests=60)
    assert report.status_counts == {"ok": len(records)}, report.error_samples
    assert report.measured >= 60
    for record in records:
        request = workload.request(record.user, int(record.request_id.split("-")[1]))
        assert record.output_tokens == request.output_tokens
        assert record.cached_tokens == 0, "unique prompts share no prefix"
        assert record.t_first_token is not None
        assert record.t_last_token is not None
        assert record.t_intended <= record.t_sent < record.t_first_token < record.t_last_token
    assert {record.prefill_worker for record in records} == {0}
    by_worker = Counter(record.decode_worker for record in records)
    assert set(by_worker) == {0, 1}
    assert min(by_worker.values()) > len(records) / 4


def test_templates_are_found_in_the_prefix_cache(deployment: Deployment) -> None:
    workload = Workload(WorkloadSpec(templates=3), seed=12)
    report, records = run_cell(deployment, workload, 8)
    assert report.status_counts == {"ok": len(records)}, report.error_samples
    assert {record.template for record in records} == {0, 1, 2}
    cached = Counter(record.cached_tokens for record in records if record.phase == "measure")
    assert cached.keys() == {128}, "the prefill worker's, not the decode worker's, which usage tells"


def test_pinned_requests_are_served_where_they_were_pinned_to(deployment: Deployment) -> None:
    ids = {(worker.role, worker.index): worker.instance_id for worker in deployment.workers}
    for index in (0, 1):
        route = Route(LABELS, prefill_id=ids["prefill", 0], decode_id=ids["decode", index])
        report, records = run_cell(deployment, Workload(WorkloadSpec(), seed=14), 8, route=route)
        assert report.status_counts == {"ok": len(records)}, report.error_samples
        assert {record.decode_worker for record in records} == {index}


def test_a_request_pinned_to_a_worker_that_is_gone_fails_and_does_not_hang(deployment: Deployment) -> None:
    route = Route(LABELS, prefill_id=deployment.workers[0].instance_id, decode_id=4711)
    report, records = run_cell(deployment, Workload(WorkloadSpec(), seed=15), 4, route=route)
    assert set(report.status_counts) <= {"http_400", "http_404", "http_500", "http_503"}, report.error_samples
    assert len(records) < 4 * 12, "users back off"


def test_staged_load_on_the_real_stack(deployment: Deployment) -> None:
    stages = (Stage("low", 4, 0.5, 2.0), Stage("high", 32, 0.5, 2.0), Stage("low again", 4, 0.5, 2.0))
    report, records = run_cell(deployment, Workload(WorkloadSpec(), seed=16), 32, stages=stages)
    assert report.status_counts == {"ok": len(records)}, report.error_samples
    assert [span.concurrency for span in report.stages] == [4, 32, 4]
    assert [span.start_s for span in report.stages] == [0.0, *(span.end_s for span in report.stages[:-1])]
    assert report.bounds_hit == ()
    for span, stage in zip(report.stages, stages, strict=True):
        assert span.settled_s - span.start_s >= stage.settle_s
        assert span.end_s - span.settled_s >= stage.seconds
        sent = [record for record in records if span.settled_s <= record.t_sent <= span.end_s]
        assert {record.user for record in sent} == set(range(span.concurrency))


def test_the_client_tells_what_it_cost_and_how_late_it_was(deployment: Deployment) -> None:
    """How little and how late is measured by `make bench-client`."""
    workload = Workload(WorkloadSpec(output_jitter=0.0), seed=13)
    report, records = run_cell(deployment, workload, 64, min_requests=200)
    assert report.status_counts == {"ok": len(records)}, report.error_samples
    assert report.cpu_per_request_s == pytest.approx(report.cpu_s / len(records))
    assert report.cpu_measure_s is not None
    assert 0 < report.cpu_measure_s < report.cpu_s
    assert report.cpu_share_measure == pytest.approx(report.cpu_measure_s / report.phase_wall_s["measure"])
    delays = [record.t_sent - record.t_intended for record in records if record.phase == "measure"]
    assert report.schedule_delay.n == report.measured == len(delays) >= 200
    assert report.schedule_delay.p50 == pytest.approx(statistics.median(delays))
    assert report.schedule_delay.max == pytest.approx(max(delays))
