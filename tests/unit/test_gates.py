"""Every gate passes on the clean cell, fails on one made to fail it, and turns at its threshold."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anarchy.gates.client_bound import MAX_CLIENT_CPU, MAX_DELAY_FLOOR_S, MAX_HOST_CPU
from anarchy.gates.controller_blind import MAX_BLIND_SHARE
from anarchy.gates.errors import MAX_ERROR_SHARE
from anarchy.gates.gate import measured_parts
from anarchy.gates.not_steady import DRIFT_MIN_REQUESTS, MAX_DRIFT, not_steady
from anarchy.gates.registry import gates, machine_gates
from anarchy.gates.verdict import evaluate
from anarchy.gates.warm_cache import MAX_WARM_SHARE
from anarchy.gates.worker_silent import SILENT_AFTER_PER_WORKER
from anarchy.ground.errors import UserError
from anarchy.ground.files import write_json
from anarchy.trace.control_log import LOG_FILE, ControllerLog
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import GateResult, RequestRecord, WorkerCount
from anarchy.trace.writer import read_rows
from tests.helpers.trace_samples import STAGES, judged, manifest, record, records, staged_records, write_rows


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


def test_the_clean_cell_passes_every_gate(tmp_path: Path) -> None:
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
def test_errors_at_the_threshold(tmp_path: Path, failed: int, fails: bool) -> None:
    rows = change(records(400), range(20, 20 + failed), status="http_503")
    result = judged(tmp_path, rows)
    assert ("errors" in result.reasons) is fails
    assert result.measures["error_share"] == pytest.approx(failed / 360)


def test_errors_just_at_half_a_percent_pass(tmp_path: Path) -> None:
    rows = [record(n, status="timeout" if n in (5, 6) else "ok") for n in range(400)]
    result = judged(tmp_path, rows)
    assert result.measures["error_share"] == MAX_ERROR_SHARE
    assert "errors" not in result.reasons


def test_errors_while_warming_up_do_not_count(tmp_path: Path) -> None:
    rows = change(records(400), range(20), status="http_503")
    assert judged(tmp_path, rows).valid


@pytest.mark.parametrize("changes", [{"output_tokens": 0}, {"status": "zero_tokens"}])
def test_zero_tokens(tmp_path: Path, changes: dict[str, Any]) -> None:
    result = judged(tmp_path, change(records(2000), range(500, 501), **changes))
    assert result.reasons == ("zero_tokens",)
    assert result.measures["zero_token_requests"] == 1


def test_zero_tokens_when_nothing_was_measured(tmp_path: Path) -> None:
    result = judged(tmp_path, change(records(), range(200), phase="warmup"))
    assert set(result.reasons) == {"zero_tokens", "short"}


def test_an_empty_cell_fails_without_a_traceback(tmp_path: Path) -> None:
    result = judged(tmp_path, [])
    assert set(result.reasons) == {"zero_tokens", "short"}


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_worker_silent_in_either_pool(tmp_path: Path, role: str) -> None:
    rows = change(records(), range(200), **{f"{role}_worker": 0})
    pools = WorkerCount(prefill=2, decode=2)
    other = {"prefill": "decode", "decode": "prefill"}[role]
    changes: list[dict[str, Any]] = [{f"{other}_worker": n % 2} for n in range(len(rows))]
    rows = [dataclasses.replace(row, **changes[n]) for n, row in enumerate(rows)]
    result = judged(tmp_path, rows, n_workers=pools)
    assert result.reasons == ("worker_silent",)
    assert result.measures["fewest_requests_of_a_worker"] == 0


@pytest.mark.parametrize(("count", "fails"), [(59, False), (60, True)])
def test_worker_silent_at_the_threshold(tmp_path: Path, count: int, fails: bool) -> None:
    assert count // 2 in (SILENT_AFTER_PER_WORKER - 1, SILENT_AFTER_PER_WORKER)
    rows = [record(n, decode_worker=0) for n in range(count)]
    assert ("worker_silent" in judged(tmp_path, rows).reasons) is fails


def test_one_request_is_not_silence(tmp_path: Path) -> None:
    rows = [record(n, decode_worker=int(n == 150)) for n in range(200)]
    assert judged(tmp_path, rows).valid


def test_a_worker_that_a_pinning_policy_never_chose_is_no_fault(tmp_path: Path) -> None:
    rows = change(records(), range(200), decode_worker=0)
    result = judged(tmp_path / "pinned", rows, way="pinned")
    assert result.valid
    assert result.measures["fewest_requests_of_a_worker"] == 0
    assert judged(tmp_path / "builtin", rows, way="builtin").reasons == ("worker_silent",)


def test_a_worker_whose_requests_all_failed_is_silent(tmp_path: Path) -> None:
    rows = [record(n, status="ok" if n % 2 == 0 else "disconnect") for n in range(200)]
    assert "worker_silent" in judged(tmp_path, rows).reasons


@pytest.mark.parametrize(
    ("key", "limit"),
    [
        ("cpu_share", MAX_CLIENT_CPU),
        ("host_cpu_share", MAX_HOST_CPU),
        # TTFT is 0.101 model seconds, the dilation 2: a tenth of it is 0.0202 wall seconds.
        ("loop_lag_p99_s", 0.0202),
        ("schedule_delay_p99_s", 0.0202),
    ],
)
def test_client_bound_at_the_threshold(tmp_path: Path, key: str, limit: float) -> None:
    assert judged(tmp_path / "at", records(), client=client(**{key: limit - 1e-9})).valid
    result = judged(tmp_path / "past", records(), client=client(**{key: limit + 1e-6}))
    assert result.reasons == ("client_bound",)


def test_delays_below_the_floor_are_never_blamed(tmp_path: Path) -> None:
    quick = [record(n, t_first_token=0.1 * n + 0.002) for n in range(200)]
    at = judged(tmp_path / "at", quick, client=client(loop_lag_p99_s=MAX_DELAY_FLOOR_S))
    assert at.valid
    assert at.measures["delay_allowed_s"] == MAX_DELAY_FLOOR_S
    past = judged(tmp_path / "past", quick, client=client(loop_lag_p99_s=MAX_DELAY_FLOOR_S + 1e-6))
    assert past.reasons == ("client_bound",)


def test_a_cell_that_measured_nothing_does_not_blame_the_client(tmp_path: Path) -> None:
    rows = change(records(), range(200), phase="warmup")
    assert "client_bound" not in judged(tmp_path, rows, client=client(loop_lag_p99_s=0.004)).reasons


def test_somebody_elses_client_says_nothing_and_is_not_blamed(tmp_path: Path) -> None:
    result = judged(tmp_path, records(), client={})
    assert result.valid
    assert result.measures["client_cpu_share"] is None


@pytest.mark.parametrize(("measured", "fails"), [(3, True), (4, False)])
def test_short_by_windows(tmp_path: Path, measured: int, fails: bool) -> None:
    """Two workers make a window of two requests; fewer than two windows are too few."""
    result = judged(tmp_path, [record(n) for n in range(measured)], loop="open")
    assert (result.reasons == ("short",)) is fails
    assert result.measures["windows"] == measured // 2


@pytest.mark.parametrize(("seconds", "fails"), [(19.0, False), (18.99, True), (40.0, False)])
def test_short_by_time(tmp_path: Path, seconds: float, fails: bool) -> None:
    result = judged(tmp_path, records(), client=client(measure_s=seconds))
    assert (result.reasons == ("short",)) is fails


def test_not_steady_at_the_threshold(tmp_path: Path) -> None:
    """TTFT from intent is 0.101 s; the limit lets the second half be half as much again."""
    second_half = range(100, 190)
    at = judged(tmp_path / "at", slower(records(), second_half, 0.0504), concurrency=8, loop="open")
    assert at.valid
    assert at.measures["drift"] == pytest.approx(1.499, abs=1e-3)
    past = judged(tmp_path / "past", slower(records(), second_half, 0.0506), concurrency=8, loop="open")
    assert past.reasons == ("not_steady",)


def test_not_steady_when_latency_falls_as_well(tmp_path: Path) -> None:
    rows = slower(records(), range(10, 100), 0.2)
    assert judged(tmp_path, rows, concurrency=8, loop="open").reasons == ("not_steady",)


@pytest.mark.parametrize(("count", "asked"), [(59, False), (60, True)])
def test_not_steady_is_asked_of_cells_with_enough_requests(tmp_path: Path, count: int, asked: bool) -> None:
    assert DRIFT_MIN_REQUESTS == 60
    result = judged(tmp_path, slower([record(n) for n in range(count)], range(count // 2, count), 5.0))
    assert ("not_steady" in result.reasons) is asked
    assert (result.measures["drift"] is not None) is asked


@pytest.mark.parametrize(
    ("untold", "names", "drift"),
    [
        (range(50, 51), ("t_first_token",), pytest.approx(1.1 / 0.1, rel=0.02)),
        (range(200), ("t_first_token",), pytest.approx(1.4 / 0.4)),
        (range(200), ("t_first_token", "t_last_token"), None),
    ],
    ids=["one", "no TTFT", "nothing"],
)
def test_not_steady_judges_what_is_told(
    tmp_path: Path, untold: range, names: tuple[str, ...], drift: float | None
) -> None:
    """Without any TTFT the latency to the last token drifts as well."""
    rows = change(slower(records(), range(100, 190), 1.0), untold, **dict.fromkeys(names))
    bad, measures = not_steady(CellTrace(tmp_path, manifest(), read_rows(write_rows(tmp_path, rows))))
    assert measures["drift"] == drift
    assert bad is (drift is not None)


@pytest.mark.parametrize("proof", [False, np.False_])
def test_override_inert(tmp_path: Path, proof: object) -> None:
    result = judged(tmp_path, records(), routing_test={"ok": proof, "p_value": 1e-9})
    assert result.reasons == ("override_inert",)
    assert result.measures["routing_p_value"] == 1e-9


@pytest.mark.parametrize("proof", [{}, {"ok": None}, {"ok": True}])
def test_without_a_failed_proof_the_override_is_not_inert(tmp_path: Path, proof: dict[str, object]) -> None:
    assert judged(tmp_path, records(), routing_test=proof).valid


def test_every_failed_gate_is_named(tmp_path: Path) -> None:
    rows = change(slower(records(), range(100, 190), 1.0), range(20, 40), status="http_503")
    result = judged(tmp_path, rows, client=client(cpu_share=1.0, measure_s=1.0), routing_test={"ok": False})
    assert result.reasons == (
        *("errors", "in_flight", "client_bound", "short", "not_steady", "override_inert"),
    )
    assert not result.valid


def test_only_gates_that_speak_of_the_machine_allow_another_attempt() -> None:
    assert {"not_steady", "override_inert"}.isdisjoint(machine_gates())
    assert {"warm_cache", "controller_blind"} <= machine_gates()
    assert isinstance(GateResult(valid=True).reasons, tuple)


def stage_client(**stages: dict[str, Any]) -> dict[str, Any]:
    """What the client of a staged cell says; 18 s were measured."""
    calm = {
        "cpu_share": 0.2,
        "host_cpu_share": 0.5,
        "loop_lag_p99_s": 0.001,
        "schedule_delay_p99_s": 0.001,
    }
    told = {stage.name: calm | stages.get(stage.name, {}) for stage in STAGES}
    return {**manifest().client, "measure_s": 18.0, "stages": told}


CROWDED = tuple(dataclasses.replace(stage, concurrency=40) for stage in STAGES)
"""The same stages with users enough for slow requests."""


def judged_stages(folder: Path, rows: list[RequestRecord], **changes: Any) -> GateResult:
    fields = {"stages": STAGES, "client": stage_client()} | changes
    if fields["stages"] is CROWDED:
        fields["loop"] = "open"
    return judged(folder, rows, planned_measure_s=18.0, **fields)


def test_a_clean_staged_cell_passes_every_gate(tmp_path: Path) -> None:
    result = judged_stages(tmp_path, staged_records())
    assert result.valid, result
    assert result.measures["windows"] == 45, "of the stage with the fewest"
    assert result.measures["drift"] == pytest.approx(1.0)
    assert result.measures["client_cpu_share"] == 0.2


def test_stages_are_the_spans_of_their_measured_parts(tmp_path: Path) -> None:
    table = read_rows(write_rows(tmp_path, staged_records()))
    parts = measured_parts(CellTrace(tmp_path, manifest(stages=STAGES), table))
    assert {name: int(rows.sum()) for name, rows in parts.items()} == {"below": 90, "past": 90}
    whole = measured_parts(CellTrace(tmp_path, manifest(), table))
    assert {name: int(rows.sum()) for name, rows in whole.items()} == {"": 180}


def test_a_switch_inside_a_stage_is_not_unsteady(tmp_path: Path) -> None:
    rows = slower(staged_records(), range(150, 200), 3.0)
    staged = judged_stages(tmp_path / "staged", rows, stages=CROWDED)
    assert staged.valid, staged
    assert staged.measures["drift"] is not None
    assert staged.measures["drift"] > MAX_DRIFT
    constant = slower(records(), range(100, 200), 3.0)
    assert judged(tmp_path / "constant", constant, concurrency=40, loop="open").reasons == ("not_steady",)


@pytest.mark.parametrize(("failed", "fails"), [(0, False), (1, True)])
def test_errors_of_one_stage_are_not_hidden_by_the_others(tmp_path: Path, failed: int, fails: bool) -> None:
    result = judged_stages(tmp_path, change(staged_records(), range(150, 150 + failed), status="timeout"))
    assert (result.reasons == ("errors",)) is fails
    assert result.measures["error_share"] == pytest.approx(failed / 90), "of the worst stage"


def test_a_stage_with_too_few_windows_makes_the_cell_short(tmp_path: Path) -> None:
    rows = change(staged_records(), range(113, 200), status="ok", phase="warmup")
    assert judged_stages(tmp_path / "few", rows).reasons == ("short",)
    rows = change(staged_records(), range(114, 200), status="ok", phase="warmup")
    assert judged_stages(tmp_path / "enough", rows).valid


@pytest.mark.parametrize(("seconds", "fails"), [(17.2, False), (17.0, True)])
def test_short_by_the_time_of_all_stages(tmp_path: Path, seconds: float, fails: bool) -> None:
    result = judged_stages(tmp_path, staged_records(), client=stage_client() | {"measure_s": seconds})
    assert (result.reasons == ("short",)) is fails


@pytest.mark.parametrize("key", ["cpu_share", "host_cpu_share", "loop_lag_p99_s", "schedule_delay_p99_s"])
def test_a_client_that_was_bound_in_one_stage(tmp_path: Path, key: str) -> None:
    result = judged_stages(tmp_path, staged_records(), client=stage_client(past={key: 0.99}))
    assert result.reasons == ("client_bound",)
    name = {"cpu_share": "client_cpu_share"}.get(key, key)
    assert result.measures[name] == 0.99


def test_a_delay_is_held_against_the_ttft_of_its_own_stage(tmp_path: Path) -> None:
    """30 ms of lag are a tenth of nothing below the knee, and nothing past it, where TTFT is seconds."""
    rows = slower(staged_records(), range(100, 200), 3.0)
    lag = {"loop_lag_p99_s": 0.03}
    assert judged_stages(tmp_path / "past", rows, client=stage_client(past=lag), stages=CROWDED).valid
    result = judged_stages(tmp_path / "below", rows, client=stage_client(below=lag), stages=CROWDED)
    assert result.reasons == ("client_bound",)
    assert result.measures["delay_allowed_s"] == pytest.approx(0.1 * 2 * 0.101, rel=0.01)


def test_a_staged_cell_whose_client_tells_nothing_of_its_stages(tmp_path: Path) -> None:
    told = {**manifest().client, "measure_s": 18.0}
    assert judged_stages(tmp_path / "calm", staged_records(), client=told).valid
    bound = judged_stages(tmp_path / "bound", staged_records(), client=told | {"cpu_share": 0.9})
    assert bound.reasons == ("client_bound",)


def test_a_worker_is_silent_over_the_whole_staged_cell(tmp_path: Path) -> None:
    rows = change(staged_records(), range(100, 200), decode_worker=0)
    assert judged_stages(tmp_path / "one-stage", rows).valid
    rows = change(staged_records(), range(200), decode_worker=0)
    assert judged_stages(tmp_path / "all", rows).reasons == ("worker_silent",)


def test_an_empty_staged_cell_fails_without_a_traceback(tmp_path: Path) -> None:
    assert set(judged_stages(tmp_path, []).reasons) == {"zero_tokens", "short"}


def test_a_request_at_the_end_of_a_stage_is_not_of_it(tmp_path: Path) -> None:
    """Measured parts hold their first instant and not their last, where the next stage begins."""
    rows = [record(n, t_intended=t, t_sent=t) for n, t in enumerate((1.0, 9.99, 11.0, 19.99))]
    trace = CellTrace(tmp_path, manifest(stages=STAGES), read_rows(write_rows(tmp_path, rows)))
    parts = measured_parts(trace)
    assert {name: part.tolist() for name, part in parts.items()} == {
        "below": [True, False, False, False],
        "past": [False, False, True, False],
    }


@pytest.mark.parametrize(("warm", "fails"), [(0, False), (2, False), (3, True)])
def test_warm_cache_at_the_threshold(tmp_path: Path, warm: int, fails: bool) -> None:
    """Of 200 measured prompts of their own two may have been found in a cache."""
    assert MAX_WARM_SHARE == 0.01
    rows = change([record(n, cached_tokens=0) for n in range(200)], range(warm), cached_tokens=112)
    result = judged(tmp_path, rows)
    assert (result.reasons == ("warm_cache",)) is fails
    assert result.measures["warm_prompt_share"] == warm / 200


def test_a_template_in_the_cache_is_what_templates_are_for(tmp_path: Path) -> None:
    rows = [record(n, template=n % 4, cached_tokens=128) for n in range(200)]
    result = judged(tmp_path / "all", rows)
    assert result.valid
    assert result.measures["warm_prompt_share"] is None, "no prompt is its own"
    rows = change(rows, range(100), template=-1, cached_tokens=0)
    rows = change(rows, range(2), cached_tokens=16)
    assert judged(tmp_path / "half", rows).reasons == ("warm_cache",), "2 of 100, not of 200"


def test_warm_prompts_count_where_they_are_measured_and_known(tmp_path: Path) -> None:
    rows = change(records(), range(10), cached_tokens=128)
    rows = change(rows, range(190, 200), cached_tokens=128)
    assert judged(tmp_path, rows).measures["warm_prompt_share"] == 0.0, "null is not warm"


def test_one_stage_of_warm_prompts_is_not_hidden_by_the_others(tmp_path: Path) -> None:
    result = judged_stages(tmp_path, change(staged_records(), range(150, 151), cached_tokens=16))
    assert result.reasons == ("warm_cache",)
    assert result.measures["warm_prompt_share"] == pytest.approx(1 / 90)


ZERO = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
"""The cell's zero on the wall clock."""
RELATIVE = {"theta1": None, "theta2": None, "multiples": {"theta1_times": 3.0, "theta2_times": 30.0}}
ABSOLUTE = {"theta1": 1.0, "theta2": 10.0}


def judged_with_log(
    folder: Path,
    *,
    baseline: float | None = 4.0,
    verdicts: str = "s" * 19,
    detector: dict[str, Any] = RELATIVE,
    begun_s: float = 1.0,
    skipped: int = 0,
    **changes: Any,
) -> GateResult:
    """Judge the staged cell beside a controller that polled each model second from ``begun_s`` on.

    ``baseline`` is the log's time of it; a poll of verdict m was missing and cost ``skipped``
    others, of s steady.
    """
    words = {"m": "missing", "s": "steady"}
    with ControllerLog(folder / LOG_FILE) as log:
        log.write("start", at_wall_s=ZERO.timestamp() + 2.0 * begun_s, period_s=1.0, detector=detector)
        for number, verdict in enumerate(verdicts, start=1):
            lost = {"skipped": skipped if verdict == "m" else 0, "verdict": words[verdict]}
            log.write("poll", poll=number, window=(number - 1.0, float(number)), **lost)
            if baseline is not None and number - 1 < baseline <= number:
                log.write("baseline", t=baseline, p99=0.1, theta1=0.3, theta2=3.0)
        log.write("end", t=float(len(verdicts)), reason="stopped")
    return judged_stages(folder, staged_records(), **({"started_at": ZERO.isoformat()} | changes))


def test_a_controller_that_sees_is_no_fault(tmp_path: Path) -> None:
    result = judged_with_log(tmp_path)
    assert result.valid, result
    assert result.measures["controller_baseline_s"] == 5.0, "on the cell's clock"
    assert result.measures["controller_missing_share"] == 0.0


def test_a_cell_without_a_controller_is_not_asked(tmp_path: Path) -> None:
    assert "controller_missing_share" not in judged_stages(tmp_path, staged_records()).measures


@pytest.mark.parametrize(("baseline", "fails"), [(8.98, False), (8.99, True), (None, True)])
def test_a_baseline_must_be_known_by_the_end_of_the_first_stage(
    tmp_path: Path, baseline: float | None, fails: bool
) -> None:
    """The stage ends at 9.99 s, and the log's clock begins at 1 s."""
    result = judged_with_log(tmp_path / "relative", baseline=baseline)
    assert (result.reasons == ("controller_blind",)) is fails
    assert judged_with_log(tmp_path / "absolute", baseline=None, detector=ABSOLUTE).valid


@pytest.mark.parametrize(("missing", "fails"), [(4, False), (5, True)])
def test_polls_without_an_answer_at_the_threshold(tmp_path: Path, missing: int, fails: bool) -> None:
    """18 polls lie inside the stages, at 2 to 19 s of the cell; those after its end are not asked."""
    assert MAX_BLIND_SHARE == 0.25
    verdicts = "m" * missing + "s" * (18 - missing) + "m" * 9
    result = judged_with_log(tmp_path, verdicts=verdicts)
    assert (result.reasons == ("controller_blind",)) is fails
    assert result.measures["controller_missing_share"] == pytest.approx(missing / 18)


@pytest.mark.parametrize(("missing", "fails"), [(2, False), (3, True)])
def test_polls_that_waiting_cost_are_missing_too(tmp_path: Path, missing: int, fails: bool) -> None:
    result = judged_with_log(tmp_path, verdicts="m" * missing + "s" * (18 - missing), skipped=1)
    assert (result.reasons == ("controller_blind",)) is fails
    assert result.measures["controller_missing_share"] == pytest.approx(2 * missing / (18 + missing))


def test_a_controller_that_never_polled_was_blind(tmp_path: Path) -> None:
    result = judged_with_log(tmp_path / "none", verdicts="", detector=ABSOLUTE)
    assert result.reasons == ("controller_blind",)
    assert result.measures["controller_missing_share"] is None
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / LOG_FILE).touch()
    assert judged_stages(tmp_path / "empty", staged_records()).reasons == ("controller_blind",)


def test_a_log_of_a_controller_that_only_watches_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "controller-prometheus.jsonl").touch()
    assert judged_stages(tmp_path, staged_records()).valid


def test_the_controller_of_a_constant_cell(tmp_path: Path) -> None:
    """What it measured, 1.0 to 19.9 s, is its one stage."""
    told: dict[str, Any] = {"stages": (), "client": manifest().client, "loop": "open"}
    assert judged_with_log(tmp_path / "sees", **told).valid
    assert judged_with_log(tmp_path / "late", baseline=18.95, **told).reasons == ("controller_blind",)
    assert judged_with_log(tmp_path / "blind", verdicts="m" * 18, **told).reasons == ("controller_blind",)


def test_a_controller_beside_a_cell_without_a_clock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="started_at"):
        judged_with_log(tmp_path, started_at="soon")


# Requests in flight against C


@pytest.mark.parametrize(("C", "fails"), [(3, True), (4, False), (5, True)])
def test_in_flight_against_c(tmp_path: Path, C: int, fails: bool) -> None:
    """The clean cell has 3.99 requests in flight."""
    result = judged(tmp_path, records(), concurrency=C)
    assert (result.reasons == ("in_flight",)) is fails
    assert result.measures["in_flight_mean"] == pytest.approx(3.99 / C, abs=0.002)
    assert (result.measures["above_concurrency_share"] or 0.0) == pytest.approx(float(C < 4), abs=0.05)


@pytest.mark.parametrize("loop", ["think", "open"])
def test_users_who_pause_may_be_fewer_and_never_more(tmp_path: Path, loop: str) -> None:
    assert judged(tmp_path / "fewer", records(), concurrency=8, loop=loop).valid
    assert judged(tmp_path / "more", records(), concurrency=3, loop=loop).reasons == ("in_flight",)


def test_where_nothing_bounds_the_requests_overload_is_a_result(tmp_path: Path) -> None:
    """More than C in flight, latency that grows, requests past their deadline; other failures still fail."""
    unbounded: dict[str, Any] = {"loop": "open", "send_every_s": 1.0, "concurrency": 3}
    late = change(records(), range(150, 190), status="timeout", prefill_worker=-1, decode_worker=-1)
    result = judged(tmp_path / "late", slower(late, range(100, 150), 0.4), **unbounded)
    assert result.valid, result
    assert (result.measures["drift"] or 0.0) > 1.5
    assert "in_flight_mean" not in result.measures
    lost = change(records(), range(150, 190), status="http_503")
    assert judged(tmp_path / "lost", lost, **unbounded).reasons == ("errors",)


def test_a_hole_of_the_rows_is_in_flight(tmp_path: Path) -> None:
    rows = records()
    assert judged(tmp_path / "hole", rows[:90] + rows[110:]).reasons == ("in_flight",)
    assert judged(tmp_path / "one", rows[:90] + rows[91:]).valid


def test_a_request_without_an_end_is_load_to_the_end_of_the_cell(tmp_path: Path) -> None:
    rows = change(records(400), range(50, 51), status="http_503", t_first_token=None, t_last_token=None)
    known = judged(tmp_path / "known", rows)
    assert (known.valid, known.measures["unended_requests"]) == (True, 0.0)
    table = read_rows(write_rows(tmp_path / "unknown", rows))
    at = table.column_names.index("t_end")
    ends = [None if index == 50 else end for index, end in enumerate(table.column("t_end").to_pylist())]
    untold = table.set_column(at, "t_end", pa.array(ends, pa.float64()))
    unknown = evaluate(CellTrace(tmp_path, manifest(), untold), 20.0)
    assert (unknown.reasons, unknown.measures["unended_requests"]) == (("in_flight",), 1.0)


def test_one_stage_that_contradicts_its_concurrency(tmp_path: Path) -> None:
    stages = (STAGES[0], dataclasses.replace(STAGES[1], concurrency=6))
    assert judged_stages(tmp_path, staged_records(), stages=stages).reasons == ("in_flight",)


def test_every_gate_says_what_it_asks() -> None:
    assert [gate.name for gate in gates().values()] == list(gates())
    assert len({gate.rank for gate in gates().values()}) == len(gates())
    for gate in gates().values():
        assert gate.sentence.endswith(".")
        assert gate.threshold
        assert gate.own or gate.public
