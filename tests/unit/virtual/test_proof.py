"""The proof of routing on the virtual clock; with the library itself: tests/live/test_virtual_live.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anarchy.engines.virtual import router
from anarchy.virtual.proof import Asked, confirmed, prove
from anarchy.virtual.replay import COLUMNS
from anarchy.virtual.replayer import Job, Replayed

SERVED_MS = 20.0


@pytest.mark.parametrize(
    ("answers", "ok", "asked"),
    [([True], True, 1), ([False, True], True, 2), ([False, False], False, 2)],
    ids=["passes", "failed by chance", "fails"],
)
def test_a_failure_must_repeat(answers: list[bool], ok: bool, asked: int) -> None:
    left = list(answers)
    assert confirmed(lambda: {"ok": left.pop(0)})["ok"] is ok
    assert len(answers) - len(left) == asked


class Caches:
    """Prefill workers that keep every prompt, and a router that hears of it late by a rule of its own."""

    def __init__(
        self, folder: Path, workers: int, really_late_s: float | None = None, *, deaf: bool = False
    ) -> None:
        self.folder, self.workers = folder, workers
        self.really_late_s, self.deaf = really_late_s, deaf
        self.rng = np.random.default_rng(5)

    def run(self, job: Job) -> Replayed:
        late_s = job.kv_event_lag_s if self.really_late_s is None else self.really_late_s
        rows: list[dict[str, Any]] = []
        now: dict[str, float] = {}
        kept: dict[int, dict[int, float]] = {}
        for line in job.trace.read_text().splitlines():
            said = json.loads(line)
            user = said["session_id"]
            at = said.get("timestamp", now.get(user, 0.0) + said.get("delay", 0.0))
            now[user] = at + SERVED_MS
            has = kept.setdefault(said["hash_ids"][0], {})
            heard = [worker for worker, since in has.items() if since + late_s * 1e3 <= at and not self.deaf]
            worker = heard[0] if heard else int(self.rng.integers(self.workers))
            rows.append(
                {
                    "user": int(user),
                    "turn_index": sum(row["user"] == int(user) for row in rows),
                    "arrival_time_ms": at,
                    "terminal_time_ms": now[user],
                    "reused_input_tokens": said["input_length"] if worker in has else 0,
                    "prefill_worker_idx": worker,
                }
            )
            has.setdefault(worker, now[user])
        kinds = {**COLUMNS, "user": int}
        columns: dict[str, Any] = {
            name: np.array([row.get(name, 0) for row in rows], kind) for name, kind in kinds.items()
        }
        return Replayed(columns, 0.1, 0.0)


def checks(library: Caches, lag_s: float) -> dict[str, bool]:
    late = Asked(name="late", router=router((0.0, 1.0)), tau=0.0, omega=1.0, kv_event_lag_s=lag_s)
    found = prove(library, [late], ({}, {}), (library.workers, 1))["late"]  # type: ignore[arg-type]
    return {check["choice"]: check["ok"] for check in found["checks"]}


def test_round_robin_over_one_decode_worker_has_nothing_to_show(tmp_path: Path) -> None:
    asked = Asked(name="turns", router=None, tau=None, omega=None)
    found = prove(Caches(tmp_path, 2), [asked], ({}, {}), (2, 1))  # type: ignore[arg-type]
    assert found == {"turns": {"reason": "one decode worker, and round robin: nothing to tell apart"}}


@pytest.fixture(params=[2, 3, 5])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("lag_s", [0.1, 1.0, 100.0])
def test_late_events_pass_where_they_are_late(tmp_path: Path, workers: int, lag_s: float) -> None:
    assert checks(Caches(tmp_path, workers), lag_s) == {"prefill": True, "late events": True}


def test_a_lag_that_is_shorter_than_a_request_is_not_tested(tmp_path: Path) -> None:
    assert checks(Caches(tmp_path, 3), 0.05) == {"prefill": True}


@pytest.mark.parametrize("really_late_s", [0.0, 5.0], ids=["in time", "later than asked"])
def test_events_that_come_at_another_time_fail(tmp_path: Path, workers: int, really_late_s: float) -> None:
    assert checks(Caches(tmp_path, workers, really_late_s), 1.0)["late events"] is False


def test_a_router_that_never_hears_fails(tmp_path: Path, workers: int) -> None:
    assert checks(Caches(tmp_path, workers, deaf=True), 1.0)["late events"] is False
