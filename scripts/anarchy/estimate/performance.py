"""What users feel: TTFT, inter-token latency and throughput of a cell, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from anarchy.games.requests import FloatArray
from anarchy.stats.bootstrap import bootstrap_mean
from anarchy.stats.intervals import Resampled, quotient
from anarchy.stats.quantiles import bootstrap_quantile, bootstrap_quantiles
from anarchy.trace.reader import CellTrace

QUANTILE_REPLICATES: Final = 1_000
"""Replicates of the intervals of request statistics."""
THROUGHPUT_BINS: Final = 20
"""The measure phase is cut into so many equal spans; the spans' completions give throughput its interval."""

Row = dict[str, Any]


def performance(traces: Sequence[CellTrace], seed: int = 0, stream: int = 0) -> Row:
    """TTFT P50 and P99, mean ITL (s) and throughput (requests and tokens a second), each with its interval.

    TTFT counts from the moment the user was free. Over the requests that were measured and ended well.
    """
    tokens = 0.0 if traces else float("nan")
    for trace in traces:
        tokens += completion_rates(trace)[1] / len(traces)
    row: Row = {"throughput_tps": tokens, "error_share": error_share(traces)}
    for name, resampled in performance_draws(traces, seed, stream).items():
        row |= bounded(name, resampled)
    return row


def performance_draws(traces: Sequence[CellTrace], seed: int = 0, stream: int = 0) -> dict[str, Resampled]:
    """The same with their replicates: `ttft_p50`, `ttft_p99`, `itl_mean` (s), `throughput_rps`."""
    options: dict[str, int] = {"replicates": QUANTILE_REPLICATES, "seed": seed, "stream": stream}
    p50, p99 = bootstrap_quantiles(_ttft(traces), (0.5, 0.99), **options)
    return {
        "ttft_p50": p50,
        "ttft_p99": p99,
        "itl_mean": bootstrap_mean(_itl(traces), **options),
        "throughput_rps": bootstrap_mean([completion_rates(trace)[0] for trace in traces], **options),
    }


def typical_latencies(traces: Sequence[CellTrace]) -> tuple[float, float]:
    """Median TTFT and mean ITL (s) alone, as `performance_draws` has them, without a bootstrap."""
    ttft, itl = np.concatenate(_ttft(traces)), np.concatenate(_itl(traces))
    return (
        float(np.quantile(ttft, 0.5)) if ttft.size else float("nan"),
        float(itl.mean()) if itl.size else float("nan"),
    )


def bounded(name: str, resampled: Resampled) -> Row:
    """A value and the two ends of its interval, under one name."""
    interval = resampled.interval()
    return {name: interval.value, f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}


def error_share(traces: Sequence[CellTrace]) -> float | None:
    """Share of the requests of the measure phase that did not end well; None with no request."""
    measuring = [trace.equals("phase", "measure") for trace in traces]
    asked = sum(int(rows.sum()) for rows in measuring)
    wrong = sum(int((rows & ~t.measured).sum()) for rows, t in zip(measuring, traces, strict=True))
    return wrong / asked if asked else None


def growth(reference: Sequence[CellTrace], deep: Sequence[CellTrace], seed: int = 0) -> Row:
    """How many times median TTFT and mean ITL are larger in one cell than in another, each with its interval.

    Either side is the traces of one cell, one a launch.
    """
    options: dict[str, int] = {"replicates": QUANTILE_REPLICATES, "seed": seed}
    found: Row = {}
    for name, grown in {
        "ttft": quotient(
            bootstrap_quantile(_ttft(deep), 0.5, stream=1, **options),
            bootstrap_quantile(_ttft(reference), 0.5, stream=0, **options),
        ),
        "itl": quotient(
            bootstrap_mean(_itl(deep), stream=1, **options),
            bootstrap_mean(_itl(reference), stream=0, **options),
        ),
    }.items():
        interval = grown.interval()
        found[name] = {"value": interval.value, "lo": interval.lo, "hi": interval.hi}
    return found


def ladder_growth(
    plateau: Sequence[int], traces: Mapping[int, Sequence[CellTrace]], c_ref: int, seed: int = 0
) -> Row | None:
    """`growth` from the last cell of a ladder's plateau up to c_ref to its deepest cell; None without both.

    `plateau`: concurrencies, ascending. `traces`: by concurrency, one a launch.
    """
    low = [C for C in plateau if c_ref >= C]
    deepest = max(traces, default=0)
    if not low or deepest <= c_ref:
        return None
    return {"from": low[-1], "to": deepest, **growth(traces[low[-1]], traces[deepest], seed)}


def _ttft(traces: Sequence[CellTrace]) -> list[FloatArray]:
    """Time to first token of the measured requests of each launch, s, from the moment the user was free."""
    return [trace.ttft for trace in traces]


def _itl(traces: Sequence[CellTrace]) -> list[FloatArray]:
    """Inter-token latency of the measured requests of each launch, s, where they have one."""
    each = [inter_token_latency(trace)[trace.measured] for trace in traces]
    return [itl[np.isfinite(itl)] for itl in each]


def inter_token_latency(trace: CellTrace) -> FloatArray:
    """Mean time between the tokens of each request, s; NaN for a request of fewer than two tokens."""
    steps = trace.column("output_tokens").astype(np.float64) - 1.0
    span = trace.column("t_last_token") - trace.column("t_first_token")
    itl: FloatArray = np.divide(span, steps, out=np.full(len(span), np.nan), where=steps > 0)
    return itl


def completion_rates(trace: CellTrace) -> tuple[FloatArray, float]:
    """Requests a second that ended well in each of THROUGHPUT_BINS spans of the measure phase, and tokens.

    Shapes: (THROUGHPUT_BINS,) requests a second, and output tokens a second as one number. The phase is taken
    from the first to the last sending of a measured request, so it needs no client's report.
    """
    sent = trace.column("t_sent")[trace.equals("phase", "measure")]
    span = float(np.ptp(sent)) if sent.size > 1 else 0.0
    if span <= 0.0:
        return np.empty(0), float("nan")
    ok = trace.equals("status", "ok")
    ended = trace.column("t_last_token")[ok]
    inside = (ended >= sent.min()) & (ended <= sent.max())
    counts, _ = np.histogram(
        ended[inside], bins=THROUGHPUT_BINS, range=(float(sent.min()), float(sent.max()))
    )
    tokens = float(trace.column("output_tokens")[ok][inside].sum())
    return counts * (THROUGHPUT_BINS / span), tokens / span
