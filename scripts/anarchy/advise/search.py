"""The search: every split once, the best splits' pairs once, and the best settings again on other traces.

Which settings are looked at closely is decided by one replay of the trace itself; how good they are is told
by replays of other traces alone, the same ones for all of them, so that what they share cancels. What is told
as better has an interval that excludes a tie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from anarchy.advise.replays import Objectives, Served
from anarchy.advise.settings import Setting, settings_of
from anarchy.ground.errors import UserError
from anarchy.stats.student import Ends, next_value

CLOSE: Final = 0.05
"""A setting that lies further behind the best, in one replay of the trace, is not replayed again."""
FINALISTS: Final = 4
"""Settings that are, beside the one that runs now: the best of those that are close."""
DEEP: Final = 2
"""Splits whose pairs are tried."""
TIE: Final = 0.01
"""A share of goodput that nobody moves workers for."""

Replay = Callable[[Sequence[tuple[Setting, int | None]]], list[Served]]
"""Replays settings, each on the trace itself (None) or on the resampled trace of a number."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is searched: splits, tau and omega, how often close settings are replayed, and what runs now."""

    splits: Sequence[tuple[int, int]]
    taus: Sequence[float]
    omegas: Sequence[float]
    replications: int
    now: Setting | None = None

    def settings(self, split: tuple[int, int]) -> list[Setting]:
        """The settings of a split; the pair that runs now leads, or Dynamo's default, and is among them."""
        pairs = list(itertools.product(self.taus, self.omegas))
        if self.now is None:
            return settings_of(split, pairs)
        return settings_of(split, [*pairs, self.now.pair], self.now.pair)

    def screened(self) -> list[Setting]:
        """A setting a split, and what runs now."""
        every = [self.settings(split)[0] for split in self.splits]
        return every if self.now is None else _each_once([*every, self.now.acting])

    def most_replays(self) -> int:
        """Replays at most: the number that time is predicted from."""
        pairs = sorted(len(self.settings(split)) for split in self.splits)[-DEEP:]
        finalists = FINALISTS + int(self.now is not None)
        return len(self.screened()) + sum(pairs) - len(pairs) + finalists * self.replications


@dataclass(frozen=True)
class Finalist:
    """A setting that was replayed on other traces.

    `trace`: what came of the one replay of the trace itself. `goodput`: requests a second, over the other
    traces; `share` of their requests, and whether it is as many as were asked (`attained`). `price`: goodput
    of the best setting over this one's, infinite where it serves nothing of a trace.
    """

    setting: Setting
    trace: Served
    goodput: Ends
    share: float
    attained: bool
    price: Ends

    @property
    def tied(self) -> bool:
        """Whether its price may be a tie: nothing shows that the best one is better."""
        return self.price[1] <= 1.0 + TIE


@dataclass(frozen=True)
class Answer:
    """What was found: the advice, all finalists from the best down, and every setting replayed once."""

    advice: Finalist
    finalists: tuple[Finalist, ...]
    screened: tuple[tuple[Setting, Served], ...]
    left_out: tuple[Setting, ...]
    """Close to the best in one replay, and not replayed again: they may tie."""
    now: Finalist | None


def search(question: Question, objectives: Objectives, replay: Replay) -> Answer:
    """Find the setting with the most goodput.

    Raises UserError where no setting serves the share of requests that is asked: it says the nearest.
    """
    seen: dict[Setting, Served] = {}

    def look(settings: Sequence[Setting]) -> None:
        new = [setting for setting in settings if setting not in seen]
        seen.update(zip(new, replay([(setting, None) for setting in new]), strict=True))

    look(question.screened())
    ranked = _ranked(seen, question.now)
    deep = list(dict.fromkeys(setting.split for setting in ranked if setting.split in question.splits))[:DEEP]
    look([setting for split in deep for setting in question.settings(split)])
    ranked = _ranked(seen, question.now)
    check_served(ranked[0], seen, objectives)
    close = [s for s in ranked if seen[s].goodput >= (1.0 - CLOSE) * seen[ranked[0]].goodput]
    leaders = {setting.split: setting for setting in reversed(close)}
    chosen = sorted(close, key=lambda setting: setting not in leaders.values())[:FINALISTS]
    now = None if question.now is None else question.now.acting
    asked = _each_once([*chosen, *([now] if now is not None else [])])
    found = replay([(setting, number) for number in range(question.replications) for setting in asked])
    results = {setting: found[place :: len(asked)] for place, setting in enumerate(asked)}
    finalists = _finalists(results, seen, objectives.share)
    return Answer(
        _advised(finalists, now),
        finalists,
        tuple((setting, seen[setting]) for setting in ranked),
        tuple(setting for setting in close if setting not in asked),
        next((one for one in finalists if one.setting == now), None),
    )


def check_served(best: Setting, seen: dict[Setting, Served], objectives: Objectives) -> None:
    """Raise UserError where the best setting serves too few requests within the objectives."""
    found = seen[best]
    if found.goodput > 0.0 and found.share >= objectives.share:
        return
    nearest = max(seen, key=lambda s: (seen[s].share, seen[s].within_ttft + seen[s].within_itl))
    one = seen[nearest]
    raise UserError(
        f"no split serves {100 * objectives.share:g} % of the requests within TTFT "
        f"{1e3 * objectives.ttft_s:g} ms and ITL {1e3 * objectives.itl_s:g} ms. The nearest is {nearest}: "
        f"{100 * one.share:.1f} % within both; 9 of 10 requests have a TTFT of at most "
        f"{_ms(one.ttft_s[0.9])} and an ITL of at most {_ms(one.itl_s[0.9])} (simulated)",
        where="--ttft-ms, --itl-ms",
        remedy="relax the objectives, give more --gpus, lower --load, or take fewer requests with --attain 0",
    )


def _advised(finalists: Sequence[Finalist], now: Setting | None) -> Finalist:
    """Of those that tie and attain what is asked the one that changes least; the best where none attains."""
    may = [one for one in finalists if one.tied and one.attained]
    return min(may, key=lambda one: (one.setting.changes(now), -one.goodput[0]), default=finalists[0])


def _finalists(
    results: dict[Setting, list[Served]], seen: dict[Setting, Served], asked: float
) -> tuple[Finalist, ...]:
    """All finalists, the best first: by their mean goodput over the same traces; `asked` is a share."""
    means = {setting: sum(one.goodput for one in told) / len(told) for setting, told in results.items()}
    best = results[max(means, key=lambda setting: means[setting])]
    found = []
    for setting in sorted(means, key=lambda one: -means[one]):
        told = results[setting]
        share = sum(one.share for one in told) / len(told)
        ratios = [_over(one.goodput, other.goodput) for one, other in zip(best, told, strict=True)]
        found.append(
            Finalist(
                setting,
                seen[setting],
                next_value([one.goodput for one in told]),
                share,
                bool(share >= asked),
                next_value(ratios, ratio=True),
            )
        )
    return tuple(found)


def _over(best: float, other: float) -> float:
    """Goodput over goodput: 1 where neither serves, unbounded where the best alone does."""
    if other > 0.0:
        return max(best, 1e-9) / other  # above 0, since its logarithm is taken
    return float("inf") if best > 0.0 else 1.0


def _ranked(seen: dict[Setting, Served], now: Setting | None) -> list[Setting]:
    """From the most goodput down; of equals the one that changes least."""
    return sorted(seen, key=lambda setting: (-seen[setting].goodput, setting.changes(now), setting))


def _each_once(settings: Sequence[Setting]) -> list[Setting]:
    return list(dict.fromkeys(settings))


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < float("inf") else "more than the deadline"
