"""G2: hits and copies of caches that are really run, prices against the best placement, and what is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anarchy.config import Limits, RoutingSet
from anarchy.designs.cache.caches import copies, hit_share, new_tokens, shareable_tokens
from anarchy.designs.cache.columns import CELLS, DUELS, GAMES, LINE, REGIMES
from anarchy.designs.cache.estimate import estimate
from anarchy.designs.cache.figures import hits_of_sets, map_of_sets, price_of_sets
from anarchy.designs.cache.findings import answer, notes, parts
from anarchy.designs.cache.tables import TABLES
from anarchy.designs.cache.tier import prompt_blocks
from anarchy.designs.loading import load_systems
from anarchy.estimate.grouping import Found
from anarchy.figures.style import DOUBLE, SINGLE
from anarchy.games.cache import CacheGame, best_hit_share, zipf
from anarchy.ground.errors import UserError
from anarchy.tables import System
from anarchy.trace.reader import CellTrace
from tests.helpers.condition_samples import HEAD, METHOD, UNIQUE, trace_of
from tests.helpers.figure_checks import assert_legible, plain
from tests.helpers.synthetic_cache import (
    AFFINITY,
    BALANCE,
    BLOCKS,
    ROOM,
    SETS,
    SHAREABLE,
    TIER,
    WORKERS,
    estimated,
    table_of,
    write_cache,
)
from tests.helpers.synthetic_cache import cells as of_launches

ONE_SET = {"cache": RoutingSet(policies=("kv-t0-w1", "dynamo-round-robin"))}
UNIFORM, SKEWED = "unique-s0", "unique-s1"


@pytest.fixture(scope="module")
def found() -> Found:
    return estimated()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    (one,) = load_systems(write_cache(tmp_path_factory.mktemp("g2")))
    return one


def row(found: Found, table: str, workload: str, templates: int, policy: str = "") -> dict[str, Any]:
    of = found.tables[table]
    mine = (of["workload"] == workload) & (of["templates"] == templates)
    if policy:
        mine &= of["policy"] == policy
    (one,) = of[mine].to_dict("records")
    return {str(name): value for name, value in one.items()}


def requests(*of: tuple[float, int, int, bool], first: Sequence[float] = ()) -> CellTrace:
    """Requests sent at a time, of a template, to a worker, that find their prompt or do not.

    Their first tokens come at once, or when `first` says.
    """
    table = table_of(SETS[0], AFFINITY, 1, n=len(of))
    sent, template, worker, hit = (np.array(one) for one in zip(*of, strict=True))
    return trace_of(
        table.assign(
            t_sent=sent,
            t_first_token=first or sent,
            template=template,
            prefill_worker=worker,
            cached_tokens=np.where(hit, SHAREABLE, 0),
            phase="measure",
        )
    )


def test_a_hit_proves_a_template_held_since_it_was_last_asked_for() -> None:
    trace = requests((0, 0, 0, False), (0, 0, 1, False), (4, 0, 0, True), (6, 0, 1, True), (10, 0, 0, True))
    assert copies(trace, SHAREABLE) == pytest.approx((10 + 6) / 10)
    assert hit_share(trace, SHAREABLE) == pytest.approx(3 / 5)
    assert new_tokens(trace).tolist() == [128, 128, 16, 16, 16]


def test_a_prompt_is_held_from_when_it_was_computed_and_not_from_when_it_was_sent() -> None:
    of = (0, 0, 0, False), (0, 0, 1, False), (4, 0, 0, True), (8, 0, 1, True), (10, 0, 0, True)
    trace = requests(*of, first=[1.0, 6.0, 4.5, 8.5, 10.5])
    assert copies(trace, SHAREABLE) == pytest.approx(((10 - 1) + (8 - 6)) / (10 - 1))


def test_a_request_that_waits_for_its_prompt_to_be_computed_proves_it_from_then_on() -> None:
    """Sent before the first token of the miss that it waits for, it finds its prompt all the same."""
    of = (0, 0, 0, False), (1, 0, 0, True), (2, 0, 1, False), (6, 0, 1, True), (8, 0, 0, True)
    trace = requests(*of, first=[3.0, 3.5, 4.0, 6.5, 8.5])
    assert copies(trace, SHAREABLE) == pytest.approx(((8 - 3) + (6 - 4)) / (8 - 3))


def test_a_request_without_a_first_token_proves_nothing_held() -> None:
    of = (0, 0, 0, False), (4, 0, 0, True), (6, 0, 1, False), (10, 0, 1, True)
    trace = requests(*of, first=[math.nan, 4.5, 7.0, 10.5])
    assert copies(trace, SHAREABLE) == pytest.approx(1.0)
    assert np.isnan(copies(requests(*of[:2], first=[math.nan, 4.5]), SHAREABLE))


def test_a_miss_and_a_part_prove_nothing_and_another_template_is_another() -> None:
    trace = requests((0, 0, 0, False), (5, 0, 0, False), (6, 1, 0, True), (10, 0, 0, True))
    assert copies(trace, SHAREABLE) == 1.0
    assert np.isnan(copies(requests((0, 0, 0, False), (5, 0, 0, False)), SHAREABLE))


def test_all_of_a_prompt_but_its_last_block_can_be_found() -> None:
    assert (prompt_blocks(UNIQUE), shareable_tokens(UNIQUE)) == (8, SHAREABLE)
    longer = UNIQUE.model_copy(update={"input_tokens": 129})
    assert (prompt_blocks(longer), shareable_tokens(longer)) == (9, 128)


def test_every_working_set_and_policy_has_its_rows(found: Found) -> None:
    for name, schema, count in (
        ("cells", CELLS, 2 * len(SETS)),
        ("duels", DUELS, len(SETS)),
        ("games", GAMES, len(SETS)),
        ("line", LINE, len(found.tables["line"])),
        ("regimes", REGIMES, 2 * 2),
    ):
        assert list(found.tables[name].columns) == list(schema.names)
        assert len(found.tables[name]) == count
    assert list(found.facts["workloads"]) == [UNIFORM, SKEWED]
    assert (found.facts["workers"], found.facts["room"]) == (WORKERS, ROOM)
    assert found.facts["hit_s"] < found.facts["miss_s"]


def test_homes_find_what_the_pool_has_room_for_and_turns_what_one_worker_has(found: Found) -> None:
    assert row(found, "cells", UNIFORM, 4, AFFINITY.name)["hit_share"] == 1.0
    assert row(found, "cells", UNIFORM, 4, AFFINITY.name)["copies"] == pytest.approx(1.0)
    blind = row(found, "cells", UNIFORM, 4, BALANCE.name)
    assert blind["hit_share"] == pytest.approx(ROOM / 4, abs=0.05)
    assert row(found, "cells", UNIFORM, 2, BALANCE.name)["copies"] == pytest.approx(2.0, abs=0.05)
    assert blind["hit_share_lo"] < blind["hit_share"] < blind["hit_share_hi"]


def test_a_price_is_over_the_best_placement_and_one_where_all_is_found(found: Found) -> None:
    assert row(found, "cells", UNIFORM, 4, AFFINITY.name)["price"] == pytest.approx(1.0)
    one = row(found, "cells", UNIFORM, 8, BALANCE.name)
    facts = found.facts
    game = CacheGame(zipf(8, 0.0), WORKERS, ROOM, facts["hit_s"], facts["miss_s"])
    assert one["price"] == pytest.approx(one["cost"] / game.cost(best_hit_share(game)))
    assert one["cost"] == pytest.approx(game.cost(one["hit_share"]), rel=1e-3)
    assert one["price"] > 1.0


def test_affinity_is_faster_where_one_cache_is_too_small_and_neither_where_it_is_not(found: Found) -> None:
    short = row(found, "duels", UNIFORM, 4)
    assert short["winner"] == "affinity"
    assert 1.0 < short["ttft_lo"] < short["ttft"] < short["ttft_hi"]
    assert short["hits"] == pytest.approx(1 - ROOM / 4, abs=0.05)
    assert row(found, "duels", UNIFORM, 2)["winner"] == ""


def test_a_launch_that_does_not_count_is_left_out_and_named(found: Found) -> None:
    assert row(found, "cells", SKEWED, 8, BALANCE.name)["n_launches"] == 3
    assert row(found, "cells", SKEWED, 8, BALANCE.name)["reasons"] == "not_steady"
    assert row(found, "duels", SKEWED, 8)["n_launches"] == 3


def test_the_step_at_capacity_is_told_apart_from_what_rises_before(found: Found) -> None:
    regimes = found.tables["regimes"]
    of = {(one["workload"], one["policy"]): one for one in regimes.to_dict("records")}
    homes, turns = of[UNIFORM, AFFINITY.name], of[UNIFORM, BALANCE.name]
    assert (homes["smallest"], homes["below"], homes["above"]) == pytest.approx((1 / 3, 2 / 3, 4 / 3))
    assert homes["before"] == pytest.approx(1.0)
    assert homes["step"] == pytest.approx(1.0, abs=0.02), "uniform, what was asked for last is as good as any"
    assert turns["before_lo"] > 1.03
    assert turns["step"] > 1.0
    assert of[SKEWED, BALANCE.name]["n_launches"] == 3


def test_a_game_is_exact_where_it_is_small_and_bounded_where_not(found: Found) -> None:
    assert row(found, "games", UNIFORM, 8)["price_exact"]
    assert row(found, "games", UNIFORM, 8)["best_hit_share"] == 6 / 8
    assert (found.tables["games"]["price_low"] >= 1.0).all()


def test_without_a_timing_table_there_is_no_price_and_all_else() -> None:
    found = estimated(3, table=False)
    assert found.tables["cells"]["price"].isna().all()
    assert found.tables["cells"]["hit_share"].notna().all()
    assert found.facts["hit_s"] is None
    assert found.tables["regimes"]["reasons"].str.contains("timing table").all()
    assert found.tables["duels"]["ttft"].notna().all()


def test_wrong_policies_and_workloads_are_refused() -> None:
    wrong = {"affinity": "sticky", "balance": "sticky", "workloads": ["unique", "other"]}
    changed = type(TIER).model_validate({**TIER.model_dump(), **wrong})
    problems = list(changed.problems([AFFINITY, BALANCE]))
    assert [problem.key for problem in problems] == ["workloads", "affinity", "balance", "balance"]
    assert not list(TIER.problems([AFFINITY, BALANCE]))
    templates = UNIQUE.model_copy(update={"templates": 5})
    (problem,) = TIER.misfits({"unique": templates}, ONE_SET)
    assert (problem.key, problem.remedy) == (
        "workloads.0",
        "name a workload of unique prompts (templates: 0)",
    )
    assert not list(TIER.misfits({"unique": UNIQUE}, ONE_SET))
    (short,) = TIER.misfits({"unique": UNIQUE.model_copy(update={"input_tokens": 16})}, ONE_SET)
    assert (short.key, short.remedy) == ("workloads.0", "name a workload with more than 16 input tokens")


def test_requests_of_which_nobody_knows_what_was_found_are_left_out() -> None:
    trace = requests((0, 0, 0, False), (4, 0, 0, True), (6, 0, 1, True))
    place = trace.table.schema.get_field_index("cached_tokens")
    kind = trace.table.schema.field(place)

    def told(*found: int | None) -> CellTrace:
        table = trace.table.set_column(place, kind.with_nullable(True), pa.array(found, type=kind.type))
        return CellTrace(trace.directory, trace.manifest, table)

    assert hit_share(told(0, SHAREABLE, None), SHAREABLE) == pytest.approx(1 / 2)
    assert new_tokens(told(0, SHAREABLE, None)).tolist() == [128, 16]
    assert math.isnan(hit_share(told(None, None, None), SHAREABLE))


def test_several_sets_are_refused_where_they_are_read_and_where_they_are_estimated() -> None:
    both = {**ONE_SET, "other": RoutingSet(policies=("sticky",))}
    (problem,) = TIER.misfits({"unique": UNIQUE}, both)
    assert (problem.key, problem.remedy) == (
        "/routing",
        "put the policies into one set, or make an experiment of each",
    )
    assert "2 sets (cache, other)" in problem.what
    own = TIER.model_copy(update={"routing": both})
    assert [one.key for one in own.misfits({"unique": UNIQUE}, both)] == ["routing"]
    cells = of_launches(1)
    twice = [*cells, *(replace(cell, routing="other") for cell in cells)]
    with pytest.raises(UserError, match=r"several sets of policies \(cache, other\)"):
        estimate(twice, TIER, METHOD, HEAD)


@pytest.mark.parametrize(
    ("of_tier", "of_set", "key"),
    [
        (BLOCKS - 1, None, "limits.num_gpu_blocks"),
        (BLOCKS, BLOCKS - 1, "/routing.cache.limits.num_gpu_blocks"),
        (BLOCKS, None, None),
        (BLOCKS - 1, BLOCKS, None),
    ],
)
def test_a_worker_that_holds_no_prompt_is_refused(of_tier: int, of_set: int | None, key: str | None) -> None:
    tier = TIER.model_copy(update={"limits": Limits(num_gpu_blocks=of_tier)})
    limits = None if of_set is None else Limits(num_gpu_blocks=of_set)
    sets = {"cache": ONE_SET["cache"].model_copy(update={"limits": limits})}
    found = list(tier.misfits({"unique": UNIQUE}, sets))
    assert [one.key for one in found] == ([] if key is None else [key])
    assert all(
        "7 blocks are no room for a prompt of unique, whose 128 tokens take 8" in p.what for p in found
    )
    assert all(one.remedy.startswith("give a worker 8 or more") for one in found)


def test_a_number_that_some_launches_do_not_tell_has_no_interval() -> None:
    """One launch of four finds nothing: an interval of copies over the other three is none over four."""
    cells = of_launches(4)
    lost = next(one for one in cells if one.workload.templates == 4 and one.policy is BALANCE)
    assert lost.trace is not None
    table = lost.trace.table
    place = table.schema.get_field_index("cached_tokens")
    nothing = pa.array([0] * table.num_rows, type=table.schema.field(place).type)
    emptied = replace(lost.trace, table=table.set_column(place, table.schema.field(place), nothing))
    cells[cells.index(lost)] = replace(lost, trace=emptied)
    one = row(estimate(cells, TIER, METHOD, HEAD), "cells", UNIFORM, 4, BALANCE.name)
    assert (one["n_launches"], one["interval_kind"]) == (4, "across-launches")
    assert one["copies"] > 1.0
    assert np.isnan(one["copies_lo"])
    assert np.isnan(one["copies_hi"])
    assert one["hit_share_lo"] < one["hit_share"] < one["hit_share_hi"]


def test_rows_without_intervals_name_no_kind_of_them() -> None:
    found = estimated(2)
    for name in ("cells", "duels", "regimes"):
        rows = found.tables[name]
        assert set(rows["n_launches"]) <= {0, 1, 2}
        assert rows["interval_kind"].isna().all()
        assert rows.filter(regex="_lo$").isna().all(axis=None)


def test_working_sets_are_named_and_titled_by_size_and_skew() -> None:
    assert TIER.workload_names == tuple(one.name for one in SETS)
    assert SETS[0].name == "unique-s0-t2"
    assert SETS[-1].title == "unique prompts, 8 of them, Zipf 1"
    assert (SETS[-1].templates, SETS[-1].skew) == (8, 1.0)


def test_sentences_name_sizes_hits_and_who_is_faster(system: System) -> None:
    said = parts(system, UNIFORM)
    assert [one.partition(" of the pool's capacity: ")[0] for one in said] == ["0.333", "0.667", "1.33"]
    assert said[1].endswith("affinity faster")
    assert said[0].endswith("neither faster")
    told = " ".join(notes(system, UNIFORM))
    assert "from 0.333 to 0.667 of the pool's capacity the price grows 1.00" in told
    said_of_all = answer([system])
    assert said_of_all.startswith("Affinity has the lower mean time to first token in ")
    assert "of 6 working sets" in said_of_all


def test_tables_say_bounds_and_winners_in_words(system: System) -> None:
    words = {name: put(make(system)) for name, (make, put) in TABLES.items()}
    assert "affinity" in set(words["duels"]["faster"])
    assert set(words["games"]["popularity"]) == {"uniform", "Zipf 1"}
    assert len(words[""]) == 2 * len(SETS)
    assert len(words["regimes"]) == 4


@pytest.mark.parametrize("width", [SINGLE, DOUBLE])
def test_figures_are_legible_and_name_policies(system: System, width: float) -> None:
    for draw in (price_of_sets, hits_of_sets):
        figure = draw(system, UNIFORM, width)
        assert_legible(figure, width)
        assert "Dynamo's round robin" in plain(figure)
        assert "simulated in virtual time" in plain(figure)
    figure = map_of_sets(system, UNIFORM, width)
    assert_legible(figure, width)
    assert "affinity is faster" in plain(figure)
