"""W2: every workload and policy under every reading, and users in step told apart from users who are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from anarchy.compare import compare
from anarchy.compare.sources import sources_of
from anarchy.designs.loading import load_systems
from anarchy.designs.readings.columns import CELLS, DEPTHS, LADDERS, READ
from anarchy.designs.readings.figures import march_of_users
from anarchy.designs.readings.findings import parts
from anarchy.designs.readings.published import published
from anarchy.designs.readings.tables import TABLES
from anarchy.designs.registry import design_of
from anarchy.estimate.grouping import Found
from anarchy.games.readings import READINGS
from anarchy.tables import System
from tests.helpers.figure_checks import plain as plain_text
from tests.helpers.synthetic_readings import (
    GRID,
    LIMITED,
    SETS,
    SPREADING,
    STEADY,
    TIER,
    estimated,
    write_readings,
)

IN_STEP, UNIQUE = "in-step", "unique"


@pytest.fixture(scope="module")
def found() -> Found:
    return estimated(launches=3)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    (one,) = load_systems(write_readings(tmp_path_factory.mktemp("w2")))
    return one


def read(found: Found, workload: str, reading: str, policy: str = STEADY.name) -> dict[int, dict[str, Any]]:
    """Rows of one reading by C."""
    rows = found.tables["readings"]
    mine = (rows["workload"] == workload) & (rows["policy"] == policy) & (rows["reading"] == reading)
    return {int(row["concurrency"]): plain(row) for row in rows[mine].to_dict("records")}


def hats(found: Found, workload: str, reading: str) -> dict[int, float]:
    return {C: float(row["poa_hat"]) for C, row in read(found, workload, reading).items()}


def ladder(found: Found, workload: str, reading: str) -> dict[str, Any]:
    rows = found.tables["ladders"]
    mine = (rows["workload"] == workload) & (rows["policy"] == STEADY.name) & (rows["reading"] == reading)
    (one,) = rows[mine].to_dict("records")
    return plain(one)


def plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def test_every_workload_policy_and_reading_has_its_rows(found: Found) -> None:
    assert list(found.tables["cells"].columns) == list(CELLS.names)
    assert list(found.tables["readings"].columns) == list(READ.names)
    assert list(found.tables["ladders"].columns) == list(LADDERS.names)
    assert len(found.tables["cells"]) == 2 * 2 * len(GRID)
    assert len(found.tables["readings"]) == 2 * 2 * len(READINGS) * len(GRID)
    assert len(found.tables["ladders"]) == len(found.facts["ladders"]) == 2 * 2 * len(READINGS)
    assert list(found.tables["depths"].columns) == list(DEPTHS.names)
    assert len(found.tables["depths"]) == 2 * 2 * len(READINGS), "the whole grid alone, where none is named"


def test_ladders_are_told_at_every_depth_with_their_setting() -> None:
    tier = TIER.model_copy(update={"depths": (96,), "readings": ("idle",)})
    rows = estimated(launches=3, tier=tier).tables["depths"]
    assert set(rows["reading"]) == {"idle"}
    assert list(rows["deepest_c"]) == [96, 192] * 4
    told = rows.drop_duplicates("workload").set_index("workload")
    assert list(told.loc[IN_STEP, ["synchrony", "output_tokens", "shared_tokens"]]) == ["in-step", 64, 0]
    assert list(told.loc[UNIQUE, ["synchrony", "max_num_batched_tokens"]]) == ["spread", 8192]
    mine = rows[(rows["workload"] == IN_STEP) & (rows["policy"] == SPREADING.name)]
    assert np.isnan(mine["deepest"].iloc[0]), "the cell of C = 96 does not count, and none stands in for it"
    assert np.isfinite(mine["deepest"].iloc[1])


def test_idle_is_the_mean_ttft_over_that_of_one_user(found: Found) -> None:
    cells = found.tables["cells"]
    for workload in (IN_STEP, UNIQUE):
        mine = cells[(cells["workload"] == workload) & (cells["policy"] == STEADY.name)]
        ttft = dict(zip(mine["concurrency"], mine["ttft_mean"], strict=True))
        expected = {C: value / ttft[1] for C, value in ttft.items()}
        # Windows leave the last, partial one out.
        assert hats(found, workload, "idle") == pytest.approx(expected, rel=0.02)


def test_fitted_is_refused_in_perfect_step_and_says_so(found: Found) -> None:
    rows = read(found, IN_STEP, "fitted").values()
    assert all(np.isnan(row["poa_hat"]) and not row["valid"] for row in rows)
    assert "launch 1, 2, 3" in ladder(found, IN_STEP, "fitted")["refused"]
    assert any(
        f"{STEADY.name}, reading fitted" in note for note in found.facts["workloads"][IN_STEP]["notes"]
    )
    assert ladder(found, UNIQUE, "fitted")["refused"] == ""


def test_both_sides_is_one_in_perfect_step(found: Found) -> None:
    assert list(hats(found, IN_STEP, "both-sides").values()) == pytest.approx([1.0] * len(GRID))


def test_the_level_is_the_geometric_mean_of_its_cells_and_growth_is_free_of_scale(found: Found) -> None:
    for reading in ("idle", "table"):
        hat, row = hats(found, IN_STEP, reading), ladder(found, IN_STEP, reading)
        assert row["level"] == pytest.approx(math.sqrt(hat[64] * hat[96]))
        assert row["growth"] == pytest.approx(hat[192] / row["level"])
    one, other = (ladder(found, IN_STEP, reading)["growth"] for reading in ("idle", "table"))
    assert one == pytest.approx(other)


def test_the_deepest_cell_says_what_its_interval_rests_on() -> None:
    told = [one["found"]["deepest"] for one in estimated(launches=2).facts["ladders"]]
    assert {(one["n_launches"], one["interval_kind"]) for one in told if one} == {(2, "within-run")}


def test_users_in_step_are_counted(found: Found) -> None:
    assert ladder(found, IN_STEP, "idle")["in_step_cells"] >= len(GRID) - 2
    assert ladder(found, UNIQUE, "idle")["in_step_cells"] == 0


def test_a_cell_that_does_not_count_keeps_its_row_and_its_reason(found: Found) -> None:
    cell = read(found, IN_STEP, "idle", SPREADING.name)[96]
    assert not cell["valid"]
    assert cell["reasons"] == "not_steady"


def test_a_line_of_what_is_not_measured_is_refused() -> None:
    plan = TIER.model_dump() | {"level_over": (40, 60)}
    plan["curves"] = [{"workload": "templates", "policy": "static", "title": "t"}]
    keys = [problem.key for problem in type(TIER).model_validate(plan).problems([STEADY])]
    assert keys == ["curves/0/workload", "curves/0/policy", "level_over"]


@pytest.fixture(scope="module")
def of_two_sets(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Two sets under the same policies, as those of the 20-minute protocol: free, and with a limit."""
    (one,) = load_systems(write_readings(tmp_path_factory.mktemp("w4"), sets=(*SETS, LIMITED)))
    return one


def test_sets_that_share_a_policy_are_told_apart(of_two_sets: System) -> None:
    keys = ["workload", "routing_set", "policy", "reading"]
    rows = of_two_sets.frames["ladders"]
    assert not rows.duplicated(keys).any()
    facts = [tuple(one[key] for key in keys) for one in of_two_sets.info["ladders"]]
    assert sorted(facts) == sorted(rows[keys].itertuples(index=False, name=None))
    level = {
        one["routing_set"]: one["found"]["deepest"]["poa_hat"]
        for one in of_two_sets.info["ladders"]
        if (one["workload"], one["policy"], one["reading"]) == (UNIQUE, STEADY.name, "idle")
    }
    assert level[LIMITED] == pytest.approx(3.0 * level["builtin"], rel=0.05)


def test_what_people_read_names_the_set_only_where_sets_share_a_policy(
    of_two_sets: System, system: System
) -> None:
    for name, (make, words) in TABLES.items():
        assert set(words(make(of_two_sets))["set"]) == {"builtin", LIMITED}, name
        assert "set" not in words(make(system)), name
    assert [said.partition(":")[0] for said in parts(of_two_sets, UNIQUE)] == [
        f"{policy.title} ({name})" for name in ("builtin", LIMITED) for policy in (STEADY, SPREADING)
    ]
    assert "(builtin)" not in " ".join(parts(system, UNIQUE))
    assert not any(note.startswith("builtin") for note in system.info["workloads"][IN_STEP]["notes"])


def test_a_curve_is_a_line_for_each_set(of_two_sets: System) -> None:
    told = plain_text(march_of_users(of_two_sets, UNIQUE))
    assert "spread (builtin)" in told
    assert "spread (limited)" in told
    assert "in step (" not in told


def test_runs_of_two_sets_can_be_compared(of_two_sets: System) -> None:
    """Free and limited share both policies: without the set no key tells their rows apart."""
    for source in sources_of(design_of("readings")):
        rows = of_two_sets.frames[source.file.removesuffix(".parquet")]
        for metric in source.metrics:
            found = compare(rows, rows, source, metric)
            assert set(found.rows["routing_set"]) == {"builtin", LIMITED}
            assert not found.rows.duplicated(list(source.key)).any()


def test_what_is_published_is_read_from_data(system: System) -> None:
    assert published("nemotron-4-340b", "1p2d").own == 18.7
    own = published(*system.key)
    assert own.own is None
    assert own.plateau == (7.0, 19.0)
    assert own.knee == (96.0, 128.0)


def test_what_follows_no_timing_table_has_no_reading_that_asks_one() -> None:
    found = estimated(launches=3, profile=None)
    for reading in ("table", "both-sides"):
        told = ladder(found, UNIQUE, reading)
        assert told["refused"] == "launch 1, 2, 3: no timing table: what served it follows none"
        assert np.isnan(told["deepest"])
    assert ladder(found, UNIQUE, "idle")["refused"] == ""
