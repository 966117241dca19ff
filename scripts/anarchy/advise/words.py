"""An advice in words and as a document: what to do, what it rests on, and what it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from anarchy.advise.advising import Advice
from anarchy.advise.replays import Served
from anarchy.advise.resampling import STRETCHES
from anarchy.advise.search import TIE, Finalist
from anarchy.engines import virtual
from anarchy.ground.words import duration, interval, number, share
from anarchy.stats.student import Ends

SIMULATED: Final = (
    "All of it is simulated in virtual time: Dynamo's mock engine and KV router, without a GPU, network or "
    "frontend."
)


def document(advice: Advice) -> dict[str, Any]:
    """The advice as JSON: lengths in tokens, times in s (ms where the name says so), rates a model second."""
    request, answer = advice.request, advice.answer
    now = request.question.now
    return {
        "simulated": True,
        "statement": f"{SIMULATED} {_engine(advice)}",
        "engine": {
            "name": virtual.NAME,
            "label": virtual.LABEL,
            "version": advice.versions.get(virtual.LIBRARY),
            "timing": request.profile.name,
            "timing_kind": request.profile.provenance["kind"],
            "kv_link_gb_s": advice.link_gb_s,
        },
        "model": request.model.name,
        "gpus": request.gpus,
        "gpus_per_worker": request.model.tensor_parallel,
        "workload": {
            "files": [str(file) for file in request.load.files],
            "format": request.load.format,
            "requests": len(request.load.arrivals),
            "requests_per_s": answer.screened[0][1].offered,
            "notes": list(request.load.notes),
        },
        "objectives": {
            "ttft_ms": 1e3 * request.objectives.ttft_s,
            "itl_ms": 1e3 * request.objectives.itl_s,
            "share": request.objectives.share,
        },
        "interval": interval_words(advice),
        "advice": {**_setting(answer.advice), "stay": now is not None and answer.advice is answer.now},
        "ties": [_setting(one) for one in answer.finalists if one.tied and one is not answer.advice],
        "now": None if answer.now is None else {"asked": str(now), **_setting(answer.now)},
        "finalists": [_finalist(one) for one in answer.finalists],
        "screened": [{**_pair(setting), **_served(found)} for setting, found in answer.screened],
        "not_replicated": [_pair(setting) for setting in answer.left_out],
        "seed": request.seed,
        "cost": {
            "replays": advice.cost.replays,
            "predicted_s": advice.cost.predicted_s,
            "took_s": advice.cost.took_s,
            "replay_s": advice.cost.replay_s,
            "processes": request.processes,
        },
    }


def render(advice: Advice) -> str:
    """The advice for a terminal."""
    return "\n".join((*_what(advice), "", *_table(advice), "", *_grounds(advice))) + "\n"


def interval_words(advice: Advice) -> str:
    """What an interval is over, exactly."""
    return (
        f"over {advice.request.question.replications} traces made of yours: its time is cut into "
        f"{STRETCHES} equal stretches, which are drawn with replacement; all settings are replayed on the "
        "same ones. In 95 of 100 cases one more such trace falls inside (Student). They hold the chance in "
        "who comes when and in the router's draws, not other days than yours, and not the simulation's error"
    )


def _what(advice: Advice) -> Iterator[str]:
    answer, request = advice.answer, advice.request
    best, objectives = answer.finalists[0], request.objectives
    kept = f"TTFT {1e3 * objectives.ttft_s:g} ms and ITL {1e3 * objectives.itl_s:g} ms"
    if answer.now is answer.advice:
        yield f"Stay at {answer.advice.setting}: nothing that was tried is shown to be better."
    elif answer.advice is best:
        yield f"Best: {best.setting}."
    else:
        yield f"Take {answer.advice.setting}: nothing that was tried is shown to be better."
    yield (
        f"It serves {_rate(answer.advice.goodput)} requests/s within {kept}, {share(answer.advice.share)} of "
        "those that came."
    )
    asked = f"{100 * objectives.share:g} % that --attain asks"
    if not answer.advice.attained:
        yield (
            f"That is less than the {asked}, and nothing that ties reaches it on traces made of yours; on "
            f"yours it serves {share(answer.advice.trace.share)}."
        )
    if best is not answer.advice:
        yield (
            f"The most goodput has {best.setting}: {_times(answer.advice.price)} as much, which may be a tie."
        )
    if answer.now is not None and answer.now is not answer.advice:
        yield f"Staying at {answer.now.setting} costs {_times(answer.now.price)} that goodput."
    ties = [one for one in answer.finalists if one.tied and one is not answer.advice]
    short = [one for one in ties if answer.advice.attained and not one.attained]
    if near := [one for one in ties if one not in short]:
        yield f"Ties with it (within {100 * TIE:g} % or inside the interval): " + "; ".join(
            str(one.setting) for one in near
        )
    if short:
        yield f"Tie too, and serve less than the {asked}, so they are not advised: " + "; ".join(
            f"{one.setting} ({share(one.share)})" for one in short
        )
    if answer.left_out:
        yield "Close in one replay and not replayed again, so they may tie too: " + "; ".join(
            map(str, answer.left_out)
        )
    now = request.question.now
    if now is not None and now.acting != now:
        yield f"What runs now ({now}) is the same as {now.acting}: the rest does nothing (docs/routing.md)."


def _table(advice: Advice) -> Iterator[str]:
    yield (
        f"{'setting':<34}{'goodput/s':>20}{'best over this':>24}  {'TTFT p50/p99 ms':>18}  "
        f"{'ITL p50/p99 ms':>15}"
    )
    for one in advice.answer.finalists:
        mark = " (now)" if one is advice.answer.now else ""
        yield (
            f"{f'{one.setting}{mark}':<34}{_rate(one.goodput):>20}{_times(one.price):>24}  "
            f"{_two(one.trace.ttft_s):>18}  {_two(one.trace.itl_s):>15}"
        )
    again = {one.setting for one in advice.answer.finalists}
    for setting, found in advice.answer.screened:
        if setting not in again:
            yield (
                f"{setting!s:<34}{number(found.goodput):>20}{'replayed once':>24}  "
                f"{_two(found.ttft_s):>18}  {_two(found.itl_s):>15}"
            )


def _grounds(advice: Advice) -> Iterator[str]:
    request, cost = advice.request, advice.cost
    arrivals = request.load.arrivals
    yield f"{SIMULATED} {_engine(advice)}"
    yield f"Intervals are {interval_words(advice)}."
    yield (
        f"{len(arrivals)} requests ({request.load.format}), mean prompt {arrivals.input_tokens.mean():.0f} "
        f"and answer {arrivals.output_tokens.mean():.0f} tokens; {request.gpus} GPUs, "
        f"{request.model.tensor_parallel} a worker. {'. '.join(request.load.notes)}".rstrip()
    )
    yield (
        f"{cost.replays} replays in {duration(cost.took_s)} with {request.processes} processes "
        f"(predicted {duration(cost.predicted_s)}), seed {request.seed}."
    )


def _engine(advice: Advice) -> str:
    profile = advice.request.profile
    version = advice.versions.get(virtual.LIBRARY) or "of unknown version"
    link = f"{advice.link_gb_s:g} GB/s" if advice.link_gb_s else "none (shorter than half a decode step)"
    return (
        f"{virtual.LIBRARY} {version}; timing table {profile.name} ({profile.provenance['kind']}); KV "
        f"transfer: {link}."
    )


def _pair(setting: Any) -> dict[str, Any]:
    return {
        "split": f"{setting.prefill}P/{setting.decode}D",
        "prefill": setting.prefill,
        "decode": setting.decode,
        "tau": setting.tau,
        "omega": setting.omega,
    }


def _setting(one: Finalist) -> dict[str, Any]:
    return {
        **_pair(one.setting),
        "goodput": _ends(one.goodput),
        "share": one.share,
        "attained": one.attained,
        "price": _ends(one.price),
    }


def _finalist(one: Finalist) -> dict[str, Any]:
    return {**_setting(one), "tied": one.tied, "trace": _served(one.trace)}


def _served(found: Served) -> dict[str, Any]:
    return {
        "goodput": found.goodput,
        "share": found.share,
        "within_ttft": found.within_ttft,
        "within_itl": found.within_itl,
        "timeouts": found.timeouts,
        "ttft_s": {f"p{100 * q:g}": _finite(value) for q, value in found.ttft_s.items()},
        "itl_s": {f"p{100 * q:g}": _finite(value) for q, value in found.itl_s.items()},
    }


def _ends(ends: Ends) -> dict[str, float | None]:
    return dict(zip(("value", "lo", "hi"), map(_finite, ends), strict=True))


def _finite(value: float) -> float | None:
    """JSON has no infinity: unbounded and unknown are null."""
    return value if math.isfinite(value) else None


def _rate(ends: Ends) -> str:
    value, lo, hi = ends
    return interval(value, max(lo, 0.0), hi)


def _times(ends: Ends) -> str:
    return f"{interval(*ends)} times" if math.isfinite(ends[0]) else "unbounded times"


def _two(values: Any) -> str:
    """Median and P99, ms."""
    told = (values[0.5], values[0.99])
    return " / ".join(f"{1e3 * one:.3g}" if math.isfinite(one) else "late" for one in told)
