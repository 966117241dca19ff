"""A run made again from its archive: what comes out otherwise, what is lacking on either side."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anarchy.archive import redrawing
from anarchy.archive.redrawing import redraw
from anarchy.archive.zipped import Entry, open_archive, write_zip
from anarchy.plan.workbench import Workbench
from tests.helpers.archived import REPLICATES, committed_project, entries_of, finished_run, stand_in

SYSTEM = ("equilibrium", "llama-3.1-70b", "1p2d")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of the archive of a small run."""
    run = finished_run(tmp_path_factory.mktemp("results"))
    path = tmp_path_factory.mktemp("archive") / "smoke.zip"
    write_zip(path, entries_of(run, committed_project(tmp_path_factory.mktemp("project"))))
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist() if not name.endswith("/")}


@pytest.fixture
def drawn_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a notebook, which takes a minute."""

    def draw(bench: Workbench, estimates: Path) -> Iterator[str]:
        assert estimates == bench.layout.estimates(*SYSTEM)
        stand_in(bench, SYSTEM)
        yield from ()

    monkeypatch.setattr(redrawing, "_draw", draw)


def again(
    files: dict[str, bytes], folder: Path, *, replicates: int = REPLICATES, figures: bool = True
) -> tuple[list[str], list[str]]:
    """What is told of an archive with these files, and how far it was told to be."""
    told: list[str] = []
    write_zip(folder / "edited.zip", [Entry(name, content) for name, content in files.items()])
    with open_archive(folder / "edited.zip") as archive:
        found = redraw(archive, folder / "r", told.append, replicates=replicates, figures=figures)
        return list(found), told


@pytest.mark.usefixtures("drawn_by_nobody")
def test_everything_comes_out_again(files: dict[str, bytes], tmp_path: Path) -> None:
    found, told = again(files, tmp_path)
    assert found == []
    assert told == [
        f"estimating {'/'.join(SYSTEM)}",
        "judging",
        "drawing equilibrium/llama-3.1-70b_1p2d",
        "drawing all systems together",
    ]


@pytest.mark.usefixtures("drawn_by_nobody")
def test_what_shows_all_systems_and_what_the_archive_has_alone_is_compared(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    changed = (
        "results/claims.csv",
        "results/claims.md",
        "results/tables/forest.csv",
        "results/tables/summary.csv",
        "results/tables/summary.tex",
        "results/figures/claims/forest.svg",
        "results/figures/equilibrium/overview_poa.narrow.svg",
    )
    alone = (
        "results/claims-readings.csv",
        "results/claims-settings.md",
        "results/estimates/equilibrium/llama-3.1-70b_1p2d/old.parquet",
        "results/estimates/equilibrium/other_1p2d/system.json",
        "results/figures/equilibrium/llama-3.1-70b_1p2d_old.svg",
        "results/figures/old/old.png",
        "results/tables/old.csv",
    )
    edited = files | dict.fromkeys((*changed, *alone), b"otherwise\n")
    found, _ = again(edited, tmp_path)
    assert sorted({one.partition(": ")[0] for one in found}) == sorted((*changed, *alone))
    assert {one.partition(": ")[0] for one in found if "archived, and not made again" in one} == {*alone}


def test_what_the_archive_lacks_is_named(files: dict[str, bytes], tmp_path: Path) -> None:
    lost = "results/estimates/equilibrium/llama-3.1-70b_1p2d/cells.parquet"
    kept = {name: content for name, content in files.items() if name not in (lost, "results/claims.json")}
    found, told = again(kept, tmp_path, figures=False)
    assert found == [f"{lost}: not in the archive", "results/claims.json: not in the archive"]
    assert told == [f"estimating {'/'.join(SYSTEM)}", "judging"]


def test_numbers_that_do_not_come_out_again_are_named(files: dict[str, bytes], tmp_path: Path) -> None:
    verdicts = json.loads(files["results/claims.json"])
    verdicts[0]["verdict"] = "reproduced"
    edited = files | {"results/claims.json": json.dumps(verdicts).encode()}
    found, _ = again(edited, tmp_path, replicates=2 * REPLICATES, figures=False)
    assert any("cells.parquet: column poa_hat_lo differs in" in one for one in found)
    assert any(one.startswith("results/claims.json: 0.verdict: reproduced; again") for one in found)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import os; print('half', flush=True); os.kill(os.getpid(), 9)", "ended by signal 9 after: half"),
        ("raise SystemExit(3)", "exit status 3, without a word"),
        ("print('first'); print('why'); print(); raise SystemExit(1)", "why"),
    ],
)
def test_why_a_notebook_failed_is_told_also_where_it_said_nothing(program: str, said: str) -> None:
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    assert redrawing._why(done) == said
