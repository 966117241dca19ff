"""Estimates of traces by their folders, this project's or anybody's: find, group, check, estimate.

Cells are read one at a time and only their windows are kept, so memory grows with the windows and not with
the traces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from anarchy.engines.dynamo import described
from anarchy.engines.profiles import Profile
from anarchy.estimate.companions import with_decisions
from anarchy.estimate.game import CellGame, Pool, cell_game
from anarchy.estimate.ladder import (
    C_REF,
    REPLICATES,
    Ladder,
    LadderEstimate,
    estimate_ladder,
)
from anarchy.estimate.reading import estimate_reading, with_reading
from anarchy.estimate.step import Stream, step_of, stream_of
from anarchy.games.latency import in_reference
from anarchy.games.readings import Reading
from anarchy.games.requests import Metric
from anarchy.gates.verdict import evaluate_public
from anarchy.ground.errors import UserError
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.importers import Facts, detect, import_trace
from anarchy.trace.packed import CELLS, INDEX_FILE, packed_names
from anarchy.trace.reader import MEND, CellTrace, is_sealed, read_trace
from anarchy.trace.schema import GateResult, Manifest

SET_ASIDE: Final = ("attempts", "unreadable")
"""Folders of a deployment that hold cells which no longer count."""
REMEDY: Final[dict[Reading, str]] = {
    "fitted": "give the cells of the same deployment at low concurrency as well, or move the reference with "
    "--c-ref (it must lie below the knee); where users march in step no load is seen: take --reading idle",
    "idle": "give a cell of the same deployment with at most one user a worker, and requests enough; or take "
    "another --reading",
}
"""What helps where a reading can price no launch."""
STATIC: Final = "static"
"""Policy whose cells the latency curves are fitted to where a system has any."""


@dataclass(frozen=True)
class Settings:
    """How traces are to be estimated."""

    pool: Pool = "decode"
    metric: Metric = "ttft"
    c_ref: int = C_REF
    replicates: int = REPLICATES
    seed: int = 0
    processes: int = 1
    ungated: bool = False
    """Count cells that failed a gate as well; they stay marked."""
    facts: Facts = field(default_factory=Facts)
    """What the command line tells of foreign files."""
    workers_from: tuple[Path, ...] = ()
    """Dynamo's request traces with the worker ids of a foreign file."""
    reading: Reading = "fitted"
    """What PoA-hat is read as."""
    profile: Profile | None = None
    """The timing table of the readings that need one."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One trace that was read: where it lies, its verdict, its game, and whether that counts.

    A game that does not count is estimated and marked; curves, plateau and knee do without it.
    """

    where: Path
    manifest: Manifest
    gates: GateResult
    game: CellGame | None
    counts: bool = True
    stream: Stream | None = None
    """When requests came and went; None without a game."""


@dataclass(frozen=True, eq=False)
class LadderCells:
    """All cells of one system under one workload and policy, with the ladder of those that count.

    `aside` holds the others that have a game, priced by the same curves.
    """

    cells: Sequence[Cell]
    ladder: Ladder
    aside: Ladder
    doubtful: frozenset[int] = frozenset()
    """Launches whose curves had to be fitted to cells that do not count."""
    steps: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """By concurrency, how far users marched in step (`step.step_row`)."""

    @property
    def head(self) -> Manifest:
        """A manifest that speaks for all of them."""
        return self.cells[0].manifest


def find_traces(paths: Iterable[Path]) -> list[Path]:
    """Trace folders and foreign files under the given paths, each once, in order.

    What a deployment has set aside is left out unless it is named itself. Raises UserError for a path that is
    not there or holds no trace.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        try:
            path.stat()
        except OSError as error:
            raise UserError(
                f"cannot be read: {error.strerror}", where=path, remedy="name a trace folder, or one above"
            ) from None
        inside = [path] if path.is_file() or is_trace(path) else sorted(_walk(path))
        if not inside and path.is_dir() and detect(path) is not None:
            inside = [path]
        if not inside:
            raise UserError(
                f"holds no trace: no folder in it has {TRACE_FILE} and {MANIFEST_FILE}",
                where=path,
                remedy="name a folder that holds both; `anarchy import` makes one of Dynamo's request trace "
                "or of aiperf's profile_export.jsonl",
            )
        found |= {trace.resolve(): trace for trace in inside if trace.resolve() not in found}
    return list(found.values())


def is_trace(folder: Path) -> bool:
    """Whether a path is a trace folder, or half of one; or names a cell of a pack."""
    return is_sealed(folder) or (folder / TRACE_FILE).exists()


def _unreadable(error: OSError) -> None:
    """A folder that cannot be looked into may hold cells: without them the ladder is another."""
    raise UserError(
        f"cannot be read: {error.strerror}", where=error.filename, remedy="give this user read access to it"
    ) from error


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable):
        here = os.stat(parent)
        if (here.st_dev, here.st_ino) in seen:  # a link that leads back, or to what was read already
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = [name for name in folders if name not in SET_ASIDE]
        if MANIFEST_FILE in files or TRACE_FILE in files:
            yield Path(parent)
        if INDEX_FILE in files:
            yield from (Path(parent) / CELLS / name for name in packed_names(Path(parent)))


def read_any(path: Path, facts: Facts, workers_from: Sequence[Path] = ()) -> CellTrace:
    """One trace: a folder of the public format, or a foreign file imported in memory."""
    if is_trace(path) and not path.is_file():
        return _constant(with_decisions(read_trace(path)))
    return import_trace(path, facts, workers_from=workers_from)


def _constant(trace: CellTrace) -> CellTrace:
    """Refuse a cell whose C changed: it is a game a stage, and has no place on a ladder of C."""
    if trace.manifest.stages:
        raise UserError(
            f"holds {len(trace.manifest.stages)} stages of different concurrency",
            where=trace.directory,
            remedy="leave it out here; the workflow (`anarchy system`) estimates it stage by stage",
        )
    return trace


def read_cells(
    paths: Sequence[Path], settings: Settings, done: Callable[[Path], None] = lambda _: None
) -> list[Cell]:
    """Read every trace, judge it, and keep its windows; raises UserError for any that cannot be trusted."""
    cells = []
    for path in paths:
        cells.append(_read(path, settings))
        done(path)
    return cells


def _read(path: Path, settings: Settings) -> Cell:
    """One cell, judged and cut; whatever a file can hold ends in a UserError that names it."""
    try:
        return _cell(path, settings)
    except (ValueError, OverflowError, RecursionError, OSError) as error:
        raise UserError(f"cannot be read as a trace: {error}", where=path, remedy=MEND) from error


def _cell(path: Path, settings: Settings) -> Cell:
    trace = read_any(path, settings.facts, settings.workers_from)
    told = trace.manifest.gates
    # A verdict is believed where a seal says that it is still about this table, and where it is "not valid".
    believed = told is not None and (trace.manifest.seal is not None or not told.valid)
    gates = told if told is not None and believed else evaluate_public(trace, settings.pool)
    counts = gates.valid or settings.ungated
    # What its maker calls invalid may lack anything; what was judged here is shown with its numbers.
    game = cell_game(trace, settings.pool, settings.metric) if counts or not believed else None
    stream = None if game is None else stream_of(trace)
    if game is not None:
        game = with_reading(game, trace, settings.reading, settings.profile, settings.pool)
    return Cell(path, trace.manifest, gates, game, counts, stream)


def ladders(cells: Sequence[Cell], settings: Settings) -> list[LadderCells]:
    """Group cells into ladders: one a model, topology, workload and policy.

    Raises UserError where cells that would stand in one ladder come from different deployments.
    """
    systems: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        of = cell.manifest
        systems.setdefault((of.model, of.topology, of.workload), []).append(cell)
    found = []
    for system in systems.values():
        _check_one_system(system)
        policies = dict.fromkeys(cell.manifest.policy for cell in system)
        found += [_ladder(system, policy, settings) for policy in policies]
    return found


def _ladder(system: Sequence[Cell], policy: str, settings: Settings) -> LadderCells:
    mine = sorted((cell for cell in system if cell.manifest.policy == policy), key=_launch)
    own = [cell for cell in mine if cell.game is not None]
    static = [] if policy == STATIC else [c for c in system if c.manifest.policy == STATIC and c.game]
    ladder = Ladder(
        n_workers=getattr(system[0].manifest.n_workers, settings.pool),
        cells=_by_concurrency(cell for cell in own if cell.counts),
        c_ref=settings.c_ref,
        replicates=settings.replicates,
        seed=settings.seed,
        processes=settings.processes,
        reading=settings.reading,
    )
    reference: dict[int, list[CellGame]] = {}
    doubtful = set()
    for launch in dict.fromkeys(map(_launch, own)):
        base = [c for c in static if _launch(c) == launch] or [c for c in own if _launch(c) == launch]
        counted = [cell for cell in base if cell.counts]
        if not any(in_reference(c.manifest.concurrency, ladder.n_workers, ladder.c_ref) for c in counted):
            doubtful |= {launch} if len(counted) < len(base) else set()
            counted = base
        reference[launch] = [
            cell.game for cell in sorted(counted, key=lambda cell: cell.manifest.concurrency) if cell.game
        ]
    return LadderCells(
        cells=[cell for cell in system if cell.manifest.policy == policy],
        ladder=replace(ladder, reference=reference),
        aside=replace(
            ladder, cells=_by_concurrency(cell for cell in own if not cell.counts), reference=reference
        ),
        doubtful=frozenset(doubtful),
        steps=_steps(own),
    )


def _steps(cells: Iterable[Cell]) -> dict[int, dict[str, Any]]:
    """How far users marched in step, by concurrency."""
    found: dict[int, dict[int, Stream]] = {}
    for cell in cells:
        if cell.stream is not None:
            found.setdefault(cell.manifest.concurrency, {})[_launch(cell)] = cell.stream
    return {C: step_of(found, C) for C in found}


def _launch(cell: Cell) -> int:
    return cell.manifest.launch


def _by_concurrency(cells: Iterable[Cell]) -> dict[int, list[CellGame]]:
    games: dict[int, list[CellGame]] = {}
    for cell in cells:
        if cell.game is not None:
            games.setdefault(cell.manifest.concurrency, []).append(cell.game)
    return games


def _check_one_system(system: Sequence[Cell]) -> None:
    first = system[0]
    for cell in system[1:]:
        for name in ("n_workers", "engine", "dilation"):
            here, there = getattr(cell.manifest, name), getattr(first.manifest, name)
            if here != there:
                raise _mixed(cell, first, f"key {name!r} is {_plain(here)} here and {_plain(there)} in")
        stacks = [described(one.manifest.versions) for one in (cell, first)]
        if stacks[0] is not stacks[1]:
            here, there = (
                one.manifest.versions.get("ai-dynamo") or (stack.version if stack else "unknown")
                for one, stack in zip((cell, first), stacks, strict=True)
            )
            raise _mixed(cell, first, f"Dynamo is {here} here and {there} in")
    seen: dict[tuple[str, int, int], Cell] = {}
    for cell in system:
        key = (cell.manifest.policy, cell.manifest.concurrency, cell.manifest.launch)
        if key in seen:
            same = f"is C = {key[1]} of launch {key[2]} under policy {key[0]}, and so is"
            raise _mixed(cell, seen[key], same)
        seen[key] = cell


def _plain(value: Any) -> str:
    return str(value.model_dump()) if hasattr(value, "model_dump") else repr(value)


def _mixed(cell: Cell, other: Cell, what: str) -> UserError:
    return UserError(
        f"mixed deployments of {cell.manifest.model} {cell.manifest.topology}: {what} {other.where}",
        where=cell.where,
        remedy="estimate them apart, or give different deployments different names (key 'topology') and "
        "different starts of one deployment different numbers (key 'launch')",
    )


def _estimate(group: LadderCells, done: Callable[[int], None]) -> LadderEstimate:
    """The ladder's estimate, with a marked row for each concurrency none of whose cells counts."""
    make = estimate_ladder if group.ladder.reading == "fitted" else estimate_reading
    estimate = make(group.ladder, done)
    if not group.aside.cells:
        return estimate
    aside = make(group.aside, done)
    return replace(
        estimate,
        aside=[{**row, "regime": None} for row in aside.rows],
        curves={**aside.curves, **estimate.curves},
        without_curves={**aside.without_curves, **estimate.without_curves},
    )


def estimate_all(
    groups: Sequence[LadderCells], done: Callable[[int], None] = lambda _: None
) -> Mapping[int, LadderEstimate]:
    """Estimate every ladder, by its place among the groups.

    Raises UserError where cells count and yet none of them can be estimated, saying why.
    """
    estimates = {place: _estimate(group, done) for place, group in enumerate(groups)}
    why = [
        (group, estimate.without_curves)
        for group, estimate in zip(groups, estimates.values(), strict=True)
        if estimate.without_curves
    ]
    if why and not any(estimate.curves or estimate.read for estimate in estimates.values()):
        group, reasons = why[0]
        if not any(cell.game and len(cell.game.windows) for group in groups for cell in group.cells):
            raise UserError(
                "nothing can be estimated: no cell has one window of measured requests with status ok "
                f"({', '.join(dict.fromkeys(r for c in group.cells for r in c.gates.reasons))})",
                where=group.cells[0].where,
                remedy="look at the columns phase (measure) and status (ok) of the trace",
            )
        raise UserError(
            f"nothing can be estimated: launch {next(iter(reasons))}: {next(iter(reasons.values()))}",
            where=group.cells[0].where,
            remedy=REMEDY[group.ladder.reading],
        )
    return estimates
