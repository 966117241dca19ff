"""Requests in flight against C, where a trace is not what it should be."""

from __future__ import annotations

from anarchy.trace.in_flight import contradiction
from tests.helpers.condition_samples import constant, trace_of


def test_one_time_that_is_decades_off_takes_no_more_memory_than_the_requests() -> None:
    table = constant(8, n=80)
    times = ["t_intended", "t_sent", "t_first_token", "t_last_token"]
    last = table.index[table["phase"] == "measure"][-1]
    table.loc[last, times] += 1e12
    bad, numbers = contradiction(trace_of(table, concurrency=8))
    assert bad
    assert numbers["in_flight_mean"] is not None
    assert numbers["in_flight_mean"] < 0.1
