"""Requests of an open loop: their blocks, the requests of a workload, and what is written of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anarchy.ground.errors import UserError
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.virtual.arrivals import Arrivals, arrivals_of, check_memory, poisson_times, write_arrivals


def three(**changes: Any) -> Arrivals:
    told: dict[str, Any] = {
        "at_s": np.array([0.5, 1.0, 1.0]),
        "input_tokens": np.array([1024, 1, 513]),
        "output_tokens": np.array([3, 1, 7]),
        "hashes": np.array([4, 5, 9, 4, 6]),
        "block_size": 512,
    }
    return Arrivals(**told | changes)


def written(tmp_path: Path, arrivals: Arrivals) -> list[dict[str, Any]]:
    path = tmp_path / "arrivals.jsonl"
    write_arrivals(path, arrivals, engine_block_size=16)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_request_is_a_session_of_one_turn(tmp_path: Path) -> None:
    *sessions, never = written(tmp_path, three())
    assert sessions == [
        {"session_id": "0", "timestamp": 500.0, "input_length": 1024, "output_length": 3, "hash_ids": [4, 5]},
        {"session_id": "1", "timestamp": 1000.0, "input_length": 1, "output_length": 1, "hash_ids": [9]},
        {"session_id": "2", "timestamp": 1000.0, "input_length": 513, "output_length": 7, "hash_ids": [4, 6]},
    ]
    assert (never["session_id"], never["delay"] >= 1e12, "timestamp" in never) == ("2", True, False)


def test_requests_taken_at_other_times_keep_their_lengths_and_blocks() -> None:
    taken = three(templates=np.array([3, 2, 1])).taken(np.array([2, 0, 2]), np.array([0.0, 1.0, 2.0]))
    assert taken.input_tokens.tolist() == [513, 1024, 513]
    assert [taken.prompt(request).tolist() for request in range(3)] == [[4, 6], [4, 5], [4, 6]]
    assert (taken.at_s.tolist(), taken.output_tokens.tolist()) == ([0.0, 1.0, 2.0], [7, 3, 7])
    assert taken.templates is not None
    assert taken.templates.tolist() == [1, 3, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"at_s": np.array([1.0, 0.5, 2.0])}, "do not fall"),
        ({"at_s": np.array([0.0, 1.0])}, "as many"),
        ({"at_s": np.array([0.0, 1.0, np.nan])}, "finite"),
        ({"output_tokens": np.array([1, 0, 1])}, "at least one token"),
        ({"hashes": np.array([1, 2, 3])}, "5 blocks, and 3 numbers"),
        ({"templates": np.array([1])}, "as many"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        three(**changes)


@pytest.mark.parametrize("spec", [WorkloadSpec(), WorkloadSpec(templates=3, unique_tail_tokens=40)])
def test_the_requests_of_a_workload_are_those_of_its_users(spec: WorkloadSpec) -> None:
    workload = Workload(spec, seed=5)
    arrivals = arrivals_of(workload, np.arange(20.0), 16)
    asked = [workload.request(user, 0) for user in range(20)]
    assert arrivals.output_tokens.tolist() == [request.output_tokens for request in asked]
    assert arrivals.templates is not None
    assert arrivals.templates.tolist() == [request.template for request in asked]
    for one in range(20):
        for other in range(one):
            alike = [a == b for a, b in zip(arrivals.prompt(one), arrivals.prompt(other), strict=True)]
            same = spec.templates > 0 and asked[one].template == asked[other].template
            assert sum(alike) == (5 if same else 0), "88 of 128 tokens are a head: five whole blocks of 16"


def test_poisson_times_have_their_rate_and_are_dispersed_by_chance() -> None:
    times = poisson_times(50.0, 20_000, seed=3)
    assert np.array_equal(times, poisson_times(50.0, 20_000, seed=3))
    counts = np.bincount(times.astype(int))[:-1]
    assert counts.mean() == pytest.approx(50.0, rel=0.05)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.25)


def test_more_than_memory_holds_is_refused_with_what_fits() -> None:
    many = 200_000
    arrivals = three(
        at_s=np.zeros(many), input_tokens=np.full(many, 8192), output_tokens=np.full(many, 1),
        hashes=np.zeros(many * 16, dtype=np.int64),
    )  # fmt: skip
    with pytest.raises(UserError, match="200000 requests with 102400000 KV blocks") as caught:
        check_memory(arrivals, 16)
    assert "about 457" in caught.value.remedy
