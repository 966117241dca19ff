"""What one replay says: goodput over the requests that came, however few were served."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from anarchy.advise.replays import Objectives, served
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import Manifest, WorkerCount

MANIFEST = Manifest(
    cell="c", model="m", topology="", policy="p", concurrency=1,
    n_workers=WorkerCount(prefill=1, decode=1), launch=0,
)  # fmt: skip


def trace(frame: pd.DataFrame) -> CellTrace:
    return CellTrace(Path(), MANIFEST, pa.Table.from_pandas(frame, preserve_index=False))


def rows(count: int = 200, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sent = np.sort(rng.uniform(0.0, 20.0, count))
    first = sent + rng.exponential(0.3, count)
    tokens = rng.integers(1, 40, count)
    last = first + (tokens - 1) * rng.uniform(0.005, 0.025, count)
    frame = pd.DataFrame(
        {
            "t_sent": sent, "t_intended": sent, "t_first_token": first, "t_last_token": last,
            "output_tokens": tokens, "phase": np.where(sent < 2.0, "warmup", "measure"),
            "status": np.where(rng.random(count) < 0.2, "timeout", "ok"),
        }
    )  # fmt: skip
    frame.loc[frame.index[-5:], ["t_first_token", "t_last_token"]] = np.nan
    frame.loc[frame.index[-5:], "status"] = "timeout"
    return frame


def test_rates_are_those_counted_request_by_request() -> None:
    frame = rows()
    found = served(trace(frame), Objectives(0.4, 0.015, 0.9), span=18.0, replay_s=0.1)
    first = then = both = came = late = 0
    row: dict[Any, Any]
    for row in frame.to_dict("records"):
        if row["phase"] != "measure":
            continue
        came += 1
        ok = row["status"] == "ok"
        late += not ok
        kept = ok and row["t_first_token"] - row["t_sent"] <= 0.4
        steps = row["output_tokens"] - 1
        smooth = ok and (steps == 0 or (row["t_last_token"] - row["t_first_token"]) / steps <= 0.015)
        first, then, both = first + kept, then + smooth, both + (kept and smooth)
    assert 0 < both < min(first, then) < came
    assert (found.within_ttft, found.within_itl) == (first / 18.0, then / 18.0)
    assert (found.goodput, found.offered, found.timeouts) == (both / 18.0, came / 18.0, late)
    assert found.share == pytest.approx(both / came)


def test_requests_that_failed_do_not_shorten_the_time_that_rates_are_over() -> None:
    """A queue that drops the second half of the requests has half the goodput, not all of it."""
    frame = rows(seed=4).assign(status="ok", phase="measure", output_tokens=1)
    frame["t_first_token"] = frame["t_sent"] + 0.1
    whole = served(trace(frame), Objectives(0.4, 0.015, 0.9), 20.0, 0.1)
    frame.loc[frame.index[100:], "status"] = "timeout"
    assert served(trace(frame), Objectives(0.4, 0.015, 0.9), 20.0, 0.1).goodput == whole.goodput / 2


def test_quantiles_count_what_was_never_answered_as_infinite() -> None:
    frame = rows().assign(phase="measure", status="ok")
    found = served(trace(frame), Objectives(0.4, 0.015, 0.9), 20.0, 0.1)
    ttft = (frame["t_first_token"] - frame["t_sent"]).dropna()
    assert found.ttft_s[0.5] == np.quantile(ttft, 0.5, method="inverted_cdf")
    frame["status"] = "timeout"
    found = served(trace(frame), Objectives(0.4, 0.015, 0.9), 20.0, 0.1)
    assert (found.goodput, found.ttft_s[0.5], found.timeouts) == (0.0, math.inf, 200)
