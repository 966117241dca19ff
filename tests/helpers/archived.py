"""A small finished run, a small project with a commit, and the archive of both."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

from anarchy import claims
from anarchy.archive.building import build
from anarchy.archive.contents import code_of
from anarchy.archive.software import load_software
from anarchy.archive.zipped import Entry
from anarchy.designs.drawn import drawn_files
from anarchy.designs.loading import design_in, load_systems
from anarchy.designs.system import estimate_system
from anarchy.ground.layout import Layout
from anarchy.plan.workbench import Workbench, open_run
from anarchy.report.summary import write_summary
from anarchy.telemetry.alias import Anonymiser
from tests.helpers.made_up_run import seal_everything

REPLICATES = 100
PROJECT_FILES = {
    "Snakefile": "rule all:\n",
    "LICENSE": "a licence\n",
    "CITATION.cff": "title: t\n",
    "envs/driver.lock": "snakemake==9.27.1 \\\n    --hash=sha256:00\n",
    "envs/build": "#!/bin/sh\n",
    "workflow/config/run.yaml": "tier: quick\n",
    "data/sample/live/claims.md": "of another run\n",
}


def finished_run(results: Path) -> Workbench:
    """A run of one system, measured by nobody, estimated and judged.

    Report, figures and tables of the system are stand-ins; what shows all systems together is drawn.
    """
    choices = {"experiments": ["equilibrium"], "models": ["llama-3.1-70b"], "topologies": ["1p2d"]}
    bench = open_run({"tier": "smoke", "results": str(results), **choices})
    bench.freeze()
    seal_everything(bench)
    for system in bench.systems():
        estimate_system(bench, *system, replicates=REPLICATES).write(bench.layout.estimates(*system))
    documents = [system.document for system in load_systems(bench.layout)]
    verdicts = claims.judge_and_write(documents, bench.layout.root)
    stand_in(bench, *bench.systems())
    write_summary(bench.layout, [dataclasses.asdict(verdict) for verdict in verdicts])
    bench.layout.report.write_text("<p>the report</p>\n")
    return bench


def stand_in(bench: Workbench, *systems: tuple[str, str, str]) -> list[Path]:
    """Write a line in place of each figure and table of these systems; returns the files."""
    paths = []
    for experiment, model, topology in systems:
        design, info = design_in(bench.layout.estimates(experiment, model, topology))
        names = list(info["workloads"])
        paths += drawn_files(bench.layout, design, experiment, f"{model}_{topology}", names)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as drawn\n")
    return paths


def copied(bench: Workbench, folder: Path) -> Workbench:
    """A run to be changed."""
    shutil.copytree(bench.layout.root, folder / bench.layout.root.name)
    return dataclasses.replace(bench, layout=Layout(folder / bench.layout.root.name))


def committed_project(folder: Path) -> Path:
    """A checkout with one commit."""
    for name, text in PROJECT_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "envs" / "build").chmod(0o755)
    who = {f"GIT_{role}_{what}": "nobody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    when = {"GIT_COMMITTER_DATE": "2026-11-29T12:00:00+00:00"}
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=folder, env={**os.environ, **who, **when}, check=True)
    return folder


def entries_of(bench: Workbench, project: Path, anonymiser: Anonymiser | None = None) -> list[Entry]:
    """What the archive of a run holds."""
    return build(bench.layout.root, code_of(project), load_software(), anonymiser or Anonymiser())
