"""What can be chosen: splits of a budget, and the router's tau and omega where they can do anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from anarchy.ground.errors import UserError

DEFAULT_PAIR: Final = (0.0, 1.0)
"""Dynamo's own tau and omega."""
MOST_WORKERS: Final = 16
"""Of a budget whose splits are all tried; of a larger one the splits are named."""
_SPLIT: Final = re.compile(r"\s*(\d{1,4})P/(\d{1,4})D\s*", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Setting:
    """A split of the workers and a pair of the router."""

    prefill: int
    decode: int
    tau: float = DEFAULT_PAIR[0]
    omega: float = DEFAULT_PAIR[1]

    @property
    def split(self) -> tuple[int, int]:
        """Workers of both pools."""
        return self.prefill, self.decode

    @property
    def pair(self) -> tuple[float, float]:
        """What the router is told."""
        return self.tau, self.omega

    @property
    def acting(self) -> Setting:
        """The same, with the default for what cannot act.

        tau needs two workers of a pool, omega two of prefill: on the decode choice the built-in router
        ignores it (docs/routing.md).
        """
        tau = self.tau if max(self.split) > 1 else DEFAULT_PAIR[0]
        omega = self.omega if self.prefill > 1 else DEFAULT_PAIR[1]
        return replace(self, tau=tau, omega=omega)

    def changes(self, now: Setting | None) -> tuple[int, int]:
        """How much differs from what runs now, or from Dynamo's default pair.

        First how many of split, tau and omega do, then how many workers change their pool.
        """
        tau, omega = now.pair if now is not None else DEFAULT_PAIR
        moved = abs(self.prefill - now.prefill) if now is not None else 0
        return int(moved > 0) + int(self.tau != tau) + int(self.omega != omega), moved

    def __str__(self) -> str:
        return f"{self.prefill}P/{self.decode}D, tau {self.tau:g}, omega {self.omega:g}"


def workers_of(gpus: int, per_worker: int, model: str) -> int:
    """How many workers a budget of GPUs holds; raises UserError where they are fewer than two."""
    workers = gpus // per_worker
    if workers < 2:
        raise UserError(
            f"{gpus} GPUs hold {workers} workers of {model}, which take {per_worker} each, and a split needs "
            "one for prefill and one for decode",
            where="--gpus",
            remedy=f"give at least {2 * per_worker}, or a model whose worker is smaller",
        )
    return workers


def splits_of(workers: int, named: Sequence[tuple[int, int]] | None = None) -> list[tuple[int, int]]:
    """Every split of a number of workers, or those that were named; raises UserError for one that is none."""
    if named is None:
        if workers > MOST_WORKERS:
            raise UserError(
                f"{workers} workers have {workers - 1} splits, and each costs replays",
                where="--gpus",
                remedy="name the splits to compare, such as --splits "
                + " ".join(f"{p}P/{workers - p}D" for p in (workers // 4, workers // 2)),
            )
        return [(prefill, workers - prefill) for prefill in range(1, workers)]
    for prefill, decode in named:
        check_split(prefill, decode, workers, "--splits")
    return sorted(set(named))


def check_split(prefill: int, decode: int, workers: int, where: str) -> None:
    """Raise UserError for a split without a pool, or that does not take the whole budget."""
    if min(prefill, decode) < 1 or prefill + decode != workers:
        raise UserError(
            f"{prefill}P/{decode}D is no split of {workers} workers",
            where=where,
            remedy=f"both numbers are at least 1 and add up to {workers}, the workers that --gpus hold",
        )


def parse_split(text: str) -> tuple[int, int]:
    """`1P/5D`; raises ValueError for anything else."""
    found = _SPLIT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no split such as 1P/5D")
    return int(found[1]), int(found[2])


def parse_setting(text: str) -> Setting:
    """`1P/5D,tau=0,omega=1`; what is left out is Dynamo's default. Raises ValueError for anything else."""
    split, *words = text.split(",")
    prefill, decode = parse_split(split)
    pair = dict(zip(("tau", "omega"), DEFAULT_PAIR, strict=True))
    for word in words:
        name, _, value = word.partition("=")
        if name.strip() not in pair:
            raise ValueError(f"{word!r} is neither tau=NUMBER nor omega=NUMBER")
        pair[name.strip()] = weight(value)
    return Setting(prefill, decode, pair["tau"], pair["omega"])


def weight(text: str) -> float:
    """A tau or an omega; raises ValueError for what is no finite number of at least 0."""
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{text!r} is no number of at least 0")
    return value


def settings_of(
    split: tuple[int, int], pairs: Iterable[tuple[float, float]], first: tuple[float, float] = DEFAULT_PAIR
) -> list[Setting]:
    """The settings of a split that differ in what they do; that of the pair `first` leads, if it is asked."""
    home = Setting(*split, *first).acting
    every = {Setting(*split, *pair).acting for pair in pairs}
    return sorted(every, key=lambda one: (one != home, one))
