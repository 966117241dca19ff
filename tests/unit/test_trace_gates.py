"""Every gate passes on the clean cell, fails on one made to fail it, and turns at its threshold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_samples import judged, manifest, record, records

from anarchy.trace import gates
from anarchy.trace.schema import GateResult, RequestRecord, WorkerCount
from anarchy.trace.writer import write_json


def change(rows: list[RequestRecord], indices: range, **changes: Any) -> list[RequestRecord]:
    return [dataclasses.replace(row, **changes) if n in indices else row for n, row in enumerate(rows)]


def slower(rows: list[RequestRecord], indices: range, extra: float) -> list[RequestRecord]:
    """Delay the tokens of some requests."""
    return [
        dataclasses.replace(
            row, t_first_token=row.t_first_token + extra, t_last_token=row.t_last_token + extra
        )
        if n in indices and row.t_first_token is not None and row.t_last_token is not None
        else row
        for n, row in enumerate(rows)
    ]


def client(**changes: Any) -> dict[str, Any]:
    return {**manifest().client, **changes}


def test_the_clean_cell_passes_every_gate(tmp_path: Path):
    result = judged(tmp_path, records())
    assert result.valid, result
    assert result.reasons == ()
    assert result.measures["error_share"] == 0.0
    assert result.measures["windows"] == 90
    assert result.measures["fewest_requests_of_a_worker"] == 100
    write_json(tmp_path / "gates.json", result.model_dump(mode="json"))


# 200 requests, 10 of them warm-up and 10 cool-down: 180 measured. 400 give 360, one in 200 is the limit.
MEASURED_400 = range(20, 380)


@pytest.mark.parametrize(("failed", "fails"), [(0, False), (1, False), (2, True)])
def test_errors_at_the_threshold(tmp_path: Path, failed: int, fails: bool):
    rows = change(records(400), range(20, 20 + failed), status="http_503")
    result = judged(tmp_path, rows)
    assert ("errors" in result.reasons) is fails
    assert result.measures["error_share"] == pytest.approx(failed / 360)


def test_errors_just_at_half_a_percent_pass(tmp_path: Path):
    rows = [record(n, status="timeout" if n in (5, 6) else "ok") for n in range(400)]
    result = judged(tmp_path, rows)
    assert result.measures["error_share"] == gates.MAX_ERROR_SHARE
    assert "errors" not in result.reasons


def test_errors_while_warming_up_do_not_count(tmp_path: Path):
    rows = change(records(400), range(20), status="http_503")
    assert judged(tmp_path, rows).valid


@pytest.mark.parametrize("changes", [{"output_tokens": 0}, {"status": "zero_tokens"}])
def test_zero_tokens(tmp_path: Path, changes: dict[str, Any]):
    result = judged(tmp_path, change(records(2000), range(500, 501), **changes))
    assert result.reasons == ("zero_tokens",)
    assert result.measures["zero_token_requests"] == 1


def test_zero_tokens_when_nothing_was_measured(tmp_path: Path):
    result = judged(tmp_path, change(records(), range(200), phase="warmup"))
    assert set(result.reasons) == {"zero_tokens", "short"}


def test_an_empty_cell_fails_without_a_traceback(tmp_path: Path):
    result = judged(tmp_path, [])
    assert set(result.reasons) == {"zero_tokens", "short"}


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_worker_silent_in_either_pool(tmp_path: Path, role: str):
    rows = change(records(), range(200), **{f"{role}_worker": 0})
    pools = WorkerCount(prefill=2, decode=2)
    other = {"prefill": "decode", "decode": "prefill"}[role]
    rows = [dataclasses.replace(row, **{f"{other}_worker": n % 2}) for n, row in enumerate(rows)]
    result = judged(tmp_path, rows, n_workers=pools)
    assert result.reasons == ("worker_silent",)
    assert result.measures["fewest_requests_of_a_worker"] == 0


@pytest.mark.parametrize(("count", "fails"), [(59, False), (60, True)])
def test_worker_silent_at_the_threshold(tmp_path: Path, count: int, fails: bool):
    assert count // 2 in (gates.SILENT_AFTER_PER_WORKER - 1, gates.SILENT_AFTER_PER_WORKER)
    rows = [record(n, decode_worker=0) for n in range(count)]
    assert ("worker_silent" in judged(tmp_path, rows).reasons) is fails


def test_one_request_is_not_silence(tmp_path: Path):
    rows = [record(n, decode_worker=int(n == 150)) for n in range(200)]
    assert judged(tmp_path, rows).valid


def test_a_worker_whose_requests_all_failed_is_silent(tmp_path: Path):
    rows = [record(n, status="ok" if n % 2 == 0 else "disconnect") for n in range(200)]
    assert "worker_silent" in judged(tmp_path, rows).reasons


@pytest.mark.parametrize(
    ("key", "limit"),
    [
        ("cpu_share", gates.MAX_CLIENT_CPU),
        ("host_cpu_share", gates.MAX_HOST_CPU),
        # TTFT is 0.101 model seconds, the dilation 2: a tenth of it is 0.0202 wall seconds.
        ("loop_lag_p99_s", 0.0202),
        ("schedule_delay_p99_s", 0.0202),
    ],
)
def test_client_bound_at_the_threshold(tmp_path: Path, key: str, limit: float):
    assert judged(tmp_path / "at", records(), client=client(**{key: limit - 1e-9})).valid
    result = judged(tmp_path / "past", records(), client=client(**{key: limit + 1e-6}))
    assert result.reasons == ("client_bound",)


def test_delays_below_the_floor_are_never_blamed(tmp_path: Path):
    quick = [record(n, t_first_token=0.1 * n + 0.002) for n in range(200)]
    at = judged(tmp_path / "at", quick, client=client(loop_lag_p99_s=gates.MAX_DELAY_FLOOR_S))
    assert at.valid
    assert at.measures["delay_allowed_s"] == gates.MAX_DELAY_FLOOR_S
    past = judged(tmp_path / "past", quick, client=client(loop_lag_p99_s=gates.MAX_DELAY_FLOOR_S + 1e-6))
    assert past.reasons == ("client_bound",)


def test_a_cell_that_measured_nothing_does_not_blame_the_client(tmp_path: Path):
    rows = change(records(), range(200), phase="warmup")
    assert "client_bound" not in judged(tmp_path, rows, client=client(loop_lag_p99_s=0.004)).reasons


def test_somebody_elses_client_says_nothing_and_is_not_blamed(tmp_path: Path):
    result = judged(tmp_path, records(), client={})
    assert result.valid
    assert result.measures["client_cpu_share"] is None


@pytest.mark.parametrize(("measured", "fails"), [(3, True), (4, False)])
def test_short_by_windows(tmp_path: Path, measured: int, fails: bool):
    """Two workers make a window of two requests; fewer than two windows are too few."""
    result = judged(tmp_path, [record(n) for n in range(measured)])
    assert (result.reasons == ("short",)) is fails
    assert result.measures["windows"] == measured // 2


@pytest.mark.parametrize(("seconds", "fails"), [(19.0, False), (18.99, True), (40.0, False)])
def test_short_by_time(tmp_path: Path, seconds: float, fails: bool):
    result = judged(tmp_path, records(), client=client(measure_s=seconds))
    assert (result.reasons == ("short",)) is fails


def test_not_steady_at_the_threshold(tmp_path: Path):
    """TTFT from intent is 0.101 s; the limit lets the second half be half as much again."""
    second_half = range(100, 190)
    at = judged(tmp_path / "at", slower(records(), second_half, 0.0504))
    assert at.valid
    assert at.measures["drift"] == pytest.approx(1.499, abs=1e-3)
    past = judged(tmp_path / "past", slower(records(), second_half, 0.0506))
    assert past.reasons == ("not_steady",)


def test_not_steady_when_latency_falls_as_well(tmp_path: Path):
    assert judged(tmp_path, slower(records(), range(10, 100), 0.2)).reasons == ("not_steady",)


@pytest.mark.parametrize(("count", "asked"), [(59, False), (60, True)])
def test_not_steady_is_asked_of_cells_with_enough_requests(tmp_path: Path, count: int, asked: bool):
    assert gates.DRIFT_MIN_REQUESTS == 60
    result = judged(tmp_path, slower([record(n) for n in range(count)], range(count // 2, count), 5.0))
    assert ("not_steady" in result.reasons) is asked
    assert (result.measures["drift"] is not None) is asked


@pytest.mark.parametrize("proof", [False, np.False_])
def test_override_inert(tmp_path: Path, proof: object):
    result = judged(tmp_path, records(), routing_test={"ok": proof, "p_value": 1e-9})
    assert result.reasons == ("override_inert",)
    assert result.measures["routing_p_value"] == 1e-9


@pytest.mark.parametrize("proof", [{}, {"ok": None}, {"ok": True}])
def test_without_a_failed_proof_the_override_is_not_inert(tmp_path: Path, proof: dict[str, object]):
    assert judged(tmp_path, records(), routing_test=proof).valid


def test_every_failed_gate_is_named(tmp_path: Path):
    rows = change(slower(records(), range(100, 190), 1.0), range(20, 40), status="http_503")
    result = judged(tmp_path, rows, client=client(cpu_share=1.0, measure_s=1.0), routing_test={"ok": False})
    assert result.reasons == ("errors", "client_bound", "short", "not_steady", "override_inert")
    assert not result.valid


def test_only_gates_that_speak_of_the_machine_allow_another_attempt():
    assert {"not_steady", "override_inert"}.isdisjoint(gates.MACHINE_GATES)
    assert isinstance(GateResult(valid=True).reasons, tuple)
