"""Estimates, figures and verdicts made again from the traces of an archive, and held against those in it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy import claims
from anarchy.archive.contents import RESULTS
from anarchy.archive.zipped import Archive
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import design_of
from anarchy.designs.system import estimate_system
from anarchy.estimate.ladder import REPLICATES
from anarchy.ground.layout import PROJECT, Layout
from anarchy.plan.run import read_run
from anarchy.plan.workbench import Workbench, open_frozen

TOLERANCE_PT: Final = 0.5
"""Points that a coordinate of a figure may be off, ours: docs/archive.md says what was seen."""
NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
ID: Final = re.compile(r"\b[a-z][0-9a-f]{10}\b")
"""What Matplotlib calls a mark or a clip: a digest of it."""

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
    """Each number, figure or verdict that comes out otherwise, in words; `tell` is told how far it is.

    Works in `scratch`, an empty folder, with the code of this checkout, and measures nothing. Raises
    UserError for a trace that does not match its seal, and for a run that this checkout cannot open.
    """
    bench = unpack(archive, scratch)
    for system in bench.systems():
        name = "/".join(system)
        if f"{_folder('estimates', *system)}/system.json" not in archive.names:
            yield f"estimates of {name}: the run asks for them, and the archive has none"
            continue
        tell(f"estimating {name}")
        estimate = estimate_system(bench, *system, replicates=replicates, processes=processes)
        estimate.write(bench.layout.estimates(*system))
        yield from _estimates(archive, bench.layout, system)
    tell("judging")
    yield from _verdicts(archive, bench.layout)
    if figures:
        for folder in bench.layout.estimated():
            tell(f"drawing {folder.parent.name}/{folder.name}")
            yield from _draw(bench, folder)
        yield from _drawn(archive, bench.layout)


def unpack(archive: Archive, scratch: Path) -> Workbench:
    """The run of an archive, its traces unpacked where its estimates are to be written."""
    first = scratch / "run"
    for part in ("run.json", "runs/"):
        archive.extract(RESULTS + part, first / part)
    layout = Layout(scratch / read_run(first / "run.json").choices.tier)
    for part in ("run.json", "runs/", "raw/", "knees/"):
        archive.extract(RESULTS + part, layout.root / part)
    return dataclasses.replace(open_frozen(layout.latest_run), layout=layout)


def _folder(kind: str, experiment: str, model: str, topology: str) -> str:
    return f"{RESULTS}{kind}/{experiment}/{model}_{topology}"


def _estimates(archive: Archive, layout: Layout, system: tuple[str, str, str]) -> Iterator[str]:
    """Files of one system's estimates that differ."""
    folder = layout.estimates(*system)
    for file in sorted(folder.iterdir()):
        name = f"{_folder('estimates', *system)}/{file.name}"
        if name not in archive.names:
            yield f"{name}: not in the archive"
        elif file.suffix == ".parquet":
            yield from _tables(name, pd.read_parquet(io.BytesIO(archive.read(name))), pd.read_parquet(file))
        else:
            yield from _documents(name, json.loads(archive.read(name)), json.loads(file.read_bytes()))


def _tables(name: str, archived: pd.DataFrame, again: pd.DataFrame) -> Iterator[str]:
    """Columns of a table that differ, to the bit."""
    if list(archived.columns) != list(again.columns) or len(archived) != len(again):
        shapes = [f"{len(one)} rows of {len(one.columns)} columns" for one in (archived, again)]
        yield f"{name}: {shapes[0]}; again {shapes[1]}"
        return
    for column in archived.columns:
        if not archived[column].equals(again[column]):
            before, after = archived[column].map(repr), again[column].map(repr)  # equal for NaN, too
            rows = (before != after).to_numpy()
            place = int(rows.argmax())
            yield (
                f"{name}: column {column} differs in {int(rows.sum())} rows, first in row {place}: "
                f"{before.iloc[place]}, again {after.iloc[place]}"
            )


def _documents(name: str, archived: Any, again: Any, key: str = "") -> Iterator[str]:
    """Values of a JSON document that differ, the first of each list and object."""
    if isinstance(archived, dict) and isinstance(again, dict) and archived.keys() == again.keys():
        for one in archived:
            yield from _documents(name, archived[one], again[one], f"{key}.{one}" if key else one)
    elif isinstance(archived, list) and isinstance(again, list) and len(archived) == len(again):
        for place, pair in enumerate(zip(archived, again, strict=True)):
            yield from _documents(name, *pair, f"{key}.{place}" if key else str(place))
    elif archived != again:
        yield f"{name}: {key}: {str(archived)[:80]}; again {str(again)[:80]}"


def _verdicts(archive: Archive, layout: Layout) -> Iterator[str]:
    """Verdicts that differ."""
    documents = [system.document for system in load_systems(layout)]
    claims.write(claims.judge(claims.load(), documents), layout.root)
    file = layout.claims.with_suffix(".json")
    name = RESULTS + file.name
    yield from _documents(name, json.loads(archive.read(name)), json.loads(file.read_bytes()))


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
        yield f"notebook {notebook} of {experiment}/{estimates.name} fails: {done.stdout.splitlines()[-1]}"


def _drawn(archive: Archive, layout: Layout) -> Iterator[str]:
    """Figures and tables that differ: pictures as SVG, which is text, and tables as CSV."""
    for file in sorted([*layout.root.glob("figures/*/*.svg"), *layout.root.glob("tables/*/*.csv")]):
        name = RESULTS + file.relative_to(layout.root).as_posix()
        if name not in archive.names:
            yield f"{name}: not in the archive"
            continue
        archived, again = archive.read(name), file.read_bytes()
        if archived != again and (file.suffix == ".csv" or not same_drawing(archived, again)):
            yield f"{name}: comes out otherwise"


def same_drawing(archived: bytes, again: bytes) -> bool:
    """Whether two SVG files show the same: all texts and shapes, every coordinate within `TOLERANCE_PT`."""
    texts = [_without_ids(svg.decode("utf-8", "replace")) for svg in (archived, again)]
    if NUMBER.split(texts[0]) != NUMBER.split(texts[1]):
        return False
    pairs = zip(*(map(float, NUMBER.findall(text)) for text in texts), strict=True)
    return all(abs(one - other) <= TOLERANCE_PT for one, other in pairs)


def _without_ids(svg: str) -> str:
    """An SVG whose marks and clips are named by the order in which they appear, not by their content."""
    order: dict[str, str] = {}
    return ID.sub(lambda found: order.setdefault(found[0], f"id{len(order)}"), svg)
