"""Gate `worker_silent`: workers that nobody asked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from anarchy.gates.gate import Gate, Role, Verdict
from anarchy.trace.reader import CellTrace

SILENT_AFTER_PER_WORKER: Final = 30
"""`worker_silent`: a worker had no request although the cell sent this many for each worker of its pool."""


def worker_silent(trace: CellTrace, roles: Collection[Role] = ("prefill", "decode")) -> Verdict:
    """A worker of these pools took no request of the cell although there were plenty.

    Not a fault where the client pinned every request: then nobody chose that worker, which is the policy's
    doing, and one that was chosen and did not answer is an error.
    """
    fewest: list[int] = []
    silent = False
    ok = trace.equals("status", "ok")
    for role in roles:
        size: int = getattr(trace.manifest.n_workers, role)
        workers = trace.column(f"{role}_worker")[ok]
        counts = np.bincount(workers[workers >= 0], minlength=size)
        fewest.append(int(counts.min()))
        silent |= bool(counts.min() == 0 and ok.sum() >= SILENT_AFTER_PER_WORKER * size)
    bad = silent and trace.manifest.way != "pinned"
    return bad, {"fewest_requests_of_a_worker": float(min(fewest))}


GATE: Final = Gate(
    name="worker_silent",
    rank=50,
    sentence="A worker of these pools took no request of the cell although there were plenty.",
    threshold=f"{SILENT_AFTER_PER_WORKER} requests for each worker of its pool",
    machine=True,
    own=True,
    public=True,
    ask=lambda asked: worker_silent(asked.trace, asked.roles),
)
