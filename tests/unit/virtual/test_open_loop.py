"""An open loop in virtual time: every request that came has its row, told by the library or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anarchy.ground.errors import UserError
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.trace.schema import TRACE_SCHEMA
from anarchy.virtual.arrivals import arrivals_of, write_arrivals
from anarchy.virtual.open_loop import OpenCell, OpenOutcome, replay_open
from anarchy.virtual.replayer import Replayed
from tests.helpers.replays import Library

AT_S = np.array([3.0, 3.5, 3.5, 4.0, 6.0, 7.0])


def replayed(library: Any, **changes: Any) -> OpenOutcome:
    arrivals = arrivals_of(Workload(WorkloadSpec(templates=2), seed=1), AT_S, 16)
    cell: dict[str, Any] = {
        "trace": library.folder / "arrivals.jsonl",
        "arrivals": arrivals,
        "deadline_s": 60.0,
        "pools": (1, 2),
        "engines": ({}, {}),
        "router": {},
        "labels": {"policy": "static", "tau": 0.0, "omega": 1.0},
    }
    library.tell(cell["trace"], arrivals)
    return replay_open(OpenCell(**cell | changes), library)


class OpenLibrary(Library):
    """As the real one, its clock begins with the first request."""

    def tell(self, path: Path, arrivals: Any) -> None:
        write_arrivals(path, arrivals, engine_block_size=16)

    def run(self, job: Any) -> Replayed:
        first = json.loads(job.trace.read_text().splitlines()[0])["timestamp"]
        told = super().run(replace(job, until_s=job.until_s + first / 1e3))
        times = [name for name in told.columns if name.endswith("_ms")]
        return Replayed({**told.columns, **{name: told.columns[name] - first for name in times}}, 0.1, 0.0)


def rows(outcome: OpenOutcome) -> pd.DataFrame:
    frame: pd.DataFrame = outcome.table.to_pandas()
    return frame


def test_rows_are_those_of_the_format_at_the_times_that_requests_came(tmp_path: Path) -> None:
    library = OpenLibrary(tmp_path, takes_s=1.0)
    found = replayed(library)
    assert found.table.schema == TRACE_SCHEMA
    table = rows(found)
    assert table["t_sent"].tolist() == table["t_intended"].tolist() == AT_S.tolist()
    takes = 1.0 + table["user"] / 100
    assert (table["t_end"] - table["t_sent"]).to_numpy() == pytest.approx(takes.to_numpy())
    assert (table["t_first_token"] - table["t_sent"]).to_numpy() == pytest.approx(takes.to_numpy() / 10)
    assert set(table["status"]) == {"ok"}
    assert set(table["phase"]) == {"measure"}
    workload = Workload(WorkloadSpec(templates=2), seed=1)
    assert table["template"].tolist() == [workload.request(user, 0).template for user in range(len(AT_S))]
    (job,) = library.jobs
    assert job.until_s == pytest.approx(AT_S[0] + 4.0 + 60.0)
    assert job.trace_block_size == 16


def test_phases_are_when_requests_came(tmp_path: Path) -> None:
    table = rows(replayed(OpenLibrary(tmp_path), measure_from_s=3.5, measure_until_s=6.0))
    assert table["phase"].tolist() == ["warmup", "measure", "measure", "measure", "cooldown", "cooldown"]


def test_what_takes_longer_than_its_deadline_is_a_timeout_told_or_not(tmp_path: Path) -> None:
    """Of six requests the first five end before the replay does, the second to fifth too late."""
    table = rows(replayed(OpenLibrary(tmp_path, takes_s=2.0), deadline_s=2.01))
    assert table["status"].tolist() == ["ok", *["timeout"] * 5]
    known = table["t_end"].notna().tolist()
    assert known == [True] * 5 + [False]
    last = table.iloc[-1]
    assert last[["t_first_token", "t_last_token", "t_end", "cached_tokens"]].isna().all()
    assert last[["prefill_worker", "decode_worker", "output_tokens"]].tolist() == [-1, -1, 0]
    assert table["cached_tokens"].iloc[0] == 0


def test_requests_that_the_engine_drops_are_refused(tmp_path: Path) -> None:
    class Dropping(OpenLibrary):
        def run(self, job: Any) -> Replayed:
            told = super().run(job)
            return Replayed({**told.columns, "completed": told.columns["completed"] & False}, 0.1, 0.0)

    with pytest.raises(UserError, match="dropped"):
        replayed(Dropping(tmp_path))
