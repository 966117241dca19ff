"""Lines and pages of metrics text, by the Prometheus client library."""

from __future__ import annotations

import math

import pytest

from anarchy.telemetry.exposition import (
    LONGEST_LINE,
    Exposition,
    PageError,
    check_page,
    parse_line,
    read_samples,
)

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [('a{x="1"} 1', {"x": "1"}, 1.0),
     ('a{x="}"} 2 1700000000', {"x": "}"}, 2.0),
     (r'a{x="1",path="C:\\d\"q\"\n{,}"} 3', {"x": "1", "path": 'C:\\d"q"\n{,}'}, 3.0),
     (' a { x = "1" , y="2" , } 4', {"x": "1", "y": "2"}, 4.0),
     ('a{x="é b"}\t5e2', {"x": "é b"}, 500.0),
     ('a{le="1"} 6 # {trace_id="7 8"} 0.05 1700000000.5', {"le": "1"}, 6.0),
     ("a 7 # {} 0.05", {}, 7.0), ("a +Inf", {}, math.inf), ('{"a",x="1"} 8', {"x": "1"}, 8.0)],
)  # fmt: skip
def test_a_line_is_read_as_the_format_says(line: str, labels: dict[str, str], value: float) -> None:
    assert parse_line(line) == ("a", tuple(sorted(labels.items())), value)


@pytest.mark.parametrize(
    "line", ["<html><body>It works</body></html>", '{"status": "ok"}', "broken", 'a{x="1} 1', 'a{x=1} 1',
             'a{x="1"}', "a 1_000", "a " + "9" * 400, "\x1b[31ma\x07 x", 'a{x="1",x="2"} 1',
             "a" * (LONGEST_LINE + 1) + " 1"],
)  # fmt: skip
def test_what_is_no_line_is_refused_with_a_short_quotation(line: str) -> None:
    with pytest.raises(PageError) as refused:
        parse_line(line)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_only_changes_are_told() -> None:
    exposition = Exposition()
    first = exposition.update('# HELP a b\na{x="1"} 1\na{x="}"} 2 1700000000\nb +Inf\nbroken\nc NaN\n')
    one, two = ("a", (("x", "1"),)), ("a", (("x", "}"),))
    assert first.values.keys() == {one, two, ("b", ()), ("c", ())}
    assert (first.values[one], first.values[two], first.bad_lines) == (1, 2, 1)
    second = exposition.update('# HELP a b\na{x="1"} 1\na{x="}"} 3 1700000001\nbroken\nc NaN\n')
    assert second == ({two: 3}, (("b", ()),), 0, 0)


def test_a_series_with_two_values_has_none_and_is_counted() -> None:
    exposition = Exposition()
    assert exposition.update("a 1\nb 1\na 1\n") == ({("a", ()): 1, ("b", ()): 1}, (), 0, 0)
    assert exposition.update("a 1\nb 1\na 2\n") == ({}, (("a", ()),), 0, 1)
    assert exposition.update("a 1\nb 1\na 2\n") == ({}, (), 0, 0)
    assert exposition.update("a 2\nb 1\n") == ({("a", ()): 2}, (), 0, 0)


def test_only_the_lines_that_are_asked_for_are_read() -> None:
    text = 'a_sum 1\nbroken\nb{name="a_sum"} 2\na_count 3\n'
    assert [(sample.name, sample.value) for sample in read_samples(text, "text/plain", "a_")] == [
        ("a_sum", 1.0),
        ("a_count", 3.0),
    ]
    with pytest.raises(PageError, match="'broken'"):
        check_page(text, "text/plain")


HISTOGRAM = """\
# TYPE a histogram
# UNIT a\x20
# HELP a b
a_bucket{le="0.1"} 1 # {trace_id="1 } 2"} 0.05 1700000000.5
a_bucket{le="+Inf"} 2
a_count 2
a_sum 3
a_created 1700000000
"""


def test_openmetrics_is_read_by_its_own_parser() -> None:
    page = HISTOGRAM.replace("# UNIT a\x20\n", "")
    samples = read_samples(f"{page}# EOF\n", OPENMETRICS, "a")
    assert [sample.value for sample in samples] == [1, 2, 2, 3, 1700000000]
    assert read_samples(f"{page}# EOF\n", "", "a") == samples, "without a content type the end tells"
    assert read_samples(f"{page}# EOF\n", "text/plain", "a") == samples, "there it is a comment"


@pytest.mark.parametrize(
    ("text", "reason"),
    [(HISTOGRAM, "Missing # EOF"), ("a 1\n\n# EOF\n", "blank"), ("a 1\n# EOF\nb 2\n", "after # EOF"),
     ("# TYPE a gauge\na 1\na 2\n# EOF\n", "a series stands on it twice"),
     ("# TYPE a histogram\na_bucket 1\n# EOF\n", "le"), ('a{x="1} 1\n# EOF\n', "no OpenMetrics text")],
)  # fmt: skip
def test_a_page_that_is_no_openmetrics_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PageError, match=reason):
        read_samples(text.replace("# UNIT a\x20\n", ""), OPENMETRICS, "a")
