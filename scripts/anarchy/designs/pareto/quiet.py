"""What cells that were measured at several dilations would be on a quiet host, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pandas as pd

from anarchy.ground.errors import UserError
from anarchy.ground.words import interval
from anarchy.stats.quiet import LEAST, Quiet, at_no_noise, pooled_errors
from anarchy.tables import System

QUANTITIES: Final = ("ttft_mean", "poa_hat")
ENOUGH: Final = 3
"""Launches that tell a spread."""
_KEY: Final = ["engine", "workload", "policy", "concurrency"]


def quiet_table(systems: Sequence[System]) -> pd.DataFrame:
    """A row a system, engine, workload, policy, C and quantity that three dilations or more have.

    Columns: these, `dilations`, `at_most` (the value at the largest dilation), `value`, `lo`, `hi` (at no
    noise) and `p_line`; `ttft_mean` in ms. Cells that do not count, or lack three launches, are left out.
    Raises UserError where nothing is left.
    """
    rows = pd.DataFrame([row for system in systems for row in _rows(system)])
    if rows.empty:
        raise UserError(
            f"no cells of one policy that count at {LEAST} dilations or more, in {ENOUGH} launches each",
            where="quiet",
            remedy="make reproduce TIER=why EXPERIMENTS=quiet, and name results/why",
        )
    return rows


def quiet_words(table: pd.DataFrame) -> str:
    """`quiet_table` in Markdown."""
    lines = [
        "| system | users | policy | C | quantity | dilations | at the largest | quiet host | p of a line |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.system} | {row.workload} | {row.policy} | {row.concurrency} | {row.quantity} "
        f"| {row.dilations} | {row.at_most:.3g} | {interval(row.value, row.lo, row.hi)} | {row.p_line:.2f} |"
        for row in table.itertuples()
    ]
    return "\n".join(lines)


def _rows(system: System) -> Iterator[dict[str, object]]:
    pairs = system.rows
    counted = pairs[pairs["valid"] & (pairs["repeat"] == 1) & (pairs["n_launches"] >= ENOUGH)]
    for key, its in counted.groupby(_KEY, sort=False):
        for quantity in QUANTITIES:
            told = its.dropna(subset=[quantity, f"{quantity}_lo", f"{quantity}_hi"]).sort_values("dilation")
            if told["dilation"].nunique() < LEAST:
                continue
            scale = 1000.0 if quantity == "ttft_mean" else 1.0
            found = _carried_on(told, quantity, scale)
            yield {
                "system": f"{system.info['model']} {system.info['topology']}",
                **dict(zip(_KEY, key, strict=True)),
                "quantity": f"{quantity}, ms" if scale != 1.0 else quantity,
                "dilations": ", ".join(f"{one:g}" for one in told["dilation"]),
                "at_most": scale * float(told[quantity].iloc[-1]),
                "value": found.value,
                "lo": found.lo,
                "hi": found.hi,
                "p_line": found.p_line,
            }


def _carried_on(told: pd.DataFrame, quantity: str, scale: float) -> Quiet:
    values = (scale * told[quantity]).tolist()
    ends = told[f"{quantity}_lo"].tolist(), told[f"{quantity}_hi"].tolist()
    errors, df = pooled_errors(values, *ends, told["n_launches"].astype(int).tolist())
    return at_no_noise(told["dilation"].tolist(), values, errors, df)
