"""The estimator's speed and memory, beside SciPy and arch in the same run.

Every number is a median over `--repeats`; where there is a peer, the two take turns inside one process.
Each measurement is a process of its own (estimator_jobs.py), so that no part inherits another's memory.

- `bootstrap`: the 95 % interval of a ratio of sums over 1,000,000 windows. 10,000 replicates at mean block
  length 100 on all cores that the process may use: wall time without imports, peak memory with them. Then,
  on one core, the time of a replicate beside `arch.bootstrap.StationaryBootstrap` with the same statistic on
  the same data, at block lengths 100 and 20. Both intervals are compared end by end: their difference over
  the Monte Carlo error of the two quantiles (Maritz-Jarrett), in standard errors. Four ends are compared, and
  two correct programs differ by more than the target in one of a thousand runs.
- `estimate`: PoA-hat and PoA-cal of one sealed cell with 1,000,000 measured requests on five workers (and
  100,000 of warm-up and cool-down): checksum, reading, checks, windows, both fits, costs; no interval. The
  file is in the page cache. The start of the process with its imports is told apart.
- `windows`: all four costs of a window beside both optima by SciPy's `linear_sum_assignment`, called once
  for each optimum of each window (m x m for OPTf, m x m m for OPTc), on one core. SciPy's time is that of
  making all cost matrices at once, its calls, and adding up the chosen costs; its calls alone are told too.
  Without overlap credits, where sorting is enough and the target holds; and with a credit on half of the
  pairs of request and worker, where each window is an assignment problem for us as well and nothing but its
  bookkeeping can be saved: told, not judged. The optima must agree.
- `memory`: peak resident memory of the estimate of 1, 2, 4 and 10 cells of 1,000,000 measured requests,
  imports included, and its line over the requests. It must grow no faster than linearly: the peak of 10
  cells may not lie a fifth above the line through the others, carried on. At most three repeats.

`--quick` runs small sizes to see that everything works; then only agreement is judged. Exits with 1 when a
target is missed. Everything temporary (400 MB) is removed, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench.bench_table import Measure, machine, markdown, missed, number, print_table, write_json
from tests.helpers.places import PROJECT

LADDER = (64, 16, 96, 24, 128, 32, 192, 48, 256, 384)
"""Concurrency of each made-up cell; the first is below C_ref, so any number of them has an affine curve."""
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
MEMORY_REPEATS = 3
BEND = 1.2
"""How far above a straight line the largest peak may lie; a peak varies by some 5 %."""
PEERS = {"arch": "arch", "scipy": "SciPy"}
Z_LIMIT = 3.66
"""What none of four independent standard normal values exceeds in 99.9 % of the runs."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    windows: int = 1_000_000
    replicates: int = 10_000
    race: tuple[tuple[int, int, int], ...] = ((100, 1_000, 20), (20, 300, 8))
    """Mean block length, replicates of ours in a repeat, and the target."""
    arch: int = 40
    """Replicates of arch in a repeat."""
    intervals: tuple[int, int] = (10_000, 1_000)
    """Replicates of ours and of arch behind the intervals that are compared."""
    requests: int = 1_000_000
    """Measured requests in a cell."""
    cells: tuple[int, ...] = (1, 2, 4, 10)
    plain: int = 200_000
    credited: int = 50_000
    sample: int = 5_000
    """Windows that SciPy solves in a repeat."""


QUICK = Sizes(
    windows=50_000,
    replicates=500,
    race=((100, 200, 20), (20, 200, 8)),
    arch=20,
    intervals=(2_000, 500),
    requests=20_000,
    plain=10_000,
    credited=2_000,
    sample=500,
)


@dataclass
class Bench:
    """One run: its settings, where it may write, and the cells made so far."""

    sizes: Sizes
    repeats: int
    scratch: Path
    folders: list[str] = field(default_factory=list)

    def job(self, job: str, *, one_core: bool = False, **options: Any) -> dict[str, Any]:
        """Run one measurement as a process of its own; adds the seconds of its start and imports."""
        described = json.dumps({"job": job, "one_core": one_core, **options})
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.estimator_jobs", described],
            cwd=PROJECT,
            env={**os.environ, **(ONE_THREAD if one_core else {})},
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{job} failed:\n{done.stderr[-4000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {**result, "start_s": result["ready"] - started}

    def cells(self, count: int) -> list[str]:
        """The first `count` cells of the ladder, made up where they are not there yet."""
        ladder = LADDER[len(self.folders) : count]
        if ladder:
            sizes: dict[str, Any] = {"measured": self.sizes.requests, "ladder": ladder}
            self.folders += self.job("make_cells", folder=str(self.scratch), **sizes)["folders"]
        return self.folders[:count]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes; only agreement is judged")
    parser.add_argument("--only", choices=PARTS, metavar="NAME", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the machine and every repeat")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return run(options)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def run(options: argparse.Namespace) -> int:
    """Run the parts that are asked for and report."""
    where, started = machine(), time.monotonic()
    progress, measures = Console(stderr=True), []
    with tempfile.TemporaryDirectory(prefix="anarchy-bench-") as name:
        bench = Bench(QUICK if options.quick else Sizes(), options.repeats, Path(name))
        for part in [options.only] if options.only else PARTS:
            measures += PARTS[part](bench)
            progress.print(f"{part} done after {time.monotonic() - started:.0f} s", highlight=False)
    title = f"The estimator, medians of {options.repeats}" + (", quick sizes" if options.quick else "")
    if options.markdown:
        print(markdown(measures, where, title, options.quick))
    else:
        print_table(measures, title, options.quick)
    if options.json:
        settings = {"repeats": options.repeats, "quick": options.quick, "sizes": vars(bench.sizes)}
        write_json(options.json, measures, where, **settings)
    return 1 if missed(measures, options.quick) else 0


def bootstrap(bench: Bench) -> list[Measure]:
    """Part 1: the interval of a ratio of sums, beside arch."""
    sizes, part = bench.sizes, "bootstrap"
    task: dict[str, Any] = {"n": sizes.windows, "length": 100, "replicates": sizes.replicates}
    runs = [bench.job("bootstrap", **task) for _ in range(bench.repeats)]
    what = f"{number(sizes.windows)} windows x {number(sizes.replicates)}, all cores"
    measures = [
        Measure(part, what, "s", tuple(run["seconds"] for run in runs), at_most=5),
        Measure(part, "its peak memory", "MiB", tuple(run["peak_mib"] for run in runs), at_most=2048),
    ]
    for length, ours, target in sizes.race:
        race = _bootstrap_race(bench, length, ours)
        what = f"a replicate, blocks of {length}, one core"
        measures.append(_race(part, what, "ms", 1e3, race, "arch", target))
        measures += _ends(part, race["intervals"])
    return measures


def _bootstrap_race(bench: Bench, length: int, ours: int) -> dict[str, Any]:
    return bench.job(
        "bootstrap_race",
        one_core=True,
        n=bench.sizes.windows,
        length=length,
        repeats=bench.repeats,
        ours=ours,
        theirs=bench.sizes.arch,
        interval_ours=bench.sizes.intervals[0],
        interval_theirs=bench.sizes.intervals[1],
    )


def _ends(part: str, intervals: dict[str, Any]) -> list[Measure]:
    """Both ends of the two intervals, and how many Monte Carlo standard errors lie between them."""
    ours, arch = intervals["ours"], intervals["arch"]
    ends = zip(("lower", "upper"), ours["ends"], arch["ends"], ours["errors"], arch["errors"], strict=True)
    return [
        Measure(
            part,
            f"{name} end, {ours['replicates']:,} / {arch['replicates']:,} replicates",
            "",
            ours=(a,),
            peer=(b,),
            peer_name="arch",
            compared=(abs(a - b) / (error_a**2 + error_b**2) ** 0.5,),
            scale="s.e.",
            at_most=Z_LIMIT,
            exact=True,
            digits=6,
        )
        for name, a, b, error_a, error_b in ends
    ]


def _race(
    part: str, what: str, unit: str, per_second: float, race: dict[str, Any], peer: str, target: float | None
) -> Measure:
    """The peer's time over ours, repeat by repeat."""
    ours, theirs = (tuple(per_second * seconds for seconds in race[name]) for name in ("ours", peer))
    ratios = tuple(b / a for a, b in zip(ours, theirs, strict=True))
    return Measure(part, what, unit, ours, theirs, ratios, peer_name=PEERS[peer], at_least=target)


def estimate(bench: Bench) -> list[Measure]:
    """Part 2: PoA-hat and PoA-cal of one cell, from the sealed file to the two numbers."""
    runs = [bench.job("estimate", folders=bench.cells(1)) for _ in range(bench.repeats)]
    part, what = "estimate", f"PoA-hat and -cal, {number(bench.sizes.requests)} requests"
    return [
        Measure(part, what, "s", tuple(run["seconds"] for run in runs), at_most=3),
        Measure(part, "reading and checking alone", "s", tuple(run["load_s"] for run in runs)),
        Measure(part, "before: process start and imports", "s", tuple(run["start_s"] for run in runs)),
    ]


def windows(bench: Bench) -> list[Measure]:
    """Part 3: the costs of a window, beside SciPy."""
    measures, part = [], "windows"
    for credited, m in ((False, 5), (False, 8), (True, 5), (True, 8)):
        n = bench.sizes.credited if credited else bench.sizes.plain
        task = {"n": n, "sample": bench.sizes.sample, "m": m, "credited": credited, "repeats": bench.repeats}
        race = bench.job("windows_race", one_core=True, **task)
        what = f"costs of a window, m = {m}, {'with' if credited else 'no'} credits"
        calls = tuple(1e6 * seconds for seconds in race["calls"])
        measures += [
            _race(part, what, "us", 1e6, race, "scipy", None if credited else 10),
            Measure(part, "both calls of SciPy alone", "us", (), calls, peer_name="SciPy"),
            Measure(part, "optima differ by at most", "", (race["off"],), at_most=1e-9, exact=True),
        ]
    return measures


def memory(bench: Bench) -> list[Measure]:
    """Part 4: peak memory against the number of requests."""
    part, sizes = "memory", bench.sizes
    bench.cells(max(sizes.cells))
    runs: dict[int, list[float]] = {count: [] for count in sizes.cells}
    for _ in range(min(bench.repeats, MEMORY_REPEATS)):
        for count, peaks in runs.items():
            peaks.append(bench.job("estimate", folders=bench.cells(count))["peak_mib"])
    *few, most = runs
    measures = [
        Measure(
            part,
            f"peak, {number(count * sizes.requests)} requests in {count} cell{'s' * (count > 1)}",
            "MiB",
            tuple(peaks),
            at_most=6144 if count == most else None,
        )
        for count, peaks in runs.items()
    ]
    slope, base = _line(runs, list(runs))
    few_slope, few_base = _line(runs, few)
    peak, expected = statistics.median(runs[most]), few_base + few_slope * most
    return [
        *measures,
        Measure(part, "line: a further million requests", "MiB", (slope * 1e6 / sizes.requests,)),
        Measure(part, "line: at none", "MiB", (base,)),
        Measure(
            part,
            f"peak of {most} cells; line of fewer",
            "MiB",
            ours=(peak,),
            peer=(expected,),
            compared=(peak / expected,),
            peer_name="line",
            at_most=BEND,
        ),
    ]


def _line(runs: dict[int, list[float]], counts: Sequence[int]) -> tuple[float, float]:
    """Slope (MiB a cell) and intercept (MiB) of the median peaks over the number of cells."""
    slope, base = statistics.linear_regression(counts, [statistics.median(runs[n]) for n in counts])
    return slope, base


PARTS: dict[str, Callable[[Bench], list[Measure]]] = {
    part.__name__: part for part in (bootstrap, estimate, windows, memory)
}


if __name__ == "__main__":
    sys.exit(main())
