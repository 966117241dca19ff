"""A ratio of a policy to itself is noise: it is said so, and kept out of summaries and verdicts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pandas as pd
import pytest

from anarchy.designs.loading import load_systems
from anarchy.designs.stages.findings import NOTHING, notes, parts
from anarchy.designs.stages.switched import DIFFER, SAME, UNKNOWN, compared
from anarchy.designs.stages.tables import ratio_table, ratio_words
from anarchy.tables import System
from tests.helpers.drawings import FIGURES
from tests.helpers.figure_checks import plain
from tests.helpers.synthetic_staged import write_staged

SHARES = ("share_below", "share_transition", "share_saturated")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    """E3 of one system; every controller leaves `below` in the stage `past`, and is back in `recovery`."""
    (found,) = load_systems(write_staged(tmp_path_factory.mktemp("results"), launches=3))
    return found


def kept(system: System, policy: str, shares: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> System:
    """A system whose controller of that policy routed these shares in each regime, in every stage."""
    stages = system.frames["stages"].copy()
    stages.loc[stages["policy"] == policy, list(SHARES)] = shares
    return dataclasses.replace(system, frames={**system.frames, "stages": stages})


def by_stage(system: System, policy: str, against: str) -> list[str]:
    ratios = system.frames["ratios"]
    mine = ratios[(ratios["policy"] == policy) & (ratios["against"] == against)]
    words = compared(mine, system.rows)
    return [words[mine["stage"] == stage].iloc[0] for stage in ("below", "at", "past", "recovery")]


def test_before_the_first_switch_it_is_one_policy_and_after_it_two(system: System) -> None:
    assert by_stage(system, "adaptive", "static") == [SAME, SAME, DIFFER, DIFFER]


def test_a_controller_that_never_switched_is_the_static_policy(system: System) -> None:
    assert set(by_stage(kept(system, "adaptive"), "adaptive", "static")) == {SAME}


def test_without_a_log_it_is_not_known(system: System) -> None:
    silent = kept(system, "adaptive", (math.nan, math.nan, math.nan))
    assert set(by_stage(silent, "adaptive", "static")) == {UNKNOWN}


def test_a_policy_with_the_references_pair_and_other_settings_is_another(system: System) -> None:
    """As `static-active-requests`, which weighs active requests besides."""
    stages = system.rows.copy()
    stages.loc[stages["policy"] == "static", "reference"] = False
    ratios = system.frames["ratios"]
    mine = ratios[(ratios["policy"] == "adaptive") & (ratios["against"] == "static")]
    assert set(compared(mine, stages)) == {DIFFER}


@pytest.mark.parametrize("against", ["random", "static"])
def test_another_kind_or_router_is_another_policy(system: System, against: str) -> None:
    """`random` routes otherwise than (0, 1), and `static` of the built-in router is not pinned."""
    assert set(by_stage(kept(system, "pinned-adaptive"), "pinned-adaptive", against)) <= {DIFFER}


def test_other_parameters_are_another_policy(system: System) -> None:
    stages = system.frames["stages"].copy()
    stages.loc[stages["policy"] == "static", "omega"] = 0.5
    other = dataclasses.replace(system, frames={**system.frames, "stages": stages})
    assert set(by_stage(kept(other, "adaptive"), "adaptive", "static")) == {DIFFER}


def test_findings_compare_only_what_switched(system: System) -> None:
    some = kept(system, "adaptive")
    assert not any("static over adaptive:" in part for part in parts(some, "unique"))
    assert any("static over adaptive-client: PoA-hat" in part for part in parts(some, "unique"))
    noise = [note for note in notes(some, "unique") if note.startswith("Same policy: noise (past, C = 192")]
    assert len(noise) == 1
    assert "static over adaptive: PoA-hat" in noise[0]


def test_findings_without_any_switch_hold_no_number(system: System) -> None:
    quiet = system
    for policy in ("adaptive", "adaptive-client", "pinned-adaptive"):
        quiet = kept(quiet, policy)
    assert parts(quiet, "unique") == [NOTHING]
    assert sum("same policy: noise" in note.lower() for note in notes(quiet, "unique")) == 3


def test_findings_say_in_how_many_launches_a_controller_switched(system: System) -> None:
    logs = system.frames["detection"].copy()
    logs.loc[(logs["policy"] == "adaptive") & (logs["launch"] > 1), "switches"] = 0
    some = dataclasses.replace(system, frames={**system.frames, "detection": logs})
    assert any("static over adaptive (switched in 1 of 3 launches)" in part for part in parts(some, "unique"))
    assert not any("switched in" in part for part in parts(system, "unique"))


def test_the_table_says_which_rows_are_noise(system: System) -> None:
    words = ratio_words(ratio_table(kept(system, "adaptive")))
    mine = words[words["against / policy"] == "static (builtin) / adaptive (builtin)"]
    assert set(mine["policies"]) == {SAME}
    assert {SAME, DIFFER} == set(words["policies"])


def test_the_figure_greys_noise(system: System) -> None:
    def labels(of: System) -> str:
        return plain(FIGURES["stages"]["ratios"](of, "unique"))

    stages = system.frames["stages"]
    moved = system.frames["stages"].assign(
        share_transition=stages["share_transition"].where(stages["kind"] != "adaptive", 0.5)
    )
    acting: Any = dataclasses.replace(system, frames={**system.frames, "stages": pd.DataFrame(moved)})
    assert "grey: same policy, noise" in labels(system)
    assert "grey: same policy, noise" not in labels(acting)
