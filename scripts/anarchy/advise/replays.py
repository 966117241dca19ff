"""Settings replayed on traces: several processes of the library, each with one replay at a time."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from anarchy.advise.resampling import span_s
from anarchy.advise.settings import Setting
from anarchy.config.systems import Model
from anarchy.engines import virtual
from anarchy.engines.spec import BLOCK_SIZE
from anarchy.estimate.performance import inter_token_latency
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import Manifest, WorkerCount
from anarchy.virtual.arrivals import Arrivals, write_arrivals
from anarchy.virtual.open_loop import OpenCell, replay_open
from anarchy.virtual.replayer import Replayer

WARMUP: Final = 0.1
"""Share of a trace's time, at its beginning, that is not counted: caches are empty then."""
TOLD: Final = (0.5, 0.9, 0.99)
"""Quantiles of latencies that are told."""


@dataclass(frozen=True)
class Objectives:
    """What a request must keep, s, and the share of requests that must keep both for a setting to serve."""

    ttft_s: float
    itl_s: float
    share: float


@dataclass(frozen=True)
class Served:
    """What came of one replay, over the requests that came after the warm-up.

    `goodput`, `within_ttft`, `within_itl`: requests a second of model time that kept both objectives, or one.
    `offered`: that came. `ttft_s`, `itl_s`: quantiles, s, by TOLD; infinite where so many had no answer
    before the deadline. `timeouts`: requests without one. `replay_s`: wall seconds of the library.
    """

    goodput: float
    within_ttft: float
    within_itl: float
    offered: float
    ttft_s: Mapping[float, float]
    itl_s: Mapping[float, float]
    timeouts: int
    replay_s: float

    @property
    def share(self) -> float:
        """Share of the requests that came which kept both objectives."""
        return self.goodput / self.offered


@dataclass(frozen=True)
class Machine:
    """What replays: the model, its timing table for the library, limits of the workers, and the link."""

    model: Model
    timing: Path
    limits: Mapping[str, Any]
    deadline_s: float

    def engines(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of both pools' workers."""
        per_token = self.model.kv_bytes_per_token
        prefill, decode = (
            virtual.worker(role, self.timing, self.limits, per_token, users=1)
            for role in ("prefill", "decode")
        )
        return prefill, decode


@dataclass(frozen=True)
class Written:
    """Arrivals and the file that holds them."""

    path: Path
    arrivals: Arrivals


@dataclass
class Bench:
    """Processes that replay."""

    machine: Machine
    objectives: Objectives
    folder: Path
    _free: queue.SimpleQueue[Replayer]
    _pool: ThreadPoolExecutor
    _written: int = 0

    def write(self, arrivals: Arrivals) -> Written:
        """Write arrivals down for any number of replays."""
        self._written += 1
        path = self.folder / f"arrivals-{self._written}.jsonl"
        write_arrivals(path, arrivals, BLOCK_SIZE)
        return Written(path, arrivals)

    def replay(
        self, wanted: Sequence[tuple[Setting, Written]], told: Callable[[], None] = lambda: None
    ) -> list[Served]:
        """Replay each setting on its arrivals, side by side; results in the order that was asked.

        `told` is called after each. Raises ReplayError and UserError as `open_loop.replay_open`.
        """

        def one(setting: Setting, written: Written) -> Served:
            replayer = self._free.get()
            try:
                return self._one(setting, written, replayer)
            finally:
                self._free.put(replayer)
                told()

        futures = [self._pool.submit(one, setting, written) for setting, written in wanted]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _one(self, setting: Setting, written: Written, replayer: Replayer) -> Served:
        arrivals = written.arrivals
        measured_from = float(arrivals.at_s[0]) + WARMUP * span_s(arrivals)
        outcome = replay_open(
            OpenCell(
                trace=written.path,
                arrivals=arrivals,
                measure_from_s=measured_from,
                deadline_s=self.machine.deadline_s,
                pools=setting.split,
                engines=self.machine.engines(),
                router=virtual.router(setting.pair),
                labels={"policy": "advised", "tau": setting.tau, "omega": setting.omega},
            ),
            replayer,
        )
        manifest = Manifest(
            cell="advised", model=self.machine.model.name, topology="", policy="advised", concurrency=1,
            n_workers=WorkerCount(prefill=setting.prefill, decode=setting.decode), launch=0, loop="open",
        )  # fmt: skip
        trace = CellTrace(replayer.folder, manifest, outcome.table)
        return served(trace, self.objectives, (1.0 - WARMUP) * span_s(arrivals), outcome.replay_s)


@contextmanager
def bench(
    machine: Machine, objectives: Objectives, python: Path, folder: Path, processes: int
) -> Iterator[Bench]:
    """Processes of the library, ended with the block; `folder` is for traces and logs."""
    free: queue.SimpleQueue[Replayer] = queue.SimpleQueue()
    with ExitStack() as stack:
        for number in range(processes):
            free.put(stack.enter_context(Replayer(python, folder / f"replay-{number}.log")))
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        yield Bench(machine, objectives, folder, free, pool)


def served(trace: CellTrace, objectives: Objectives, span: float, replay_s: float) -> Served:
    """What the requests of phase measure kept, over the `span` in which they came, model s.

    The span is that of all that came: of those alone that were served in time it would shrink with them. A
    request that failed keeps nothing; one of a single token has no time between tokens to keep.
    """
    counted = trace.equals("phase", "measure")
    ok = trace.equals("status", "ok")[counted]
    ttft = (trace.column("t_first_token") - trace.column("t_intended"))[counted]
    itl = inter_token_latency(trace)[counted]
    first, then = ok & (ttft <= objectives.ttft_s), ok & ~(itl > objectives.itl_s)
    return Served(
        goodput=np.count_nonzero(first & then) / span,
        within_ttft=np.count_nonzero(first) / span,
        within_itl=np.count_nonzero(then) / span,
        offered=len(ok) / span,
        ttft_s=_quantiles(np.where(ok, ttft, math.inf)),
        itl_s=_quantiles(np.where(ok, itl, math.inf)),
        timeouts=int(np.count_nonzero(~ok)),
        replay_s=replay_s,
    )


def _quantiles(values: Any) -> dict[float, float]:
    """The smallest value that so many of them do not exceed; single tokens, NaN, are left out."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return dict.fromkeys(TOLD, math.nan)
    return {share: float(known[math.ceil(share * len(known)) - 1]) for share in TOLD}
