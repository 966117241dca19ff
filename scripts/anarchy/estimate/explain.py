"""A worked example: the whole computation of one window, as text that can be followed with a calculator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from anarchy.engines.devices import engine_label
from anarchy.estimate.game import METRIC_END
from anarchy.estimate.ladder import Curves, fit_launches
from anarchy.estimate.traces import Cell, LadderCells, Settings, read_any
from anarchy.games.latency import FullLatency
from anarchy.games.requests import FloatArray
from anarchy.games.routing import WindowCosts, WindowExample, explain_window, window_costs
from anarchy.ground.errors import UserError
from anarchy.ground.terminal import visible
from anarchy.trace.reader import CellTrace


def explain(groups: Sequence[LadderCells], cell: str, settings: Settings, window: int | None = None) -> str:
    """Everything that makes the numbers of one window of one cell.

    `cell` is a cell's name or its folder; without `window` the one whose own ratio is the median is taken.
    Raises UserError where there is no such cell or window, or more than one.
    """
    group, found = _find(groups, cell)
    game = found.game
    if game is None or len(game.windows) == 0:
        why = ", ".join(found.gates.reasons) or "it has no whole window"
        raise UserError(f"nothing is computed here: {why}", where=found.where, remedy="name another cell")
    curves, without = fit_launches(group.ladder if found.counts else group.aside)
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
    trace = read_any(found.where, settings.facts, settings.workers_from)
    how = "the one asked for" if window is not None else "the one whose own ratio is the median"
    return "\n".join(
        [
            *_head(found, settings),
            f"window {w} of {len(ratios)} (counted from 0; {how}), m = {len(example.row)} workers",
            "",
            *_curves(fitted, example),
            *_state(example),
            *_requests(example, trace, METRIC_END[settings.metric]),
            *_credits(example),
            *_frozen(example),
            *_congested(example),
            *_results(example),
            *_cell(costs, game.launch),
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


def _head(cell: Cell, settings: Settings) -> list[str]:
    of = cell.manifest
    engine = engine_label(of.engine, of.device, of.versions)
    names = f"{of.cell}: {of.model} {of.topology} {of.policy}"
    return [
        visible(f"cell {names}, C = {of.concurrency}, launch {of.launch}"),
        visible(f"{settings.pool} pool, metric {settings.metric}, engine {engine}; times in ms"),
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


def _state(example: WindowExample) -> list[str]:
    """The loads that the window begins with."""
    loads = "  ".join(f"n_{j} = {n}" for j, n in enumerate(example.load))
    return [
        f"frozen state at t = {example.t_start:.6f} s, when the window's first request was sent:  {loads}",
        "  n_j: requests of any phase on worker j, sent before and not yet gone",
        "",
    ]


def _requests(example: WindowExample, trace: CellTrace, end: str) -> list[str]:
    """Each request with its place in the trace, its latency, and what it adds to the cost of everybody."""
    intended, ended = (trace.column(name)[example.row] for name in ("t_intended", end))
    ids = trace.table.column("request_id").take(example.row).to_pylist()
    width = max(10, *(len(name) for name in ids))
    head = f"  i   {'request_id':<{width}}  t_intended s  {end} s  L_i = difference  worker j  place s"
    return [
        "what was done",
        f"{head}  pays marg_j(s)",
        *(
            f"  {i:<3} {ids[i]:<{width}}  {intended[i]:>12.6f}  {ended[i]:>{len(end) + 2}.6f}"
            f"  {_ms(example.latency[i]):>16}  {example.worker[i]:>8}  {example.place[i]:>7}"
            f"  {_ms(example.paid[i]):>14}"
            for i in range(len(ids))
        ),
        "  s: the request's place among the window's requests on its worker",
        "  marg_j(s) = (n_j+s) l_F(n_j+s) - (n_j+s-1) l_F(n_j+s-1): what one more there costs everybody",
        f"  SC, realised cost = sum of L_i = {_ms(example.SC)}",
        f"  SCm, modelled cost = sum of marg{_priced(example)} = {_ms(example.SCm)}",
        "",
    ]


def _priced(example: WindowExample) -> str:
    return ", each less its credit: max(0.1 c, c - credit)" if example.credit.any() else ""


def _credits(example: WindowExample) -> list[str]:
    """The overlap credits, where there are any."""
    if not example.credit.any():
        return []
    return [
        "overlap credit of request i on worker j = kappa x omega_i x o_ij",
        *_matrix(example.credit, "i", "worker"),
        "",
    ]


def _frozen(example: WindowExample) -> list[str]:
    if not example.credit.any():
        costs = [_ms(cost) for cost in example.frozen_cost[0]]
        return [
            "frozen optimum: every worker gets one request; without credits requests are alike, so every",
            "matching costs the same, sum over j of l_A(n_j + 1)",
            f"  OPTf = {' + '.join(costs)} = {_ms(example.OPTf)}",
            "",
        ]
    chosen = ", ".join(f"{i} on {j}" for i, j in enumerate(example.frozen_worker))
    return [
        f"frozen optimum: cost of request i on worker j = l_A(n_j + 1){_priced(example)}",
        *_matrix(example.frozen_cost, "i", "worker"),
        f"  every worker once, cheapest: {chosen}",
        f"  OPTf = {_ms(example.OPTf)}",
        "",
    ]


def _congested(example: WindowExample) -> list[str]:
    credited = example.credit.any()
    lines = [
        f"congested optimum: marg_j(s) of each place of each worker{', before credits' if credited else ''}",
        *_matrix(example.slot_cost, "j", "place", first=1),
        "  cheapest way to take one place for each request:",
    ]
    for i, (j, s, paid) in enumerate(
        zip(example.best_worker, example.best_place, example.best_paid, strict=True)
    ):
        lines.append(f"    request {i} on worker {j}, place {s}: {_ms(paid)}")
    return [*lines, f"  OPTc = {_ms(example.OPTc)}", ""]


def _matrix(values: FloatArray, row: str, column: str, first: int = 0) -> list[str]:
    head = "".join(f"{f'{column} {k + first}':>12}" for k in range(values.shape[1]))
    rows = ["".join(f"{_ms(value):>12}" for value in line) for line in values]
    return [f"  {row:<4}{head}", *(f"  {i:<4}{line}" for i, line in enumerate(rows))]


def _results(example: WindowExample) -> list[str]:
    e = example
    return [
        "this window",
        f"  SC / OPTf                  = {_ms(e.SC)} / {_ms(e.OPTf)} = {_ratio(e.SC, e.OPTf)}",
        f"  routing:  SCm / OPTc       = {_ms(e.SCm)} / {_ms(e.OPTc)} = {_ratio(e.SCm, e.OPTc)}",
        f"  dynamics: SC / SCm         = {_ms(e.SC)} / {_ms(e.SCm)} = {_ratio(e.SC, e.SCm)}",
        f"  freezing: OPTc / OPTf      = {_ms(e.OPTc)} / {_ms(e.OPTf)} = {_ratio(e.OPTc, e.OPTf)}",
        f"  dynamics x routing x freezing = {_ratio(e.SC, e.OPTf)}",
        "",
    ]


def _cell(costs: WindowCosts, launch: int) -> list[str]:
    """The ratios of sums over all windows of this cell and launch."""
    SC, SCm, OPTf, OPTc = (float(getattr(costs, name).sum()) for name in ("SC", "SCm", "OPTf", "OPTc"))
    return [
        f"all {len(costs)} windows of this cell, launch {launch} (an estimate pools the launches)",
        f"  PoA-hat = sum SC / sum OPTf  = {_ms(SC)} / {_ms(OPTf)} = {_ratio(SC, OPTf)}",
        f"  PoA-cal = sum SCm / sum OPTc = {_ms(SCm)} / {_ms(OPTc)} = {_ratio(SCm, OPTc)}",
        f"  dynamics {_ratio(SC, SCm)}, routing {_ratio(SCm, OPTc)}, freezing {_ratio(OPTc, OPTf)}",
    ]


def _ms(seconds: float) -> str:
    """Seconds as milliseconds with six significant digits."""
    return f"{float(f'{seconds * 1e3:.6g}'):.12g}"


def _ratio(over: float, under: float) -> str:
    return f"{over / under:.4f}" if under > 0.0 else "not defined"
