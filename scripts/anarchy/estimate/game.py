"""From a trace to the routing game of one of its pools; what the trace does not tell is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow.compute as pc

from anarchy.games.latency import CellSummary, summarise_cell
from anarchy.games.readings import ReadCosts
from anarchy.games.requests import BoolArray, FloatArray, Metric, Requests
from anarchy.games.routing import Windows, curve_rows, windows
from anarchy.gates.errors import MAX_ERROR_SHARE
from anarchy.ground.errors import UserError
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import OVERLAP_COLUMNS, Manifest

Pool = Literal["decode", "prefill"]

METRIC_END: Final[dict[Metric, str]] = {"ttft": "t_first_token", "e2e": "t_last_token"}
"""Where the latency of a request ends; it begins at `t_intended`."""


@dataclass(frozen=True, eq=False)
class CellGame:
    """One cell, cut into windows and reduced for the fits: all that an estimate keeps of its trace.

    `ttft` (measured requests,) s in order of sending, NaN where the trace does not tell it.
    """

    manifest: Manifest
    windows: Windows
    summary: CellSummary
    ttft: FloatArray
    left_out: int = 0
    """Measured requests that ended well on an unknown worker, a share that the gate `errors` lets pass."""
    read: ReadCosts | None = None
    """Costs of its windows under a reading that needs a timing table (`reading.with_reading`)."""

    @property
    def launch(self) -> int:
        """Number of the deployment's launch."""
        return self.manifest.launch


def cell_game(trace: CellTrace, pool: Pool = "decode", metric: Metric = "ttft") -> CellGame:
    """Cut a cell into windows; raises UserError where its trace does not tell what that takes."""
    requests = requests_of(trace, pool, metric)
    left_out = int(np.count_nonzero(trace.measured & (requests.worker < 0)))
    seen = windows(requests, metric)
    rows = curve_rows(requests, seen)
    summary = summarise_cell(rows.x, rows.latency, omega_overlap=rows.omega_overlap, top=rows.top)
    return CellGame(trace.manifest, seen, summary, trace.ttft, left_out)


def requests_of(trace: CellTrace, pool: Pool = "decode", metric: Metric = "ttft") -> Requests:
    """The requests of a cell as the routing game of one pool takes them.

    A request is on its decode worker from sending until it is over, on its prefill worker to its first token.
    The rows of a trace stand in order of sending, ties by id, so a row's place serves as its id.
    Raises UserError naming the file and the row.
    """
    manifest = trace.manifest
    m = manifest.n_workers.decode if pool == "decode" else manifest.n_workers.prefill
    if pool == "prefill" and m < 2:
        raise UserError(
            "n_workers.prefill is 1, so nothing is routed among prefill workers",
            where=trace.directory / MANIFEST_FILE,
            remedy="estimate the decode pool (--pool decode)",
        )
    worker = trace.column(f"{pool}_worker").astype(np.int64)
    measured = trace.measured
    _refuse_unknown(trace, pool, metric, measured)
    first, last, ends = trace.column("t_first_token"), trace.column("t_last_token"), trace.ends
    left = ends if pool == "decode" else np.where(np.isnan(first), ends, first)
    sent = trace.column("t_sent")
    known_end = max(float(np.fmax.reduce(times, initial=0.0)) for times in (sent, first, ends))
    overlap = _overlap(trace, pool, m)
    return Requests(
        request_id=np.arange(len(worker)),
        t_intended=trace.column("t_intended"),
        t_sent=sent,
        t_first_token=first,
        t_last_token=last,
        worker=worker,
        counted=measured & (worker >= 0),
        n_workers=m,
        cell_end=known_end if manifest.duration_s is None else manifest.duration_s,
        overlap=overlap,
        omega=None if overlap is None else trace.column("omega"),
        t_left=left,
    )


_UNTOLD: Final = {
    "t_intended": "a latency counts from when its user was free; where the client sends at once, import "
    "the trace with --assume-intended-is-sent, or fill the column",
    "t_first_token": "only a streaming client knows it; --metric e2e with --pool decode does without; "
    "join Dynamo's trace with the client's records, or import with --assume-ttft-is-first-token",
    "t_last_token": "without it nobody knows the load on the workers; fill the column",
}
"""Remedy by column."""


def _refuse_unknown(trace: CellTrace, pool: Pool, metric: Metric, measured: BoolArray) -> None:
    """Refuse a measured request without what its latency and its load are made of."""
    left = "t_last_token" if pool == "decode" else "t_first_token"
    for name in dict.fromkeys(("t_intended", METRIC_END[metric], left)):
        untold = measured & np.isnan(trace.column(name))
        _refuse_rows(trace, untold, f"measured and ok, but has no {name}", _UNTOLD[name])
    unknown = measured & (trace.column(f"{pool}_worker") < 0)
    if np.count_nonzero(unknown) > MAX_ERROR_SHARE * np.count_nonzero(measured):
        joined = "workers_from" in trace.manifest.source
        _refuse_rows(
            trace,
            unknown,
            f"measured and ok, but nobody knows its {pool} worker, which {MAX_ERROR_SHARE:.1%} may lack",
            "Dynamo's trace lacks these requests: name the trace of every frontend (--workers-from, once for "
            "each), whole; where Dynamo dropped records, record again"
            if joined
            else "fill the column; an imported trace takes them from Dynamo's: "
            "`anarchy import --workers-from`",
        )


def _refuse_rows(trace: CellTrace, wrong: BoolArray, what: str, remedy: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"request {trace.table.column('request_id')[row].as_py()} {what} "
            f"({int(wrong.sum())} of {trace.table.num_rows} requests, row {row} in order of sending)",
            where=file if (file := trace.directory / TRACE_FILE).is_file() else trace.directory,
            remedy=remedy,
        )


def _overlap(trace: CellTrace, pool: Pool, m: int) -> FloatArray | None:
    """Share of each request's prompt blocks on each worker, (N, m), NaN where unknown; None where untold."""
    name = OVERLAP_COLUMNS[pool]
    if name not in trace.table.column_names:
        return None
    column = trace.table.column(name).combine_chunks()
    told = column.is_valid().to_numpy(zero_copy_only=False)
    sizes = pc.fill_null(pc.list_value_length(column), m).to_numpy()
    _refuse_rows(trace, sizes != m, f"has a {name} of another length than the pool's {m}", "mend the column")
    shares = np.full((len(column), m), np.nan)
    shares[told] = pc.list_flatten(column).to_numpy(zero_copy_only=False).reshape(-1, m)
    wrong = np.asarray(((shares < 0.0) | (shares > 1.0)).any(axis=1))
    _refuse_rows(trace, wrong, f"has a share outside [0, 1] in {name}", "mend the column")
    return shares
