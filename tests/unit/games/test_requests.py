"""Requests of a cell and the load n_j(t) that they make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from anarchy.games.requests import Requests, chunks, latencies, load_on, loads, time_order

Floats = npt.NDArray[np.float64]


def cell(n: int = 60, m: int = 3, seed: int = 0, **changes: Any) -> Requests:
    rng = np.random.default_rng(seed)
    sent = np.round(rng.uniform(0.0, 10.0, n), 1)  # rounded: ties
    first = sent + rng.uniform(0.1, 1.0, n)
    requests = Requests(
        request_id=np.array([f"r{i:03d}" for i in rng.permutation(n)]),
        t_intended=sent - 0.05,
        t_sent=sent,
        t_first_token=first,
        t_last_token=np.round(first + rng.uniform(0.1, 2.0, n), 1),
        worker=rng.integers(0, m, n),
        counted=rng.random(n) < 0.7,
        n_workers=m,
        cell_end=12.0,
    )
    return replace(requests, **changes) if changes else requests


def loads_by_definition(requests: Requests, times: Floats) -> npt.NDArray[np.int_]:
    out = np.zeros((len(times), requests.n_workers), dtype=int)
    for k, t in enumerate(times):
        for i in range(len(requests)):
            end = requests.t_last_token[i]
            end = requests.cell_end if np.isnan(end) else end
            if requests.worker[i] >= 0 and requests.t_sent[i] < t < end:
                out[k, requests.worker[i]] += 1
    return out


@pytest.mark.parametrize("seed", range(5))
def test_loads_are_those_of_the_definition(seed: int) -> None:
    requests = cell(seed=seed)
    worker, last, sent = requests.worker.copy(), requests.t_last_token.copy(), requests.t_sent.copy()
    counted = np.zeros(len(requests), dtype=bool)
    worker[:4], last[3:9], last[9:12], sent[12] = -1, np.nan, sent[9:12] - 1.0, np.nan
    requests = replace(requests, worker=worker, t_last_token=last, t_sent=sent, counted=counted)
    # Every event time itself, so that both strict inequalities are tried, and times outside the cell.
    times = np.concatenate([sent, last, [-1.0, 0.0, 11.95, 12.0, 99.0]])
    times = times[np.isfinite(times)]
    np.testing.assert_array_equal(loads(requests, times), loads_by_definition(requests, times))


@pytest.mark.parametrize("seed", range(3))
def test_a_request_leaves_its_worker_at_the_leaving_time_given(seed: int) -> None:
    requests = cell(seed=seed)
    left = requests.t_first_token.copy()
    left[::7] = np.nan  # no leaving time: up to the cell's end
    prefill = replace(requests, t_left=left)
    times = np.concatenate([requests.t_sent, left[np.isfinite(left)], [11.9, 12.0]])
    expected = loads_by_definition(replace(requests, t_last_token=left), times)
    np.testing.assert_array_equal(loads(prefill, times), expected)
    assert (loads(prefill, times) != loads(requests, times)).any()
    np.testing.assert_array_equal(latencies(prefill, "e2e"), latencies(requests, "e2e"))


def test_the_last_token_is_the_leaving_time_by_default() -> None:
    requests = cell()
    times = np.linspace(0.0, 12.0, 40)
    same = replace(requests, t_left=requests.t_last_token)
    np.testing.assert_array_equal(loads(same, times), loads(requests, times))


def test_load_of_one_worker_is_its_column() -> None:
    requests, times = cell(), np.linspace(0.0, 12.0, 40)
    for j in range(3):
        np.testing.assert_array_equal(load_on(requests, j, times), loads(requests, times)[:, j])


def test_failed_and_uncounted_requests_still_load_their_worker() -> None:
    requests = cell(counted=np.zeros(60, dtype=bool))
    assert loads(requests, np.array([5.0])).sum() > 0


def test_a_worker_that_nobody_chose_has_no_load() -> None:
    requests = cell(worker=np.zeros(60, dtype=np.int64))
    n = loads(requests, np.linspace(0.0, 12.0, 50))
    assert n[:, 0].max() > 0
    assert n[:, 1:].max() == 0


def test_no_requests_and_no_times() -> None:
    empty = np.empty(0)
    none = Requests(
        np.empty(0, dtype=str), empty, empty, empty, empty, np.empty(0, int), np.empty(0, bool), 2, 1.0
    )
    assert loads(none, np.array([0.5])).tolist() == [[0, 0]]
    assert loads(cell(), empty).shape == (0, 3)
    assert time_order(none, none.counted).size == 0


def test_order_is_by_time_then_identifier_then_row() -> None:
    requests = cell(n=6, t_sent=np.array([2.0, 1.0, 1.0, 1.0, 0.5, 2.0]))
    requests = replace(requests, request_id=np.array(["a", "c", "b", "b", "z", "a"]))
    assert time_order(requests, np.ones(6, dtype=bool)).tolist() == [4, 2, 3, 1, 0, 5]
    assert time_order(requests, np.array([1, 0, 1, 0, 0, 1], dtype=bool)).tolist() == [2, 0, 5]


@pytest.mark.parametrize("dtype", [str, object])
def test_order_is_the_one_of_a_full_sort(dtype: type) -> None:
    requests = cell(n=500, seed=3)
    requests = replace(requests, request_id=requests.request_id.astype(dtype))
    expected = np.lexsort((requests.request_id, requests.t_sent))
    np.testing.assert_array_equal(time_order(requests, np.ones(500, dtype=bool)), expected)


def test_latency_runs_from_the_intended_time() -> None:
    requests = cell()
    np.testing.assert_array_equal(latencies(requests), requests.t_first_token - requests.t_intended)
    np.testing.assert_array_equal(latencies(requests, "e2e"), requests.t_last_token - requests.t_intended)


def test_latency_of_a_failed_request_is_nan() -> None:
    counted = np.arange(60) > 0
    first = cell().t_first_token.copy()
    first[0] = np.nan
    assert np.isnan(latencies(cell(counted=counted, t_first_token=first))[0])


@pytest.mark.parametrize("wrong", [np.nan, -5.0])
def test_counted_request_without_a_latency_is_refused_by_name(wrong: float) -> None:
    first = cell().t_first_token.copy()
    first[7] = wrong
    requests = cell(counted=np.ones(60, dtype=bool), t_first_token=first)
    with pytest.raises(ValueError, match=rf"1 request\(s\) .*row 7 \({requests.request_id[7]}\)"):
        latencies(requests)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("t_sent", -1.0, "t_sent before t_intended"),
        ("t_intended", 90.0, "ttft missing or negative"),
        ("t_sent", 90.0, "t_first_token before t_sent"),
        ("t_last_token", -1.0, "t_last_token before t_first_token"),
        ("t_left", -1.0, "t_left before t_sent"),
    ],
)
def test_a_clock_that_steps_back_is_refused_by_row(column: str, value: float, message: str) -> None:
    requests = cell(counted=np.ones(60, dtype=bool))
    requests = replace(requests, t_left=requests.t_first_token.copy())
    times = getattr(requests, column).copy()
    times[7] = value
    wrong = replace(requests, **{column: times})
    with pytest.raises(ValueError, match=rf"{message}.*row 7 \({requests.request_id[7]}\)"):
        latencies(wrong)
    latencies(replace(wrong, counted=np.arange(60) != 7))  # what is not counted may be as broken as it likes


@pytest.mark.parametrize("column", ["t_intended", "t_sent", "t_first_token"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_counted_request_needs_its_times(column: str, value: float) -> None:
    requests = cell(counted=np.ones(60, dtype=bool))
    times = getattr(requests, column).copy()
    times[7] = value
    with pytest.raises(ValueError, match=r"1 request\(s\) .*row 7"):
        latencies(replace(requests, **{column: times}))


def test_chunks_cover_all_rows_once() -> None:
    assert list(chunks(0, 5)) == []
    assert [(c.start, c.stop) for c in chunks(3, 1 << 40)] == [(0, 1), (1, 2), (2, 3)]
    assert [(c.start, c.stop) for c in chunks(5, (1 << 18) // 2)] == [(0, 2), (2, 4), (4, 5)]


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="want one of"):
        latencies(cell(), "itl")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t_sent": np.zeros(59)}, "one common length"),
        ({"n_workers": 0}, "at least one worker"),
        ({"n_workers": 2}, "outside the pool of 2"),
        ({"cell_end": np.nan}, "cell_end"),
        ({"worker": np.full(60, -1), "counted": np.ones(60, dtype=bool)}, "no known worker"),
        ({"t_sent": np.full(60, np.nan), "counted": np.ones(60, dtype=bool)}, "no t_sent"),
        ({"t_intended": np.full(60, np.nan), "counted": np.ones(60, dtype=bool)}, "no t_intended"),
        ({"worker": np.zeros(60)}, "want int and bool"),
        ({"counted": np.ones(60, dtype=int)}, "want int and bool"),
        ({"overlap": np.zeros((60, 3))}, "go together"),
        ({"overlap": np.zeros((60, 2)), "omega": np.ones(60)}, "overlap has shape"),
        ({"overlap": np.zeros((60, 3)), "omega": np.ones(3)}, "omega has shape"),
        ({"t_left": np.zeros((60, 1))}, "t_left has shape"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cell(**changes)
