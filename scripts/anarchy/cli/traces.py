"""The commands that work on anybody's traces: `anarchy estimate` and `anarchy import`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anarchy.ground.bounded import MAX_DIGITS, MOST_WORKERS
from anarchy.ground.errors import UserError
from anarchy.ground.terminal import visible

if TYPE_CHECKING:
    from anarchy.estimate.output import Format
    from anarchy.estimate.traces import Settings
    from anarchy.trace.importers import Facts

ESTIMATE_HELP: Final = """\
TRACE is a folder with trace.parquet and manifest.json (docs/traces.md describes the format), any folder
above such folders, or a foreign file: Dynamo's request trace (dynamo.request.trace.v1, JSON Lines) or
aiperf's profile_export.jsonl. Cells of one model, topology, workload and policy make a ladder: its low
concurrencies fit the cost model, its grid gives the knee. Give the whole ladder; a single cell above --c-ref
has no cost model.
"""
ESTIMATE_EXAMPLES: Final = """\
examples:
  anarchy estimate results/quick/raw/equilibrium/llama-3.1-70b/1p2d
  anarchy estimate my-traces --format json -o estimates.json
  anarchy estimate my-traces --explain unique-c0128
  anarchy estimate dynamo.jsonl --model m --concurrency 32 --assume-intended-is-sent --metric e2e
"""
IMPORT_HELP: Final = """\
Turn Dynamo's request trace (JSON Lines, dynamo.request.trace.v1) or aiperf's profile_export.jsonl into a
sealed trace folder that `anarchy estimate` reads: one cell, of one concurrency. What the source does not tell
stays unknown, and an estimate that needs it is refused. Requests in flight are held against the concurrency:
a cell that contradicts itself is marked.
"""
IMPORT_EXAMPLES: Final = """\
examples:
  anarchy import artifacts/profile_export.jsonl --workers-from dynamo.jsonl -o traces/c0064
  anarchy import dynamo.jsonl --model m --concurrency 64 --assume-intended-is-sent -o traces/c0064
  anarchy import frontend-0.jsonl frontend-1.jsonl --concurrency 64 --assume-intended-is-sent -o traces/c0064
"""


MOST: Final = 10_000_000
"""Largest whole number that an option takes."""
MOST_REPLICATES: Final = 1_000_000
"""Of the bootstrap: the ends of an interval are known to 1 % of its width with 10,000."""
MOST_JOBS: Final = 1024
"""More cores than a machine has."""


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add both commands to the parser; `add(name, command, help)` makes one."""
    estimating = add("estimate", _estimate, "estimate PoA-hat, PoA-cal and the knee from traces, anybody's")
    _teach(estimating, ESTIMATE_HELP, ESTIMATE_EXAMPLES)
    estimating.add_argument("traces", nargs="+", type=Path, metavar="TRACE", help="see above")
    estimating.add_argument(
        "--pool", choices=("decode", "prefill"), default="decode", help="who is routed to"
    )
    estimating.add_argument(
        "--metric", choices=("ttft", "e2e"), default="ttft", help="latency to the first or to the last token"
    )
    estimating.add_argument(
        "--reading", choices=("fitted", "idle", "table", "both-sides"), default="fitted",
        help="what PoA-hat divides by: the line fitted below the knee (default), an idle worker's latency, "
        "the timing table's prefill time, or both sides modelled (docs/estimator.md)",
    )  # fmt: skip
    estimating.add_argument(
        "--timing", type=Path, metavar="FOLDER",
        help="timing table of --reading table and both-sides, such as data/profiles/llama-3.1-70b-tp4",
    )  # fmt: skip
    estimating.add_argument(
        "--c-ref", type=whole(1), default=64, metavar="C",
        help="fit the affine curve to cells with max(8, m) <= C <= this, below the knee (default 64)",
    )  # fmt: skip
    estimating.add_argument(
        "-B",
        "--replicates",
        type=whole(1, MOST_REPLICATES),
        default=10_000,
        help="bootstrap replicates (default 10000)",
    )
    estimating.add_argument("--seed", type=whole(0), default=0, help="of the bootstrap (default 0)")
    estimating.add_argument(
        "--jobs",
        type=whole(1, MOST_JOBS),
        help="cores for the bootstrap; the numbers do not depend on it (default: all)",
    )
    estimating.add_argument(
        "--ungated", action="store_true", help="count cells that failed a gate as well; they stay marked"
    )
    estimating.add_argument(
        "--format", choices=("table", "json", "csv"), help="default: by the suffix of FILE, else table"
    )
    estimating.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write there, whole or not at all"
    )
    estimating.add_argument(
        "--explain", metavar="CELL", help="print the whole computation of one window of this cell instead"
    )
    estimating.add_argument(
        "--window", type=whole(0), metavar="N", help="which window --explain takes (default: the median one)"
    )
    _fact_arguments(estimating.add_argument_group("foreign files", "what they do not tell themselves"))
    importing = add("import", _import, "turn a foreign trace into a trace folder")
    _teach(importing, IMPORT_HELP, IMPORT_EXAMPLES)
    importing.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE", help="several frontends' or clients' make one cell"
    )
    importing.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="made anew")
    _fact_arguments(importing.add_argument_group("what the source does not tell"))


def _teach(parser: argparse.ArgumentParser, description: str, examples: str) -> None:
    parser.description, parser.epilog = description, examples
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _engine(word: str) -> str:
    """An engine of a trace: one that is known, or that nobody knows it."""
    from anarchy.engines.registry import UNKNOWN, engines

    known = (*engines(), UNKNOWN)
    if word not in known:
        raise argparse.ArgumentTypeError(f"there is no engine {word!r}; known: {', '.join(known)}")
    return word


def _fact_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--cell", help="name of the cell (default: from the file's name)")
    group.add_argument("--model", help="e.g. llama-3.1-70b")
    group.add_argument("--topology", help="e.g. 1p2d (default: from the numbers of workers)")
    group.add_argument("--policy", help="what routed the requests, e.g. static")
    group.add_argument(
        "--engine", type=_engine, metavar="NAME", help="what served, such as mocker, vllm or virtual"
    )
    group.add_argument("--launch", type=whole(0), help="number of the deployment's start")
    group.add_argument("--concurrency", type=whole(1), help="users of the closed loop")
    group.add_argument(
        "--loop", choices=("closed", "think", "open"),
        help="how requests came: users who send at once (default), who pause in between, or no users at all",
    )  # fmt: skip
    group.add_argument("--phase", metavar="NAME", help="the phase to take of an export that has several")
    group.add_argument(
        "--prefill-workers", type=whole(1, MOST_WORKERS), help="default: those seen; idle ones are not seen"
    )
    group.add_argument(
        "--decode-workers", type=whole(1, MOST_WORKERS), help="default: those seen; idle ones are not seen"
    )
    group.add_argument(
        "--assume-intended-is-sent", action="store_true",
        help="the client sends as soon as a user is free, so a latency may count from the sending",
    )  # fmt: skip
    group.add_argument(
        "--assume-ttft-is-first-token", action="store_true",
        help="take Dynamo's own TTFT, with separate pools the end of prefill, for the client's first token",
    )  # fmt: skip
    group.add_argument(
        "--accept-torn", action="store_true",
        help="take what is whole of files whose writer was killed; what is missing is told and counted",
    )  # fmt: skip
    group.add_argument("--warmup-s", type=_seconds, default=0.0, help="seconds at the start to leave out")
    group.add_argument("--cooldown-s", type=_seconds, default=0.0, help="seconds at the end to leave out")
    group.add_argument(
        "--workers-from", type=Path, metavar="FILE", action="append", default=[],
        help="Dynamo's request trace of the same run, for worker ids; once for each frontend",
    )  # fmt: skip


def whole(least: int, most: int = MOST) -> Callable[[str], int]:
    """What reads a whole number from `least` to `most` off the command line."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > MAX_DIGITS or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _facts(options: argparse.Namespace) -> Facts:
    from anarchy.trace.importers import Facts

    return Facts(**{name: getattr(options, name) for name in Facts.__dataclass_fields__})


def _estimate(options: argparse.Namespace) -> int:
    _check_options(options)
    if options.output is None:
        print(_estimated(options), end="")
        return 0
    from anarchy.cli.outputs import new_file
    from anarchy.ground.files import write_whole

    with new_file(options.output):
        write_whole(options.output, _estimated(options).encode("utf-8", "backslashreplace"))
    print(options.output)
    return 0


def _estimated(options: argparse.Namespace) -> str:
    """What the command says, in the form that was asked for."""
    from anarchy.estimate import output, traces

    settings = _settings(options)
    paths = traces.find_traces(options.traces)
    _refuse_idle_facts(options, paths)
    with _progress("reading", len(paths)) as done:
        cells = traces.read_cells(paths, settings, lambda _: done())
    groups = traces.ladders(cells, settings)
    if options.explain is not None:
        from anarchy.estimate.explain import explain

        return explain(groups, options.explain, settings, options.window)
    with _progress("estimating", sum(len(group.ladder.cells) for group in groups)) as done:
        estimates = traces.estimate_all(groups, lambda _: done())
    found = output.records(groups, estimates, settings)
    form: Format = options.format or _format_of(options.output)
    width = max(100, shutil.get_terminal_size((200, 24)).columns)
    return output.render(found, form, width)


def _check_options(options: argparse.Namespace) -> None:
    """Refuse, before the work, options that would do nothing."""
    if options.window is not None and options.explain is None:
        raise UserError("needs --explain CELL", where="--window", remedy="name the cell, or leave it out")
    if options.explain is not None and options.format not in (None, "table"):
        raise UserError(
            "an explanation is text", where=f"--format {options.format}", remedy="leave --format out"
        )
    _check_reading(options)


def _check_reading(options: argparse.Namespace) -> None:
    """Refuse a reading that cannot be had, before the work."""
    where = f"--reading {options.reading}"
    tabled = options.reading in ("table", "both-sides")
    if tabled and options.timing is None:
        raise UserError(
            "asks a timing table for prefill times, and a trace holds none",
            where=where,
            remedy="name the table of the model that was served with --timing, such as "
            "data/profiles/llama-3.1-70b-tp4; without one take --reading fitted or idle",
        )
    if tabled and options.metric != "ttft":
        raise UserError(
            "is about prefill, which ends with the first token",
            where=f"{where} --metric {options.metric}",
            remedy="take --metric ttft, or --reading fitted or idle",
        )
    if not tabled and options.timing is not None:
        raise UserError(
            "would not be asked",
            where="--timing",
            remedy="add --reading table or both-sides, or leave it out",
        )
    if options.reading != "fitted" and options.explain is not None:
        raise UserError(
            "an example is explained on the fitted curves",
            where=f"{where} --explain",
            remedy="leave one of them out",
        )


def _refuse_idle_facts(options: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Refuse facts of foreign files where every trace is a trace folder, which tells them itself."""
    from anarchy.estimate.traces import is_trace
    from anarchy.trace.importers import Facts

    idle = [
        name for name, field in Facts.__dataclass_fields__.items() if getattr(options, name) != field.default
    ]
    idle += ["workers_from"] if options.workers_from else []
    if idle and all(is_trace(path) for path in paths):
        raise UserError(
            "is for foreign files; these are trace folders, which tell it themselves",
            where=", ".join("--" + name.replace("_", "-") for name in idle),
            remedy="leave it out; what a trace folder says stands in its manifest.json",
        )


def _settings(options: argparse.Namespace) -> Settings:
    from anarchy.engines.profiles import load_profile
    from anarchy.estimate.traces import Settings

    return Settings(
        reading=options.reading,
        profile=None if options.timing is None else load_profile(options.timing),
        pool=options.pool,
        metric=options.metric,
        c_ref=options.c_ref,
        replicates=options.replicates,
        seed=options.seed,
        processes=options.jobs or usable_cores(),
        ungated=options.ungated,
        facts=_facts(options),
        workers_from=tuple(options.workers_from),
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def _format_of(output: Path | None) -> Format:
    suffixes: dict[str, Format] = {".json": "json", ".csv": "csv"}
    return suffixes.get(output.suffix.lower(), "table") if output else "table"


def _import(options: argparse.Namespace) -> int:
    from anarchy.cli.outputs import new_folder
    from anarchy.trace.importers import import_trace
    from anarchy.trace.writer import seal

    with new_folder(options.output):
        trace = import_trace(options.sources, _facts(options), workers_from=options.workers_from)
        sealed = seal(options.output, trace.table, trace.manifest)
    what = f"{trace.table.num_rows} requests of {sealed.model} {sealed.topology}, C = {sealed.concurrency}"
    print(f"{options.output}: {visible(what)}")
    for note in [*sealed.source.get("assumptions", ()), *sealed.source.get("notes", ())]:
        print(f"  note: {visible(str(note))}")
    return 0


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar with the time left on a terminal's stderr; silent elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
