"""What a trace tells of the caches of a prefill pool: hits, and how many workers hold a template."""

from __future__ import annotations

import numpy as np

from anarchy.config.workloads import Workload
from anarchy.engines.spec import BLOCK_SIZE
from anarchy.games.requests import FloatArray
from anarchy.trace.reader import CellTrace


def prompt_blocks(workload: Workload) -> int:
    """KV blocks of one prompt."""
    return -(-workload.input_tokens // BLOCK_SIZE)


def shareable_tokens(workload: Workload) -> int:
    """Tokens of a prompt that can be found in a cache: all blocks but the last, which is computed anew."""
    return (prompt_blocks(workload) - 1) * BLOCK_SIZE


def new_tokens(trace: CellTrace) -> FloatArray:
    """Prompt tokens that prefill computed, of each request that was measured."""
    found = trace.column("input_tokens") - trace.column("cached_tokens")
    return np.asarray(found[trace.measured], dtype=np.float64)


def hit_share(trace: CellTrace, shareable: int) -> float:
    """Tokens found in a cache of those that could be, over the requests that were measured."""
    return float(trace.column("cached_tokens")[trace.measured].mean() / shareable)


def copies(trace: CellTrace, shareable: int) -> float:
    """Workers that hold a template, averaged over templates and over the time that one holds it at least.

    A request that finds its whole prompt proves that its worker held it since that template's last request
    there, and nothing is known of the time before a miss: so it is a lower bound. Counted over the time
    measured, with the requests before it as witnesses. NaN where no request finds anything.
    """
    sent, worker = trace.column("t_sent"), trace.column("prefill_worker")
    template, whole = trace.column("template"), trace.column("cached_tokens") >= shareable
    begin, end = sent[trace.measured].min(), sent[trace.measured].max()
    order = np.lexsort((sent, worker, template))
    before, after = order[:-1], order[1:]
    proven = (template[before] == template[after]) & (worker[before] == worker[after]) & whole[after]
    low, high = np.clip(sent[before[proven]], begin, end), np.clip(sent[after[proven]], begin, end)
    of = template[after[proven]]
    held = sum(_union(low[of == one], high[of == one]) for one in np.unique(of))
    return float((high - low).sum() / held) if held > 0.0 else float("nan")


def _union(low: FloatArray, high: FloatArray) -> float:
    """Length of the union of some spans."""
    order = np.argsort(low, kind="stable")
    reached = np.maximum.accumulate(high[order])
    starts = np.maximum(low[order], np.r_[-np.inf, reached[:-1]])
    return float(np.clip(high[order] - starts, 0.0, None).sum())
