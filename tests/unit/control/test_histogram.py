"""Quantiles of histogram increases, against NumPy on the samples that made them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anarchy.control.histogram import Histogram, Quantile, add, increase, quantile

MODEL = (("model", "m"),)
EDGES = (0.0047, 0.01, 0.022, 0.047, 0.1, 0.22, 0.47, 1.0, 2.2, 4.7, 10.0, math.inf)
samples = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=400)
shares = st.sampled_from([0.5, 0.9, 0.99, 1.0])


def histogram(values: Sequence[float], edges: tuple[float, ...] = EDGES) -> Histogram:
    return Histogram(edges, tuple(float(sum(value <= edge for value in values)) for edge in edges))


def known(counts: Histogram, q: float) -> Quantile:
    """The quantile of a histogram that has one."""
    found = quantile(counts, q)
    assert found is not None
    return found


@settings(max_examples=200, deadline=None)
@given(samples, shares)
def test_the_true_quantile_lies_in_the_bracket(values: list[float], q: float) -> None:
    found = known(histogram(values), q)
    true = float(np.quantile(values, q, method="inverted_cdf"))
    assert found.lower < true <= found.upper or (true == 0.0 == found.lower)
    assert found.lower <= found.value <= found.upper


@settings(max_examples=100, deadline=None)
@given(samples, samples)
def test_the_increase_is_what_came_in_between(first: list[float], second: list[float]) -> None:
    assert increase({MODEL: histogram(first)}, {MODEL: histogram(first + second)}) == (histogram(second),)


def test_interpolation_is_linear_inside_the_bucket_as_in_prometheus() -> None:
    counts = Histogram((0.1, 0.2, 0.4, math.inf), (50.0, 90.0, 100.0, 100.0))
    assert known(counts, 0.5).value == pytest.approx(0.1)
    assert known(counts, 0.25).value == pytest.approx(0.05)  # the first bucket begins at 0
    assert known(counts, 0.95).value == pytest.approx(0.3)
    assert known(counts, 0.99).value == pytest.approx(0.38)
    assert (known(counts, 0.99).lower, known(counts, 0.99).upper) == (0.2, 0.4)


def test_the_last_bucket_gives_a_lower_bound_and_says_so() -> None:
    found = known(Histogram((0.1, 10.0, math.inf), (0.0, 5.0, 10.0)), 0.99)
    assert (found.value, found.lower, found.upper) == (10.0, 10.0, math.inf)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert quantile(Histogram(EDGES, (0.0,) * len(EDGES)), 0.99) is None
    assert add([]) is None
    with pytest.raises(ValueError, match="quantile"):
        quantile(histogram([1.0]), 0.0)


def test_a_new_series_counts_from_zero_and_counts_that_fall_are_no_increase() -> None:
    first, second = histogram([0.05] * 10), histogram([0.3] * 3)
    assert increase({}, {MODEL: second}) == (second,)
    with pytest.raises(ValueError, match="counts"):
        increase({MODEL: first}, {MODEL: second})
    with pytest.raises(ValueError, match="edges"):
        increase({MODEL: first}, {MODEL: histogram([0.3] * 30, (0.5, math.inf))})


def test_frontends_add_up_and_different_edges_do_not() -> None:
    assert add([histogram([0.05, 3.0]), histogram([0.3])]) == histogram([0.05, 3.0, 0.3])
    with pytest.raises(ValueError, match="different edges"):
        add([histogram([1.0]), histogram([1.0], (1.0, math.inf))])


@pytest.mark.parametrize(
    ("edges", "counts"),
    [((), ()), ((1.0,), (1.0,)), ((1.0, math.inf), (2.0, 1.0)), ((2.0, 1.0, math.inf), (0.0, 0.0, 0.0)),
     ((1.0, math.inf), (math.nan, 1.0)), ((1.0, math.inf), (1.0,)), ((math.nan, math.inf), (0.0, 1.0)),
     ((-1.0, math.inf), (0.0, 1.0)), ((1.0, math.inf), (0.5, 1.0)), ((1.0, math.inf), (0.0, math.inf)),
     ((1.0, math.inf), (0.0, 1e17))],
)  # fmt: skip
def test_what_is_no_histogram_is_refused(edges: tuple[float, ...], counts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"count|edge"):
        Histogram(edges, counts)
