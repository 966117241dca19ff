"""Pages that the Prometheus client library writes read back as they were; no text leads to a traceback."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from anarchy.control.histogram import add, increase, quantile
from anarchy.control.pages import METRIC, broken, read_page
from anarchy.telemetry.exposition import Exposition, PageError

RELAXED = settings(max_examples=200, deadline=None)
TEXT, OPENMETRICS = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
edges = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8, unique=True).map(sorted)
latencies = st.lists(st.floats(0.0, 2e6), max_size=40)
pages = st.dictionaries(st.tuples(names, names), latencies, min_size=1, max_size=4)


def written(registry: CollectorRegistry) -> list[tuple[str, str]]:
    return [
        (generate_latest(registry).decode(), TEXT),
        (generate_openmetrics(registry).decode(), OPENMETRICS),
        (generate_openmetrics(registry).decode(), ""),
    ]


@RELAXED
@given(pages, edges, latencies)
def test_what_the_library_writes_reads_back(
    observed: dict[tuple[str, str], list[float]], buckets: list[float], later: list[float]
) -> None:
    registry = CollectorRegistry()
    histogram = Histogram(METRIC, "a \\ b\n", ["model", "worker"], buckets=buckets, registry=registry)
    for labels, values in observed.items():
        for value in values:
            histogram.labels(*labels).observe(value, {"trace_id": "a } b"})
        histogram.labels(*labels)
    bounds = (*buckets, math.inf)
    first = [read_page(text, content_type) for text, content_type in written(registry)]
    for page in first:
        assert page.models == {model for model, _ in observed}
        for (model, worker), values in observed.items():
            read = page.histograms[("model", model), ("worker", worker)]
            assert read.edges == bounds
            assert read.counts == tuple(sum(value <= bound for value in values) for bound in bounds)
    one = next(iter(observed))
    for value in later:
        histogram.labels(*one).observe(value)
    for before, (text, content_type) in zip(first, written(registry), strict=True):
        after = read_page(text, content_type)
        assert broken(before, after) == ""
        together = add(increase(before.histograms, after.histograms))
        assert together is not None
        assert together.total == len(later)
        assert bool(later) == bool(broken(after, before))


parts = st.sampled_from(
    [METRIC, "_bucket", "_sum", "_created", "{", "}", '"', "le", "=", '"+Inf"', '"0.1"', "model", ",", " ",
     "\n", "#", "\\", " # {} 1", "# EOF", "# TYPE ", " histogram", "NaN", "1", "2e400", "-5", "\r", "\x00",
     "\u2028", "process_start_time_seconds", "dynamo_component_uptime_seconds"]
)  # fmt: skip
lines = st.builds(
    '{}_bucket{{model="{}",le="{}"}} {}{}'.format,
    st.just(METRIC),
    st.sampled_from(["m", "n", "\\"]),
    st.sampled_from(["1", "2", "1.0", "+Inf", "-1", "nan", "x"]),
    st.sampled_from(["0", "1", "2", "2", "1.5", "NaN", "-1", "1e300", ""]),
    st.sampled_from(["", "", " 5", ' # {a="b"} 1', " # "]),
)
hostile = st.one_of(
    st.text(max_size=200),
    st.lists(parts, max_size=40).map("".join),
    st.lists(lines, max_size=12).map(lambda some: "\n".join(some) + "\n"),
)


@settings(max_examples=600, deadline=None)
@given(hostile, hostile, st.sampled_from([TEXT, OPENMETRICS, "", "text/html", "\x00"]))
def test_any_text_is_read_or_refused_with_a_reason(before: str, after: str, content_type: str) -> None:
    Exposition().update(before)
    try:
        first, second = read_page(before, content_type), read_page(after, content_type)
    except PageError as error:
        reason = str(error)
        assert reason.isprintable(), reason
        assert len(reason) < 1000, reason
        return
    assert broken(first, second).isprintable()
    if not broken(first, second):
        together = add(increase(first.of_model("m"), second.of_model("m")))
        place = together and quantile(together, 0.99)
        assert not place or 0.0 <= place.lower <= place.value <= place.upper
