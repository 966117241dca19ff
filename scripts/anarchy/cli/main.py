"""The command `anarchy`: every step of the workflow by hand. Snakemake calls the same commands.

Exit status: 0 done, 1 a fault while running, 2 bad input or a machine that is not ready, 130 interrupted, 141
nobody reads what is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from anarchy.cli import advise, archive, control
from anarchy.cli.choices import open_chosen, run_options
from anarchy.cli.extras import extras_named
from anarchy.cli.traces import MOST_REPLICATES, add_commands, usable_cores, whole
from anarchy.cluster.executor import FAILED
from anarchy.engines.mocker import NAME as MOCKER
from anarchy.ground.errors import EXIT_USER_ERROR, LONGEST, UserError
from anarchy.ground.surroundings import keep_out
from anarchy.ground.terminal import UnwritableError, VisibleOutput, visible
from anarchy.telemetry import diff

LINES = "\n\t"
"""What a text of several lines is laid out with."""
PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when its parent dies."""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    if arguments is None:  # a process of its own, not a call from another
        keep_out(in_job=True)
    options = build_parser().parse_args(arguments)
    command: Command = options.command
    try:
        with contextlib.redirect_stdout(VisibleOutput(sys.stdout)) as output, extras_named():
            status = command(options)
            output.flush()
    except UserError as error:
        print(f"anarchy: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("anarchy: interrupted; sealed cells are kept, and a sweep goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()  # `anarchy plan | head`
        return 128 + signal.SIGPIPE
    except UnwritableError as error:
        _drop_output()
        print(f"anarchy: stdout: cannot be written: {error}", file=sys.stderr)
        print("  remedy: free space where it leads to, and run this again", file=sys.stderr)
        return EXIT_USER_ERROR
    except _deployment_errors() as error:
        told = "\n  ".join((str(error), *getattr(error, "__notes__", ())))
        print(f"anarchy: the deployment failed: {visible(told, keep=LINES)}", file=sys.stderr)
        print("  remedy: read the logs named above; run again: sealed cells are kept", file=sys.stderr)
        return 1
    return status


def _drop_output() -> None:
    """What is still buffered for stdout must not fail again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Argparse, whose own messages repeat what was typed."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, short and safe for a terminal; exit status 2."""
        super().error(visible(message)[:LONGEST])


def _deployment_errors() -> tuple[type[Exception], ...]:
    """What a deployment raises when it fails; imported late, so that `anarchy -h` is quick."""
    from anarchy.serving.faults import DEPLOYMENT_ERRORS

    return DEPLOYMENT_ERRORS


def build_parser() -> argparse.ArgumentParser:
    """The command line, with help that teaches."""
    parser = _Parser(
        prog="anarchy",
        description="The price of anarchy of disaggregated inference: measure, estimate, judge, report.",
        epilog="Most people want `make reproduce`; these are its steps. `anarchy COMMAND -h` explains one.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = run_options()
    checking = _add(
        commands, "doctor", _doctor, "check this machine and say what is missing and how to get it"
    )
    checking.add_argument(
        "--site", nargs="?", type=Path, const=Path("slurm/site.yaml"), metavar="FILE",
        help="check the cluster's site file against the live cluster instead (default slurm/site.yaml)",
    )  # fmt: skip
    checking.add_argument(
        "--engine", metavar="NAME", help=f"with --site: for which engine (default {MOCKER})"
    )
    checking.add_argument("--models", help="with --site: only the weights of these, comma-separated")
    planning = _add(commands, "plan", _plan, "print deployments, cells and what they will cost", run)
    planning.add_argument(
        "--cost", action="store_true", help="a row a cell: seconds, requests, disk; GPU-hours in all"
    )
    serving = _add(
        commands, "serve", _serve, "start a deployment, prove it healthy, keep it until Ctrl-C", run
    )
    _deployment_arguments(serving)
    serving.add_argument("--port", type=whole(1, 65_535), help="port of the frontend (default: any free one)")
    sweeping = _add(commands, "sweep", _sweep, "measure one deployment's open cells and seal each", run)
    _deployment_arguments(sweeping)
    sweeping.add_argument("--log", type=Path, help="also append what is said to this file")
    sweeping.add_argument("--expect", metavar="HASH", help="refuse to measure under any other plan than this")
    system = _add(commands, "system", _system, "estimate one system of a run from its sealed cells", run)
    _system_arguments(system)
    system.add_argument(
        "-B",
        "--replicates",
        type=whole(1, MOST_REPLICATES),
        help="bootstrap replicates (default: as many as are published)",
    )
    system.add_argument(
        "--processes", type=whole(1), help="processes side by side (default: one for each usable core)"
    )
    telling = _add(
        commands, "knee", _knee, "tell a system's knee from E1's estimate, for E2 to E4 to load", run
    )
    telling.add_argument("model", help="e.g. llama-3.1-70b")
    telling.add_argument("topology", help="e.g. 1p2d")
    add_commands(functools.partial(_add, commands))
    control.add_command(functools.partial(_add, commands))
    advise.add_command(functools.partial(_add, commands))
    archive.add_commands(functools.partial(_add, commands))
    judging = _add(commands, "claims", _claims, "judge each published claim against the estimates", run)
    judging.add_argument(
        "--fail-on", action="append", default=[], metavar="VERDICT", type=_outcome,
        help="end with status 1 where this verdict stands for a claim: 'not reproduced'; may be given again",
    )  # fmt: skip
    deciding = _add(
        commands, "hypotheses", _hypotheses, "say what the 20-minute protocol shows of each hypothesis"
    )
    deciding.add_argument("folder", type=Path, help="results of its tier: results/smoke-b200/gpu")
    quieting = _add(commands, "quiet", _quiet, "carry cells of several dilations on to a host without noise")
    quieting.add_argument("folder", type=Path, help="results of a tier: results/why")
    _add(commands, "report", _report, "write report.html from estimates, figures and tables", run)
    _add(commands, "summary", _summary, "print every system's plateau, knee and deepest point", run)
    fingerprints = _add(
        commands, "fingerprint", diff.run, "compare what two deployments ran on: fingerprint diff A B"
    )
    diff.add_arguments(fingerprints)
    comparing = _add(
        commands, "compare", _compare, "compare the estimates of two runs: cells, stages, pairs, spreads"
    )
    _compare_arguments(comparing)
    leaks = _add(commands, "leaks", _leaks, "search a folder for names, addresses and secrets")
    leaks.add_argument("folder", type=Path, help="results, or a part of them")
    leaks.add_argument("names", nargs="*", help="further host names, such as those of the nodes")
    _add(commands, "unlock", _unlock, "remove the lock that a killed Snakemake left, unless one still runs")
    return parser


def _add(
    commands: Any, name: str, command: Command, help_text: str, *parents: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".", parents=list(parents)
    )
    parser.set_defaults(command=command)
    return parser


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, help="folder of one run's tier: results/quick")
    parser.add_argument("second", type=Path, help="the same of the other run")
    parser.add_argument(
        "--metric",
        help="poa_hat (default), ttft_p99, load_range, ratio_poa_hat, ...; all: a line for every metric",
    )  # fmt: skip
    parser.add_argument(
        "--verdicts", action="store_true",
        help="the verdicts on the claims instead: how many agree; what disagrees is inconclusive",
    )  # fmt: skip
    parser.add_argument("--experiment", help="this one only, e.g. adaptive (default: all that both have)")


def _system_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="e.g. equilibrium")
    parser.add_argument("model", help="e.g. llama-3.1-70b")
    parser.add_argument("topology", help="e.g. 1p2d")


def _deployment_arguments(parser: argparse.ArgumentParser) -> None:
    _system_arguments(parser)
    parser.add_argument("policy_set", metavar="policy-set", help="e.g. static")
    parser.add_argument("launch", type=whole(1), help="number of the launch, from 1")


def _doctor(options: argparse.Namespace) -> int:
    from anarchy.cli import doctor
    from anarchy.ground.findings import exit_status, render

    if options.site is None and (options.engine or options.models):
        raise UserError(
            "--engine and --models say what a site is checked for", where="command line", remedy="add --site"
        )
    findings = doctor.diagnose() if options.site is None else _site_findings(options)
    print(render(findings))
    return exit_status(findings)


def _site_findings(options: argparse.Namespace) -> Any:
    from anarchy.cluster import site_check
    from anarchy.config.files import load_study
    from anarchy.engines.registry import engine_of
    from anarchy.ground.layout import CONFIG

    wanted = [name.strip() for name in (options.models or "").split(",") if name.strip()]
    if options.models is not None and not wanted:
        raise UserError(
            "names no model", where=f"--models {options.models}", remedy="name one, or leave it out"
        )
    engine = engine_of(options.engine or MOCKER).name
    return site_check.diagnose(options.site, load_study(CONFIG), engine=engine, models=wanted)


def _plan(options: argparse.Namespace) -> int:
    from anarchy.cli import plan_table

    print(plan_table.render(open_chosen(options), cells=options.cost))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from anarchy.measure.sweep import specify
    from anarchy.serving.foreground import serve

    _end_with_parent()
    bench = open_chosen(options)
    plan = bench.expected(_deployment(bench, options))
    ports = () if options.port is None else (options.port,)
    # A folder of its own: the sweep's logs are part of what was measured, and may be in use right now.
    spec = dataclasses.replace(specify(bench, plan, bench.folder(plan) / "serve"), http_ports=ports)
    serve(spec, tell=lambda text: print(text, flush=True))
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from anarchy.measure.sweep import sweep

    _end_with_parent()
    bench = open_chosen(options, frozen=True)
    if options.log:
        from anarchy.ground.files import make_folder

        if os.path.exists(options.log) and not os.path.isfile(options.log):
            raise UserError("is no regular file", where=options.log, remedy="name a file: --log FILE")
        make_folder(options.log.parent)
    told: tuple[type[BaseException], ...] = (UserError, KeyboardInterrupt, *_deployment_errors())
    try:
        print(sweep(bench, _deployment(bench, options), expect=options.expect, log=options.log))
    except told as error:
        _note_end(options.log, str(error) or "interrupted (cancelled, out of time, or by hand)")
        raise
    except Exception as error:
        _note_end(options.log, f"a fault of this program, {type(error).__name__}: {error}")
        raise
    return 0


def _note_end(log: Path | None, why: str) -> None:
    """Say in the sweep's log, in one line, why it could not go on; a full disk is no second error."""
    if log:
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(f"[{time.strftime('%H:%M:%S')}] {FAILED}{why.splitlines()[0]}\n")


def _deployment(bench: Any, options: argparse.Namespace) -> Any:
    return bench.deployment(
        options.experiment, options.model, options.topology, options.policy_set, options.launch
    )


def _system(options: argparse.Namespace) -> int:
    from anarchy.designs.system import estimate_system
    from anarchy.estimate.ladder import REPLICATES

    bench = open_chosen(options, frozen=True)
    system = (options.experiment, options.model, options.topology)
    folder = bench.layout.estimates(*system)
    replicates = REPLICATES if options.replicates is None else options.replicates
    processes = options.processes or usable_cores()
    estimate_system(bench, *system, replicates=replicates, processes=processes).write(folder)
    print(folder)
    return 0


def _knee(options: argparse.Namespace) -> int:
    from anarchy.plan.knee_step import tell_knee

    print(tell_knee(open_chosen(options, frozen=True), options.model, options.topology))
    return 0


def _claims(options: argparse.Namespace) -> int:
    from anarchy import claims
    from anarchy.report import load_systems

    bench = open_chosen(options)
    documents = [system.document for system in load_systems(bench.layout)]
    verdicts = claims.judge_and_write(documents, bench.layout.root)
    tiles = claims.scoreboard([dataclasses.asdict(verdict) for verdict in verdicts])
    for tile in tiles:
        print(f"{tile.id:4} {tile.verdict:18} {tile.sentence}")
    failed = [tile.id for tile in tiles if tile.verdict in options.fail_on]
    if failed:
        print(f"--fail-on {', '.join(options.fail_on)}: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _outcome(text: str) -> str:
    """A verdict that `--fail-on` names; raises argparse.ArgumentTypeError with those that there are."""
    from anarchy.claims.model import OUTCOMES

    if text not in OUTCOMES:
        raise argparse.ArgumentTypeError(f"{text!r} is no verdict; known: {', '.join(OUTCOMES)}")
    return text


def _hypotheses(options: argparse.Namespace) -> int:
    from anarchy.claims.hypotheses import decide, render
    from anarchy.claims.protocol_cells import read_cells, seen_in

    print(render(decide(seen_in(read_cells(options.folder)))))
    return 0


def _quiet(options: argparse.Namespace) -> int:
    from anarchy.designs.loading import load_systems
    from anarchy.designs.pareto.quiet import quiet_table, quiet_words
    from anarchy.ground.layout import Layout

    systems = [one for one in load_systems(Layout(options.folder)) if one.design == "pareto"]
    print(quiet_words(quiet_table(systems)))
    return 0


def _report(options: argparse.Namespace) -> int:
    from anarchy import claims
    from anarchy.report.whole import write_report

    bench = open_chosen(options)
    _systems(bench)
    print(write_report(bench, claims.read(bench.layout.claims.with_suffix(".json"))))
    return 0


def _summary(options: argparse.Namespace) -> int:
    from anarchy import report

    bench = open_chosen(options)
    print(report.terminal_summary(_systems(bench), bench.layout.report))
    return 0


def _systems(bench: Any) -> Any:
    """Every system with estimates; raises UserError when there is none."""
    from anarchy.report import load_systems

    systems = load_systems(bench.layout)
    if not systems:
        raise UserError(
            "holds no estimates, so there is nothing to report",
            where=bench.layout.root,
            remedy="run `make reproduce`",
        )
    return systems


def _compare(options: argparse.Namespace) -> int:
    from anarchy import claims, compare
    from anarchy.claims import agreement

    folders = options.first, options.second
    if options.verdicts:
        _refuse_beside_verdicts(options)
        pairs = agreement.pair_verdicts(*(claims.read(folder / "claims.json") for folder in folders))
        print(agreement.render_verdicts(pairs, *folders), end="")
        return 0
    runs = compare.load_run(options.first), compare.load_run(options.second)
    metric = "poa_hat" if options.metric is None else options.metric
    found = compare.compare_runs(*runs, metric, options.experiment)
    render = compare.render_summary if metric == compare.ALL else compare.render
    print(render(found, *runs), end="")
    return 0


def _refuse_beside_verdicts(options: argparse.Namespace) -> None:
    """Refuse options that verdicts are compared without."""
    for option, value in (("--metric", options.metric), ("--experiment", options.experiment)):
        if value is not None:
            raise UserError(
                "chooses among estimates, and --verdicts compares verdicts, all of them",
                where=f"{option} {value}",
                remedy="leave one of the two out",
            )


def _leaks(options: argparse.Namespace) -> int:
    from anarchy.telemetry.alias import own_names
    from anarchy.telemetry.leaks import find_leaks

    found = find_leaks(options.folder, own_names(options.names))
    for leak in found:
        print(f"{leak.path}, {leak.place}: {leak.clean}")
    print(f"{len(found)} places name a host, user, home, address or secret; shown as they should read")
    return 1 if found else 0


def _unlock(_: argparse.Namespace) -> int:
    from anarchy.ground.preflight import remove_stale_lock

    if remove_stale_lock():
        print("removed the lock of a Snakemake that was killed")
    return 0


def _end_with_parent() -> None:
    """End in good order when the process that called this one dies, or sends SIGTERM.

    A Snakemake that is killed sends nothing; the kernel does. SIGTERM then takes the same way out as Ctrl-C.
    """

    def leave(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    parent = os.getppid()
    signal.signal(signal.SIGTERM, leave)
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
