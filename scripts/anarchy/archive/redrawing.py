"""Estimates, figures and verdicts made again from the traces of an archive, and held against those in it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from anarchy import claims
from anarchy.archive.comparing import compare
from anarchy.archive.contents import RESULTS
from anarchy.archive.zipped import Archive
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import design_of
from anarchy.designs.system import estimate_system
from anarchy.estimate.ladder import REPLICATES
from anarchy.ground.layout import PROJECT, Layout
from anarchy.plan.run import read_run
from anarchy.plan.workbench import Workbench, open_frozen
from anarchy.report.summary import write_summary

Tell = Callable[[str], None]


def redraw(
    archive: Archive,
    scratch: Path,
    tell: Tell,
    *,
    replicates: int = REPLICATES,
    processes: int = 1,
    figures: bool = True,
) -> Iterator[str]:
    """Each number, figure or verdict that one side has alone or that differs, in words.

    Works in `scratch`, an empty folder, with the code of this checkout, and measures nothing; `tell` is told
    how far it is. Raises UserError for a trace that does not match its seal, and for a run that this checkout
    cannot open.
    """
    bench = unpack(archive, scratch)
    root = bench.layout.root
    for system in bench.systems():
        name = "/".join(system)
        if f"{RESULTS}{_folder(*system)}/system.json" not in archive.names:
            yield f"estimates of {name}: the run asks for them, and the archive has none"
            continue
        tell(f"estimating {name}")
        estimate = estimate_system(bench, *system, replicates=replicates, processes=processes)
        estimate.write(bench.layout.estimates(*system))
        yield from compare(archive, root, f"{_folder(*system)}/")
    yield from _of_others(archive, bench)
    tell("judging")
    documents = [system.document for system in load_systems(bench.layout)]
    verdicts = claims.judge_and_write(documents, root)
    yield from compare(archive, root, bench.layout.claims.name)
    if figures:
        for folder in bench.layout.estimated():
            tell(f"drawing {folder.parent.name}/{folder.name}")
            yield from _draw(bench, folder)
        tell("drawing all systems together")
        write_summary(bench.layout, [dataclasses.asdict(verdict) for verdict in verdicts])
        for prefix in ("figures/", "tables/"):
            yield from compare(archive, root, prefix)


def unpack(archive: Archive, scratch: Path) -> Workbench:
    """The run of an archive, its traces unpacked where its estimates are to be written."""
    first = scratch / "run"
    for part in ("run.json", "runs/"):
        archive.extract(RESULTS + part, first / part)
    layout = Layout(scratch / read_run(first / "run.json").choices.tier)
    for part in ("run.json", "runs/", "raw/", "knees/"):
        archive.extract(RESULTS + part, layout.root / part)
    return dataclasses.replace(open_frozen(layout.latest_run), layout=layout)


def _folder(experiment: str, model: str, topology: str) -> str:
    return f"estimates/{experiment}/{model}_{topology}"


def _of_others(archive: Archive, bench: Workbench) -> Iterator[str]:
    """Archived estimates of systems that the run does not name."""
    mine = tuple(f"{RESULTS}{_folder(*system)}/" for system in bench.systems())
    for name in sorted(archive.names):
        if name.startswith(f"{RESULTS}estimates/") and not name.startswith(mine):
            yield f"{name}: archived, and not made again: the run does not name this system"


def _draw(bench: Workbench, estimates: Path) -> Iterator[str]:
    """Execute the notebook of one system as the workflow does; yields why, where it cannot be executed."""
    experiment, (model, _, topology) = estimates.parent.name, estimates.name.rpartition("_")
    notebook = design_of(bench.study.experiments[experiment].design).notebook
    root = bench.layout.root
    told = {"experiment": experiment, "model": model, "topology": topology}
    told |= {"tier": root.name, "results": str(root.parent)}
    executed = bench.layout.notebook(experiment, model, topology)
    executed.parent.mkdir(exist_ok=True)
    files = [str(PROJECT / "notebooks" / f"{notebook}.ipynb"), str(executed)]
    done = subprocess.run(
        [sys.executable, "-m", "anarchy.workflow.notebooks", *files, *(f"{key}={told[key]}" for key in told)],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        yield f"notebook {notebook} of {experiment}/{estimates.name} fails: {_why(done)}"


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a process said; how it ended, where a signal ended it or it said nothing."""
    said = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "")
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}" + (f" after: {said}" if said else "")
    return said or f"exit status {done.returncode}, without a word"
