"""An advice from end to end: what is asked, a trial that says how long it takes, the search, its facts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from anarchy.advise.replays import Bench, Machine, Objectives, Served, Written, bench
from anarchy.advise.resampling import resampled
from anarchy.advise.search import Answer, Question, search
from anarchy.advise.settings import Setting
from anarchy.advise.workload import TraceLoad
from anarchy.config.limits import Limits
from anarchy.config.systems import Model
from anarchy.engines import virtual
from anarchy.engines.profiles import Profile, write_npz
from anarchy.engines.registry import engine_of
from anarchy.engines.spec import BLOCK_SIZE
from anarchy.ground.errors import UserError
from anarchy.virtual.arrivals import Arrivals, check_memory
from anarchy.virtual.library import library_versions
from anarchy.virtual.replayer import ReplayError

FEWEST: Final = 100
TRIAL: Final = 500
"""Requests that are replayed to learn how fast this machine is."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that an advice hangs on."""

    load: TraceLoad
    model: Model
    gpus: int
    profile: Profile
    question: Question
    objectives: Objectives
    limits: Limits
    deadline_s: float
    seed: int
    processes: int


@dataclass(frozen=True)
class Cost:
    """Replays and wall seconds, as predicted before the search and as they were."""

    replays: int
    predicted_s: float
    took_s: float
    replay_s: float
    """Of all processes together."""


@dataclass(frozen=True)
class Advice:
    """An answer and where it comes from."""

    request: Request
    answer: Answer
    cost: Cost
    link_gb_s: float
    versions: Mapping[str, str | None]


@dataclass(frozen=True)
class Watch:
    """Who is told before the search, and after each replay: replays in all and seconds."""

    predicted: Callable[[int, float], None]
    replayed: Callable[[int, int, float], None]


def advise(request: Request, watch: Watch) -> Advice:
    """Search, and say what it cost.

    Raises UserError for contexts that the timing table does not reach, for more requests than memory holds,
    where nothing serves, and where the library is missing or fails.
    """
    check_enough(request.load)
    check_table(request.load, request.profile)
    check_memory(request.load.arrivals, BLOCK_SIZE)
    python = engine_of(virtual.NAME).stacks[0].python()
    versions = library_versions(python)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="anarchy-advise-") as scratch:
        folder = Path(scratch)
        timing = folder / "timing.npz"
        write_npz(request.profile, timing)
        limits, link = _limits(request)
        machine = Machine(request.model, timing, limits, request.deadline_s)
        with bench(machine, request.objectives, python, folder, request.processes) as replays:
            try:
                most = request.question.most_replays()
                predicted = most * _trial_s(replays, request)
                watch.predicted(most, predicted)
                finder = _Finder(replays, request, watch, most)
                answer = search(request.question, request.objectives, finder.replay)
            except ReplayError as error:
                raise UserError(
                    f"the library could not replay it: {error}",
                    where="virtual time",
                    remedy="run it again; if it stays, take a part of the trace with --first",
                ) from error
        cost = Cost(finder.done, predicted, time.monotonic() - began, finder.replay_s)
    return Advice(request, answer, cost, link, versions)


def check_enough(load: TraceLoad) -> None:
    """Refuse a trace that is too short to tell settings apart."""
    count, span = len(load.arrivals), float(np.ptp(load.arrivals.at_s))
    if count < FEWEST or span <= 0.0:
        notes = "".join(f"; {note}" for note in load.notes)
        raise UserError(
            f"{count} requests within {span:g} s{notes}: too few to tell settings apart",
            where=load.files[0],
            remedy=f"give at least {FEWEST}, one after the other; some thousands make intervals narrow",
        )


def check_table(load: TraceLoad, profile: Profile) -> None:
    """Refuse contexts beyond the timing table: the library would invent their times."""
    ends = int(profile.decode_context[-1])
    context = load.arrivals.input_tokens + load.arrivals.output_tokens
    beyond = int(np.count_nonzero(context > ends))
    if beyond:
        raise UserError(
            f"{beyond} of {len(load.arrivals)} requests have contexts of up to {load.longest} tokens, and "
            f"timing table {profile.name} ends at {ends}",
            where=load.files[0],
            remedy=f"leave them out with --longest {ends}, which lowers the load, or name a table that goes "
            "further with --timing (anarchy.engines.make_profiles)",
        )


def _limits(request: Request) -> tuple[dict[str, object], float]:
    """Limits of the workers, and the KV link that the library is told: for the trace's mean prompt."""
    limits = request.limits.model_dump()
    link = virtual.link_gb_s(
        request.limits.kv_link_gb_s,
        int(request.load.arrivals.input_tokens.mean()),
        request.model.kv_bytes_per_token,
        float(request.profile.decode_itl_s.min()),
    )
    return {**limits, "kv_link_gb_s": link}, link


def _trial_s(replays: Bench, request: Request) -> float:
    """Wall seconds of one replay of the whole trace beside others, from some of its requests."""
    arrivals = request.load.arrivals
    # As many as it takes until one comes later than the first: rates need a span.
    at_once = int(np.searchsorted(arrivals.at_s, arrivals.at_s[0], side="right"))
    some = min(max(TRIAL, at_once + 1), len(arrivals))
    part = replays.write(arrivals.taken(np.arange(some), arrivals.at_s[:some]))
    settings = request.question.screened()
    middle = settings[len(settings) // 2]
    replays.replay([(middle, part)] * request.processes)  # starts the processes
    began = time.monotonic()
    replays.replay([(middle, part)] * request.processes)
    return (time.monotonic() - began) * len(arrivals) / some / request.processes


class _Finder:
    """Replays for the search: traces are made when they are first asked for, and kept."""

    def __init__(self, replays: Bench, request: Request, watch: Watch, most: int) -> None:
        self.replays, self.request, self.watch, self.most = replays, request, watch, most
        self.done, self.replay_s = 0, 0.0
        self.began = time.monotonic()
        self.written: dict[int | None, Written] = {}

    def replay(self, wanted: Sequence[tuple[Setting, int | None]]) -> list[Served]:
        """As `search.Replay`."""
        told = self.replays.replay([(setting, self._trace(number)) for setting, number in wanted], self._told)
        self.replay_s += sum(one.replay_s for one in told)
        return told

    def _told(self) -> None:
        self.done += 1
        self.watch.replayed(self.done, self.most, time.monotonic() - self.began)

    def _trace(self, number: int | None) -> Written:
        if number not in self.written:
            self.written[number] = self.replays.write(self._arrivals(number))
        return self.written[number]

    def _arrivals(self, number: int | None) -> Arrivals:
        arrivals = self.request.load.arrivals
        return arrivals if number is None else resampled(arrivals, self.request.seed * 1_000 + number)
