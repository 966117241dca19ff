"""Other traces like this one: its stretches drawn anew, so that an interval speaks of more than one hour.

A trace is a list of times: replayed again it gives nearly the same numbers, whatever chance there was in who
came when. So stretches of equal time are drawn with replacement and put one after the other (the block
bootstrap, Kuensch 1989). Within a stretch bursts and shared prompts stay as they were.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from anarchy.ground.errors import UserError
from anarchy.virtual.arrivals import Arrivals, Floats, Ints

STRETCHES: Final = 20
"""Of a trace: long enough to hold bursts, many enough to draw from."""
MOST_DRAWS: Final = 100
"""Of stretches for one trace. Two stretches of 20 with requests are enough for six draws in ten to do."""


def span_s(arrivals: Arrivals) -> float:
    """Model seconds from the first request to the last, and the mean gap that follows it."""
    return float(np.ptp(arrivals.at_s)) * len(arrivals) / max(len(arrivals) - 1, 1)


def resampled(arrivals: Arrivals, seed: int, stretches: int = STRETCHES) -> Arrivals:
    """A trace as long as this one, of its own stretches; the same for the same seed.

    A stretch that is drawn again comes with other prompts: blocks that no other stretch knows get new
    numbers, or the caches would know them from the first time. Blocks that several share stay shared. Where
    all requests came in a few bursts, stretches are drawn until two requests are at different times: rates
    need a span. Raises UserError where no draw has one, as of requests that all come at once.
    """
    length = span_s(arrivals) / stretches
    if length > 0.0:
        source = np.random.SeedSequence(seed)
        for _ in range(MOST_DRAWS):
            made = _drawn(arrivals, length, np.random.default_rng(source).integers(stretches, size=stretches))
            if made is not None and span_s(made) > 0.0:
                return made
            # A child of the seed and no other seed: that one is the next trace's.
            (source,) = source.spawn(1)
    raise UserError(
        f"{len(arrivals)} requests that come at one time: no other trace can be made of them",
        where="--trace",
        remedy="give a longer part of it: requests that come one after the other",
    )


def _drawn(arrivals: Arrivals, length: float, drawn: Ints) -> Arrivals | None:
    """The trace of these stretches, one after the other, each `length` model s; None where all are empty."""
    stretches = len(drawn)
    of = np.minimum((arrivals.at_s - arrivals.at_s[0]) // length, stretches - 1).astype(np.int64)
    members = [np.flatnonzero(of == stretch) for stretch in range(stretches)]
    requests = np.concatenate([members[stretch] for stretch in drawn])
    if not len(requests):
        return None
    place = np.repeat(np.arange(stretches), [len(members[stretch]) for stretch in drawn])
    at_s: Floats = arrivals.at_s[requests] - arrivals.at_s[0] + (place - of[requests]) * length
    taken = arrivals.taken(requests, np.maximum.accumulate(np.maximum(at_s, 0.0)))
    before = np.array([np.count_nonzero(drawn[:index] == drawn[index]) for index in range(stretches)])
    alone = _known_to_one_stretch(arrivals, of)
    again = np.repeat(before[place], taken.blocks)
    hashes = np.where(alone[taken.hashes], taken.hashes + again * len(alone), taken.hashes)
    return Arrivals(taken.at_s, taken.input_tokens, taken.output_tokens, hashes, taken.block_size)


def _known_to_one_stretch(arrivals: Arrivals, of: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each block number occurs in one stretch alone; numbers count from 0."""
    count = int(arrivals.hashes.max()) + 1
    stretch = np.repeat(of, arrivals.blocks)
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(first, arrivals.hashes, stretch)
    np.maximum.at(last, arrivals.hashes, stretch)
    return first >= last
