"""A worked example: the whole computation of one window, as text that can be followed with a calculator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from anarchy.errors import UserError
from anarchy.estimate.ladder import Curves, Ladder, fit_launches
from anarchy.estimate.traces import Cell, LadderCells
from anarchy.games.latency import FullLatency
from anarchy.games.requests import FloatArray
from anarchy.games.routing import WindowExample, explain_window, window_costs


def explain(groups: Sequence[LadderCells], cell: str, window: int | None = None) -> str:
    """Everything that makes the numbers of one window of one cell.

    `cell` is a cell's name or its folder; without `window` the one whose own ratio is the median is taken.
    Raises UserError where there is no such cell or window, or more than one.
    """
    group, found = _find(groups, cell)
    game = found.game
    if game is None or len(game.windows) == 0:
        why = ", ".join(found.gates.reasons) or "it has no whole window"
        raise UserError(
            f"nothing is computed of this cell: {why}", where=found.where, remedy="name another cell"
        )
    curves, without = fit_launches(group.ladder)
    if game.launch not in curves:
        raise UserError(
            f"launch {game.launch}: {without[game.launch]}",
            where=found.where,
            remedy="give the cells of the same deployment at low concurrency as well, or move --c-ref",
        )
    fitted = curves[game.launch]
    costs = window_costs(game.windows, fitted.affine, fitted.full)
    ratios = costs.SC / costs.OPTf
    w = int(np.argsort(ratios, kind="stable")[(len(ratios) - 1) // 2]) if window is None else window
    if w >= len(ratios):
        raise UserError(
            f"has no window {w}: there are {len(ratios)}, counted from 0",
            where=found.where,
            remedy=f"--window 0 to {len(ratios) - 1}",
        )
    example = explain_window(game.windows, w, fitted.affine, fitted.full)
    return "\n".join(
        [
            *_head(found, group.ladder, w, len(ratios), chosen=window is not None),
            *_curves(fitted, example),
            *_requests(example),
            *_frozen(example),
            *_congested(example),
            *_results(example, costs.SC, costs.OPTf),
            "",
        ]
    )


def _find(groups: Sequence[LadderCells], name: str) -> tuple[LadderCells, Cell]:
    every = [(group, cell) for group in groups for cell in group.cells]
    path = name.rstrip("/")
    found = [(g, c) for g, c in every if c.manifest.cell == name or str(c.where) == path]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{len(found)} cells have the name {name!r}",
            remedy="name the folder: " + ", ".join(str(cell.where) for _, cell in found),
        )
    known = sorted({cell.manifest.cell for _, cell in every})
    raise UserError(f"there is no cell {name!r}", remedy="known: " + ", ".join(known))


def _head(cell: Cell, ladder: Ladder, w: int, n: int, *, chosen: bool) -> list[str]:
    of = cell.manifest
    how = "the one asked for" if chosen else "the one whose own ratio is the median"
    return [
        f"cell {of.cell}: {of.model} {of.topology} {of.policy}, C = {of.concurrency}, launch {of.launch}",
        f"window {w} of {n} (counted from 0; {how}); m = {ladder.n_workers} workers; times in ms",
        "",
    ]


def _curves(curves: Curves, example: WindowExample) -> list[str]:
    affine, full = curves.affine, curves.full
    kappa = f", overlap credit kappa = {_ms(affine.kappa)}" if example.credit.any() else ""
    return [
        "latency curves, x = load on the worker, the request itself counted",
        f"  l_A(x) = {_ms(affine.alpha)} + {_ms(affine.beta)} x{kappa}",
        f"  l_F(x) = {_ms(full.c0)}" + "".join(_hinges(full)),
        "",
    ]


def _hinges(full: FullLatency) -> Iterable[str]:
    return (f" + {_ms(b)} max(0, x - {k:g})" for k, b in zip(full.knots, full.slopes, strict=True) if b > 0)


def _requests(example: WindowExample) -> list[str]:
    loads = "  ".join(f"n_{j} = {n}" for j, n in enumerate(example.load))
    return [
        f"frozen state at t = {example.t_start:.4f} s:  {loads}",
        "",
        "what was done",
        "  i   worker  place    latency L_i   pays marg",
        *(
            f"  {i:<3} {example.worker[i]:>5}  {example.place[i]:>5}  {_ms(example.latency[i]):>13}"
            f"  {_ms(example.paid[i]):>10}"
            for i in range(len(example.row))
        ),
        f"  SC  = sum of L_i       = {_ms(example.SC)}",
        f"  SCm = sum of marg paid = {_ms(example.SCm)}",
        "  (marg of place s on worker j: (n_j+s) l_F(n_j+s) - (n_j+s-1) l_F(n_j+s-1)" + _less(example) + ")",
        "",
    ]


def _less(example: WindowExample) -> str:
    return ", less the request's credit, at most 90 %" if example.credit.any() else ""


def _frozen(example: WindowExample) -> list[str]:
    chosen = ", ".join(f"{i} on {j}" for i, j in enumerate(example.frozen_worker))
    return [
        "frozen optimum: cost of request i on worker j = l_A(n_j + 1)" + _less(example),
        *_matrix(example.frozen_cost, "i", "worker"),
        f"  every worker once, cheapest: {chosen}",
        f"  OPTf = {_ms(example.OPTf)}",
        "",
    ]


def _congested(example: WindowExample) -> list[str]:
    taken = ", ".join(
        f"{i} on {j} place {s} ({_ms(paid)})"
        for i, (j, s, paid) in enumerate(
            zip(example.best_worker, example.best_place, example.best_paid, strict=True)
        )
    )
    return [
        "congested optimum: marg of each place of each worker"
        + (", before credits" if _less(example) else ""),
        *_matrix(example.slot_cost, "j", "place", first=1),
        f"  cheapest: {taken}",
        f"  OPTc = {_ms(example.OPTc)}",
        "",
    ]


def _matrix(values: FloatArray, row: str, column: str, first: int = 0) -> list[str]:
    head = "".join(f"{f'{column} {k + first}':>12}" for k in range(values.shape[1]))
    rows = ["".join(f"{_ms(value):>12}" for value in line) for line in values]
    return [f"  {row:<4}{head}", *(f"  {i:<4}{line}" for i, line in enumerate(rows))]


def _results(example: WindowExample, SC: FloatArray, OPTf: FloatArray) -> list[str]:
    e = example
    total = f"{_ms(SC.sum())} / {_ms(OPTf.sum())} = {_ratio(SC.sum(), OPTf.sum())}"
    return [
        "this window",
        f"  SC / OPTf               = {_ms(e.SC)} / {_ms(e.OPTf)} = {_ratio(e.SC, e.OPTf)}",
        f"  SCm / OPTc  (routing)   = {_ms(e.SCm)} / {_ms(e.OPTc)} = {_ratio(e.SCm, e.OPTc)}",
        f"  SC / SCm    (dynamics)  = {_ratio(e.SC, e.SCm)}",
        f"  OPTc / OPTf (freezing)  = {_ratio(e.OPTc, e.OPTf)}",
        f"  dynamics x routing x freezing = SC / OPTf = {_ratio(e.SC, e.OPTf)}",
        "",
        f"this cell and launch: PoA-hat = sum SC / sum OPTf over {len(SC)} windows = {total}",
    ]


def _ms(seconds: float) -> str:
    """Seconds as milliseconds with five significant digits."""
    return f"{float(f'{seconds * 1e3:.5g}'):.10g}"


def _ratio(over: float, under: float) -> str:
    return f"{over / under:.4f}" if under > 0.0 else "not defined"
