"""The commands `anarchy archive` and `anarchy verify`: a run as one file, and the proof that it is whole."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from anarchy.cli.extras import check_checkout
from anarchy.cli.traces import MOST_REPLICATES, usable_cores, whole
from anarchy.ground.errors import UserError

ARCHIVE_HELP: Final = """\
Put one run into one zip: raw traces, estimates, figures, tables, verdicts, report, the frozen run, and the
code at the commit that is checked out, described as a Workflow Run RO-Crate. The same run at the same commit
gives the same bytes. Names of hosts and users are replaced; in a sealed file they are refused.
"""
VERIFY_HELP: Final = """\
Check an archive: every file against its SHA-256, what is missing and what was added. --redraw also makes
every estimate, verdict, table and figure again from the raw traces in it and compares: numbers to the
bit, figures within a thousandth of a point; what one side has alone is a difference. Exit status 0: as it
was made; 1: not; 2: no archive, or one that is refused. An archive whose checksums were rewritten as well
is told apart only by its own SHA-256: compare with the published one.
"""


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add both commands to the parser; `add(name, command, help)` makes one."""
    archiving = add("archive", _archive, "put a run into one zip, a Workflow Run RO-Crate")
    archiving.description = ARCHIVE_HELP
    archiving.add_argument("folder", type=Path, help="results of a tier: results/quick")
    archiving.add_argument("names", nargs="*", help="further host names, such as those of the nodes")
    archiving.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the zip (default: the folder's name and .zip)"
    )
    verifying = add("verify", _verify, "check an archive, and make its numbers again")
    verifying.description = VERIFY_HELP
    verifying.add_argument("archive", type=Path, help="a zip of anarchy archive")
    verifying.add_argument(
        "--redraw", action="store_true", help="make estimates, verdicts and figures again, and compare"
    )
    verifying.add_argument(
        "--processes", type=whole(1),
        help="with --redraw: processes side by side (default: one for each usable core)",
    )  # fmt: skip
    verifying.add_argument(
        "-B", "--replicates", type=whole(1, MOST_REPLICATES),
        help="with --redraw: bootstrap replicates, if the run was estimated with others than usual",
    )  # fmt: skip


def _archive(options: argparse.Namespace) -> int:
    check_checkout()
    from anarchy.archive.building import build
    from anarchy.archive.contents import code_of, refuse_changes
    from anarchy.archive.software import load_software
    from anarchy.archive.zipped import write_zip, zip_beside
    from anarchy.ground.files import sha256_of
    from anarchy.telemetry.alias import own_names

    refuse_changes()
    entries = build(options.folder, code_of(), load_software(), own_names(options.names))
    target = options.output or zip_beside(options.folder)
    write_zip(target, entries)
    print(f"{target}: {len(entries)} files, {target.stat().st_size:,} bytes")
    print(f"SHA-256 {sha256_of(target)}")
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse, before the work, options that would do nothing."""
    for option, value in (("-B", options.replicates), ("--processes", options.processes)):
        if value is not None and not options.redraw:
            raise UserError("needs --redraw", where=f"{option} {value}", remedy="add it, or leave this out")


def _verify(options: argparse.Namespace) -> int:
    from anarchy.archive.checking import problems, read_manifest
    from anarchy.archive.zipped import open_archive
    from anarchy.ground.files import sha256_of

    _check_options(options)
    with open_archive(options.archive) as archive:
        digests = read_manifest(archive)
        found = list(problems(archive, digests))
        print(f"{options.archive}: SHA-256 {sha256_of(options.archive)}")
        if not found:
            print(f"{len(digests)} files are as they were archived")
        elif options.redraw:
            print("not made again: what the archive holds is not what was archived")
        if options.redraw and not found:
            check_checkout()
            from anarchy.archive.redrawing import redraw
            from anarchy.estimate.ladder import REPLICATES

            with tempfile.TemporaryDirectory(prefix="anarchy-") as scratch:
                found += redraw(
                    archive,
                    Path(scratch),
                    lambda text: print(text, file=sys.stderr, flush=True),
                    replicates=options.replicates or REPLICATES,
                    processes=options.processes or usable_cores(),
                )
            if not found:
                print("estimates, verdicts, tables and figures come out as they are archived")
    for problem in found:
        print(problem)
    if found:
        print(
            f"{len(found)} differences: this is not the archive that was made, or not the code that made it"
        )
    return 1 if found else 0
