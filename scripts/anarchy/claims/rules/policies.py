"""Rules for claims on routing policies (E3, E4): claim, system and workload -> a verdict a way to route.

They read the tables beside system.json: `spread`, `ratios`, `stages`, `series` and `detection`, whose columns
`estimate.columns` names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import f as fisher
from scipy.stats import t as student

from anarchy.claims.model import (
    INCONCLUSIVE,
    NOT_TESTABLE,
    Claim,
    Outcome,
    Part,
    PublishedRatio,
    System,
    against_range,
    system_title,
)
from anarchy.config import KNEE_WORKLOAD
from anarchy.tables import TITLES, is_missing, percent, whole

LAUNCHES: Final = 3
"""Launches from which on an interval holds what differs between them."""
OMEGA: Final = (
    "with one prefill worker the built-in router has nothing to choose there, and on the decode choice it "
    "sets the overlap weight to 0: omega can act in the pinned way alone"
)
NOTES: Final = {
    "pair_spread, builtin": OMEGA,
    "variance_growth, builtin": OMEGA,
    "pair_effect, builtin": OMEGA,
    "adaptive_gain": "both sides in the stage of the most load; how deep the paper's saturated phase is, is "
    "not known to us",
    "switch_gain": "median TTFT of the seconds of the stage of most load before the first switch over that "
    "of those after it; how the paper compares is not known to us",
    "launch_spread": "a CV of 18 % over 3 runs is itself known to be between 9.4 and 113 % (chi-squared, "
    "ours), and that is the range it is held against",
}
"""What has to be known with every verdict of a rule, or of a rule and a way to route, whichever it is."""

Row = Mapping[Any, Any]
Asked = Callable[[Claim, System, str], Sequence[Part]]


def _frame(system: System, name: str, workload: str) -> pd.DataFrame | None:
    """The rows of a workload in a table beside system.json; None where it was not handed over."""
    frame = (system.get("frames") or {}).get(name)
    return None if frame is None else frame[frame["workload"] == workload]


def _nothing(system: System, quantity: str, reason: str, outcome: Outcome = INCONCLUSIVE) -> list[Part]:
    return [Part(system_title(system), outcome, reason, quantity)]


def _pairs(system: System, workload: str, quantity: str, *, past: bool) -> Iterator[Row]:
    """Of each way the spread over the pairs at the lowest load below the knee, or at the highest past it."""
    spread = _frame(system, "spread", workload)
    if spread is None:
        return
    rows = spread[(spread["factor"] == "pair") & (spread["quantity"] == quantity)]
    rows = rows[(rows["knee_times"] > 1) if past else (rows["knee_times"] < 1)]
    for _, mine in rows.sort_values("concurrency").groupby("routing_set", sort=False):
        yield mine.iloc[-1 if past else 0].to_dict()


def _past_no_knee(system: System, workload: str, quantity: str) -> list[Part]:
    """What to say of a workload under which no knee is known; empty where one is."""
    if workload == KNEE_WORKLOAD:
        return []
    reason = "no knee is known under this workload: prompts repeat, and prefill hardly saturates"
    return _nothing(system, quantity, reason, NOT_TESTABLE)


def _of_launches(row: Row, outcome: Outcome, why: str) -> tuple[Outcome, str]:
    """An outcome, left open where fewer than three launches are behind it: one does not tell their spread."""
    if outcome in (INCONCLUSIVE, NOT_TESTABLE) or row["n_launches"] >= LAUNCHES:
        return outcome, why
    return INCONCLUSIVE, f"{why}, within {whole(row['n_launches'])} launch(es), which say nothing of others"


def pair_spread(claim: Claim, system: System, workload: str) -> list[Part]:
    """C4: the CV of PoA-hat between pairs below the knee, noise taken out, against the published range."""
    assert claim.published.hi is not None
    parts = [
        _cv_part(claim, system, row, claim.published.hi)
        for row in _pairs(system, workload, "poa_hat", past=False)
    ]
    return parts or _nothing(system, "CV of PoA-hat over pairs", "no load below the knee was measured")


def pair_effect(claim: Claim, system: System, workload: str) -> list[Part]:
    """C6: the CV of the throughput between pairs past the knee, against what counts as none."""
    if untold := _past_no_knee(system, workload, "CV of throughput over pairs"):
        return untold
    parts = [
        _cv_part(claim, system, row, claim.negligible)
        for row in _pairs(system, workload, "throughput_rps", past=True)
    ]
    return parts or _nothing(system, "CV of throughput over pairs", "no load past the knee was measured")


def _cv_part(claim: Claim, system: System, row: Row, most: float) -> Part:
    """A CV between pairs with its interval, from 0 where no difference was seen, against 0 to ``most``."""
    quantity = f"CV of {TITLES[row['quantity']]} between pairs, noise taken out, %"

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(system_title(system), verdict, reason, quantity, *values, way=str(row["way"]))

    if not row["valid"] or is_missing(row["cv_bound"]):
        return part(INCONCLUSIVE, f"not estimated: {row['reasons'] or 'too few pairs'}")
    lo, hi = _cv_lower(row), float(row["cv_bound"])
    range_ = claim.published.model_copy(update={"lo": 0.0, "hi": 100 * most})
    in_per_cent = claim.model_copy(update={"published": range_, "tolerance": 0.0})
    outcome, why = _of_launches(row, *against_range(in_per_cent, 100 * lo, 100 * hi))
    noise = percent(row["cv_noise"]) if row["noise"] else "not known"
    seen = f"p = {row['p_value']:.2g}" if not is_missing(row["p_value"]) else "no test without noise"
    reason = (
        f"{row['load']}, C = {whole(row['concurrency'])}, {whole(row['n_levels'])} pairs: "
        f"CV {percent(row['cv'])}, of it noise {noise} ({seen}); "
        f"between {percent(lo)} and {percent(hi)}, which {why}"
    )
    value = row["cv_effect"] if not is_missing(row["cv_effect"]) else row["cv"]
    return part(outcome, reason, *(100 * float(end) for end in (value, lo, hi)))


def _cv_lower(row: Row) -> float:
    """One-sided 95 % lower bound of the CV between pairs: what of F no noise explains; 0 where p >= 0.05."""
    if is_missing(row["f"]) or not row["effect"]:
        return 0.0
    excess = float(row["f"]) / float(fisher.ppf(0.95, row["df"], row["df_noise"])) - 1.0
    return float(row["cv_noise"]) * math.sqrt(max(0.0, excess))


def variance_growth(claim: Claim, system: System, workload: str) -> list[Part]:
    """C5: the variance of PoA-hat over the pairs past the knee over that below it, against the range."""
    if untold := _past_no_knee(system, workload, "variance ratio of PoA-hat"):
        return untold
    parts = []
    for row in _pairs(system, workload, "poa_hat", past=True):
        values = [row[f"variance_ratio{bound}"] for bound in ("", "_lo", "_hi")]
        told: list[float | None] = [None if is_missing(value) else float(value) for value in values]
        outcome, why = _of_launches(row, *against_range(claim, told[1], told[2]))
        pairs = f"{whole(row['n_levels'])} pairs"
        reason = f"C = {whole(row['concurrency'])} over {row['against_load']}, {pairs}: {why}"
        if told[1] is not None and told[1] > 1:
            reason += "; the variance does grow"
        quantity = "variance of PoA-hat over pairs, past the knee over below it"
        parts.append(Part(system_title(system), outcome, reason, quantity, *told, way=str(row["way"])))
    return parts or _nothing(system, "variance ratio of PoA-hat", "no load past the knee was measured")


def adaptive_gain(claim: Claim, system: System, workload: str) -> list[Part]:
    """C8, C9: static over adaptive in the stage of most load, of each published quantity."""
    if untold := _past_no_knee(system, workload, "static over adaptive"):
        return untold
    ratios = _frame(system, "ratios", workload)
    if ratios is None or ratios.empty:
        return _nothing(system, "static over adaptive", "no ratio was estimated", NOT_TESTABLE)
    rows = ratios[ratios["against_reference"].astype(bool)]
    rows = rows[rows["policy"].isin(_papers(system, workload, rows))]
    rows = _fullest(rows)
    return [
        _gain_part(claim, system, row, published)
        for published in claim.published.ratios
        for row in rows[rows["quantity"] == published.quantity].to_dict("records")
    ]


def _fullest(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the stage of most load; of several with that C the last: by then a controller has had time."""
    most: pd.DataFrame = rows[rows["concurrency"] == rows["concurrency"].max()]
    last: pd.DataFrame = most[most["stage_index"] == most["stage_index"].max()]
    return last


def _papers(system: System, workload: str, rows: pd.DataFrame) -> list[str]:
    """The adaptive policies whose controller reads Prometheus, as the paper's does; all where none does."""
    logs = _frame(system, "detection", workload)
    names = list(dict.fromkeys(rows["policy"].astype(str)))
    if logs is None:
        return names
    acting = logs[logs["acts"].astype(bool) & (logs["source"] == "prometheus")]
    return [name for name in names if name in set(acting["policy"])] or names


def _gain_part(claim: Claim, system: System, row: Row, published: PublishedRatio) -> Part:
    title = TITLES[row["quantity"]]
    quantity = f"{title}, {row['against']} over {row['policy']}"
    told = [None if is_missing(row[name]) else float(row[name]) for name in ("ratio", "ratio_lo", "ratio_hi")]
    if published.tolerance is not None:
        claim = claim.model_copy(update={"tolerance": published.tolerance})
    outcome, why = _of_launches(row, *against_range(claim, told[1], told[2], published.value))
    reason = f"{title} in {row['stage']}, C = {whole(row['concurrency'])}: {why}"
    return Part(system_title(system), outcome, reason, quantity, *told, way=str(row["way"]))


def switch_gain(claim: Claim, system: System, workload: str) -> list[Part]:
    """C10: median TTFT before the switch over that after it, in the stage of most load."""
    logs, series = _frame(system, "detection", workload), _frame(system, "series", workload)
    quantity = "median TTFT before the switch over after it"
    if untold := _past_no_knee(system, workload, quantity):
        return untold
    if logs is None or series is None:
        return _nothing(system, quantity, "no controller's log was estimated", NOT_TESTABLE)
    acting = logs[logs["acts"].astype(bool) & logs["valid"].astype(bool)]
    acting = acting[acting["policy"].isin(_papers(system, workload, acting))]
    parts = []
    for (policy, way), mine in acting.groupby(["policy", "way"], sort=False):
        gains = [_gain(series, log) for log in mine.to_dict("records")]
        told = np.log([gain for gain in gains if gain is not None])
        if not told.size:
            reason = f"{policy} did not switch inside the stage of most load"
            parts.append(Part(system_title(system), INCONCLUSIVE, reason, quantity, way=str(way)))
            continue
        values = _over_launches(told)
        outcome, why = against_range(claim, *values[1:])
        reason = f"{policy}, {told.size} of {len(mine)} launches: {why}"
        parts.append(Part(system_title(system), outcome, reason, quantity, *values, way=str(way)))
    return parts or _nothing(system, quantity, "no controller acted in a cell that counts")


def _gain(series: pd.DataFrame, log: Row) -> float | None:
    """Median over seconds of median TTFT, before over after the first switch in the stage of most load."""
    rows = series[(series["launch"] == log["launch"]) & (series["routing_set"] == log["routing_set"])]
    rows = rows[(rows["policy"] == log["policy"]) & (rows["concurrency"] == rows["concurrency"].max())]
    if is_missing(log["fired_s"]):
        return None
    before, after = rows[rows["t"] + rows["seconds"] <= log["fired_s"]], rows[rows["t"] >= log["fired_s"]]
    medians = before["ttft_p50"].median(), after["ttft_p50"].median()
    return None if any(map(is_missing, map(float, medians))) else float(medians[0] / medians[1])


def _over_launches(logs: np.ndarray[Any, Any]) -> tuple[float, float | None, float | None]:
    """Geometric mean of ratios over launches, and Student's 95 % interval from three launches on."""
    mean = float(logs.mean())
    if logs.size < 3:
        return math.exp(mean), None, None
    half = float(student.ppf(0.975, logs.size - 1) * logs.std(ddof=1) / math.sqrt(logs.size))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def launch_spread(claim: Claim, system: System, workload: str) -> list[Part]:
    """C11: CV of the static PoA-hat from launch to launch in the stage of most load."""
    stages = _frame(system, "stages", workload)
    quantity = "CV of the static PoA-hat over launches"
    if untold := _past_no_knee(system, workload, quantity):
        return untold
    if stages is None:
        return _nothing(system, quantity, "no stage was estimated", NOT_TESTABLE)
    rows = stages[stages["reference"].astype(bool)]
    rows = _fullest(rows)
    parts = []
    for row in rows.to_dict("records"):
        values = [row[f"poa_hat_cv{bound}"] for bound in ("", "_lo", "_hi")]
        told: list[float | None] = [None if is_missing(value) else float(value) for value in values]
        outcome, why = against_range(claim, told[1], told[2])
        launches = int(row["n_launches"])
        reason = f"{row['stage']}, C = {whole(row['concurrency'])}, {launches} launches: {why}"
        if told[0] is None:
            reason = f"{launches} launch{'es' if launches != 1 else ''}, and a CV over launches needs three"
        parts.append(Part(system_title(system), outcome, reason, quantity, *told, way=str(row["way"])))
    return parts


RULES: Final[dict[str, Asked]] = {
    "pair_spread": pair_spread,
    "variance_growth": variance_growth,
    "pair_effect": pair_effect,
    "adaptive_gain": adaptive_gain,
    "switch_gain": switch_gain,
    "launch_spread": launch_spread,
}
