"""The game of one workload at one C, launch by launch and at the means over launches, as rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from anarchy.games.requests import FloatArray
from anarchy.games.split import (
    SplitGame,
    best_responses,
    destinations,
    equilibria,
    marginal_gains,
    price,
    price_of_anarchy,
    price_of_stability,
    price_of_variational,
    variational,
)
from anarchy.stats.student import kind_over, mean_over_launches

Row = dict[str, Any]

FLAT: Final = 0.9
"""Share of the best split's goodput from which on a split counts as no worse; ours."""
PRICES: Final[Mapping[str, Callable[[SplitGame, FloatArray], float]]] = {
    "price_of_anarchy": price_of_anarchy,
    "price_of_stability": price_of_stability,
    "price_of_variational": price_of_variational,
}
"""Column -> the price of a game, chosen by one launch's others and valued by that launch."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One split: name, utilities (3,) of pools and society by launch, and why launches are missing."""

    name: str
    launches: Mapping[int, FloatArray]
    reason: str


@dataclass(frozen=True, eq=False)
class Played:
    """The games of all launches that every split has."""

    names: Sequence[str]
    games: Mapping[int, SplitGame]
    """By launch."""
    mean: SplitGame | None
    """At the means over launches; None without a launch."""
    reason: str

    @property
    def society(self) -> dict[int, FloatArray]:
        """Society's utility at every split, by launch."""
        return {launch: game.society for launch, game in self.games.items()}

    @cached_property
    def others(self) -> dict[int, SplitGame]:
        """By launch, the game at the means over all other launches; of one launch alone, that launch's.

        What is best, worst or an equilibrium is chosen by it: the best of several noisy splits, valued by the
        noise that made it the best, is worth too much.
        """
        if len(self.games) == 1:
            return dict(self.games)
        return {
            launch: _mean([game for other, game in self.games.items() if other != launch])
            for launch in self.games
        }

    @property
    def best(self) -> str:
        """The split of the largest goodput at the means; empty where none serves."""
        if self.mean is None or self.mean.society.max() == 0.0:
            return ""
        return self.names[int(np.argmax(self.mean.society))]

    @cached_property
    def _judged(self) -> Row:
        return {"valid": bool(self.games), "reasons": self.reason}

    def split_rows(self) -> list[Row]:
        """What the game says of each split."""
        common = {"n_launches": len(self.games), **self._judged}
        if self.mean is None:
            return [dict(common) for _ in self.names]
        columns: dict[str, list[Any]] = {
            "equilibrium": equilibria(self.mean).tolist(),
            "variational": variational(self.mean).tolist(),
            "best": ((self.mean.society == self.mean.society.max()) & (self.mean.society > 0.0)).tolist(),
            "equilibrium_share": np.mean([equilibria(game) for game in self.games.values()], axis=0).tolist(),
            "moves_to": [self.names[to] for to in best_responses(self.mean)],
        }
        gains = [marginal_gains(game) for game in self.games.values()]
        for pool, name in enumerate(("gain_prefill", "gain_decode")):
            ends = [mean_over_launches([gain[pool][k] for gain in gains]) for k in range(len(self.names) - 1)]
            for place, end in enumerate(("", "_lo", "_hi")):
                columns[name + end] = [*(one[place] for one in ends), float("nan")]
        return [
            {**common, **{name: column[k] for name, column in columns.items()}}
            for k in range(len(self.names))
        ]

    def price_row(self, here: str, nearest: str, unshared: str = "") -> Row:
        """Equilibria, best split and prices.

        `here` is this system's split, `nearest` the one to name where none serves, `unshared` the best one of
        the mix of the same lengths without shared prefixes; empty where there is no such mix.
        """
        row: Row = {
            "n_launches": len(self.games),
            "n_splits": len(self.names),
            "interval_kind": kind_over(len(self.games)),
            "unbounded": "",
            "nearest": "",
            "best_unshared": unshared,
            **self._judged,
        }
        if self.mean is None:
            return row
        if self.mean.society.max() == 0.0:
            row |= {"nearest": nearest, "valid": False, "reasons": "no split serves within both objectives"}
            return row
        at = self.names.index(here)
        row |= {
            "best": self.best,
            "equilibria": self._named(equilibria(self.mean)),
            "variational": self._named(variational(self.mean)),
            "crossings": self._crossings(),
            "valley_most": self._valley_most(),
            "flat": bool(self.mean.society.min() >= FLAT * self.mean.society.max()),
            "ends": ", ".join(self.names[k] for k in destinations(self.mean)[at]),
            **_ends(
                "best_goodput", [society[self.names.index(self.best)] for society in self.society.values()]
            ),
        }
        unbounded, untold = [], []
        for name, values in self._prices(here, unshared).items():
            if np.isinf(values).any():
                unbounded.append(name)
            elif all(value > 0.0 for value in values):
                row |= _ends(name, values)
            else:
                untold.append(name)
        if untold:
            why = f"{', '.join(untold)}: the best split or an equilibrium is missing in a launch"
            row["reasons"] = "; ".join(filter(None, (self.reason, why)))
        return {**row, "unbounded": ", ".join(unbounded)}

    def _prices(self, here: str, unshared: str) -> dict[str, list[float]]:
        """Each price by launch."""
        pairs = [(self.others[launch], society) for launch, society in self.society.items()]
        found = {name: [of(other, society) for other, society in pairs] for name, of in PRICES.items()}
        kept = {"price_here": here, **({"price_unshared": unshared} if unshared else {})}
        for name, split in kept.items():
            only = np.array([one == split for one in self.names])
            found[name] = [price(other.society, only, society) for other, society in pairs]
        return found

    def _differences(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """By how much split k has more than split v in the sum of both utilities, and the interval's ends.

        Shapes: (S, S) each, v by k; ends are of 95 % over launches, NaN with fewer than three.
        """
        total = np.array([game.prefill + game.decode for game in self.games.values()])
        splits = range(len(self.names))
        ends = [[mean_over_launches(total[:, k] - total[:, v]) for k in splits] for v in splits]
        value, lo, hi = np.moveaxis(np.array(ends), -1, 0)
        return value, lo, hi

    def _crossings(self) -> int:
        """Peaks of the sum of both utilities, with a valley between any two that noise does not explain.

        A split lies in a valley where one on either side has more in its 95 % interval over launches.
        """
        assert self.mean is not None
        over = self._differences()[1] > self.mean.slack
        valley = [bool(over[v, :v].any() and over[v, v + 1 :].any()) for v in range(len(self.names))]
        return 1 + int(np.count_nonzero(np.diff(np.r_[False, valley].astype(int)) == 1))

    def _valley_most(self) -> float:
        """How deep a valley between two peaks can be at most, over the largest sum of utilities.

        At 0 the sum surely has one peak. NaN with fewer than three launches.
        """
        assert self.mean is not None
        most = self._differences()[2]
        depths = [min(most[v, :v].max(), most[v, v + 1 :].max()) for v in range(1, len(self.names) - 1)]
        return float(np.max([0.0, *depths])) / float((self.mean.prefill + self.mean.decode).max())

    def _named(self, at: np.ndarray[Any, Any]) -> str:
        return ", ".join(name for name, is_one in zip(self.names, at, strict=True) if is_one)


def _ends(name: str, values: Sequence[float]) -> Row:
    ratio = min(values) > 0.0
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), mean_over_launches(values, ratio=ratio), strict=True))


def play(splits: Sequence[Measured], tie: float) -> Played:
    """The games of splits, from the fewest prefill workers to the most."""
    launches = sorted(set.intersection(*(set(split.launches) for split in splits)))
    games = {launch: _game([split.launches[launch] for split in splits], tie) for launch in launches}
    mean = _mean(list(games.values())) if games else None
    why = "; ".join(f"{split.name}: {split.reason}" for split in splits if split.reason)
    if not launches and not why:
        why = "no launch counts in every split"
    return Played([split.name for split in splits], games, mean, why)


def _mean(games: Sequence[SplitGame]) -> SplitGame:
    """The game at the means of the utilities of some games."""
    prefill, decode, society = (
        np.mean([getattr(game, name) for game in games], axis=0) for name in ("prefill", "decode", "society")
    )
    return SplitGame(prefill, decode, society, games[0].tie)


def _game(utilities: Sequence[FloatArray], tie: float) -> SplitGame:
    prefill, decode, society = np.array(utilities).T
    return SplitGame(prefill, decode, society, tie)
