"""Whether the users of a cell marched in step: arrivals and completions in bins of a prefill step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from anarchy.games.requests import FloatArray
from anarchy.stats.synchrony import dispersion, in_step_from
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]

NAN: Final = float("nan")


@dataclass(frozen=True, eq=False)
class Stream:
    """What one cell of one launch says of its users' step.

    `sent` (n,) requests of the measure phase, `ended` (k,) those of any phase that were over in the same
    span, s; it goes from the first of the former to the last. `shortest_s`: the shortest time from sending to
    first token of any request of the trace that ended well, NaN where none tells it. `users`: C of a closed
    loop, None where requests come by themselves or users pause.
    """

    sent: FloatArray
    ended: FloatArray
    shortest_s: float
    users: int | None

    @property
    def start(self) -> float:
        """First sending of the measure phase, s; NaN with none."""
        return float(self.sent.min()) if self.sent.size else NAN

    @property
    def end(self) -> float:
        """Its last sending, s; NaN with none."""
        return float(self.sent.max()) if self.sent.size else NAN


def stream_of(trace: CellTrace) -> Stream:
    """The streams of one cell, or of a stage that was cut out of one (`staged.stage_trace`)."""
    sent = trace.column("t_sent")
    mine = sent[trace.equals("phase", "measure")]
    ends = trace.ends
    inside = (ends >= mine.min()) & (ends <= mine.max()) if mine.size else np.zeros(len(ends), dtype=np.bool_)
    waits = (trace.column("t_first_token") - sent)[trace.equals("status", "ok")]
    closed = trace.manifest.loop == "closed"
    return Stream(
        sent=mine,
        ended=ends[inside],
        shortest_s=shortest([float(np.min(waits[waits > 0.0], initial=np.inf))]),
        users=trace.manifest.concurrency if closed else None,
    )


def shortest(waits: Iterable[float]) -> float:
    """The least of the waits that are known, s: a prefill step of a launch; NaN where none is."""
    return min((wait for wait in waits if np.isfinite(wait)), default=NAN)


def step_row(streams: Sequence[Stream], steps: Sequence[float]) -> Row:
    """The columns `columns.STEP` of a row, launches pooled: means over them, and whether any marched.

    `steps`: the length of a prefill step of each stream's launch, s.
    """
    found = [_launch(stream, step) for stream, step in zip(streams, steps, strict=True)]
    told = [row for row in found if np.isfinite(row["arrivals_dispersion"])]
    judged = [row for row in told if np.isfinite(row["in_step_from"])]
    row: Row = {name: _mean([one[name] for one in told]) for name in _NUMBERS}
    marched = any(one["arrivals_dispersion"] >= one["in_step_from"] for one in judged)
    return {**row, "in_step": marched if judged else None}


def step_of(cells: Mapping[int, Mapping[int, Stream]], concurrency: int) -> Row:
    """The columns of one concurrency of a ladder, whose streams are given by concurrency and launch."""
    here = cells[concurrency]
    steps = [
        shortest(streams[launch].shortest_s for streams in cells.values() if launch in streams)
        for launch in here
    ]
    return step_row(list(here.values()), steps)


_NUMBERS: Final = ("step_s", "arrivals_dispersion", "completions_dispersion", "in_step_from")


def _launch(stream: Stream, step: float) -> Row:
    """One launch's own numbers; NaN where its trace does not tell a prefill step."""
    if not stream.sent.size or not np.isfinite(step):
        return dict.fromkeys(_NUMBERS, NAN)
    came = dispersion(stream.sent, stream.start, stream.end, step)
    went = dispersion(stream.ended, stream.start, stream.end, step)
    return {
        "step_s": step,
        "arrivals_dispersion": came.index,
        "completions_dispersion": went.index,
        "in_step_from": in_step_from(came, stream.users),
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else NAN
