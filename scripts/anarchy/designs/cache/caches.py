"""What a trace tells of the caches of a prefill pool: hits, and how many workers hold a template."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from anarchy.config.workloads import Workload
from anarchy.designs.cache.tier import prompt_blocks
from anarchy.engines.spec import BLOCK_SIZE
from anarchy.games.requests import FloatArray
from anarchy.trace.reader import CellTrace

BoolArray: TypeAlias = NDArray[np.bool_]


def shareable_tokens(workload: Workload) -> int:
    """Tokens of a prompt that can be found in a cache: all blocks but the last, which is computed anew."""
    return (prompt_blocks(workload) - 1) * BLOCK_SIZE


def new_tokens(trace: CellTrace) -> FloatArray:
    """Prompt tokens that prefill computed, of each request that was measured and of which that is known."""
    found = trace.column("input_tokens") - trace.column("cached_tokens")
    return np.asarray(found[_known(trace)], dtype=np.float64)


def hit_share(trace: CellTrace, shareable: int) -> float:
    """Tokens found in a cache of those that could be, over the same requests; NaN where none is known."""
    found = trace.column("cached_tokens")[_known(trace)]
    return float(found.mean() / shareable) if found.size else float("nan")


def _known(trace: CellTrace) -> BoolArray:
    """The requests that were measured and of which the source tells what was found; -1 is unknown."""
    return np.asarray(trace.measured & (trace.column("cached_tokens") >= 0), dtype=np.bool_)


def copies(trace: CellTrace, shareable: int) -> float:
    """Workers proven to hold a template, averaged over templates and the time that one is proven to.

    A request that finds its whole prompt proves that its worker held it since that template's last request
    there; where that one had to compute it, since its first token, for before there was nothing to hold. Of
    the time before a miss nothing is known, so at each moment as many workers hold it or more. Counted over
    the time measured, with the requests before it as witnesses. NaN where no request proves anything.
    """
    sent, worker = trace.column("t_sent"), trace.column("prefill_worker")
    template, whole = trace.column("template"), trace.column("cached_tokens") >= shareable
    begin, end = sent[trace.measured].min(), sent[trace.measured].max()
    order = np.lexsort((sent, worker, template))
    same = (template[order][:-1] == template[order][1:]) & (worker[order][:-1] == worker[order][1:])
    since = _held_since(sent[order], trace.column("t_first_token")[order], whole[order], same)
    low, high = np.clip(since[:-1], begin, end), np.clip(sent[order][1:], begin, end)
    # A request that waits for the very prefill that makes its prompt is sent before there is anything.
    proven = same & whole[order][1:] & (low < high)
    low, high, of = low[proven], high[proven], template[order][1:][proven]
    held = sum(_union(low[of == one], high[of == one]) for one in np.unique(of))
    return float((high - low).sum() / held) if held > 0.0 else float("nan")


def _held_since(sent: FloatArray, first: FloatArray, whole: BoolArray, same: BoolArray) -> FloatArray:
    """From when each request's worker held its prompt for sure, s, if the next one there finds it whole.

    Requests by template, worker and time; `same`: whether the next is of the same template and worker, shape
    (rows - 1,). A request that finds it whole proves it from when it was sent, but not from before the first
    token of the last one there that did not; one that got no token proves nothing.
    """
    begins = np.r_[True, ~same]
    made = np.where(whole, -np.inf, np.where(np.isfinite(first), first, np.inf))
    last = np.maximum.accumulate(np.where(begins | ~whole, np.arange(sent.size), 0))
    return np.asarray(np.maximum(sent, made[last]), dtype=np.float64)


def _union(low: FloatArray, high: FloatArray) -> float:
    """Length of the union of some spans."""
    order = np.argsort(low, kind="stable")
    reached = np.maximum.accumulate(high[order])
    starts = np.maximum(low[order], np.r_[-np.inf, reached[:-1]])
    return float(np.clip(high[order] - starts, 0.0, None).sum())
