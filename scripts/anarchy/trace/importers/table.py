"""Requests of any source, gathered in columns and turned into a trace of this project."""

from __future__ import annotations

import datetime
import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from anarchy.ground.errors import UserError
from anarchy.ground.files import sha256_of
from anarchy.trace.importers.facts import Facts, Told, missing, option
from anarchy.trace.importers.lines import Line
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import PUBLIC_SCHEMA, Manifest, WorkerCount, WorkerEntry

MISSING: Final = -1
NS: Final = 1_000_000_000
ROLES: Final = ("prefill", "decode")
TIMES: Final = {
    "t_sent": "sent",
    "t_intended": "intended",
    "t_first_token": "first",
    "t_last_token": "last",
    "t_end": "ended",
}
"""Column of a trace and its name here."""
FEWEST_OF_A_START: Final = 30
"""Requests on each side of a moment at which all workers change, for it to be another start; ours."""
MOST_LATENCIES: Final = 0.99
"""Share of the requests that are over within what is left out before a torn end."""

Worker = tuple[int, int]
"""A serving worker: its 64-bit id and its data-parallel rank."""


class Request(NamedTuple):
    """One request of a source; times in ns of its wall clock, None where it does not tell.

    Times and numbers stand together, in the order of `Requests`' columns.
    """

    request_id: str
    sent: int
    intended: int | None
    first: int | None
    last: int | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    prefill: Worker | None
    decode: Worker | None
    phase: str
    status: str
    ended: int | None
    """When it was over, well or not: it is load until then."""


class Pool:
    """The workers of one role, in the order in which they were seen, and who served each request."""

    def __init__(self) -> None:
        self.seen: dict[Worker, int] = {}
        self.served = array("q")

    def append(self, worker: Worker | None) -> None:
        """Add the worker of one more request."""
        self.served.append(MISSING if worker is None else self.seen.setdefault(worker, len(self.seen)))

    def indices(self) -> npt.NDArray[np.int64]:
        """Index of each request's worker in sorted order of the ids, -1 when unknown; shape (rows,)."""
        ranks = np.full(len(self.seen) + 1, MISSING, dtype=np.int64)
        for rank, worker in enumerate(sorted(self.seen)):
            ranks[self.seen[worker]] = rank
        return ranks[np.frombuffer(self.served, dtype=np.int64)]

    def entries(self, role: Any) -> list[WorkerEntry]:
        """Rows of the manifest's worker table; the rank is named where the pool has any but 0."""
        ranked = any(rank for _, rank in self.seen)
        names = [f"{worker}:{rank}" if ranked else str(worker) for worker, rank in sorted(self.seen)]
        return [WorkerEntry(role=role, index=index, instance_id=name) for index, name in enumerate(names)]


class Requests:
    """All requests of one source in columns: about 0.2 kB a request."""

    def __init__(self) -> None:
        self.request_id: list[str] = []
        self.phase: list[str] = []
        self.status: list[str] = []
        self.times = {name: array("q") for name in ("sent", "intended", "first", "last", "ended")}
        self.tokens = {name: array("q") for name in ("input_tokens", "output_tokens", "cached_tokens")}
        self.pools = {role: Pool() for role in ROLES}
        self._numbers = (*self.times.values(), *self.tokens.values())
        self._ids: set[str] = set()

    def append(self, line: Line, request: Request) -> None:
        """Add one request; raises UserError for an id seen before or times out of order."""
        if request.request_id in self._ids:
            raise line.fault(
                f"repeats the request id {request.request_id!r}",
                "a file that was glued together of two: take it as its program wrote it",
            )
        self._ids.add(request.request_id)
        _check_order(line, request)
        self.request_id.append(request.request_id)
        self.phase.append(request.phase)
        self.status.append(request.status)
        numbers = (*request[1:5], request.ended, *request[5:8])
        for column, value in zip(self._numbers, numbers, strict=True):
            column.append(MISSING if value is None else value)
        self.pools["prefill"].append(request.prefill)
        self.pools["decode"].append(request.decode)

    def __len__(self) -> int:
        return len(self.request_id)


def _check_order(line: Line, request: Request) -> None:
    """Refuse a request whose first token precedes its sending, or whose last token or end precedes either."""
    first = request.sent if request.first is None else request.first
    if first < request.sent:
        raise line.fault(f"has its first token {(request.sent - first) / NS:g} s before it was sent")
    if request.last is not None and request.last < first:
        raise line.fault(f"has its last token {(first - request.last) / NS:g} s before its first")
    last = first if request.last is None else request.last
    if request.ended is not None and request.ended < last:
        raise line.fault(f"was over {(last - request.ended) / NS:g} s before its last token")
    if request.intended is not None and request.intended > request.sent:
        raise line.fault(
            f"was sent {(request.intended - request.sent) / NS:g} s before it was meant to be",
            "the clocks of its hosts disagree; to measure from the sending alone: "
            + option("assume_intended_is_sent"),
        )


def assemble(sources: Sequence[Path], requests: Requests, told: Told, facts: Facts) -> CellTrace:
    """Turn gathered requests into a trace; raises UserError when a needed fact is told by nobody."""
    source = sources[0]
    if not len(requests):
        raise UserError("holds no request", where=source, remedy="record under load, then import again")
    times = {name: np.frombuffer(values, dtype=np.int64) for name, values in requests.times.items()}
    if facts.assume_intended_is_sent:
        times = {**times, "intended": times["sent"]}
    known = times["intended"][times["intended"] != MISSING]
    zero = int(min(times["sent"].min(), known.min(initial=times["sent"].min())))
    sent_s = (times["sent"] - zero) / NS
    phases = np.asarray(requests.phase, dtype=object)
    _check_one_start(source, requests, times["sent"])
    notes = _cut_torn_end(phases, times, told)
    phases = _cut(phases, sent_s, facts, source)
    unended = int(np.count_nonzero(times["ended"] == MISSING))
    if unended:
        notes.append(
            f"{unended} requests have no end in any source: they count as load to the end of the cell"
        )
    table = _table(requests, times, zero, phases, facts.policy)
    duration_s = (int(max(values.max() for values in times.values())) - zero) / NS
    manifest = _manifest(
        source, requests, replace(told, notes=(*told.notes, *notes)), facts, zero, duration_s
    )
    return CellTrace(source, manifest, table)


def _check_one_start(source: Path, requests: Requests, sent: npt.NDArray[np.int64]) -> None:
    """Refuse a trace whose decode workers fall into groups that never served at the same time.

    A deployment that was started again has workers of new names: taken as one pool, half of it would be idle.
    """
    workers = requests.pools["decode"].indices()
    known = np.flatnonzero(workers >= 0)
    spans = sorted(
        (int(sent[rows].min()), int(sent[rows].max()), rows.size)
        for rows in (known[workers[known] == worker] for worker in np.unique(workers[known]))
    )
    last, before = 0, 0
    for place, (first, end, count) in enumerate(spans):
        after = sum(size for _, _, size in spans[place:])
        if place and first > last and min(before, after) >= FEWEST_OF_A_START:
            raise UserError(
                f"holds several starts: {place} of {len(spans)} decode workers served nothing "
                f"after {_utc(last)}, the others nothing before {_utc(first)}",
                where=source,
                remedy=f"a cell is one start: split the file (request_received_ms {first // 1_000_000}) "
                "and import each part by itself",
            )
        last, before = max(last, end), before + count


def _utc(ns: int) -> str:
    return datetime.datetime.fromtimestamp(ns / NS, datetime.UTC).isoformat(timespec="milliseconds")


def _cut_torn_end(phases: npt.NDArray[Any], times: dict[str, npt.NDArray[np.int64]], told: Told) -> list[str]:
    """Leave out of the measured requests those at a torn end beside which others may be missing.

    A request is recorded when it is over, so of those sent within a latency of the end some are not there.
    Changes `phases`; returns what is to be noted.
    """
    if told.whole_until is None:
        return []
    known = times["ended"] != MISSING
    took = (times["ended"] - times["sent"])[known]
    margin = int(np.quantile(took, MOST_LATENCIES)) if took.size else 0
    late = (phases == "measure") & (times["sent"] > told.whole_until - margin)
    phases[late] = "cooldown"
    note = f"torn: {int(late.sum())} requests sent within {margin / NS:g} s of the torn end are not measured"
    return [f"{note}: others of that time may be missing"]


def _cut(phases: npt.NDArray[Any], sent_s: npt.NDArray[Any], facts: Facts, source: Path) -> npt.NDArray[Any]:
    """Phases after the caller's cuts at both ends of the measured requests; shape (rows,)."""
    measured = phases == "measure"
    if measured.any():
        first, last = sent_s[measured].min(), sent_s[measured].max()
        phases[measured & (sent_s < first + facts.warmup_s)] = "warmup"
        phases[measured & (sent_s > last - facts.cooldown_s)] = "cooldown"
    if not (phases == "measure").any():
        raise UserError(
            f"no measured request is left of {len(phases)}",
            where=source,
            remedy=f"cut less off with {option('warmup_s')} and {option('cooldown_s')}, or record for longer",
        )
    return phases


def _table(
    requests: Requests,
    times: dict[str, npt.NDArray[np.int64]],
    zero: int,
    phases: npt.NDArray[Any],
    policy: str | None,
) -> pa.Table:
    """The table of PUBLIC_SCHEMA in the order of sending; what nobody tells is null."""
    rows = len(requests)
    columns: dict[str, pa.Array] = {
        "request_id": pa.array(requests.request_id, pa.string()),
        "phase": pa.array(phases, pa.string()),
        "status": pa.array(requests.status, pa.string()),
    }
    for column, name in TIMES.items():
        columns[column] = pa.array((times[name] - zero) / NS, pa.float64(), mask=times[name] == MISSING)
    for name, counted in requests.tokens.items():
        counts = np.frombuffer(counted, dtype=np.int64).astype(np.int32)
        columns[name] = pa.array(counts, pa.int32(), mask=counts == MISSING)
    for role, pool in requests.pools.items():
        columns[f"{role}_worker"] = pa.array(pool.indices().astype(np.int32), pa.int32())
    if policy is not None:
        columns["policy"] = pa.array([policy] * rows, pa.string())
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in PUBLIC_SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=PUBLIC_SCHEMA)
    return table.sort_by([("t_sent", "ascending"), ("request_id", "ascending")])


def _manifest(
    source: Path, requests: Requests, told: Told, facts: Facts, zero: int, duration_s: float
) -> Manifest:
    notes = list(told.notes)
    counts = {role: _count(role, requests.pools[role], facts, source, notes) for role in ROLES}
    values: dict[str, Any] = {
        "cell": facts.cell or told.cell,
        "model": _fact("model", "llama-3.1-70b", facts.model, told.model, source, notes),
        "topology": facts.topology or f"{counts['prefill']}p{counts['decode']}d",
        "policy": facts.policy or "unknown",
        "concurrency": _fact("concurrency", "64", facts.concurrency, told.concurrency, source, notes),
        "n_workers": WorkerCount(prefill=counts["prefill"], decode=counts["decode"]),
        "launch": 1 if facts.launch is None else facts.launch,
        "engine": facts.engine or "unknown",
        "started_at": _utc(zero),
        "duration_s": duration_s,
        "loop": facts.loop or told.loop or "closed",
        "workers": tuple(entry for role in ROLES for entry in requests.pools[role].entries(role)),
        "versions": told.versions,
        "source": _source(told, requests, facts, notes),
    }
    try:
        return Manifest(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise UserError(
            f"{key.replace('_', ' ')} {first.get('input')!r}: {first['msg']}",
            where=source,
            remedy=f"name another: {option(key)}"
            if key in Facts.__dataclass_fields__
            else "its requests lie too far apart for one cell: record each run into a file of its own",
        ) from None


def _fact(name: str, example: str, given: Any, told: Any, where: Path, notes: list[str]) -> Any:
    """What the caller gives, else what the source tells; a contradiction is noted."""
    if given is None and told is None:
        raise missing(name, example, where)
    if given is not None and told is not None and given != told:
        notes.append(f"{name}: the source says {told!r}, the caller {given!r}; the caller's stands")
    return told if given is None else given


def _count(role: str, pool: Pool, facts: Facts, source: Path, notes: list[str]) -> int:
    """Workers of a pool: the caller's number, else those seen."""
    given: int | None = getattr(facts, f"{role}_workers")
    if given is None:
        if not pool.seen:
            raise UserError(
                f"nothing here tells the {role} workers, and an estimate needs them request by request",
                where=source,
                remedy=f"join Dynamo's request trace of the same run: {option('workers_from')} dynamo.jsonl; "
                f"or, for a trace without workers, {option(f'{role}_workers')} 2",
            )
        notes.append(f"n_workers.{role} is {len(pool.seen)}, the workers seen: an idle one is not among them")
        return len(pool.seen)
    if given < len(pool.seen):
        raise UserError(
            f"{given} {role} workers, but {len(pool.seen)} were seen",
            where=source,
            remedy=f"give {option(f'{role}_workers')} {len(pool.seen)} or more, or split a trace that spans "
            "several deployments",
        )
    return given


def _source(told: Told, requests: Requests, facts: Facts, notes: Sequence[str]) -> dict[str, Any]:
    assumptions = list(told.assumptions)
    if facts.assume_intended_is_sent:
        assumptions.append("intended_is_sent: every user became free when the request was sent")
    assumptions += [
        f"{name}: {getattr(facts, name):g} s of the measured requests are {name.removesuffix('_s')}"
        for name in ("warmup_s", "cooldown_s")
        if getattr(facts, name)
    ]
    statuses = dict(sorted(Counter(requests.status).items()))
    described: dict[str, Any] = {
        "format": told.format,
        **_digest(told.files),
        "statuses": statuses,
        "assumptions": assumptions,
        "notes": list(notes),
        "lost_records": told.lost_records,
    }
    if told.workers_from:
        described["workers_from"] = _digest(told.workers_from)
    return described


def _digest(files: Sequence[Path]) -> dict[str, Any]:
    """Base name and SHA-256 of a file; of several, the first name, the digest of them all, and each one's."""
    if len(files) == 1:
        return {"file": files[0].name, "sha256": sha256_of(files[0])}
    names = Counter(path.name for path in files)
    # Clients of one cell write files of one name, each into a folder of its own.
    each = {
        path.name if names[path.name] == 1 else f"{path.resolve().parent.name}/{path.name}": sha256_of(path)
        for path in files
    }
    together = hashlib.sha256("".join(f"{digest}\n" for digest in each.values()).encode()).hexdigest()
    return {"file": files[0].name, "sha256": together, "files": each}
