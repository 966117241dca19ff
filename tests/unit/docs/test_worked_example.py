"""The example of docs/concepts.md and docs/estimator.md, computed by the project's own functions."""

from __future__ import annotations

import numpy as np
import pytest

from anarchy.games.latency import AffineLatency, FullLatency
from anarchy.games.routing import (
    WindowCosts,
    Windows,
    decomposition,
    marginal_costs,
    poa_cal,
    poa_hat,
    window_costs,
)
from tests.helpers.places import PROJECT

AFFINE = AffineLatency(0.020, 0.010)
FULL = FullLatency(0.030, (1.0, 4.0), (0.010, 0.020))
CONCEPTS = (PROJECT / "docs" / "concepts.md").read_text(encoding="utf-8")
ESTIMATOR = (PROJECT / "docs" / "estimator.md").read_text(encoding="utf-8")


def costs(*worker: int) -> WindowCosts:
    """The window of the example: 3 requests on A, 1 on B, TTFTs of 70 and 80 ms."""
    window = Windows(
        row=np.array([[0, 1]]),
        t_start=np.zeros(1),
        worker=np.array([worker]),
        latency=np.array([[0.070, 0.080]]),
        load=np.array([[3, 1]]),
    )
    return window_costs(window, AFFINE, FULL)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.4g}"


def test_the_curves_and_what_a_further_request_adds() -> None:
    x = np.arange(1, 6)
    rows = {
        "l(x), ms": FULL(x),
        "all x requests together, x l(x)": x * FULL(x),
        "what the x-th request adds for everybody": marginal_costs(FULL, 5)[1:],
    }
    for name, values in rows.items():
        assert f"| {name} | {' | '.join(map(ms, values))} |" in CONCEPTS
    assert np.allclose(FULL(x[:4]), AFFINE(x[:4]))


def test_the_four_costs_and_the_ratios() -> None:
    both_on_a = costs(0, 0)
    SC, SCm, OPTf, OPTc = (
        ms(float(one[0])) for one in (both_on_a.SC, both_on_a.SCm, both_on_a.OPTf, both_on_a.OPTc)
    )
    hat, cal, factors = poa_hat(both_on_a), poa_cal(both_on_a), decomposition(both_on_a)
    assert factors.product == pytest.approx(hat)
    product = f"{factors.dynamics:.3g} x {factors.routing:.3g} x {factors.freezing:.3g}"
    for said in (
        f"SC = 70 + 80 = {SC} ms",
        f"OPTf = {ms(AFFINE(np.array(4)).item())} + {ms(AFFINE(np.array(2)).item())} = {OPTf} ms",
        f"PoA-hat = SC / OPTf = {SC} / {OPTf} = {hat:.3g}",
        f"`SCm = 90 + 210 = {SCm} ms`",
        f"`OPTc = 50 + 70 = {OPTc} ms`",
        f"**PoA-cal** = {SCm} / {OPTc} = **{cal:.3g}**",
        f"{product} = {hat:.3g}",
    ):
        assert said in CONCEPTS
    for row in (
        f"L_1 + L_2 | {SC} |",
        f"one request each: 60 + 40 | {OPTf} |",
        f"both on A: 90 + 210 | {SCm} |",
        f"the two cheapest places: 50 + 70 | {OPTc} |",
        f"SC / OPTf | {hat:.3g} |",
        f"SCm / OPTc | {cal:.3g} |",
        f"| {product} |",
    ):
        assert row in ESTIMATOR


def test_poa_hat_does_not_ask_where_requests_went_and_poa_cal_does() -> None:
    one_each = costs(0, 1)
    assert poa_hat(one_each) == pytest.approx(poa_hat(costs(0, 0)))
    SCm = ms(float(one_each.SCm[0]))
    assert f"SCm would be 90 + 50 = {SCm} ms and PoA-cal {SCm} / 120 = {poa_cal(one_each):.3g}" in CONCEPTS
