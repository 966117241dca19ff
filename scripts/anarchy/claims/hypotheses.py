"""What the 20-minute protocol (experiment W4) says of each hypothesis on what the paper saw: docs/why.md.

Pure: measured ratios in, answers out. `protocol_cells` makes the ratios of sealed cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from anarchy.tables import number

Says = Literal["for", "against", "open"]

LARGE: Final = 2.0
"""A ratio from which an effect is told, where the placebo pair shows a smaller one. Ours."""
SMALL: Final = 1.3
"""A ratio up to which there is none. Ours."""
CROWDED: Final = 0.25
"""Fullest less emptiest decode worker over C / m, from which requests crowd. Ours."""
EVEN: Final = 0.1
"""The same, up to which they do not."""
BYPASSING: Final = 0.01
"""Share of requests without a prefill worker from which they pass by it."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the protocol measured; None where its cells are missing or not valid.

    Ratios are geometric means over C = 64 and 96 where nothing else is said.
    """

    march: float | None = None
    """Mean TTFT of users in step over that of users one token apart, tau 0."""
    dissolved: float | None = None
    """Mean TTFT of users in step, tau 0 over tau 0.7."""
    crowd: float | None = None
    """Fullest less emptiest decode worker over C / m, templates, tau 0, no limit."""
    limit: float | None = None
    """TTFT P99 with a limit of running requests over that without, templates, tau 0, C = 96."""
    cured: float | None = None
    """TTFT P99 with the limit, tau 0 over tau 0.7, C = 96."""
    bypass: float | None = None
    """Share of measured requests under tau 0.7 that no prefill worker is known of."""
    placebo: float | None = None
    """TTFT P99 of users one token apart with unique prompts, tau 0 and tau 0.7, at each C the larger over the
    smaller: nothing is there that routing could change."""
    placebo_largest: float | None = None
    """The same at C = 96 alone."""


@dataclass(frozen=True)
class Answer:
    """What was seen of one hypothesis."""

    hypothesis: str
    asked: str
    measured: str
    says: Says
    then: str
    """What follows."""


def decide(seen: Seen) -> tuple[Answer, ...]:
    """An answer a hypothesis, H1 to H5."""
    return _h1(seen), _h2(seen), _h3(seen), _h4(seen), _h5(seen)


def _told(ratio: float | None, placebo: float | None) -> Says:
    """Whether a ratio is an effect: large, and larger than the placebo's over the same C."""
    if ratio is None:
        return "open"
    if ratio <= SMALL:
        return "against"
    compared = placebo is not None and ratio > placebo
    return "for" if ratio >= LARGE and compared else "open"


def _crowds(seen: Seen) -> Says:
    if seen.crowd is None:
        return "open"
    return "for" if seen.crowd >= CROWDED else "against" if seen.crowd <= EVEN else "open"


def _h1(seen: Seen) -> Answer:
    says = _crowds(seen)
    return Answer(
        "H1, requests of a template crowd on a decode worker",
        f"templates, tau 0: fullest less emptiest worker over C / m: from {CROWDED:g} for, to {EVEN:g} "
        "against",
        _words(seen.crowd, ""),
        says,
        {
            "for": "this router counts shared blocks once: C8 to C10 can come from routing",
            "against": "this router keeps workers even: adaptive routing has nothing to mend here",
            "open": _open(seen.crowd),
        }[says],
    )


def _h2(seen: Seen) -> Answer:
    asked = (
        f"templates, tau 0: TTFT P99 with 60 running requests a worker over without: from {LARGE:g} for, to "
        f"{SMALL:g} against"
    )
    says, measured = _told(seen.limit, seen.placebo_largest), _words(seen.limit)
    if says == "for" and _crowds(seen) != "for":
        says = "open"
        then = "the limit costs time, and no crowd was seen that it could make wait"
    elif says == "for":
        cured = _told(seen.cured, seen.placebo_largest)
        measured += f"; tau 0 over 0.7 {_words(seen.cured)}"
        then = {
            "for": "a crowd waits at the limit and tau 0.7 mends it: the size of C8 to C10 needs no more",
            "against": "a crowd waits at the limit, tau 0.7 does not mend it: C8 to C10 come from elsewhere",
            "open": "a crowd waits at the limit; whether tau 0.7 mends it is not decided",
        }[cured]
    elif says == "against":
        then = "a limit of this size makes nobody wait here"
    else:
        then = _open(seen.limit, seen.placebo_largest)
    return Answer("H2, a limit of running requests makes a crowd wait", asked, measured, says, then)


def _h3(seen: Seen) -> Answer:
    says, measured = _told(seen.march, seen.placebo), _words(seen.march)
    if says == "for":
        dissolved = _told(seen.dissolved, seen.placebo)
        measured += f"; tau 0 over 0.7 {_words(seen.dissolved)}"
        then = (
            "users march: the levels of C3 are of the workload, and a token of jitter removes them; "
            + {
                "for": "tau 0.7 dissolves the step, so C4 speaks against it in the paper's system",
                "against": "tau leaves the step, as C4 has it",
                "open": "whether tau dissolves the step is not decided",
            }[dissolved]
        )
    elif says == "against":
        then = "users do not march: the levels of C3 are of something else"
    else:
        then = _open(seen.march, seen.placebo)
    return Answer(
        "H3, users march in step",
        f"unique prompts, tau 0: mean TTFT in step over one token apart: from {LARGE:g} for, to {SMALL:g} "
        "against",
        measured,
        says,
        then,
    )


def _h4(seen: Seen) -> Answer:
    says: Says = "open" if seen.bypass is None else "for" if seen.bypass >= BYPASSING else "against"
    return Answer(
        "H4, requests pass by the prefill worker",
        f"tau 0.7: share of requests that no prefill worker is known of: from {BYPASSING:.0%} for",
        "not measured" if seen.bypass is None else f"{seen.bypass:.1%}",
        says,
        {
            "for": "decode workers prefill here: TTFT of C10 can have fallen for that, and not for routing",
            "against": "every request is prefilled where it should be, under tau 0.7 too",
            "open": _open(seen.bypass),
        }[says],
    )


def _h5(seen: Seen) -> Answer:
    says: Says = "open"
    if seen.placebo is not None:
        says = "for" if seen.placebo >= LARGE else "against" if seen.placebo <= SMALL else "open"
    return Answer(
        "H5, chance",
        "unique prompts, one token apart: TTFT P99 at tau 0 against tau 0.7, which cannot differ, the larger "
        f"over the smaller: from {LARGE:g} for, to {SMALL:g} against",
        _words(seen.placebo),
        says,
        {
            "for": "such a pair differs by chance alone: repeat every cell before believing a ratio",
            "against": "chance makes no such ratio within a launch; between launches it is not told",
            "open": _open(seen.placebo),
        }[says],
    )


def _words(value: float | None, unit: str = " times") -> str:
    return "not measured" if value is None else f"{number(value)}{unit}"


def _open(value: float | None, placebo: float | None = 1.0) -> str:
    """Why a question stays open; `placebo` where an effect has to be larger than the placebo's."""
    if value is None or placebo is None:
        what = "not measured" if value is None else "nothing to hold it against"
        return f"{what}: cells are missing or not valid, see logs/sweep.log"
    if LARGE <= value <= placebo:
        return "no larger than what chance does to the placebo pair: repeat it"
    return "between the two: measure it longer, or again"


def render(answers: Sequence[Answer]) -> str:
    """The decision table for a terminal: if this was measured, then that follows."""
    lines = []
    for one in answers:
        lines += [
            f"{one.hypothesis}: {one.says.upper()}",
            f"  if    {one.asked}",
            f"  here  {one.measured}",
            f"  then  {one.then}",
        ]
    speaking = [one.hypothesis.partition(",")[0] for one in answers if one.says == "for"]
    return "\n".join([*lines, f"for: {', '.join(speaking) or 'none of them'}"])
