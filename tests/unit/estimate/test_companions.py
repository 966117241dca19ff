"""Overlaps of a pinned router: joined by request, credited in the cost model, shown as mechanism."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anarchy.estimate.companions import with_decisions
from anarchy.estimate.conditions import Condition, Part, cost_model, estimate_condition
from anarchy.estimate.mechanism import mechanism, overlap_shares
from anarchy.ground.errors import UserError
from anarchy.ground.files import sha256_of
from anarchy.trace.decisions import DECISIONS_FILE, Decision, DecisionLog
from anarchy.trace.reader import CellTrace
from tests.helpers.condition_samples import METHOD, constant, rng_of, trace_of

KAPPA = 0.02
"""Seconds that holding the whole prompt saves in these cells."""


def decided(table: pd.DataFrame, folder: Path, shares: np.ndarray, C: int = 32) -> CellTrace:
    """A cell whose router saw these overlaps and told them in another order, with requests of nobody."""
    log = DecisionLog(folder)
    log.open()
    ids = table["request_id"].tolist()
    for row in [*range(len(ids))][::-1]:
        log.write(
            Decision(
                request_id=ids[row],
                t=0.0,
                policy="static",
                way="pinned",
                regime="",
                tau=0.0,
                omega=1.0,
                prefill_worker=0,
                decode_worker=int(table["decode_worker"].iloc[row]),
                in_flight=(0, 0),
                costs=(1.0, 1.0),
                overlaps=None if row == 7 else tuple(shares[row].tolist()),
                loads=(0.0, 0.0),
                prefill_costs=None,
                prefill_overlaps=None,
                prefill_loads=None,
                wall_us=10.0,
            )
        )
    path = log.seal()
    trace = trace_of(table, concurrency=C, companions={DECISIONS_FILE: sha256_of(path)})
    return CellTrace(folder, trace.manifest, trace.table)


def warm(C: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A cell whose requests are quicker by KAPPA times the share on the worker that was chosen."""
    table = constant(C, seed)
    shares = rng_of(seed).integers(0, 9, (len(table), 2)) / 8
    saved = KAPPA * shares[np.arange(len(table)), table["decode_worker"]]
    slow = table["t_first_token"] + KAPPA - saved
    return table.assign(t_first_token=slow, t_last_token=table["t_last_token"] + KAPPA), shares


def test_overlaps_are_joined_by_request_and_credited(tmp_path: Path) -> None:
    parts = {}
    for launch, C in enumerate((16, 48), start=1):
        table, shares = warm(C, launch)
        (tmp_path / str(C)).mkdir()
        parts[C] = with_decisions(decided(table, tmp_path / str(C), shares, C))
    seen, known = overlap_shares(parts[48])
    assert not known[7]
    np.testing.assert_allclose(seen[known], shares[known])
    conditions = [Condition(C, {1: Part(trace)}, {}) for C, trace in parts.items()]
    model = cost_model(conditions, METHOD)
    assert model.curves[1].affine.kappa == pytest.approx(KAPPA, rel=0.3)
    row = estimate_condition(conditions[1], model, METHOD, 0).row
    assert row["poa_cal"] >= 1.0
    chosen = shares[np.arange(len(table)), table["decode_worker"]]
    counted = known & parts[48].measured
    assert row["overlap_chosen"] == pytest.approx(chosen[counted].mean())
    assert row["overlap_best"] == pytest.approx(shares[counted].max(axis=1).mean())


def test_a_baseline_knows_no_overlaps(tmp_path: Path) -> None:
    table, shares = warm(16, 1)
    (tmp_path / "b").mkdir()
    one = table.iloc[:8]
    trace = with_decisions(decided(one, tmp_path / "b", shares))
    assert overlap_shares(trace)[1].tolist() == [True] * 7 + [False]


def test_a_trace_without_decisions_stays_as_it_is() -> None:
    trace = trace_of(constant(16))
    assert with_decisions(trace) is trace
    row = mechanism([trace])
    assert np.isnan(row["overlap_chosen"])
    assert np.isnan(row["cached_share"])


def test_decisions_that_were_edited_are_refused(tmp_path: Path) -> None:
    table, shares = warm(16, 1)
    trace = decided(table, tmp_path, shares)
    path = tmp_path / DECISIONS_FILE
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="does not match its seal"):
        with_decisions(trace)


def test_a_copy_without_its_decisions_has_no_credits(tmp_path: Path) -> None:
    table, shares = warm(16, 1)
    trace = decided(table, tmp_path, shares)
    (tmp_path / DECISIONS_FILE).unlink()
    assert with_decisions(trace) is trace


def test_cached_tokens_are_a_share_of_the_prompts() -> None:
    table = constant(16).assign(cached_tokens=pd.array([64, None] * 300, dtype="Int32"))
    assert mechanism([trace_of(table)])["cached_share"] == pytest.approx(0.5)
