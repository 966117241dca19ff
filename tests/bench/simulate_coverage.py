"""How often a nominal 95 % interval of a ratio of sums holds the truth, simulated.

An experiment makes up the costs of L launches, asks `bootstrap_ratios` for the interval as `anarchy estimate`
does, and looks whether it holds the ratio that the costs were made with. Two models:

- `AR(1)`: numerator and denominator of a window share a load with autocorrelation 0.5. Ratio of means: 4.
- `M/M/3`: times in system over times of service in a queue at load 0.5, three requests a window. Ratio of
  means by Erlang C: 1.158. It remembers longer, and what it remembers is skew.

Launch effects: the numerator of a launch is multiplied by a level of its own, lognormal with mean 1 and a
standard deviation of 5 or 20 %, independent of all else; `alike` is a level of 1. **The truth** is the
population's ratio: the expected numerator over the expected denominator of a window, over launches and
windows alike. Because the mean level is 1, it is the model's own ratio under every effect. It is neither
the mean of the launches' ratios nor the ratio of the launches at hand. So one launch with an effect is held
to a truth that it cannot know; its interval says `within-run`, and these rows show what the words mean.

Columns: coverage, and that of the plain percentiles of the same draws (`resampled_sums`), in %, each with
its Wilson 95 % interval for the finite number of experiments; below three launches the two are the same. The
half width is the median of (hi - lo) / 2 in % of the estimate. Rows that differ in the effect alone share
their costs, but for the levels, and their draws: their errors are not independent. The estimator's default
is 10,000 replicates; B = 500 alone costs about 0.4 points of coverage, because the 2.5 % quantile of 500
draws (`numpy.quantile`) is their 13.475th, which 2.7 % of the distribution lie below on average.

The same seed, replicates, NumPy and files under test (their SHA-256 begins as the Markdown says) give the
same table; more experiments go on with those that fewer have begun (in batches of 100). `--quick` only
shows that everything works. No target is judged here: tests/property/test_interval_coverage.py does that.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial, log1p, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.signal import lfilter
from scipy.stats import binomtest

from anarchy.stats.blocks import block_length
from anarchy.stats.bootstrap import bootstrap_ratios, resampled_sums
from anarchy.stats.launches import MIN_LAUNCHES, launch_counts
from tests.bench.bench_table import machine

FloatArray = NDArray[np.float64]
Simulate = Callable[[np.random.Generator, tuple[int, int, int]], tuple[FloatArray, FloatArray]]

TESTED = ("blocks.py", "bootstrap.py", "launches.py")
BATCH = 100
"""Experiments simulated at once, each batch from a generator of its own."""
SERVERS, LOAD, REQUESTS = 3, 0.5, 3
"""The queue, and the requests in one of its windows."""
ALL_EFFECTS = (0.0, 0.05, 0.20)
EVERY_S = 10.0
"""Seconds between lines of progress."""
COLUMNS = (
    "costs",
    "launches",
    "windows each",
    "launch effects",
    "experiments",
    "B",
    "coverage, %",
    "plain percentiles, %",
    "half width, %",
)
WIDTH = 132
"""Columns of text where the output is no terminal."""


@dataclass(frozen=True)
class Case:
    """Experiments that share their data and their draws but for the effects of the launches."""

    model: str
    launches: int
    windows: int
    effects: tuple[float, ...] = ALL_EFFECTS

    @property
    def spread(self) -> bool:
        """Whether launches are resampled, so that the plain percentiles are something else."""
        return self.launches >= MIN_LAUNCHES

    @property
    def work(self) -> float:
        """About how long an experiment takes, in no unit; for the time left alone."""
        return self.launches * (1 + self.spread) * sqrt(self.windows)


@dataclass(frozen=True)
class Row:
    """What came of one case under one effect."""

    case: Case
    effect: float
    experiments: int
    replicates: int
    held: int
    plain: int
    half_width: float

    def cells(self) -> tuple[str, ...]:
        """The texts of its row, under COLUMNS."""
        return (
            self.case.model,
            str(self.case.launches),
            f"{self.case.windows:,}",
            f"{self.effect:.0%}".replace("%", " %") if self.effect else "alike",
            f"{self.experiments:,}",
            f"{self.replicates:,}",
            share(self.held, self.experiments),
            share(self.plain, self.experiments) if self.case.spread else "the same",
            f"{self.half_width:.2f}",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, help="per row (default 1000; 20 with --quick)")
    parser.add_argument("--replicates", type=int, help="B per experiment (default 500; 100 with --quick)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="too few of both: shows that everything works")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(arguments)
    experiments = (20 if options.quick else 1000) if options.experiments is None else options.experiments
    replicates = (100 if options.quick else 500) if options.replicates is None else options.replicates
    if experiments < 1 or replicates < 2 or options.seed < 0:
        parser.error("want --experiments of at least 1, --replicates of at least 2, --seed of at least 0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        report(experiments, replicates, options.seed, options.markdown)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def report(experiments: int, replicates: int, seed: int, as_markdown: bool) -> None:
    """Simulate all cases and print them."""
    where = {**machine(), "source": source()}  # now: the file may change while this runs
    progress = Progress(experiments * sum(case.work for case in CASES))
    rows = [row for case in CASES for row in simulated(case, experiments, replicates, seed, progress)]
    title = (
        f"Coverage of a nominal 95 % interval, {experiments:,} experiments a row, seed {seed}, "
        f"{progress.elapsed:,.0f} s"
    )
    if as_markdown:
        print(markdown(rows, where, title))
    else:
        print_table(rows, title)


def simulated(
    case: Case, experiments: int, replicates: int, seed: int, progress: Progress
) -> tuple[Row, ...]:
    """The rows of a case, one an effect."""
    _, truth = MODELS[case.model]
    ends = []
    for batch in range(-(-experiments // BATCH)):
        seeds, over, under = drawn(case, batch, seed)
        for k in range(min(BATCH, experiments - batch * BATCH)):
            ends.append(intervals(over[:, k], under[k], replicates, int(seeds[k])))
            progress.step(case)
    values, ours, plain = (np.array(part) for part in zip(*ends, strict=True))
    held, plainly = (((e[..., 0] <= truth) & (truth <= e[..., 1])).sum(axis=0) for e in (ours, plain))
    widths = 50.0 * np.median((ours[..., 1] - ours[..., 0]) / values, axis=0)
    return tuple(
        Row(case, effect, experiments, replicates, int(held[e]), int(plainly[e]), float(widths[e]))
        for e, effect in enumerate(case.effects)
    )


def drawn(case: Case, batch: int, seed: int) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Seeds of the bootstraps (R,), numerators (effects, R, L, n), denominators (R, L, n) of a batch R."""
    key = (list(MODELS).index(case.model), case.launches, case.windows, batch)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    seeds = rng.integers(2**62, size=BATCH)
    normal = rng.normal(size=(BATCH, case.launches, 1))
    over, under = MODELS[case.model][0](rng, (BATCH, case.launches, case.windows))
    return seeds, np.stack([over * levels(normal, effect) for effect in case.effects]), under


def levels(normal: FloatArray, effect: float) -> FloatArray:
    """Lognormal levels with mean 1 and standard deviation `effect` from standard normal values."""
    variance = log1p(effect**2)
    return np.exp(sqrt(variance) * normal - variance / 2.0)


def intervals(
    over: FloatArray, under: FloatArray, replicates: int, seed: int
) -> tuple[list[float], list[tuple[float, float]], list[tuple[float, float]]]:
    """Estimates, intervals and plain percentiles of one experiment, one an effect.

    Shapes: numerators (effects, L, n), denominators (L, n). A level changes no block length, so the effects
    come from one call, with the draws that a call for each would have had.
    """
    columns = {**{str(e): list(part) for e, part in enumerate(over)}, "under": list(under)}
    ratios = {str(e): (str(e), "under") for e in range(len(over))}
    found = bootstrap_ratios(columns, ratios, series="0", replicates=replicates, seed=seed)
    told = [found[name].interval() for name in ratios]
    ours = [(interval.lo, interval.hi) for interval in told]
    plain = plain_percentiles(over, under, replicates, seed) if len(under) >= MIN_LAUNCHES else ours
    return [interval.value for interval in told], ours, plain


def plain_percentiles(
    over: FloatArray, under: FloatArray, replicates: int, seed: int
) -> list[tuple[float, float]]:
    """The 2.5 and 97.5 % percentiles of the draws as they are, one pair an effect."""
    parts = list(np.concatenate([over, under[None]]).swapaxes(0, 1))
    lengths = [block_length(part[0]) for part in parts]
    sizes = [part.shape[1] for part in parts]
    times = launch_counts(sizes, range(len(sizes)), len(sizes), replicates, seed)
    sums = resampled_sums(parts, lengths, times, seed=seed)
    lo, hi = np.quantile(sums[:-1] / sums[-1], [0.025, 0.975], axis=1)
    return list(zip(lo.tolist(), hi.tolist(), strict=True))


def ar1_costs(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[FloatArray, FloatArray]:
    """Numerators and denominators that share an AR(1) load; the ratio of their means is 4."""
    rho, warm_up = 0.5, 200
    noise = rng.normal(size=(*shape[:2], shape[2] + warm_up)) * sqrt(1.0 - rho**2)
    load = lfilter([1.0], [1.0, -rho], noise)[..., warm_up:]
    under = 5.0 + 0.5 * load + 0.5 * rng.normal(size=shape)
    return 20.0 + 3.0 * load + rng.normal(size=shape), under


def queue_costs(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[FloatArray, FloatArray]:
    """Times in system and times of service of an M/M/c queue (service rate 1), summed over windows.

    The work before each server is kept in ascending order for all queues at once (Kiefer and Wolfowitz 1955).
    """
    warm_up = 500
    queues, requests = shape[0] * shape[1], shape[2] * REQUESTS + warm_up
    gap = rng.exponential(1.0 / (SERVERS * LOAD), (requests, queues))
    service = rng.exponential(1.0, (requests, queues))
    spent, work = np.empty_like(service), np.zeros((SERVERS, queues))
    for i in range(requests):
        np.subtract(work, gap[i], out=work)
        np.maximum(work, 0.0, out=work)
        np.add(work[0], service[i], out=spent[i])
        moved = spent[i]
        for s in range(SERVERS - 1):
            work[s], moved = np.minimum(moved, work[s + 1]), np.maximum(moved, work[s + 1])
        work[-1] = moved
    windows = (part[warm_up:].T.reshape(*shape, REQUESTS).sum(axis=-1) for part in (spent, service))
    over, under = windows
    return over, under


def mean_time_in_system(c: int, load: float) -> float:
    """Erlang C: mean time in an M/M/c system over the mean service time."""
    offered = c * load
    waiting = offered**c / factorial(c) / (1.0 - load)
    waiting /= waiting + sum(offered**k / factorial(k) for k in range(c))
    return 1.0 + waiting / (c * (1.0 - load))


class Progress:
    """Tells on stderr how far it is and how long it takes yet, at most every EVERY_S seconds."""

    def __init__(self, work: float) -> None:
        self._console, self._work, self._done = Console(stderr=True), work, 0.0
        self._started = self._told = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def step(self, case: Case) -> None:
        """One experiment of `case` is done."""
        self._done += case.work
        if time.monotonic() - self._told < EVERY_S:
            return
        self._told = time.monotonic()
        share_done = self._done / self._work
        left = self.elapsed * (1.0 / share_done - 1.0)
        self._console.print(
            f"{share_done:4.0%} after {self.elapsed:.0f} s, about {left:.0f} s left: "
            f"{case.model}, {case.launches} x {case.windows:,}",
            highlight=False,
        )


def share(count: int, of: int) -> str:
    """A share in % with its Wilson 95 % interval."""
    ci = binomtest(count, of).proportion_ci(0.95, method="wilson")
    return f"{100 * count / of:.1f} ({100 * ci.low:.1f}-{100 * ci.high:.1f})"


def print_table(rows: Sequence[Row], title: str) -> None:
    """Print the table, a section for each number of launches."""
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("costs", "launch effects") else "right")
    for place, row in enumerate(rows, start=1):
        ends = place == len(rows) or rows[place].case.launches != row.case.launches
        table.add_row(*row.cells(), end_section=ends)
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)


def markdown(rows: Sequence[Row], where: dict[str, Any], title: str) -> str:
    """The same table in Markdown, with the machine above it."""
    packages = ", ".join(f"{name} {where['packages'][name]}" for name in ("numpy", "scipy", "arch"))
    place = (
        f"{where['cpu']}, one process, Python {where['python']}, {packages}, "
        f"{', '.join(TESTED)} {where['source']}; {where['date']}."
    )
    body = ["| " + " | ".join(row.cells()) + " |" for row in rows]
    head = ["| " + " | ".join(COLUMNS) + " |", "|---|---:|---:|---|---:|---:|---:|---:|---:|"]
    return "\n".join([f"{title}.", "", place, "", *head, *body])


def source() -> str:
    """The first digits of the SHA-256 of the files that are put to the test."""
    folder = Path(inspect.getfile(bootstrap_ratios)).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in TESTED)).hexdigest()[:12]


MODELS: dict[str, tuple[Simulate, float]] = {
    "AR(1)": (ar1_costs, 4.0),
    "M/M/3": (queue_costs, mean_time_in_system(SERVERS, LOAD)),
}
"""Each with its truth. Their places are part of the seeds: add at the end."""
CASES = (
    *(Case("AR(1)", launches, n) for launches in (1, 3, 5, 12) for n in (30, 150, 300, 1000)),
    *(Case("M/M/3", 1, n, (0.0,)) for n in (30, 150, 300, 1000, 2000, 5000)),
    *(Case("M/M/3", launches, n, (0.0, 0.20)) for launches in (3, 5, 12) for n in (150, 1000)),
)


if __name__ == "__main__":
    sys.exit(main())
