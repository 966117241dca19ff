"""Pairs at named loads: spread against repeats, variance ratio and front, with a planted effect and none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anarchy.config import Load
from anarchy.designs.pareto.columns import PAIRS, SPREAD
from anarchy.designs.pareto.estimate import estimate, pareto_front
from anarchy.designs.pareto.quiet import quiet_table
from anarchy.designs.pareto.tier import ParetoTier
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.grouping import Found
from anarchy.routing.baselines.least_loaded import LeastLoaded
from anarchy.tables import System
from tests.helpers.condition_samples import HEAD, METHOD, constant, measured, pair, rng_of, trace_of
from tests.helpers.frames import row

LEVELS = (0.0, 0.3, 0.7, 1.0)
LOADS = [Load(name="below", knee_times=0.5), Load(name="at", knee_times=1.5)]
TIER = ParetoTier.model_validate(
    {"loads": LOADS, "launches": 1, "workloads": ["unique"], "timing": {"measure_s": 1, "measure_max_s": 1}}
)
C_OF = {"below": 32, "at": 96}


def cell(
    tau: float, omega: float, load: str, *, launch: int = 1, repeat: int = 1, slower: float = 1.0
) -> MeasuredCell:
    policy = pair(tau, omega)
    seed = int(rng_of(int(10 * tau), int(10 * omega), launch, repeat).integers(1 << 30))
    table = constant(C_OF[load], seed, slower=slower, n=240)
    trace = trace_of(table, policy.name, launch=launch, concurrency=C_OF[load], load=load, repeat=repeat)
    return measured(
        trace,
        policy,
        reference=(tau, omega) == (0.0, 1.0),
        launch=launch,
        load=load,
        repeat=repeat,
        concurrency=C_OF[load],
    )


def sweep(effect: float = 0.0, *, launches: int = 1, repeats: int = 4) -> list[MeasuredCell]:
    """All pairs at both loads; at load `at` every step of tau slows requests by `effect`."""
    cells = []
    for launch in range(1, launches + 1):
        for load in C_OF:
            for k, tau in enumerate(LEVELS):
                slower = 1.0 + (effect * k if load == "at" else 0.0)
                cells += [cell(tau, omega, load, launch=launch, slower=slower) for omega in LEVELS]
            cells += [cell(0.0, 1.0, load, launch=launch, repeat=r) for r in range(2, repeats + 1)]
    return cells


def estimated(cells: list[MeasuredCell]) -> Found:
    return estimate(cells, TIER, METHOD, HEAD)


@pytest.fixture(scope="module")
def none() -> Found:
    return estimated(sweep())


@pytest.fixture(scope="module")
def planted() -> Found:
    return estimated(sweep(0.15))


def of(found: Found, load: str, factor: str = "pair", quantity: str = "poa_hat") -> pd.Series[Any]:
    rows = found.tables["spread"].set_index(["load", "factor", "quantity"])
    return row(rows, (load, factor, quantity))


def test_every_pair_load_and_repeat_has_its_row(none: Found) -> None:
    pairs = none.tables["pairs"]
    assert list(pairs.columns) == list(PAIRS.names)
    assert len(pairs) == 2 * (16 + 3)
    assert pairs["valid"].all()
    assert (pairs.loc[pairs["repeat"] > 1, "policy"] == "kv-t0-w1").all()
    assert pairs["reference"].sum() == 2 * 4
    assert (pairs["poa_cal"] >= 1.0).all()
    assert none.facts["loads"] == [
        {"name": "below", "concurrency": 32, "knee_times": 0.5, "reference_only": False},
        {"name": "at", "concurrency": 96, "knee_times": 1.5, "reference_only": False},
    ]
    assert none.facts["repeats"] == 4
    assert len(none.tables["launches"]) == len(pairs)
    assert list(none.tables["spread"].columns) == list(SPREAD.names)


def test_no_effect_is_not_found_and_bounded_by_the_noise(none: Found) -> None:
    for load in C_OF:
        row = of(none, load)
        assert row["noise"] == "repeats"
        assert (row["n_levels"], row["n_repeats"], row["df"], row["df_noise"]) == (16, 4, 15, 3)
        assert row["p_value"] > 0.01
        assert row["cv"] < row["cv_bound"] < 3.0 * max(row["cv_noise"], row["cv"])
        assert row["half_spread"] == pytest.approx((row["highest"] - row["lowest"]) / 2.0)
    tests = none.tables["spread"]
    assert (tests["p_value"] < 0.05).mean() < 0.35
    assert set(tests["factor"]) == {"pair", "tau", "omega"}


def test_a_planted_effect_is_found_where_it_is(planted: Found) -> None:
    at, below = of(planted, "at"), of(planted, "below")
    assert at["effect"]
    # Steps of 15 % on one of two factors.
    assert at["cv_effect"] == pytest.approx(0.15, abs=0.05)
    assert at["cv_bound"] > 0.15
    assert not below["effect"]
    assert of(planted, "at", "tau")["effect"]
    assert not of(planted, "at", "omega")["effect"]
    assert of(planted, "at", "omega")["cv_bound"] < of(planted, "at", "tau")["cv_effect"]
    assert at["against_load"] == "below"
    assert 1.0 < at["variance_ratio_log_lo"] < at["variance_ratio_log"] < at["variance_ratio_log_hi"]
    assert below["against_load"] == ""
    assert np.isnan(below["variance_ratio"])


def test_launches_give_the_noise_where_there_are_several() -> None:
    found = estimated(sweep(0.15, launches=2, repeats=1))
    row = of(found, "at")
    assert (row["noise"], row["n_launches"], row["df_noise"]) == ("pair-by-launch", 2, 15)
    assert row["effect"]


def test_sets_at_several_dilations_are_labelled_each_and_carried_on_to_a_quiet_host() -> None:
    """One system has one head, and its sets may have been measured at different dilations and versions."""
    cells = []
    for dilation, version in ((2.0, "1.5.1"), (4.0, "1.5.1"), (8.0, "0.9.0")):
        for launch in (1, 2, 3):
            table = constant(C_OF["at"], seed=10 * launch + int(dilation), n=240)
            facts = {"dilation": dilation, "engine": "mocker", "versions": {"ai-dynamo": version}}
            trace = trace_of(table, "kv-t0-w1", launch=launch, concurrency=C_OF["at"], load="at", **facts)
            facts = {"routing": f"d{dilation:g}", "launch": launch, "concurrency": C_OF["at"]}
            cells.append(measured(trace, pair(0.0, 1.0), reference=True, load="at", **facts))
    head = {**HEAD, "engine": "simulated", "dilation": 2.0}
    tables = estimate(cells, TIER.model_copy(update={"loads": LOADS[1:]}), METHOD, head).tables
    for name in ("pairs", "launches"):
        assert tables[name].groupby("routing_set")["dilation"].unique().explode().to_dict() == {
            "d2": 2.0,
            "d4": 4.0,
            "d8": 8.0,
        }
    engines = tables["pairs"].set_index("routing_set")["engine"]
    assert engines["d2"] == engines["d4"] != engines["d8"]
    pairs = tables["pairs"].assign(engine="one")
    (row,) = quiet_table([System(HEAD, {"pairs": pairs}, "pareto", "pairs", Path())]).to_dict("records")
    assert row["dilations"] == "2, 4, 8"


def test_a_policy_without_a_pair_has_a_row_and_is_no_level_of_tau() -> None:
    cells = sweep(repeats=1)
    baseline = LeastLoaded(name="least-loaded", title="least loaded", way="pinned")
    cells += [replace(one, policy=baseline) for one in cells if one.policy.name == "kv-t0.3-w0"]
    found = estimated(cells)
    assert "least-loaded" in set(found.tables["pairs"]["policy"])
    assert (of(found, "at", "pair")["n_levels"], of(found, "at", "tau")["n_levels"]) == (17, 4)


def test_without_noise_the_bound_stands_alone() -> None:
    row = of(estimated(sweep(repeats=1)), "at")
    assert row["noise"] == ""
    assert not row["effect"]
    assert np.isnan(row["p_value"])
    assert row["cv_bound"] > row["cv"]


def test_pairs_that_were_not_measured_are_left_out_and_told() -> None:
    cells = sweep(repeats=2)
    gone = next(one for one in cells if one.load == "at" and one.policy.name == "kv-t0.3-w0.3")
    cells[cells.index(gone)] = measured(
        None, gone.policy, reference=False, load="at", concurrency=96, reason="not measured"
    )
    found = estimated(cells)
    pairs = found.tables["pairs"]
    missing = pairs[~pairs["valid"]]
    assert missing["policy"].tolist() == ["kv-t0.3-w0.3"]
    assert missing["reasons"].tolist() == ["not measured"]
    assert not missing["front"].any()
    row = of(found, "at")
    assert (row["n_levels"], row["left_out"]) == (15, 1)
    assert row["reasons"] == "1 policies lack a valid cell"
    # Three levels of tau average over four policies, one over the three that are left.
    of_tau, of_pair = (np.log1p(of(found, "at", factor)["cv_noise"] ** 2) for factor in ("tau", "pair"))
    assert of_tau / of_pair == pytest.approx((3 / 4 + 1 / 3) / 4)


def test_nothing_measured_at_all_gives_rows_and_no_crash() -> None:
    cells = [
        measured(None, one.policy, reference=one.reference, load=one.load, concurrency=one.concurrency)
        for one in sweep(repeats=1)
    ]
    found = estimated(cells)
    assert not found.tables["pairs"]["valid"].any()
    assert not found.tables["spread"]["valid"].any()
    assert found.tables["curves"].empty


def test_the_front_holds_what_nothing_beats(planted: Found) -> None:
    pairs = planted.tables["pairs"]
    first = pairs[(pairs["load"] == "at") & (pairs["repeat"] == 1)]
    assert row(first, first["ttft_p99"].idxmin())["front"]
    slow = first[first["tau"] == 1.0]
    assert not slow["front"].any()
    assert (slow["front_share"] < 0.5).all()
    assert first["front_share"].between(0.0, 1.0).all()
    assert not pairs.loc[pairs["repeat"] > 1, "front"].any()


def test_front_of_points_known_by_hand() -> None:
    points = np.array([[[1.0, 5.0], [2.0, 2.0], [5.0, 1.0], [3.0, 3.0], [2.0, 2.0], [np.nan, 0.0]]])
    assert pareto_front(points)[0].tolist() == [True, True, True, False, True, False]
