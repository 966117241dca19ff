"""Coverage of a known ratio: a nominal 95 % interval holds it in 90 to 98 % of simulated experiments.

Few experiments with fixed seeds, to notice a change; `make bench-coverage` is the measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapreplace
from math import factorial

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from anarchy.stats.bootstrap import bootstrap_ratio

REPLICATES = 300
Launches = tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]


def coverage(simulate: Callable[[np.random.Generator], Launches], truth: float, experiments: int) -> float:
    held = 0
    for k in range(experiments):
        over, under = simulate(np.random.default_rng([2, k]))
        interval = bootstrap_ratio(over, under, replicates=REPLICATES, seed=k).interval()
        held += interval.lo <= truth <= interval.hi
    return held / experiments


def ar1_launches(rng: np.random.Generator, launches: int, n: int, rho: float, sd: float) -> Launches:
    """Costs that share an AR(1) load, with a level of each launch's own; the ratio of means is 4."""
    over, under = [], []
    for _ in range(launches):
        noise = rng.normal(size=n + 200) * np.sqrt(1.0 - rho**2)
        load = lfilter([1.0], [1.0, -rho], noise)[200:]
        under.append(5.0 + 0.5 * load + 0.5 * rng.normal(size=n))
        over.append(20.0 + sd * rng.normal() + 3.0 * load + rng.normal(size=n))
    return over, under


def queue_launches(
    rng: np.random.Generator, launches: int, n: int, c: int, load: float, window: int = 3
) -> Launches:
    """Times in system over times of service of an M/M/c queue (service rate 1), summed over windows."""
    over, under = [], []
    for _ in range(launches):
        arrival = np.cumsum(rng.exponential(1.0 / (c * load), n + 500)).tolist()
        service = rng.exponential(1.0, n + 500)
        free, spent = [0.0] * c, []
        for at, work in zip(arrival, service.tolist(), strict=True):
            end = max(at, free[0]) + work
            heapreplace(free, end)
            spent.append(end - at)
        over.append(np.array(spent[500:]).reshape(-1, window).sum(axis=1))
        under.append(service[500:].reshape(-1, window).sum(axis=1))
    return over, under


def mean_time_in_system(c: int, load: float) -> float:
    """Erlang C: mean time in an M/M/c system over the mean service time."""
    offered = c * load
    waiting = offered**c / factorial(c) / (1.0 - load)
    waiting /= waiting + sum(offered**k / factorial(k) for k in range(c))
    return 1.0 + waiting / (c * (1.0 - load))


@pytest.mark.parametrize(
    ("launches", "n", "rho", "sd"),
    [
        (1, 1000, 0.5, 0.0),  # one run: blocks only
        (2, 500, 0.5, 0.0),  # two runs, kept
        (3, 300, 0.5, 0.0),  # three launches that are alike
        (3, 150, 0.5, 0.6),  # launches that differ about as much as the noise inside them
        (3, 150, 0.5, 3.0),  # launches that differ far more
        (5, 150, 0.5, 0.0),
        (5, 150, 0.5, 0.6),
        (5, 150, 0.5, 3.0),
    ],
)
def test_coverage_on_ar1_costs(launches: int, n: int, rho: float, sd: float) -> None:
    share = coverage(lambda rng: ar1_launches(rng, launches, n, rho, sd), 4.0, 200)
    assert 0.90 <= share <= 0.98


@pytest.mark.parametrize(("launches", "n", "experiments"), [(1, 15_000, 60), (3, 4_500, 100)])
def test_coverage_on_a_queue(launches: int, n: int, experiments: int) -> None:
    truth = mean_time_in_system(3, 0.5)
    share = coverage(lambda rng: queue_launches(rng, launches, n, 3, 0.5), truth, experiments)
    assert 0.90 <= share <= 0.98
