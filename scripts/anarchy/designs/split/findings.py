"""What the P/D resource game found, in sentences of numbers and one of advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from anarchy.ground.words import interval, is_missing, span, whole
from anarchy.tables import System

Row = Mapping[Any, Any]


def parts(system: System, workload: str) -> list[str]:
    """Best split, equilibria and prices, a clause each C."""
    titles = _titles(system)
    rows = system.of(workload, "prices")
    if rows.empty:
        return [f"{len(system.info['splits'])} split measured, no game"]
    return [_clause(row, titles) for row in rows.to_dict("records")]


def _clause(row: Row, titles: Mapping[str, str]) -> str:
    at = f"C = {whole(row['concurrency'])}"
    if is_missing(row["best"]):
        nearest = "" if is_missing(row["nearest"]) or not row["nearest"] else f" (nearest: {row['nearest']})"
        return f"{at}: {row['reasons'] or 'not counted'}{nearest}"
    best = interval(*(row[f"best_goodput{end}"] for end in ("", "_lo", "_hi")))
    stable = [titles[name] for name in str(row["equilibria"]).split(", ") if name]
    words = f"{at}: best {titles[row['best']]} with {best} requests/s within both objectives"
    words += f"; equilibria {_listed(stable)}, price of anarchy {price(row, 'price_of_anarchy')}"
    crossing = _listed([titles[name] for name in str(row["variational"]).split(", ") if name])
    words += f"; marginal gains cross at {crossing}, price {price(row, 'price_of_variational')}"
    words += f"; staying here costs {price(row, 'price_here')}"
    if is_missing(row["best_unshared"]) or not row["best_unshared"]:
        return words
    before = titles[row["best_unshared"]]
    kept = price(row, "price_unshared")
    return f"{words}; without shared prefixes {before} is best, and keeping it costs {kept}"


def price(row: Row, name: str) -> str:
    """A price with its interval, or that it is unbounded."""
    if not is_missing(row["unbounded"]) and name in str(row["unbounded"]).split(", "):
        return "unbounded"
    return interval(row[name], row[f"{name}_lo"], row[f"{name}_hi"])


def notes(system: System, workload: str) -> list[str]:
    """Under the first workload alone: what a load that moves costs, and what follows for an operator."""
    if workload != next(iter(system.info["workloads"])):
        return []
    moving = system.frames["moving"]
    known = moving[moving["valid"].astype(bool) & moving["price"].notna()]
    if known.empty:
        return []
    best = known.sort_values("price", kind="stable").iloc[0]
    stages = "; ".join(
        f"{system.info['workloads'][stage['workload']]['title']} at C = {stage['concurrency']}"
        for stage in system.info["moving"]
    )
    words = f"Of a load that moves ({stages}) {best['split_title']} is the best split to keep, at a price of "
    words += interval(best["price"], best["price_lo"], best["price_hi"])
    here = moving[moving["here"].astype(bool)]
    if not here.empty and here.iloc[0]["split"] != best["split"]:
        words += f"; {system.info['topology_title']} costs {_moving(here.iloc[0])}"
    return [
        words,
        f"For an operator of this load: {best['split_title']}, as simulated; nothing was measured on GPUs",
    ]


def answer(systems: Sequence[System]) -> str:
    """The best split to keep of each model and its price, and the price of anarchy over all games."""
    told, games = [], []
    for model, system in {system.info["model_title"]: system for system in systems}.items():
        games.append(system.frames["prices"]["price_of_anarchy"])
        moving = system.frames["moving"]
        known = moving[moving["valid"].astype(bool) & moving["price"].notna()]
        if not known.empty:
            best = known.sort_values("price", kind="stable").iloc[0]
            price = interval(best["price"], best["price_lo"], best["price_hi"])
            told.append(f"{best['split_title']} costs least on {model}, at a price of {price}")
    if not told:
        return "No run measured two splits of one budget."
    of_anarchy = span(list(pd.concat(games)))
    return f"Kept while the load moves, {'; '.join(told)}. The price of anarchy of a split is {of_anarchy}."


def _moving(row: pd.Series[Any]) -> str:
    if bool(row["unbounded"]):
        return "unbounded"
    return interval(row["price"], row["price_lo"], row["price_hi"])


def _titles(system: System) -> dict[str, str]:
    game = system.frames["game"]
    return dict(zip(game["split"], game["split_title"], strict=True))


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
