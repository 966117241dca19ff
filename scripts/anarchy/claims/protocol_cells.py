"""From the sealed cells of the 20-minute protocol to the numbers that tell its hypotheses apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from anarchy.claims.hypotheses import Seen
from anarchy.estimate.loads import measured_times, worker_loads
from anarchy.games.requests import FloatArray
from anarchy.ground.errors import UserError
from anarchy.trace.reader import CellTrace, read_cell, sealed_cells

EXPERIMENT: Final = "protocol"
IN_STEP, APART, TEMPLATES = "in-step", "one-token", "one-token-templates"
FREE, LIMITED = "free", "limited"
COLD, SOFT = 0.0, 0.7


class Key(NamedTuple):
    """Which cell of the protocol."""

    routing: str
    workload: str
    tau: float
    concurrency: int


Cells = Mapping[Key, CellTrace]
Measure = Callable[[CellTrace], float]


def read_cells(folder: Path) -> dict[Key, CellTrace]:
    """Every sealed cell of the protocol under a tier's folder of results; only valid ones count.

    Raises UserError where there is none at all, and where cells of several engines, versions of Dynamo or
    systems lie together.
    """
    found: dict[Key, CellTrace] = {}
    served: dict[tuple[str, ...], Path] = {}
    for deployment in sorted((folder / "raw" / EXPERIMENT).glob("*/*/*/*")):
        for directory in sealed_cells(deployment):
            trace = read_cell(directory)
            its = trace.manifest
            by = (its.model, its.topology, its.engine, its.versions.get("ai-dynamo") or "")
            served.setdefault(by, directory)
            if its.gates is not None and its.gates.valid and trace.table.num_rows:
                tau = float(trace.column("tau")[0])
                found[Key(deployment.parent.name, its.workload, tau, its.concurrency)] = trace
    if not served:
        raise UserError(
            f"holds no sealed cell of experiment {EXPERIMENT}",
            where=folder,
            remedy="run make smoke-b200 WHY=1, or name the folder of its tier: results/smoke-b200/gpu",
        )
    if len(served) > 1:
        told = "; ".join(
            f"{' '.join(filter(None, by))} ({where.parent.parent})" for by, where in served.items()
        )
        raise UserError(
            f"cells of {len(served)} systems or stacks lie together, and ratios of them mean nothing: {told}",
            where=folder,
            remedy="move all but one of them away",
        )
    return found


def seen_in(cells: Cells) -> Seen:
    """The numbers of the protocol; each None where a cell behind it is missing."""
    deep = sorted({key.concurrency for key in cells if key.concurrency > 1})
    largest = deep[-1:]
    return Seen(
        march=_ratio(cells, _mean, deep, (FREE, IN_STEP, COLD), (FREE, APART, COLD)),
        dissolved=_ratio(cells, _mean, deep, (FREE, IN_STEP, COLD), (FREE, IN_STEP, SOFT)),
        crowd=_crowd(cells, largest),
        limit=_ratio(cells, _p99, largest, (LIMITED, TEMPLATES, COLD), (FREE, TEMPLATES, COLD)),
        cured=_ratio(cells, _p99, largest, (LIMITED, TEMPLATES, COLD), (LIMITED, TEMPLATES, SOFT)),
        bypass=_bypass([trace for key, trace in cells.items() if key.tau == SOFT]),
        placebo=_placebo(cells, deep),
        placebo_largest=_placebo(cells, largest),
    )


def _mean(trace: CellTrace) -> float:
    return float(np.mean(trace.ttft))


def _p99(trace: CellTrace) -> float:
    return float(np.quantile(trace.ttft, 0.99))


def _ratio(
    cells: Cells,
    measure: Measure,
    grid: Sequence[int],
    above: tuple[str, str, float],
    below: tuple[str, str, float],
) -> float | None:
    """Geometric mean over the grid of one cell's number over another's; None where one is missing."""
    logs = _logs(cells, measure, grid, above, below)
    return None if logs is None else float(np.exp(np.mean(logs)))


def _placebo(cells: Cells, grid: Sequence[int]) -> float | None:
    """How far the placebo pair is apart, over the grid: the larger number over the smaller at each C.

    Whichever is larger at a C: chance goes both ways, and two ways must not cancel.
    """
    logs = _logs(cells, _p99, grid, (FREE, APART, COLD), (FREE, APART, SOFT))
    return None if logs is None else float(np.exp(np.mean(np.abs(logs))))


def _logs(
    cells: Cells,
    measure: Measure,
    grid: Sequence[int],
    above: tuple[str, str, float],
    below: tuple[str, str, float],
) -> FloatArray | None:
    """Logarithm of one cell's number over another's at each C; None where a cell is missing."""
    pairs = [(cells.get(Key(*above, C)), cells.get(Key(*below, C))) for C in grid]
    logs = [np.log(measure(up) / measure(down)) for up, down in pairs if up is not None and down is not None]
    return np.array(logs) if logs and len(logs) == len(pairs) else None


def _crowd(cells: Cells, largest: Sequence[int]) -> float | None:
    """Mean over time of the fullest less the emptiest decode worker, over an even share."""
    traces = [found for C in largest if (found := cells.get(Key(FREE, TEMPLATES, COLD, C))) is not None]
    if not traces:
        return None
    (trace,) = traces
    loads = worker_loads(trace, measured_times(trace))
    even = trace.manifest.concurrency / trace.manifest.n_workers.decode
    return float(np.ptp(loads, axis=1).mean() / even) if len(loads) else None


def _bypass(traces: Sequence[CellTrace]) -> float | None:
    """Share of measured requests that no prefill worker is known of."""
    known = [trace.column("prefill_worker")[trace.measured] >= 0 for trace in traces]
    return float(1.0 - np.mean(np.concatenate(known))) if known else None
