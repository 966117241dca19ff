"""The decision table of the 20-minute protocol: made-up outcomes of each hypothesis, and cells of each."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anarchy.claims.hypotheses import Answer, Seen, decide, render
from anarchy.claims.protocol_cells import Key, read_cells, seen_in
from anarchy.cli.main import main
from anarchy.config.files import load_study
from anarchy.ground.errors import EXIT_USER_ERROR, UserError
from anarchy.ground.layout import CONFIG
from anarchy.plan.workbench import open_run
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import GateResult
from anarchy.trace.writer import seal
from tests.helpers.condition_samples import trace_of
from tests.helpers.ladder_samples import closed_loop, in_step
from tests.helpers.places import PROJECT

NOTHING = Seen(march=1.0, dissolved=1.0, crowd=0.02, limit=1.0, cured=1.0, bypass=0.0, placebo=1.05,
               placebo_largest=1.05)  # fmt: skip


def lacking(seen: Seen) -> list[str]:
    """What was not measured, by the name of the number."""
    return [name for name, value in asdict(seen).items() if value is None]


"""A system that shows none of it."""


def says(seen: Seen) -> dict[str, str]:
    return {one.hypothesis[:2]: one.says for one in decide(seen)}


def then(seen: Seen, hypothesis: str) -> str:
    return next(one.then for one in decide(seen) if one.hypothesis.startswith(hypothesis))


# --- the table ---


def test_a_quiet_system_speaks_against_all_of_them() -> None:
    assert set(says(NOTHING).values()) == {"against"}
    assert "for: none of them" in render(decide(NOTHING))


@pytest.mark.parametrize(
    ("changes", "which", "what"),
    [
        ({"crowd": 0.8}, {"H1"}, "C8 to C10 can come from routing"),
        ({"crowd": 0.8, "limit": 5.0, "cured": 3.1}, {"H1", "H2"}, "C8 to C10 can come from routing"),
        ({"march": 8.0}, {"H3"}, "tau leaves the step, as C4 has it"),
        ({"march": 8.0, "dissolved": 7.0}, {"H3"}, "C4 speaks against it in the paper's system"),
        ({"bypass": 0.4}, {"H4"}, "decode workers prefill here"),
        ({"placebo": 3.1}, {"H5"}, "repeat every cell"),
    ],
)
def test_each_hypothesis_has_an_outcome_of_its_own(
    changes: dict[str, float], which: set[str], what: str
) -> None:
    seen = replace(NOTHING, **changes)
    assert {name for name, said in says(seen).items() if said == "for"} == which
    assert what in render(decide(seen))
    assert f"for: {', '.join(sorted(which))}" in render(decide(seen))


@pytest.mark.parametrize(
    ("cured", "what"), [(3.0, "tau 0.7 mends it"), (1.0, "does not mend it"), (1.6, "is not decided")]
)
def test_a_limit_says_whether_tau_mends_the_crowd_that_waits(cured: float, what: str) -> None:
    assert what in then(replace(NOTHING, crowd=0.9, limit=6.0, cured=cured), "H2")


def test_a_limit_without_a_crowd_shows_no_h2() -> None:
    seen = replace(NOTHING, limit=6.0, cured=3.0)
    assert says(seen)["H2"] == "open"
    assert "no crowd was seen" in then(seen, "H2")


def test_no_effect_is_told_that_is_no_larger_than_what_chance_makes() -> None:
    seen = replace(NOTHING, march=2.8, placebo=3.1)
    assert says(seen)["H3"] == "open"
    assert "what chance does" in then(seen, "H3")
    assert says(replace(seen, march=3.2))["H3"] == "for"


def test_a_ratio_at_one_concurrency_is_held_against_the_placebo_there() -> None:
    seen = replace(NOTHING, crowd=0.9, march=2.8, limit=2.8, cured=2.8, placebo=1.7, placebo_largest=3.0)
    assert says(seen)["H3"] == "for", "a mean over both C against a mean over both"
    assert says(seen)["H2"] == "open", "at the largest C chance alone makes a larger one"
    assert "what chance does" in then(seen, "H2")
    assert "is not decided" in then(replace(seen, limit=6.0), "H2"), "nor does tau mend more than chance"


def test_no_effect_is_told_without_the_placebo_pair() -> None:
    seen = replace(NOTHING, march=2.8, placebo=None)
    assert says(seen)["H3"] == "open"
    assert "nothing to hold it against" in then(seen, "H3")


@pytest.mark.parametrize("value", [1.31, 1.99])
def test_what_lies_between_is_open(value: float) -> None:
    assert says(replace(NOTHING, march=value, limit=value, placebo=value)) == {
        "H1": "against", "H2": "open", "H3": "open", "H4": "against", "H5": "open",
    }  # fmt: skip


def test_what_was_not_measured_is_open_and_said_so() -> None:
    answers: tuple[Answer, ...] = decide(Seen())
    assert {one.says for one in answers} == {"open"}
    assert {one.measured for one in answers} == {"not measured"}


# --- from cells ---


def cell(key: Key, table: pd.DataFrame, **changes: Any) -> CellTrace:
    facts = {"workload": key.workload, "concurrency": key.concurrency, "experiment": "protocol", **changes}
    return trace_of(table.assign(tau=key.tau, omega=1.0), f"kv-t{key.tau:g}-w1", **facts)


def keys() -> list[Key]:
    tier = load_study(CONFIG).experiments["protocol"].tiers["gpu"]
    sets = load_study(CONFIG).experiments["protocol"].sets("gpu")
    return [
        Key(name, workload, tau, C)
        for name, one in sets.items()
        for workload in one.workloads
        for tau in (0.0, 0.7)
        for C in tier.grid
    ]


def made_up(marching: bool = True) -> dict[Key, CellTrace]:
    """All cells of the protocol; users in step march, or do not."""
    return {
        key: cell(
            key,
            in_step(key.concurrency, rounds=6, each_s=0.006)
            if marching and key.workload == "in-step"
            else closed_loop(
                key.concurrency, n=400, seed=place, saturation=1000, apart_s=0.35 / key.concurrency
            ),
        )
        for place, key in enumerate(keys())
    }


def test_the_protocol_measures_what_every_number_takes() -> None:
    assert lacking(seen_in(made_up())) == []


def test_users_in_step_are_seen_in_their_cells_and_nowhere_else() -> None:
    marching, apart = seen_in(made_up()), seen_in(made_up(marching=False))
    assert marching.march is not None
    assert apart.march is not None
    assert marching.march > 2.0 > 1.3 > apart.march
    assert marching.placebo == apart.placebo


@pytest.mark.parametrize("left_out", ["in-step", "one-token", "one-token-templates"])
def test_a_missing_cell_leaves_open_what_rests_on_it_alone(left_out: str) -> None:
    cells = {key: trace for key, trace in made_up().items() if (key.workload, key.tau) != (left_out, 0.0)}
    assert (
        set(lacking(seen_in(cells)))
        == {
            "in-step": {"march", "dissolved"},
            "one-token": {"march", "placebo", "placebo_largest"},
            "one-token-templates": {"crowd", "limit", "cured"},
        }[left_out]
    )


def test_chance_that_goes_both_ways_does_not_cancel() -> None:
    def slowed(key: Key, times: float) -> CellTrace:
        table = closed_loop(key.concurrency, n=400, seed=1, saturation=1000, apart_s=0.35 / key.concurrency)
        ttft = times * (table["t_first_token"] - table["t_intended"])
        return cell(key, table.assign(t_first_token=table["t_intended"] + ttft))

    slower = {(0.0, 64): 3.0, (0.7, 96): 2.0}  # tau 0 is three times as slow at 64, and half as slow at 96
    found = {Key("free", "one-token", tau, C): (tau, C) for C in (64, 96) for tau in (0.0, 0.7)}
    seen = seen_in({key: slowed(key, slower.get(which, 1.0)) for key, which in found.items()})
    assert seen.placebo == pytest.approx(6.0**0.5)
    assert seen.placebo_largest == pytest.approx(2.0)
    assert says(seen)["H5"] == "for"


def test_requests_without_a_prefill_worker_are_counted() -> None:
    key = Key("free", "in-step", 0.7, 64)
    table = closed_loop(64, n=400, seed=1)
    whole = seen_in({key: cell(key, table)}).bypass
    without = table.assign(prefill_worker=np.where(np.arange(len(table)) % 2, 0, -1))
    half = seen_in({key: cell(key, without)}).bypass
    assert whole == 0.0
    assert half == pytest.approx(0.5, abs=0.02)


def test_a_crowd_is_the_spread_of_workers_over_their_even_share() -> None:
    key = Key("free", "one-token-templates", 0.0, 64)
    table = closed_loop(64, n=400, seed=1)
    herd = seen_in({key: cell(key, table.assign(decode_worker=0))}).crowd
    even = seen_in({key: cell(key, table.assign(decode_worker=np.arange(len(table)) % 2))}).crowd
    assert herd is not None
    assert even is not None
    assert herd > 1.5 > 0.25 > even


# --- from files ---


def write(root: Path, cells: dict[Key, CellTrace]) -> Path:
    for key, trace in cells.items():
        name = f"{key.workload}-c{key.concurrency:04d}_kv-t{key.tau:g}-w1"
        folder = root / "raw/protocol/toy/1p2d" / key.routing / "1" / "cells" / name
        folder.mkdir(parents=True)
        seal(folder, trace.table, trace.manifest.model_copy(update={"cell": name, "seal": None}))
    return root


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hypotheses", str(write(tmp_path, made_up()))]) == 0
    told = capsys.readouterr().out
    assert [line for line in told.splitlines() if line.startswith("H")] == [
        f"{one.hypothesis}: {one.says.upper()}" for one in decide(seen_in(made_up()))
    ]
    assert told.splitlines()[-1].startswith("for: H")


def test_cells_that_are_not_valid_do_not_count(tmp_path: Path) -> None:
    cells = made_up()
    bad = GateResult(valid=False, reasons=("not_steady",))
    cells = {
        key: replace(trace, manifest=trace.manifest.model_copy(update={"gates": bad}))
        if key.workload == "in-step"
        else trace
        for key, trace in cells.items()
    }
    assert lacking(seen_in(read_cells(write(tmp_path, cells)))) == ["march", "dissolved"]


def test_a_folder_without_the_protocol_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hypotheses", str(tmp_path)]) == EXIT_USER_ERROR
    told = capsys.readouterr().err
    assert "holds no sealed cell of experiment protocol" in told
    assert "make smoke-b200 WHY=1" in told


@pytest.mark.parametrize("change", [{"engine": "vllm"}, {"versions": {"ai-dynamo": "0.9.0"}}])
def test_a_mixture_of_stacks_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    cells = made_up()
    key = next(iter(cells))
    cells[key] = replace(cells[key], manifest=cells[key].manifest.model_copy(update=change))
    with pytest.raises(UserError, match="2 systems or stacks lie together") as caught:
        read_cells(write(tmp_path, cells))
    assert "move all but one" in str(caught.value.remedy)


def test_make_asks_for_every_deployment_of_the_protocol() -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(
        ["make", "-n", "smoke-b200", "WHY=1", "ENGINE=mocker"],
        cwd=PROJECT, env=alone, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    run = open_run({"tier": "gpu", "experiments": ["protocol"], "results": "results/smoke-b200"})
    wanted = {str(run.layout.summary(*plan.key)) for plan in run.plans}
    (command,) = (line for line in told.splitlines() if "snakemake" in line)
    assert {word for word in command.split() if word.endswith("deployment.json")} == wanted
    assert "tier=gpu" in told
    assert told.rstrip().endswith("anarchy hypotheses results/smoke-b200/gpu")
