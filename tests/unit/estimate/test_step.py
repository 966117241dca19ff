"""Whether users marched in step, from traces: what is counted, in which bins, and how launches are pooled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from anarchy.config.tiers import AnyTier
from anarchy.designs.ladder.arrivals import MOST_BINS, ROUNDS, arrival_rows, shown
from anarchy.designs.ladder.estimate import estimate
from anarchy.designs.ladder.tier import LadderTier
from anarchy.estimate.conditions import Condition, Part, cost_model, estimate_condition
from anarchy.estimate.step import shortest, step_of, step_row, stream_of
from anarchy.stats.synchrony import dispersion, perfect_step
from anarchy.tables.step import step_words
from anarchy.trace.reader import CellTrace
from tests.helpers.condition_samples import HEAD, METHOD, measured, trace_of
from tests.helpers.ladder_samples import closed_loop, in_step


def stepped(C: int = 32, **changes: Any) -> CellTrace:
    return trace_of(in_step(C), concurrency=C, **changes)


def spread(C: int = 32, seed: int = 0, **changes: Any) -> CellTrace:
    """Users whose places fill a round."""
    return trace_of(closed_loop(C, seed=seed, apart_s=0.35 / C), concurrency=C, **changes)


def test_a_stream_counts_what_was_sent_and_what_was_over_while_measuring() -> None:
    trace = spread()
    stream = stream_of(trace)
    table = trace.table.to_pandas()
    measured = table[table["phase"] == "measure"]
    assert stream.sent.tolist() == measured["t_sent"].tolist()
    over = table["t_last_token"].between(measured["t_sent"].min(), measured["t_sent"].max())
    assert sorted(stream.ended) == sorted(table["t_last_token"][over])
    assert stream.shortest_s == pytest.approx((table["t_first_token"] - table["t_sent"]).min())
    assert stream.users == 32


def test_a_failed_request_comes_too_and_tells_no_step() -> None:
    table = closed_loop(16)
    fastest = (table["t_first_token"] - table["t_sent"]).idxmin()
    failed = table.assign(status=np.where(table.index == fastest, "timeout", "ok"))
    failed.loc[fastest, "phase"] = "measure"
    found, before = stream_of(trace_of(failed, concurrency=16)), stream_of(trace_of(table, concurrency=16))
    assert found.sent.size >= before.sent.size
    assert found.shortest_s > before.shortest_s


@pytest.mark.parametrize("loop", ["open", "think"])
def test_of_requests_that_come_by_themselves_no_user_keeps_a_place(loop: str) -> None:
    assert stream_of(spread(loop=loop)).users is None


def test_perfect_step_has_the_known_index_in_arrivals_and_in_completions() -> None:
    trace = stepped(32)
    stream = stream_of(trace)
    step = 0.022  # what a user alone would have waited
    row = step_row([stream], [step])
    bins = int((stream.end - stream.start) / step)
    # The last round is sent where the span ends, beyond the last whole bin.
    assert row["arrivals_dispersion"] == pytest.approx(perfect_step(32, 37, bins))
    # The answers of the round before it end beyond it too.
    assert row["completions_dispersion"] == pytest.approx(perfect_step(32, 36, bins))
    assert row["in_step"] is True
    assert row["step_s"] == step


def test_users_who_keep_apart_did_not_march() -> None:
    row = step_row([stream_of(spread())], [0.022])
    assert row["arrivals_dispersion"] < row["in_step_from"]
    assert row["in_step"] is False


def test_the_step_is_the_shortest_of_all_cells_of_a_launch() -> None:
    """In step the shortest wait of a deep cell is that of a whole batch, which would hide the step."""
    cells = {C: {1: stream_of(stepped(C))} for C in (1, 64)}
    deep = step_of(cells, 64)
    assert deep["step_s"] == pytest.approx(0.022)
    alone = step_of({64: cells[64]}, 64)
    assert alone["step_s"] == pytest.approx(0.148)
    assert deep["arrivals_dispersion"] > alone["arrivals_dispersion"]
    assert shortest([math.nan, 0.3, math.inf]) == 0.3
    assert math.isnan(shortest([math.nan]))


def test_a_trace_without_first_tokens_tells_nothing() -> None:
    table = closed_loop(16).assign(t_first_token=np.nan)
    row = step_row([stream_of(trace_of(table, concurrency=16))], [math.nan])
    assert row.pop("in_step") is None
    assert all(math.isnan(value) for value in row.values())


def test_a_trace_whose_times_are_rounded_to_less_than_a_step_tells_nothing() -> None:
    table = closed_loop(16)
    rounded = table.assign(t_first_token=table["t_sent"])
    assert math.isnan(stream_of(trace_of(rounded, concurrency=16)).shortest_s)


def test_launches_are_pooled_as_means_and_one_that_marched_is_told() -> None:
    streams = [stream_of(spread(seed=1)), stream_of(stepped(32))]
    steps = [0.02, 0.022]
    row = step_row(streams, steps)
    each = [step_row([stream], [step]) for stream, step in zip(streams, steps, strict=True)]
    for name in ("step_s", "arrivals_dispersion", "completions_dispersion", "in_step_from"):
        assert row[name] == pytest.approx(np.mean([one[name] for one in each]))
    assert [one["in_step"] for one in each] == [False, True]
    assert row["in_step"] is True


def test_a_condition_and_its_launches_say_it() -> None:
    traces = {1: spread(16, seed=1, launch=1), 2: spread(16, seed=2, launch=2)}
    low = Condition(8, {k: Part(spread(8, seed=k, launch=k)) for k in traces}, {})
    here = Condition(16, {k: Part(trace) for k, trace in traces.items()}, {})
    model = cost_model([low, here], METHOD)
    found = estimate_condition(here, model, METHOD, 0)
    for launch, row in zip((1, 2), found.launches, strict=True):
        waits = [stream_of(part.trace).shortest_s for part in (low.parts[launch], here.parts[launch])]
        stream = stream_of(traces[launch])
        told = dispersion(stream.sent, stream.start, stream.end, min(waits))
        assert row["step_s"] == min(waits)
        assert row["arrivals_dispersion"] == told.index
    assert found.row["arrivals_dispersion"] == np.mean([r["arrivals_dispersion"] for r in found.launches])
    assert found.row["in_step"] is False


def test_in_step_no_curve_can_be_fitted_and_the_step_is_told_all_the_same() -> None:
    conditions = [Condition(C, {1: Part(stepped(C))}, {}) for C in (8, 32)]
    model = cost_model(conditions, METHOD)
    assert "tells no slope" in model.without[1]
    found = estimate_condition(conditions[1], model, METHOD, 0)
    assert math.isnan(found.row["poa_hat"])
    assert found.row["in_step"] is True


def test_a_whole_ladder_in_step_is_estimated_and_told() -> None:
    """No curve, so no PoA-hat and no row that is valid; the step stands there, and how requests came."""
    cells = [measured(stepped(C), concurrency=C, name=f"c{C}") for C in (1, 8, 32)]
    timing = {"warmup_s": 1.0, "measure_s": 2.0, "measure_max_s": 4.0, "deadline_s": 20}
    plan = {"concurrency": (1, 8, 32), "launches": 1, "workloads": ["unique"], "timing": timing}
    tier = TypeAdapter(AnyTier).validate_python({"design": "ladder", **plan})
    assert isinstance(tier, LadderTier)
    found = estimate(cells, tier, METHOD, HEAD | {"model_title": "", "topology_title": "", "engine": ""})
    table = found.tables["cells"].set_index("concurrency")
    assert table["poa_hat"].isna().all()
    assert not table["valid"].any()
    assert table["reasons"].str.startswith("no cost model: ").all()
    assert (table[["ttft_p50", "throughput_rps"]] > 0).all(axis=None)
    assert table["in_step"].tolist() == [False, True, True]
    assert table.loc[32, "step_s"] == pytest.approx(0.022)
    assert found.tables["arrivals"]["concurrency"].unique().tolist() == [32]
    assert "tells no slope" in found.facts["workloads"]["unique"]["notes"][0]
    told = step_words(found.tables["cells"])
    assert told.startswith("users marched in step at C = 8, 32: ")


def _row(C: int, index: float, *, marched: bool = False) -> dict[str, Any]:
    row = {"concurrency": C, "arrivals_dispersion": index, "in_step": marched, "step_s": 0.022}
    return {**row, "in_step_from": 2.2}


def test_the_cells_shown_are_the_one_that_varies_most_and_the_nearest_that_keeps_apart() -> None:
    rows = [
        _row(8, 1.0),
        _row(32, 0.9),
        _row(64, 44.0, marched=True),
        _row(96, 30.0, marched=True),
        _row(256, 1.1),
    ]
    assert shown(rows) == [64, 32]
    assert shown(rows[2:4]) == [64]
    assert shown([_row(2, 1.9), *rows[2:4]]) == [64]  # two users in step are not told
    assert shown([_row(8, math.nan)]) == []
    assert shown([{"concurrency": 8, "valid": False}]) == []


def test_bins_hold_each_request_once_and_the_waits_of_those_that_came_in_them() -> None:
    traces = {C: [stepped(C)] for C in (4, 32)}
    rows = [_row(4, 3.0), _row(32, 30.0, marched=True)]
    found = pd.DataFrame(arrival_rows(rows, traces))
    assert list(dict.fromkeys(found["concurrency"])) == [32, 4]
    mine = found[found["concurrency"] == 32]
    assert len(mine) <= MOST_BINS
    full = mine[mine["n_sent"] > 0]
    assert full["n_sent"].tolist() == [32] * ROUNDS
    assert full["ttft_mean"].tolist() == pytest.approx([0.084] * ROUNDS)
    assert mine[mine["n_sent"] == 0]["ttft_mean"].isna().all()
