"""Claims on policies (E3, E4): every rule is reached from both sides, each way to route apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anarchy.claims import Verdict, judge, load, write
from anarchy.designs.loading import load_systems
from anarchy.stats.variance import levels_own_bounds
from tests.helpers.synthetic_pareto import write_pareto
from tests.helpers.synthetic_staged import write_staged
from tests.unit.claims.test_claims import all_systems

CLAIMS = load()
VIRTUAL = "simulated in virtual time"
Documents = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """70B on 1P/2D and 1P/5D, three launches."""
    root = tmp_path_factory.mktemp("results")
    write_staged(root, "adaptive", launches=3, systems=slice(1, 3))
    layout = write_pareto(root, launches=3)
    return {f"{s.experiment} {s.key[1]}": s.document for s in load_systems(layout)}


def changed(document: dict[str, Any], frame: str, where: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A document with other values in those rows of a table that hold these words."""
    rows = document["frames"][frame].copy()
    chosen = pd.Series(True, index=rows.index)
    for column, value in where.items():
        chosen &= rows[column] == value
    assert chosen.any()
    for column, value in values.items():
        rows.loc[chosen, column] = value
    return {**document, "frames": {**document["frames"], frame: rows}}


def verdicts(claim: str, *documents: dict[str, Any]) -> dict[str, Verdict]:
    """The verdicts on one claim by the way to route."""
    found = [verdict for verdict in judge(CLAIMS, documents) if verdict.id == claim]
    assert len({verdict.way for verdict in found}) == len(found)
    return {verdict.way: verdict for verdict in found}


POA_BELOW = {"factor": "pair", "quantity": "poa_hat", "load": "below", "way": "builtin"}
POA_PAST = {**POA_BELOW, "load": "saturated"}
RATE_PAST = {**POA_PAST, "quantity": "throughput_rps"}


@pytest.mark.parametrize(
    ("values", "outcome", "word"),
    [
        (
            {"f": 2.5, "df_noise": 60, "cv_noise": 0.002},
            "reproduced",
            "margin 0.500 % (published): CV between 0.124 % and 0.359 %, so it lies below",
        ),
        ({"f": 2.5, "df_noise": 60, "cv_noise": 0.004}, "inconclusive", "which the margin does not part"),
        (
            {
                "effect": True,
                "f": 200.0,
                "df_noise": 40,
                "cv_noise": 0.006,
                "p_value": 1e-9,
            },
            "not reproduced",
            "above the margin",
        ),
        ({"cv_bound": math.nan}, "inconclusive", "not estimated"),
        ({"valid": False, "reasons": "fewer than two levels"}, "inconclusive", "fewer than two levels"),
        ({"noise": "", "p_value": math.nan, "f": math.nan}, "inconclusive", "noise not known"),
    ],
)
def test_no_effect_below_the_knee_is_a_bounded_one(
    documents: Documents, values: dict[str, Any], outcome: str, word: str
) -> None:
    verdict = verdicts("C4", changed(documents["pareto 1p2d"], "spread", POA_BELOW, **values))["builtin"]
    assert verdict.verdict == outcome
    assert word in verdict.parts[0].reason


def test_each_way_is_judged_apart_and_omega_is_explained_where_it_cannot_act(documents: Documents) -> None:
    found = verdicts(
        "C4", changed(documents["pareto 1p2d"], "spread", POA_BELOW, f=1.0, df_noise=60, cv_noise=0.002)
    )
    assert (found["builtin"].verdict, found["pinned"].verdict) == ("reproduced", "inconclusive")
    assert any("sets the overlap weight to 0" in note for note in found["builtin"].notes)
    assert not any("overlap weight" in note for note in found["pinned"].notes)
    assert "CV of PoA-hat between pairs, noise taken out, %" in found["pinned"].measured


def test_the_bounds_are_of_the_planned_pairs_alone(documents: Documents) -> None:
    values = {"cv_bound": 0.09, "effect": True, "f": 9.0, "df": 15, "df_noise": 30, "cv_noise": 0.01}
    part = verdicts("C4", changed(documents["pareto 1p2d"], "spread", POA_BELOW, **values))["builtin"].parts[
        0
    ]
    assert part.lo == pytest.approx(100 * levels_own_bounds(9.0, 15, 30, 0.01)[0])
    assert part.hi == pytest.approx(100 * levels_own_bounds(9.0, 15, 30, 0.01)[1])


def test_without_a_noise_the_bound_is_that_of_pairs_and_noise_together(documents: Documents) -> None:
    values = {"noise": "", "p_value": math.nan, "f": math.nan, "cv_bound": 0.004}
    part = verdicts("C4", changed(documents["pareto 1p2d"], "spread", POA_BELOW, **values))["builtin"].parts[
        0
    ]
    assert part.lo == 0.0
    assert part.hi == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("bounds", "outcome", "word"),
    [
        ((44.0, 38.0, 57.0), "reproduced", "does grow"),
        ((44.0, 18.0, 76.0), "inconclusive", "does grow"),
        ((2.0, 0.7, 5.7), "not reproduced", "outside"),
        ((math.nan, math.nan, math.nan), "inconclusive", "no interval"),
    ],
)
def test_growth_of_the_variance(
    documents: Documents, bounds: tuple[float, float, float], outcome: str, word: str
) -> None:
    names = ("variance_ratio", "variance_ratio_lo", "variance_ratio_hi")
    values = dict(zip(names, bounds, strict=True))
    verdict = verdicts("C5", changed(documents["pareto 1p2d"], "spread", POA_PAST, **values))["builtin"]
    assert verdict.verdict == outcome
    assert word in verdict.parts[0].reason
    assert ("grow" in verdict.parts[0].reason) == (bounds[1] > 1)


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"f": 1.0, "df_noise": 60, "cv_noise": 0.02}, "reproduced"),
        ({"f": 3.0, "df_noise": 60, "cv_noise": 0.03}, "inconclusive"),
        ({"effect": True, "f": 400.0, "df_noise": 30, "cv_noise": 0.01}, "not reproduced"),
    ],
)
def test_throughput_against_what_counts_as_none(
    documents: Documents, values: dict[str, Any], outcome: str
) -> None:
    document = changed(documents["pareto 1p2d"], "spread", RATE_PAST, **values)
    assert verdicts("C6", document)["builtin"].verdict == outcome


def test_a_controller_that_never_switched_decides_no_gain(documents: Documents) -> None:
    still = {"share_below": 1.0, "share_transition": 0.0, "share_saturated": 0.0}
    document = changed(documents["adaptive 1p2d"], "stages", {"policy": "adaptive"}, **still)
    verdict = verdicts("C9", document)["builtin"]
    assert verdict.verdict == "inconclusive"
    assert {part.measured for part in verdict.parts} == {None}
    assert all("same policy: noise" in part.reason for part in verdict.parts)
    assert verdicts("C9", documents["adaptive 1p2d"])["builtin"].parts[0].measured is not None


def test_no_load_on_one_side_of_the_knee_leaves_it_open(documents: Documents) -> None:
    document = documents["pareto 1p2d"]
    spread = document["frames"]["spread"]
    below = {**document, "frames": {**document["frames"], "spread": spread[spread["knee_times"] < 1]}}
    assert verdicts("C5", below)[""].verdict == verdicts("C6", below)[""].verdict == "inconclusive"
    assert verdicts("C4", below)["builtin"].parts[0].measured is not None


ADAPTIVE = {"policy": "adaptive", "stage": "past", "against_reference": True}


@pytest.mark.parametrize(
    ("poa", "rate", "outcome"),
    [
        ((3.0, 2.5, 3.5), (1.15, 1.12, 1.18), "reproduced"),
        ((3.0, 2.5, 3.5), (1.0, 0.98, 1.02), "not reproduced"),
        ((1.0, 0.9, 1.1), (1.15, 1.12, 1.18), "not reproduced"),
        ((3.0, 2.0, 4.5), (1.15, 1.12, 1.18), "inconclusive"),
    ],
)
def test_adaptive_gain_needs_both_quantities(
    documents: Documents, poa: tuple[float, ...], rate: tuple[float, ...], outcome: str
) -> None:
    document = documents["adaptive 1p5d"]
    for quantity, values in (("poa_hat", poa), ("throughput_rps", rate)):
        named = dict(zip(("ratio", "ratio_lo", "ratio_hi"), values, strict=True))
        document = changed(document, "ratios", {**ADAPTIVE, "quantity": quantity}, **named)
    verdict = verdicts("C8", document)["builtin"]
    assert verdict.verdict == outcome
    assert [part.quantity for part in verdict.parts] == [
        "PoA-hat, static over adaptive", "throughput, static over adaptive",
    ]  # fmt: skip
    assert "2 comparisons" in verdict.reason


def test_the_papers_source_decides_which_adaptive_policy_counts(documents: Documents) -> None:
    found = verdicts("C9", documents["adaptive 1p2d"])
    assert {part.quantity for part in found["builtin"].parts} == {
        "PoA-hat, static over adaptive", "TTFT P99, static over adaptive",
    }  # fmt: skip
    assert {part.quantity for part in found["pinned"].parts} == {
        "PoA-hat, pinned-static over pinned-adaptive", "TTFT P99, pinned-static over pinned-adaptive",
    }  # fmt: skip


def test_a_claim_on_one_system_is_not_judged_by_another(documents: Documents) -> None:
    verdict = verdicts("C8", documents["adaptive 1p2d"])[""]
    assert verdict.verdict == "not testable here"
    assert "it is about llama-3.1-70b 1p5d, which adaptive did not measure" in verdict.reason


@pytest.mark.parametrize(("factor", "outcome"), [(29.0, "reproduced"), (2.0, "not reproduced")])
def test_gain_of_the_switch(documents: Documents, factor: float, outcome: str) -> None:
    document = documents["adaptive 1p5d"]
    series, logs = document["frames"]["series"].copy(), document["frames"]["detection"]
    fired = float(logs["fired_s"].iloc[0])
    past = series["concurrency"] == series["concurrency"].max()
    series.loc[past, "ttft_p50"] = np.where(series["t"][past] < fired, factor, 1.0)
    series.loc[past & (series["launch"] == 2), "ttft_p50"] *= 1.1
    verdict = verdicts("C10", {**document, "frames": {**document["frames"], "series": series}})["builtin"]
    assert verdict.verdict == outcome
    assert verdict.parts[0].measured == pytest.approx(factor)
    assert "adaptive, 3 of 3 launches" in verdict.parts[0].reason


def test_a_switch_outside_the_saturated_stage_leaves_it_open(documents: Documents) -> None:
    document = documents["adaptive 1p5d"]
    logs = document["frames"]["detection"].assign(fired_s=1.0)
    verdict = verdicts("C10", {**document, "frames": {**document["frames"], "detection": logs}})["builtin"]
    assert verdict.verdict == "inconclusive"
    assert "did not switch inside" in verdict.parts[0].reason


@pytest.mark.parametrize(
    ("bounds", "outcome", "word"),
    [
        ((0.18, 0.1, 1.1), "reproduced", "3 launches"),
        ((0.02, 0.01, 0.08), "not reproduced", "outside"),
        ((0.02, 0.01, 0.13), "inconclusive", "partly"),
        ((math.nan, math.nan, math.nan), "inconclusive", "needs three"),
    ],
)
def test_spread_over_launches(
    documents: Documents, bounds: tuple[float, float, float], outcome: str, word: str
) -> None:
    values = dict(zip(("poa_hat_cv", "poa_hat_cv_lo", "poa_hat_cv_hi"), bounds, strict=True))
    document = changed(documents["adaptive 1p5d"], "stages", {"policy": "static", "stage": "past"}, **values)
    verdict = verdicts("C11", document)["builtin"]
    assert verdict.verdict == outcome
    assert word in verdict.parts[0].reason


def test_documents_without_their_tables_are_not_judged(documents: Documents) -> None:
    for claim in ("C4", "C5", "C6", "C8", "C9", "C10", "C11"):
        bare = [{key: value for key, value in d.items() if key != "frames"} for d in documents.values()]
        assert {v.verdict for v in verdicts(claim, *bare).values()} <= {"inconclusive", "not testable here"}


def test_the_way_stands_in_every_file(documents: Documents, tmp_path: Path) -> None:
    files = write(judge(CLAIMS, list(documents.values())), tmp_path)
    rows = pd.read_csv(files[0], dtype=str, keep_default_na=False)
    assert set(rows.loc[rows["id"] == "C4", "way"]) == {"builtin", "pinned"}
    assert "pinned routing" in files[2].read_text()


# --- C13: one point, two experiments ---


def ladder_of(staged: dict[str, Any], poa_hat: float, C: int, half: float = 0.02) -> dict[str, Any]:
    """E1 of the same system, a cell at this C."""
    cells = pd.DataFrame(
        {
            "workload": ["unique"],
            "concurrency": [C],
            "valid": [True],
            "n_launches": [3],
            "interval_kind": ["across-launches"],
            "poa_hat": [poa_hat],
            "poa_hat_lo": [poa_hat * (1 - half)],
            "poa_hat_hi": [poa_hat * (1 + half)],
        }
    )
    head = {key: staged[key] for key in ("model", "topology", "engine", "model_title", "topology_title")}
    return {
        **head,
        "experiment": "equilibrium",
        "design": "ladder",
        "tier": "t",
        "dilation": 1.0,
        "workloads": {},
        "frames": {"cells": cells},
    }


def past(staged: dict[str, Any]) -> pd.Series:
    """The static default's stage of the most load, built in."""
    rows = staged["frames"]["stages"]
    rows = rows[rows["reference"].astype(bool) & (rows["way"] == "builtin") & (rows["workload"] == "unique")]
    found: pd.Series[Any] = rows[rows["concurrency"] == rows["concurrency"].max()].iloc[-1]
    return found


@pytest.mark.parametrize(
    ("times", "outcome", "word"),
    [
        (1.0, "not reproduced", "lies outside [0.29, 0.29]"),
        (1.29, "inconclusive", "lies partly inside"),
        (3.0, "not reproduced", "lies outside [0.29, 0.29]"),
    ],
)
def test_a_point_that_drifts_between_experiments(
    documents: Documents, times: float, outcome: str, word: str
) -> None:
    staged = documents["adaptive 1p2d"]
    stage = past(staged)
    narrow = {f"poa_hat_{end}": stage["poa_hat"] * (1 + side * 0.02) for end, side in (("lo", -1), ("hi", 1))}
    staged = changed(
        staged, "stages", {"reference": True, "way": "builtin"}, poa_hat=stage["poa_hat"], **narrow
    )
    ladder = ladder_of(staged, stage["poa_hat"] / times, int(stage["concurrency"]))
    (verdict,) = verdicts("C13", staged, ladder).values()
    assert (verdict.way, verdict.verdict) == ("builtin", outcome), "E1 has no pinned routing"
    assert word in verdict.parts[0].reason
    assert verdict.parts[0].measured == pytest.approx(times - 1, abs=1e-9)


def test_one_launch_says_nothing_of_drift(documents: Documents) -> None:
    staged = documents["adaptive 1p2d"]
    stage = past(staged)
    staged = changed(staged, "stages", {"reference": True}, n_launches=1)
    ladder = ladder_of(staged, stage["poa_hat"] / 3, int(stage["concurrency"]))
    verdict = verdicts("C13", staged, ladder)["builtin"]
    assert verdict.verdict == "inconclusive"
    assert "within 1 launch(es)" in verdict.parts[0].reason


@pytest.mark.parametrize("of_e1", [True, False])
def test_a_launch_that_is_nearly_alone_says_nothing_of_drift(documents: Documents, *, of_e1: bool) -> None:
    staged = documents["adaptive 1p2d"]
    ladder = ladder_of(staged, past(staged)["poa_hat"] / 3, int(past(staged)["concurrency"]))
    if of_e1:
        ladder["frames"]["cells"]["interval_kind"] = "within-run"
    else:
        staged = changed(staged, "stages", {"reference": True}, interval_kind="within-run")
    verdict = verdicts("C13", staged, ladder)["builtin"]
    assert verdict.verdict == "inconclusive"
    assert verdict.launches_to_decide is None
    assert "of which one is nearly alone" in verdict.parts[0].reason
    assert "launches of like length would decide" in verdict.decides


def test_experiments_that_share_no_saturated_point_tell_no_drift(documents: Documents) -> None:
    staged = documents["adaptive 1p2d"]
    (alone,) = verdicts("C13", staged).values()
    assert (alone.verdict, alone.reason) == (
        "not testable here",
        "E1 did not measure this system, so no point is shared",
    )
    (verdict,) = verdicts("C13", staged, ladder_of(staged, 2.0, 7)).values()
    assert verdict.verdict == "inconclusive"
    assert verdict.decides == f"E1 at C = {past(staged)['concurrency']} too would decide"


def test_one_point_by_two_engines_is_no_drift(documents: Documents) -> None:
    staged = documents["adaptive 1p2d"]
    stage = past(staged)
    ladder = {**ladder_of(staged, stage["poa_hat"] / 3, int(stage["concurrency"])), "engine": VIRTUAL}
    (verdict,) = verdicts("C13", staged, ladder).values()
    assert verdict.verdict == "inconclusive"
    reason, decides = verdict.parts[0].reason, verdict.parts[0].decides
    assert f"E1 was measured by another engine ({VIRTUAL}) than this experiment (simulated)" in reason
    assert decides == f"E1 on this engine too, at C = {stage['concurrency']}, would decide"


def test_e1_and_e4_share_a_point_as_well(documents: Documents) -> None:
    pareto = {**documents["pareto 1p2d"], "engine": VIRTUAL}
    rows = pareto["frames"]["pairs"]
    rows = rows[rows["reference"].astype(bool) & (rows["way"] == "builtin") & (rows["repeat"] == 1)]
    load = rows[rows["load"] == "saturated"].iloc[0]
    ladder = {**ladder_of(pareto, load["poa_hat"], int(load["concurrency"])), "engine": VIRTUAL}
    verdict = verdicts("C13", pareto, ladder)["builtin"]
    assert verdict.engine == VIRTUAL
    assert verdict.parts[0].measured == pytest.approx(0.0)
    assert "load saturated against E1's cell" in verdict.parts[0].reason


def test_a_table_of_cells_of_another_design_is_not_e1s(documents: Documents) -> None:
    staged = documents["adaptive 1p2d"]
    other = {**ladder_of(staged, 2.0, int(past(staged)["concurrency"])), "design": "readings"}
    (verdict,) = verdicts("C13", staged, other).values()
    assert verdict.verdict == "not testable here"
    assert "E1 did not measure this system" in verdict.reason


def test_a_workload_that_e1_did_not_measure_is_told(documents: Documents) -> None:
    staged = documents["adaptive 1p2d"]
    ladder = ladder_of(staged, 2.0, 7)
    other = ladder["frames"]["cells"].assign(workload="templates")
    (verdict,) = verdicts("C13", staged, {**ladder, "frames": {"cells": other}}).values()
    assert "E1 did not measure this workload" in verdict.parts[0].reason


# --- what would decide ---


def test_launches_that_would_decide_a_drift(documents: Documents) -> None:
    staged = documents["adaptive 1p2d"]
    stage = past(staged)
    wide = {f"poa_hat_{end}": stage["poa_hat"] * (1 + side * 0.2) for end, side in (("lo", -1), ("hi", 1))}
    staged = changed(
        staged, "stages", {"reference": True, "way": "builtin"}, poa_hat=stage["poa_hat"], **wide
    )
    ladder = ladder_of(staged, stage["poa_hat"] / 1.2, int(stage["concurrency"]))
    verdict = verdicts("C13", staged, ladder)["builtin"]
    part = verdict.parts[0]
    assert verdict.verdict == "inconclusive"
    assert part.launches_to_decide is not None
    assert part.launches_to_decide > 3
    assert verdict.launches_to_decide == part.launches_to_decide
    assert f"{part.launches_to_decide} launches would decide" in part.decides


def test_a_drift_of_one_launch_needs_three(documents: Documents) -> None:
    staged = documents["adaptive 1p2d"]
    stage = past(staged)
    staged = changed(staged, "stages", {"reference": True}, n_launches=1)
    ladder = ladder_of(staged, stage["poa_hat"] / 30, int(stage["concurrency"]))
    assert verdicts("C13", staged, ladder)["builtin"].launches_to_decide == 3


def test_launches_do_not_narrow_a_variance_ratio(documents: Documents) -> None:
    names = ("variance_ratio", "variance_ratio_lo", "variance_ratio_hi")
    values = dict(zip(names, (44.0, 15.4, 126.0), strict=True))
    verdict = verdicts("C5", changed(documents["pareto 1p2d"], "spread", POA_PAST, **values))["builtin"]
    assert verdict.launches_to_decide is None
    assert "no number of launches decides, the interval is as wide as 16 pairs make it;" in verdict.decides
    assert "pairs would" in verdict.parts[0].decides


@pytest.mark.parametrize(
    ("bounds", "launches", "needed", "word"),
    [
        ((0.18, 0.09, 1.1), 3, 4, "4 launches would decide"),
        ((0.08, 0.04, 0.5), 3, 89, "89 launches would decide"),
        ((0.094, 0.05, 0.6), 3, None, "lies at the edge of the range"),
        ((math.nan, math.nan, math.nan), 1, None, "fewer than 3 tell no spread"),
    ],
)
def test_launches_that_would_decide_a_spread(
    documents: Documents, bounds: tuple[float, ...], launches: int, needed: int | None, word: str
) -> None:
    values = dict(zip(("poa_hat_cv", "poa_hat_cv_lo", "poa_hat_cv_hi"), bounds, strict=True))
    where = {"policy": "static", "stage": "past"}
    document = changed(documents["adaptive 1p5d"], "stages", where, n_launches=launches, **values)
    part = verdicts("C11", document)["builtin"].parts[0]
    assert part.verdict == "inconclusive"
    assert word in f"{part.reason} {part.decides}"
    assert part.launches_to_decide == needed


def test_the_number_stands_in_the_files(documents: Documents, tmp_path: Path) -> None:
    values = {"poa_hat_cv": 0.18, "poa_hat_cv_lo": 0.09, "poa_hat_cv_hi": 1.1, "n_launches": 3}
    document = changed(documents["adaptive 1p5d"], "stages", {"policy": "static", "stage": "past"}, **values)
    files = write(judge(CLAIMS, [document]), tmp_path)
    rows = pd.read_csv(files[0], dtype=str, keep_default_na=False)
    mine = rows[(rows["id"] == "C11") & (rows["way"] == "builtin")]
    assert list(mine["launches_to_decide"]) == ["4", "4"]
    (told,) = [
        one for one in json.loads(files[1].read_text()) if one["id"] == "C11" and one["way"] == "builtin"
    ]
    assert told["launches_to_decide"] == told["parts"][0]["launches_to_decide"] == 4


def test_a_workload_without_a_knee_is_open_and_not_untestable(documents: Documents) -> None:
    staged = documents["adaptive 1p5d"]
    frames = {
        name: frame.assign(workload="hot") if "workload" in frame else frame
        for name, frame in staged["frames"].items()
    }
    hot = {**staged, "workloads": {"hot": staged["workloads"]["unique"]}, "frames": frames}
    for claim in ("C8", "C10", "C11"):
        found = verdicts(claim, hot)
        assert {verdict.verdict for verdict in found.values()} == {"inconclusive"}


def test_every_claim_has_a_verdict_when_all_experiments_ran(documents: Documents) -> None:
    """E1 and E4 in virtual time, E3 live."""
    virtual = [{**one, "engine": VIRTUAL} for name, one in documents.items() if name.startswith("pareto")]
    ladders = [{**one, "engine": VIRTUAL, "design": "ladder"} for one in all_systems()]
    for ladder in ladders:
        ladder["frames"] = ladder_of(documents["adaptive 1p2d"], 2.0, 384)["frames"]
    live = [one for name, one in documents.items() if name.startswith("adaptive")]
    found = judge(CLAIMS, [*ladders, *virtual, *live])
    assert {verdict.id for verdict in found} == {claim.id for claim in CLAIMS.claims}
    measured = {verdict.verdict for verdict in found if verdict.id.startswith("C")}  # others are of G1 and G2
    assert "not testable here" not in measured
