"""`anarchy estimate` on made-up traces: numbers, formats, groups, and everything that it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from anarchy.cli import schemas
from anarchy.cli.main import main
from anarchy.estimate.game import cell_game
from anarchy.estimate.output import CellEstimate
from anarchy.estimate.traces import read_any
from anarchy.games.latency import AffineLatency, FullLatency
from anarchy.games.routing import poa_cal, poa_hat, window_costs
from anarchy.ground.files import sha256_of
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.importers import Facts
from tests.helpers.estimate_command import FEW, refused
from tests.helpers.ladder_samples import GRID, closed_loop, write_ladder, write_trace


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ladder(tmp_path_factory.mktemp("traces") / "ladder")


def estimated(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert main(["estimate", *map(str, arguments), *FEW, "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def by_hand(table: pd.DataFrame, alpha: float, beta: float, m: int = 2) -> float:
    """PoA-hat once more, request by request, with plain loops."""
    counted = table[(table["phase"] == "measure") & (table["status"] == "ok")].sort_values("t_sent")
    paid = best = 0.0
    for start in range(0, len(counted) // m * m, m):
        window = counted.iloc[start : start + m]
        now = window["t_sent"].iloc[0]
        paid += float((window["t_first_token"] - window["t_intended"]).sum())
        flying = table[(table["t_sent"] < now) & (table["t_last_token"] > now)]
        best += sum(alpha + beta * ((flying["decode_worker"] == j).sum() + 1) for j in range(m))
    return paid / best


def test_a_ladder_gives_one_record_a_cell(ladder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = estimated(capsys, ladder)
    assert [record["concurrency"] for record in found] == list(GRID)
    Draft202012Validator(schemas.schema("estimate")).validate(found)
    deep = found[-1]
    assert deep["poa_hat"] > 2
    assert deep["poa_hat_lo"] < deep["poa_hat"] < deep["poa_hat_hi"]
    assert deep["poa_cal"] >= 1
    product = deep["dynamics"] * deep["routing"] * deep["freezing"]
    assert product == pytest.approx(deep["poa_hat"], rel=1e-9)
    assert deep["routing"] == pytest.approx(deep["poa_cal"])
    assert (deep["regime"], deep["interval_kind"], deep["n_launches"]) == ("growth", "within-run", 1)
    assert deep["first_post_knee"] in GRID
    assert deep["knee_lo"] <= deep["knee"] <= deep["knee_hi"]
    assert (deep["n_requests"], deep["n_windows"]) == (540, 270)
    assert (deep["valid"], deep["reasons"], deep["sealed"], deep["engine"]) == (True, [], False, "unknown")


def test_the_number_is_the_one_that_a_hand_would_compute(
    ladder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["estimate", str(ladder), "--explain", "c0096"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "l_A(x) =" in line)
    alpha, beta = (float(part.rstrip(" x")) / 1e3 for part in line.split("=")[1].split("+"))
    found = {record["cell"]: record for record in estimated(capsys, ladder)}
    for C in (32, 96):
        expected = by_hand(closed_loop(C, seed=1), alpha, beta)
        assert found[f"c{C:04d}"]["poa_hat"] == pytest.approx(expected, rel=1e-4)


def test_the_same_on_one_core_and_on_two_and_again(ladder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, other = (
        estimated(capsys, ladder, *more)
        for more in (("--jobs", 1), ("--jobs", 2), ("--jobs", 1, "--seed", 5))
    )
    assert one == two
    assert [r["poa_hat"] for r in one] == [r["poa_hat"] for r in other]
    assert [r["poa_hat_lo"] for r in one] != [r["poa_hat_lo"] for r in other]


def test_one_cell_alone_is_estimated_on_its_own_curve(
    ladder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (only,) = estimated(capsys, ladder / "c0032")
    assert only["poa_hat"] == pytest.approx(1.0, abs=0.1)
    assert only["knee"] is None
    assert "want 4" in only["knee_note"]


def test_one_cell_above_c_ref_has_no_cost_model(ladder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no valid cell with 8 <= C <= 64" in refused(capsys, ladder / "c0128")
    (only,) = estimated(capsys, ladder / "c0128", "--c-ref", 128)
    assert only["poa_hat"] == pytest.approx(1.0, abs=0.1)


def test_three_launches_are_resampled(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for launch in (2, 3):
        write_ladder(tmp_path / str(launch), grid=(8, 32, 128), launch=launch)
    found = estimated(capsys, ladder / "c0008", ladder / "c0032", ladder / "c0128", tmp_path)
    assert {record["interval_kind"] for record in found} == {"across-launches"}
    assert [record["n_launches"] for record in found] == [3, 3, 3]
    assert found[0]["n_windows"] == 3 * 270


def test_systems_and_policies_are_kept_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ladder(tmp_path / "a", grid=(16, 32))
    write_ladder(tmp_path / "b", grid=(32,), model="other")
    for C in (32, 128):
        table = closed_loop(C, seed=7).assign(policy="random")
        write_trace(tmp_path / f"r{C}", table, policy="random", concurrency=C)
    found = estimated(capsys, tmp_path)
    assert [(r["model"], r["policy"], r["concurrency"]) for r in found] == [
        ("toy", "static", 16), ("toy", "static", 32), ("toy", "random", 32), ("toy", "random", 128),
        ("other", "static", 32),
    ]  # fmt: skip
    # The curves of another policy are those of the static default on the same deployment.
    alone = estimated(capsys, tmp_path / "r32", tmp_path / "r128")
    assert alone[0]["poa_hat"] != found[2]["poa_hat"]


def test_prefill_is_a_game_of_two_workers_or_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swapped = {"decode_worker": "prefill_worker", "prefill_worker": "decode_worker"}
    for C in (16, 32):
        table = closed_loop(C).rename(columns=swapped)
        write_trace(tmp_path / str(C), table, concurrency=C, n_workers={"prefill": 2, "decode": 1})
    found = estimated(capsys, tmp_path, "--pool", "prefill")
    assert {record["pool"] for record in found} == {"prefill"}
    assert all(record["poa_hat"] > 0 for record in found)
    one = write_trace(tmp_path / "one", closed_loop(64), concurrency=64)
    assert "n_workers.prefill is 1" in refused(capsys, one, "--pool", "prefill")


def test_a_request_leaves_prefill_with_its_first_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = {"decode_worker": "prefill_worker", "prefill_worker": "decode_worker"}
    pools = {"prefill": 2, "decode": 1}
    table = closed_loop(16).rename(columns=swapped)
    write_trace(tmp_path / "a", table, n_workers=pools)
    slow = table.assign(t_last_token=table["t_last_token"] + 10.0)
    write_trace(tmp_path / "b", slow, n_workers=pools, model="slow decode")
    fast, slow_one = estimated(capsys, tmp_path, "--pool", "prefill")
    assert fast["poa_hat"] == slow_one["poa_hat"]


def test_end_to_end_latency_needs_no_first_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_trace(tmp_path / "a", closed_loop(16).drop(columns="t_first_token"))
    (found,) = estimated(capsys, folder, "--metric", "e2e")
    assert (found["metric"], found["slo_crossing"]) == ("e2e", None)
    assert "--metric e2e" in refused(capsys, folder)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"t_intended": None}, "has no t_intended"),
        ({"decode_worker": -1}, "nobody knows its decode worker"),
        ({"t_first_token": np.nan}, "has no t_first_token"),
        ({"t_last_token": np.nan}, "has no t_last_token"),
    ],
)
def test_what_a_source_does_not_tell_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], what: str
) -> None:
    told = refused(capsys, write_trace(tmp_path / "a", closed_loop(16).assign(**change)))
    assert what in told
    assert TRACE_FILE in told
    assert "540 of 600 requests" in told


def test_one_untold_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = closed_loop(16)
    table.loc[100:103, "decode_worker"] = -1
    assert "request r000100 measured and ok" in refused(capsys, write_trace(tmp_path / "a", table))


def test_failed_requests_are_load_until_their_end_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(32)
    failed = table.index.isin([100, 101])
    whole = table.assign(status=np.where(failed, "timeout", "ok"))
    lost = whole.assign(
        t_end=np.where(failed, whole["t_last_token"], np.nan),
        t_first_token=whole["t_first_token"].mask(failed),
        t_last_token=whole["t_last_token"].mask(failed),
    )
    write_trace(tmp_path / "a", whole, model="a")
    write_trace(tmp_path / "b", lost, model="b")
    write_trace(tmp_path / "c", lost.assign(t_end=np.nan), model="c")
    known, told, untold = estimated(capsys, tmp_path)
    assert known["n_requests"] == told["n_requests"] == untold["n_requests"] == 538
    assert (told["poa_hat"], told["valid"], told["unended"]) == (known["poa_hat"], True, 0)
    assert untold["poa_hat"] != known["poa_hat"], "load to the end of the cell"
    assert (untold["valid"], untold["reasons"], untold["unended"]) == (False, ["in_flight"], 2)


def test_a_cell_of_failures_is_shown_without_numbers(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(48).assign(status="http_503")
    write_trace(tmp_path / "failed", table, concurrency=48)
    found = estimated(capsys, ladder, tmp_path)
    failed = next(record for record in found if record["cell"] == "failed")
    assert (failed["poa_hat"], failed["n_windows"], failed["valid"]) == (None, 0, False)
    assert failed["reasons"] == ["errors", "zero_tokens", "short"]


def test_a_cell_that_its_maker_calls_invalid_does_not_count(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trace(
        tmp_path / "bad", closed_loop(48), concurrency=48, gates={"valid": False, "reasons": ["client_bound"]}
    )
    found = estimated(capsys, ladder, tmp_path)
    bad = next(record for record in found if record["cell"] == "bad")
    assert (bad["poa_hat"], bad["valid"], bad["reasons"]) == (None, False, ["client_bound"])
    again = estimated(capsys, ladder, tmp_path, "--ungated")
    bad = next(record for record in again if record["cell"] == "bad")
    assert bad["poa_hat"] > 0
    assert (bad["valid"], bad["reasons"]) == (False, ["client_bound"])


def test_cells_set_aside_do_not_count(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ladder, tmp_path / "cells")
    write_trace(tmp_path / "attempts" / "c0032.1", closed_loop(32), concurrency=32)
    assert len(estimated(capsys, tmp_path)) == len(GRID)


def test_order_of_rows_names_of_workers_and_unit_of_time_are_of_no_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(32)
    times = ["t_intended", "t_sent", "t_first_token", "t_last_token"]
    others = {
        "shuffled": table.sample(frac=1.0, random_state=3),
        "relabelled": table.assign(decode_worker=1 - table["decode_worker"]),
        "shifted": table.assign(**{name: table[name] + 1000.0 for name in times}),
    }
    write_trace(tmp_path / "plain", table, model="plain")
    for name, other in others.items():
        write_trace(tmp_path / name, other, model=name)
    found = {record["model"]: record for record in estimated(capsys, tmp_path)}
    for name in others:
        for number in ("poa_hat", "poa_cal", "dynamics", "freezing", "median_window"):
            assert found[name][number] == pytest.approx(found["plain"][number], rel=1e-6), name


def test_overlap_that_the_trace_tells_earns_a_credit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for C in (16, 32):
        table = closed_loop(C)
        shares = rng.integers(0, 2, (len(table), 2)).astype(float)
        earned = 0.01 * shares[np.arange(len(table)), table["decode_worker"]]
        told = table.assign(
            t_first_token=np.maximum(table["t_first_token"] - earned, table["t_sent"]),
            decode_overlap=list(shares),
        )
        write_trace(tmp_path / "told" / str(C), told, concurrency=C)
        write_trace(tmp_path / "untold" / str(C), told.drop(columns="decode_overlap"), concurrency=C)
    with_credit, without = (estimated(capsys, tmp_path / name)[1] for name in ("told", "untold"))
    assert with_credit["poa_cal"] > without["poa_cal"] + 0.01
    main(["estimate", str(tmp_path / "told"), "--explain", "32"])
    assert "overlap credit kappa" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shares", "what"), [([[0.5]] * 600, "another length"), ([[0.5, 1.5]] * 600, "outside")]
)
def test_an_impossible_overlap_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shares: list[list[float]], what: str
) -> None:
    told = closed_loop(16).assign(decode_overlap=pd.Series(shares))
    assert what in refused(capsys, write_trace(tmp_path / "a", told))


def test_csv_and_table_hold_the_same_numbers(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = estimated(capsys, ladder)
    assert main(["estimate", str(ladder), *FEW, "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(lines[0]) == list(CellEstimate.model_fields)
    assert [float(line["poa_hat"]) for line in lines] == [record["poa_hat"] for record in found]
    assert main(["estimate", str(ladder), *FEW]) == 0
    table = capsys.readouterr().out
    assert f"{found[-1]['poa_hat']:.2f} [" in table
    assert "knee at C =" in table
    assert "engine unknown" in table
    assert "not every trace is sealed" in table


def test_output_goes_to_a_file_in_the_format_of_its_suffix(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("out.json", "out.csv", "out.txt"):
        assert main(["estimate", str(ladder / "c0032"), *FEW, "-o", str(tmp_path / name)]) == 0
    assert json.loads((tmp_path / "out.json").read_text())[0]["cell"] == "c0032"
    assert (tmp_path / "out.csv").read_text().startswith("cell,model")
    assert "PoA-hat" in (tmp_path / "out.txt").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.json", "out.txt"]


def explained(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["estimate", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def printed(text: str, start: str) -> list[float]:
    """The numbers of the first line that begins so."""
    line = next(line for line in text.splitlines() if line.strip().startswith(start))
    return [
        float(number)
        for number in re.findall(r"(?<![\w_])-?\d+(?:\.\d+)?", line[line.index(start) + len(start) :])
    ]


def test_an_explanation_can_be_followed_with_a_calculator(
    ladder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = explained(capsys, ladder, "--explain", "c0096", "--window", "3")
    assert "window 3 of 270" in told
    alpha, beta = printed(told, "l_A(x) =")
    c0, *pairs = printed(told, "l_F(x) =")
    slopes, knots = pairs[0::3], pairs[2::3]

    def full(x: float) -> float:
        return c0 + sum(b * max(0.0, x - k) for b, k in zip(slopes, knots, strict=True))

    def marg(n: int, s: int) -> float:
        return (n + s) * full(n + s) - (n + s - 1) * full(n + s - 1)

    state = printed(told, "frozen state at t =")
    load = [int(n) for n in state[1:]]
    table = closed_loop(96, seed=1).set_index("request_id")
    rows = [line.split() for line in told.splitlines() if re.match(r"  \d +r\d{6}", line)]
    SC = SCm = 0.0
    for _, name, intended, ended, latency, worker, place, paid in rows:
        row = table.loc[name]
        assert float(intended) == pytest.approx(row["t_intended"], abs=1e-6)
        assert float(ended) == pytest.approx(row["t_first_token"], abs=1e-6)
        assert float(latency) == pytest.approx(1e3 * (row["t_first_token"] - row["t_intended"]), rel=1e-5)
        assert int(worker) == row["decode_worker"]
        assert float(paid) == pytest.approx(marg(load[int(worker)], int(place)), rel=1e-4)
        SC, SCm = SC + float(latency), SCm + float(paid)
    slots = sorted(marg(n, s) for n in load for s in (1, 2))
    OPTf, OPTc = sum(alpha + beta * (n + 1) for n in load), sum(slots[:2])
    for start, value in (
        ("SC, realised cost = sum of L_i =", SC),
        ("SCm, modelled cost = sum of marg =", SCm),
        ("OPTf =", OPTf),
        ("OPTc =", OPTc),
        ("SC / OPTf", SC / OPTf),
        ("routing:  SCm / OPTc", SCm / OPTc),
        ("dynamics: SC / SCm", SC / SCm),
        ("freezing: OPTc / OPTf", OPTc / OPTf),
    ):
        assert printed(told, start)[-1] == pytest.approx(value, rel=2e-4), start
    found = {record["cell"]: record for record in estimated(capsys, ladder)}["c0096"]
    assert printed(told, "PoA-hat = sum SC / sum OPTf")[-1] == pytest.approx(found["poa_hat"], abs=1e-4)
    assert printed(told, "PoA-cal = sum SCm / sum OPTc")[-1] == pytest.approx(found["poa_cal"], abs=1e-4)


def test_what_cannot_be_explained_is_refused(ladder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no cell 'none'" in refused(capsys, ladder, "--explain", "none")
    assert "has no window 270" in refused(capsys, ladder, "--explain", "c0096", "--window", "270")


def test_a_name_that_two_cells_share_is_asked_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("a", "b"):
        write_trace(tmp_path / model / "c0032", closed_loop(32), model=model)
    assert "2 cells have the name" in refused(capsys, tmp_path, "--explain", "c0032")
    assert main(["estimate", str(tmp_path), "--explain", str(tmp_path / "a" / "c0032")]) == 0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"launch": 1}, "C = 32 of launch 1"),
        ({"launch": 2, "n_workers": {"prefill": 1, "decode": 3}}, "'n_workers'"),
        ({"launch": 2, "engine": "vllm"}, "'engine'"),
        ({"launch": 2, "versions": {"ai-dynamo": "0.9.0"}}, "Dynamo is 0.9.0 here and unknown in"),
    ],
)
def test_mixed_deployments_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], what: str
) -> None:
    write_trace(tmp_path / "a", closed_loop(32))
    write_trace(tmp_path / "b", closed_loop(32), **changes)
    told = refused(capsys, tmp_path)
    assert "mixed deployments of toy 1p2d" in told
    assert what in told
    assert str(tmp_path / "a") in told


def test_bad_input_gives_no_number(ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in refused(capsys, tmp_path / "none")
    assert "holds no trace" in refused(capsys, tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert "remedy" in refused(capsys, tmp_path / "notes.txt")
    shutil.copytree(ladder, tmp_path / "copy")
    (tmp_path / "copy" / "c0032" / MANIFEST_FILE).unlink()
    assert "no manifest" in refused(capsys, tmp_path / "copy")


def test_links_are_followed_once(ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ladder.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(estimated(capsys, tmp_path)) == len(GRID)
    assert len(estimated(capsys, tmp_path, ladder, ladder / "c0032")) == len(GRID)


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("omega", -1.0, "omega and overlap"),
        ("t_last_token", 1e300, "time that no clock shows"),
        ("decode_worker", np.array([2**63] * 600, dtype=np.uint64), "wrong type"),
    ],
)
def test_values_that_no_program_writes_end_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, values: Any, what: str
) -> None:
    table = closed_loop(32).assign(decode_overlap=pd.Series([[0.5, 0.5]] * 600))
    table[column] = values
    told = refused(capsys, write_trace(tmp_path / "a", table))
    assert what in told or "cannot be read as a trace" in told


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"concurrency": 10**30}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"n_workers": {"prefill": 1, "decode": 10**12}}, "n_workers.decode"),
        ({"duration_s": float("inf")}, "duration_s"),
    ],
)
def test_manifests_that_no_program_writes_end_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], what: str
) -> None:
    assert what in refused(capsys, write_trace(tmp_path / "a", closed_loop(32), **changes))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_trace(tmp_path / "a", closed_loop(32))
    text = (folder / MANIFEST_FILE).read_text()
    (folder / MANIFEST_FILE).write_text(text.replace("{", '{"launch": 7, ', 1))
    assert "'launch' stands there twice" in refused(capsys, folder)


def test_markup_in_a_trace_is_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    odd = {
        "model": "x[/bold]",
        "gates": {"valid": False, "reasons": ["[/red]"]},
        "source": {"notes": ["[/y]"]},
    }
    write_trace(tmp_path / "a", closed_loop(32), **odd)
    assert main(["estimate", str(tmp_path), *FEW, "--ungated"]) == 0
    told = capsys.readouterr().out
    assert "x[/bold]" in told
    assert "[/red]" in told
    assert "note: [/y]" in told


def test_what_is_no_regular_file_is_not_replaced(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(capsys, ladder, "-o", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "real.json")
    assert (
        main(["estimate", str(ladder / "c0032"), *FEW, "-o", str(tmp_path / "link"), "--format", "json"]) == 0
    )
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())
    capsys.readouterr()
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, ladder, "-o", tmp_path / "file" / "x.json")


def test_loads_that_never_vary_tell_no_slope(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = closed_loop(8)
    gap = np.arange(len(table)) * 10.0
    alone = table.assign(t_intended=gap, t_sent=gap, t_first_token=gap + 0.1, t_last_token=gap + 0.2)
    assert "tells no slope" in refused(capsys, write_trace(tmp_path / "a", alone, concurrency=8))


def test_one_window_has_a_value_and_no_interval(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(48)
    table["phase"] = ["warmup"] * 300 + ["measure"] * 3 + ["cooldown"] * 297
    write_trace(tmp_path / "short", table, concurrency=48)
    found = estimated(capsys, ladder, tmp_path)
    short = next(record for record in found if record["cell"] == "short")
    assert (short["n_windows"], short["n_requests"], short["regime"]) == (1, 2, None)
    assert short["poa_hat"] > 0
    assert short["poa_hat_lo"] is None
    assert "short" in short["reasons"]


def test_moving_requests_inside_windows_leaves_poa_hat_and_changes_poa_cal(tmp_path: Path) -> None:
    """Without credits every matching costs the same: PoA-hat does not ask where a request went."""
    seen = cell_game(read_any(write_trace(tmp_path / "a", closed_loop(64)), Facts())).windows
    fitted = AffineLatency(0.02, 0.002), FullLatency(0.02, (1.0, 20.0), (0.002, 0.02))
    here, moved = (
        window_costs(seen, *fitted),
        window_costs(replace(seen, worker=np.zeros_like(seen.worker)), *fitted),
    )
    assert poa_hat(here) == poa_hat(moved)
    assert poa_cal(moved) > poa_cal(here) + 0.01


def test_spread_sealed_and_the_other_knees_are_those_of_the_data(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = estimated(capsys, ladder)
    for record in found:
        assert record["median_window"] < record["p90_window"]
        assert record["median_window"] == pytest.approx(record["poa_hat"], rel=0.1)
    assert found[0]["kneedle"] in GRID
    assert found[0]["slo_crossing"] == 96
    assert all(record["full_r2_within"] < record["full_r2"] for record in found)
    shutil.copytree(ladder, tmp_path / "l")
    for folder in sorted((tmp_path / "l").iterdir())[:3]:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        digest = {"file": TRACE_FILE, "rows": 600, "sha256": sha256_of(folder / TRACE_FILE)}
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"seal": digest}))
    assert [record["sealed"] for record in estimated(capsys, tmp_path / "l")] == [True] * 3 + [False] * 3


def test_an_unfinished_request_is_load_to_the_end_of_the_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(32)
    table.loc[100, ["t_first_token", "t_last_token"]] = np.nan
    table.loc[100, "status"] = "timeout"
    end = float(table["t_last_token"].max())
    middle = float(table["t_sent"].iloc[-1])
    write_trace(tmp_path / "a", table, model="to the end", duration_s=end)
    write_trace(tmp_path / "b", table, model="by default")
    to_the_end, by_default = estimated(capsys, tmp_path)[:2]
    assert to_the_end["poa_hat"] == by_default["poa_hat"]
    write_trace(tmp_path / "c", table, model="cut", duration_s=middle)
    assert "duration_s" in refused(capsys, write_trace(tmp_path / "d", table, duration_s=middle / 2))
    shutil.rmtree(tmp_path / "d")
    cut = {record["model"]: record for record in estimated(capsys, tmp_path)}["cut"]
    assert cut["n_requests"] == by_default["n_requests"]


def test_a_drifting_cell_is_shown_and_counts_only_when_told_to(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(48)
    late = table["t_sent"] > table["t_sent"].median()
    table.loc[late, "t_first_token"] += 0.2
    write_trace(tmp_path / "drift", table, concurrency=48)
    found = estimated(capsys, ladder, tmp_path)
    drift = next(record for record in found if record["cell"] == "drift")
    assert (drift["valid"], drift["reasons"]) == (False, ["not_steady"])
    assert (drift["poa_hat"] > 0, drift["counted"], drift["regime"]) == (True, False, None)
    alone = estimated(capsys, ladder)
    same = ("poa_hat", "poa_hat_lo", "knee", "knee_lo", "kneedle", "affine_r2", "full_r2", "counted")
    others = [record for record in found if record["cell"] != "drift"]
    assert [[record[key] for key in same] for record in others] == [[r[key] for key in same] for r in alone]
    both = [str(ladder), str(tmp_path)]
    assert main(["estimate", *both, *FEW]) == 0
    assert (
        "not counted in curves, plateau and knee (--ungated counts them): C = 48" in capsys.readouterr().out
    )
    counted = estimated(capsys, *map(Path, both), "--ungated")
    assert all(record["counted"] for record in counted)
    assert counted[0]["full_r2"] != alone[0]["full_r2"], "it entered the curve"
    assert main(["estimate", *both, *FEW, "--ungated"]) == 0
    assert "counted all the same, in curves, plateau and knee (--ungated): C = 48" in capsys.readouterr().out


def test_a_launch_that_drifts_takes_nothing_from_one_that_does_not(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(48)
    write_trace(tmp_path / "steady", table, concurrency=48, launch=1)
    drift = closed_loop(48, seed=2)
    late = drift["t_sent"] > drift["t_sent"].median()
    drift.loc[late, "t_first_token"] += 0.2
    write_trace(tmp_path / "drift", drift, concurrency=48, launch=2)
    found = estimated(capsys, ladder, tmp_path)
    here = next(record for record in found if record["concurrency"] == 48)
    assert (here["n_launches"], here["valid"], here["counted"]) == (1, True, True)
    assert here["reasons"] == ["launch 2: not_steady"]


def test_a_few_unknown_workers_of_a_valid_cell_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = closed_loop(32)
    table.loc[[100, 200], "decode_worker"] = -1
    gates = {"valid": True}
    (found,) = estimated(capsys, write_trace(tmp_path / "a", table, gates=gates))
    assert any("2 measured requests on unknown workers are left out" in note for note in found["notes"])
    table.loc[100:150, "decode_worker"] = -1
    assert "nobody knows its decode worker" in refused(
        capsys, write_trace(tmp_path / "b", table, gates=gates)
    )


def test_a_flat_curve_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = closed_loop(32)
    flat = table.assign(t_first_token=table["t_intended"] + 0.05)
    (found,) = estimated(capsys, write_trace(tmp_path / "a", flat))
    assert found["poa_hat"] == pytest.approx(1.0)
    assert any("beta = 0" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--warmup-s", 5), "--warmup-s: is for foreign files"),
        (("--workers-from", "x.jsonl"), "--workers-from: is for foreign files"),
        (("--window", 3), "--window: needs --explain"),
        (("--explain", "c0032", "--format", "json"), "an explanation is text"),
        (("-o", "."), "is a folder"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    ladder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], what: str
) -> None:
    assert what in refused(capsys, ladder, *arguments)


@pytest.mark.parametrize(
    "option", [("--c-ref", "abc"), ("--seed", "-1"), ("-B", "0"), ("--warmup-s", "soon")]
)
def test_options_that_are_no_numbers_are_named(
    ladder: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["estimate", str(ladder), *option])
    assert ended.value.code == 2
    assert f"{option[1]!r} is not a" in capsys.readouterr().err


def test_a_folder_of_failures_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, write_trace(tmp_path / "a", closed_loop(32).assign(status="OK")))
    assert "status ok" in told
    assert "phase (measure)" in told


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["estimate", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "examples:" in told
    assert "trace.parquet" in told
