"""The command `anarchy control`: what the adaptive controller would do on a live Dynamo."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anarchy.ground.errors import UserError

if TYPE_CHECKING:
    from anarchy.control.detector import Detector
    from anarchy.control.loop import LoopSettings, Poll
    from anarchy.control.sources import PrometheusSource

HELP: Final = """\
Watch the TTFT histograms of a running Dynamo's frontends, and print what the adaptive controller would do:
EWMA of TTFT P99 against two thresholds, three confirming polls, three regimes with their (tau, omega).
It only reads. URL is a frontend's own page, http://host:port/metrics, not a Prometheus server; name every
frontend that serves the model, and with --model which model where they serve several. Thresholds are seconds
(--theta1, --theta2), or multiples of the P99 measured over the first polls, so start it below saturation.
docs/controller.md has the formulas.
"""
EXAMPLES: Final = """\
examples:
  anarchy control --dry-run --prometheus http://127.0.0.1:8000/metrics
  anarchy control --dry-run --prometheus http://gpu1:8000/metrics http://gpu2:8000/metrics \\
      --theta1 1.0 --theta2 10.0 --log controller.jsonl
  anarchy control --dry-run --prometheus http://127.0.0.1:8000/metrics --theta1-times 3 --theta2-times 30 \\
      --baseline-polls 12 --polls 120
"""
LOOKS: Final = 5
"""Scrapes in a row before the first poll: processes that answer at one address in turn show themselves so."""


def add_command(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser; `add(name, command, help)` makes one."""
    parser = add("control", _control, "watch a live Dynamo and print when routing would be switched")
    parser.description, parser.epilog = HELP, EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--prometheus", nargs="+", required=True, metavar="URL", help="/metrics of each frontend"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="as the pages write it; needed where they show several"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print only; the one way that exists so far, and needed"
    )
    parser.add_argument("--theta1", type=_number, metavar="S", help="above it: transition (seconds)")
    parser.add_argument("--theta2", type=_number, metavar="S", help="above it: saturated (seconds)")
    parser.add_argument(
        "--theta1-times", type=_number, metavar="X", help="theta1 as a multiple of the baseline (default 3)"
    )
    parser.add_argument(
        "--theta2-times", type=_number, metavar="X", help="theta2 as a multiple of the baseline (default 30)"
    )
    parser.add_argument(
        "--baseline-polls", type=_count, metavar="N", help="polls that make the baseline (default 6)"
    )
    parser.add_argument("--period", type=_number, default=5.0, metavar="S", help="between polls (default 5)")
    parser.add_argument("--polls", type=_count, metavar="N", help="end after so many (default: on Ctrl-C)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append every poll and switch, JSON Lines")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:20]) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 10000000")
    return int(text)


def _control(options: argparse.Namespace) -> int:
    from anarchy.control.loop import ControlLoop
    from anarchy.control.sources import PrometheusSource
    from anarchy.trace.control_log import ControllerLog

    if not options.dry_run:
        raise UserError(
            "setting the router of a live Dynamo is not built yet",
            where="anarchy control",
            remedy="add --dry-run to see what it would do",
        )
    settings = _settings(options)
    source = PrometheusSource(options.prometheus, model=options.model)
    _check_frontends(source)
    _check_model(source.models, options.model)
    log = ControllerLog(options.log) if options.log else None
    loop = ControlLoop(source, settings, log=log, on_poll=_say_poll, on_baseline=_say_baseline)
    if settings.multiples is None:
        _say_thresholds(settings.detector)
    else:
        print(f"measuring the baseline: {settings.multiples.polls} polls with requests")
    try:
        loop.run(options.polls)
    except KeyboardInterrupt:
        print()
    finally:
        if log is not None:
            log.close()
    print(f"ended in regime {loop.state.regime.word}; {loop.switches} switches would have been made")
    return 0


def _settings(options: argparse.Namespace) -> LoopSettings:
    """Thresholds in seconds, or as multiples; raises UserError for half of one, or parts of both."""
    from anarchy.control.detector import Detector
    from anarchy.control.loop import LoopSettings
    from anarchy.control.thresholds import BASELINE_POLLS, THETA1_TIMES, THETA2_TIMES, Multiples

    seconds = (options.theta1, options.theta2)
    times = (options.theta1_times, options.theta2_times, options.baseline_polls)
    absolute = any(value is not None for value in seconds)
    if absolute and (None in seconds or any(value is not None for value in times)):
        raise UserError(
            "thresholds are two numbers of seconds, or two multiples of a baseline",
            where="--theta1, --theta2",
            remedy="give --theta1 and --theta2; or neither, and --theta1-times, --theta2-times as you like",
        )
    if absolute:
        return LoopSettings(Detector(*seconds), period_s=options.period)
    multiples = Multiples(
        THETA1_TIMES if options.theta1_times is None else options.theta1_times,
        THETA2_TIMES if options.theta2_times is None else options.theta2_times,
        BASELINE_POLLS if options.baseline_polls is None else options.baseline_polls,
    )
    unit = Detector(multiples.theta1_times, multiples.theta2_times)
    return LoopSettings(unit, multiples, period_s=options.period)


def _check_frontends(source: PrometheusSource) -> None:
    """Refuse a frontend without a page before the first poll; tell of one whose page shows too little."""
    for _ in range(LOOKS):
        source.begin(0.0)
    for url, reason in source.missing.items():
        raise UserError(
            f"gives no reading: {reason}",
            where=url,
            remedy="see that the frontend runs there: curl the address; it shows dynamo_frontend_... lines",
        )
    for url in source.empty:
        print(f"note: {url} shows no TTFT yet: it has served nothing, or is no Dynamo frontend")
    for url, reason in source.doubts.items():
        print(f"note: {url}: {reason}")


def _check_model(models: frozenset[str], model: str | None) -> None:
    """Refuse to choose between models, and a model that no page shows where they show others."""
    from anarchy.control.pages import name_models

    if model is None and len(models) > 1:
        raise UserError(
            f"several models are served: {name_models(models)}",
            where="--prometheus",
            remedy="name the one to watch with --model",
        )
    if model is not None and models and model not in models:
        raise UserError(
            f"no TTFT of {model!r}; the pages show {name_models(models)}",
            where="--model",
            remedy="name one of these; a model that has served nothing yet needs one request to be shown",
        )


def _say_thresholds(detector: Detector) -> None:
    rise, fall = detector.rise, detector.fall
    print(
        f"theta1 {rise[0]:.4g} s, theta2 {rise[1]:.4g} s; "
        f"down again under {fall[0]:.4g} s and {fall[1]:.4g} s; {detector.confirm} polls confirm"
    )


def _say_baseline(p99: float, detector: Detector) -> None:
    print(f"baseline TTFT P99 {p99:.4g} s")
    _say_thresholds(detector)


def _say_poll(poll: Poll) -> None:
    from anarchy.control.detector import PARAMETERS

    seen, decision = poll.observation, poll.decision
    parts = [f"[{seen.end:8.1f} s]"]
    if seen.p99 is None:
        parts.append(f"missing: {seen.reason}")
    else:
        lower, upper = seen.bracket or (seen.p99, seen.p99)
        parts.append(f"{seen.requests} requests, TTFT P99 {seen.p99:.4g} s (in {lower:.4g} to {upper:.4g})")
    if decision is None:
        parts.append("baseline")
    else:
        parts.append(f"{decision.regime.word}: {decision.reason}" if seen.p99 is not None else "regime held")
    parts += seen.notes
    parts += [f"{poll.skipped} polls skipped"] if poll.skipped else []
    print("; ".join(parts), flush=True)
    if decision is not None and decision.regime is not decision.before:
        tau, omega = PARAMETERS[decision.regime]
        print(f"WOULD SWITCH {decision.before.word} -> {decision.regime.word}: tau {tau:g}, omega {omega:g}")
