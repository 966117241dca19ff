"""aiperf's export of single requests: `profile_export.jsonl`, with its settings in the JSON file beside it.

Seen with aiperf 0.13: one record a request, all times on the client's clock. aiperf does not know which
workers served a request; Dynamo's request trace of the same run does, and `x-request-id` joins the two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from anarchy.ground.errors import UserError
from anarchy.trace.importers.aiperf_settings import Export, merged, open_export
from anarchy.trace.importers.dynamo import CACHED_NOTE as ROUTER_CACHED_NOTE
from anarchy.trace.importers.dynamo import SESSION_HINT, Served, ServedRequests, served_requests
from anarchy.trace.importers.facts import Facts
from anarchy.trace.importers.lines import MAX_NS, Line, Torn, json_lines
from anarchy.trace.importers.table import Request, Requests, assemble
from anarchy.trace.reader import CellTrace

EXPORT: Final = "profile_export.jsonl"
PHASES: Final = {"warmup": "warmup", "profiling": "measure"}
"""Kinds of aiperf's phases, which are the names of its records' phases where the settings name no others."""
UNITS_NS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "sec": 1_000_000_000}
CANCELLED: Final = "RequestCancellationError"
LOST: Final = re.compile(r"Disconnect|ConnectionReset|ClientConnect|ClientOSError|ClientPayload|BrokenPipe")

INTENDED_NOTE: Final = (
    "t_intended is credit_issued_ns, when aiperf's scheduler let the request go; in a closed loop that is "
    "when a slot became free"
)
SENT_NOTE: Final = "t_sent is request_start_ns, before the connection is made"
CACHED_NOTE: Final = (
    "cached_tokens is null without a Dynamo trace: the usage that a client sees is not the prefill worker's"
)
LATE_NOTE: Final = (
    "cancelled requests were stamped late by the time after which aiperf 0.13 cancelled them: their start "
    "and end are set back by it"
)
UNKNOWN_NOTE: Final = "user and template are not recorded"


@dataclass
class Tally:
    """What was met in the records, for the notes."""

    torn: Torn | None = None
    """Gathers what is not whole, where that is accepted."""
    joined: int = 0
    late: int = 0
    """Cancelled requests whose times were set back."""
    phases: set[str] = field(default_factory=set)
    """Names of the profiling phases that were met."""


def import_aiperf(sources: Sequence[Path], facts: Facts, workers_from: Sequence[Path] = ()) -> CellTrace:
    """Import exports: each source the file or the folder that holds it; several clients' are merged.

    `workers_from` are Dynamo's traces of that run. Raises UserError for a record that cannot be, with file
    and line, for two runs that do not belong together, and for a fact that nobody tells.
    """
    served = served_requests(workers_from, facts.accept_torn) if workers_from else ServedRequests({}, ())
    requests, tally = Requests(), Tally(torn=Torn() if facts.accept_torn else None)
    exports = [open_export(export_file(source), facts) for source in sources]
    until = [] if served.whole_until is None else [served.whole_until]
    for number, export in enumerate(exports):
        last_end = 0
        for line in json_lines(export.path, tally.torn):
            request = _request(line, export, served, facts, tally)
            if request is not None:
                if len(exports) > 1 and "x_request_id" not in line.data["metadata"]:
                    request = request._replace(request_id=f"{number}-{request.request_id}")
                requests.append(line, request)
                last_end = max(last_end, request.ended or 0)
        if tally.torn is not None and export.path in tally.torn.ends:
            until.append(last_end)
    _check_phase(sources[0], tally.phases, facts.phase)
    told = replace(
        merged([export.told for export in exports]),
        workers_from=served.files,
        lost_records=tally.torn.records if tally.torn else 0,
        whole_until=min(until, default=None),
    )
    notes = [
        *told.notes,
        INTENDED_NOTE,
        SENT_NOTE,
        UNKNOWN_NOTE,
        *_notes(workers_from, served, tally, requests),
    ]
    return assemble(sources, requests, replace(told, notes=tuple(notes)), facts)


def _check_phase(source: Path, met: set[str], asked: str | None) -> None:
    """Refuse several profiling phases as one cell, and one that is not there."""
    if asked is None and len(met) > 1:
        raise UserError(
            f"holds several profiling phases: {', '.join(sorted(met))}",
            where=source,
            remedy=f"a cell is one of them: import each by itself, --phase {min(met)}",
        )
    if asked is not None and asked not in met:
        raise UserError(
            f"has no profiling phase {asked!r}; it has {', '.join(sorted(met)) or 'none'}",
            where=source,
            remedy="name one of these, or leave --phase out",
        )


def _notes(
    workers_from: Sequence[Path], served: ServedRequests, tally: Tally, requests: Requests
) -> list[str]:
    notes = list(served.notes)
    if workers_from:
        notes += [_joined_note(workers_from[0], tally.joined, len(requests)), ROUTER_CACHED_NOTE]
    else:
        notes.append(CACHED_NOTE)
    if tally.late:
        notes.append(f"{tally.late} {LATE_NOTE}")
    return notes + (tally.torn.notes() if tally.torn else [])


def export_file(source: Path) -> Path:
    """The export itself, where the folder around it is named."""
    if not source.is_dir():
        return source
    for name in (EXPORT, f"{EXPORT}.gz"):
        if (source / name).is_file():
            return source / name
    raise UserError(
        f"holds no {EXPORT}", where=source, remedy="name the folder that aiperf wrote, or its file"
    )


def _joined_note(workers_from: Path, joined: int, rows: int) -> str:
    """How many were joined; raises UserError where none was."""
    if rows and not joined:
        raise UserError(
            "holds none of these requests: no x-request-id is in both",
            where=workers_from,
            remedy=f"name the request trace of the same run, recorded under {SESSION_HINT}",
        )
    return f"{joined} of {rows} requests are in the Dynamo trace; of the others the workers are not known"


def _served(line: Line, served: dict[str, Served | None]) -> Served | None:
    name = line.text(line.data["metadata"], "x_request_id")
    if name is None or name not in served:
        return None
    found = served[name]
    if found is None:
        raise line.fault(
            f"the x-request-id {name!r} is in the Dynamo trace more than once",
            "name the request traces of this run alone, each once",
        )
    return found


def _request(
    line: Line, export: Export, served: ServedRequests, facts: Facts, tally: Tally
) -> Request | None:
    """The request of a record; None where it is of a phase that was not asked for."""
    meta, metrics = line.part(line.data, "metadata"), line.part(line.data, "metrics")
    phase = _phase(line, meta, export, facts, tally)
    if phase is None:
        return None
    found = _served(line, served.requests)
    sent = line.needed(line.whole(meta, "request_start_ns", MAX_NS), "request_start_ns")
    end = line.whole(meta, "request_end_ns", MAX_NS)
    if end is not None and end < sent:
        raise line.fault(f"ended {(sent - end) / 1e9:g} s before it started")
    intended = line.whole(meta, "credit_issued_ns", MAX_NS)
    latency = _duration(line, metrics, "request_latency")
    ttft = _duration(line, metrics, "time_to_first_token")
    output_tokens = _tokens(line, metrics, "usage_completion_tokens", "output_sequence_length")
    status = _status(line, meta, latency, output_tokens)
    if end is None and found is not None:
        end = sent + found.lasted
    if status == "cancelled" and end is not None and intended is not None and intended + end - sent <= sent:
        # aiperf 0.13 stamps a cancelled request when it is cancelled, as if it began there.
        sent, end = 2 * sent - end, sent
        tally.late += 1
    tally.joined += found is not None
    known_end = max(
        (t for t in (end, None if latency is None else sent + latency) if t is not None), default=None
    )
    return Request(
        request_id=_identity(line, meta),
        sent=sent,
        intended=None if facts.assume_intended_is_sent else intended,
        first=None if ttft is None else sent + ttft,
        last=None if latency is None else sent + latency,
        input_tokens=_tokens(line, metrics, "usage_prompt_tokens", "input_sequence_length", "error_isl"),
        output_tokens=output_tokens,
        cached_tokens=None if found is None else found.cached_tokens,
        prefill=None if found is None else found.prefill,
        decode=None if found is None else found.decode,
        phase=phase,
        status=status,
        ended=known_end,
    )


def _identity(line: Line, meta: dict[str, Any]) -> str:
    """The x-request-id, or what tells requests apart where there is none."""
    name = line.text(meta, "x_request_id")
    if name is not None:
        return name
    number = line.needed(line.whole(meta, "session_num"), "x_request_id or session_num")
    return f"{meta.get('benchmark_phase')}-{number}-{meta.get('turn_index') or 0}"


def _phase(line: Line, meta: dict[str, Any], export: Export, facts: Facts, tally: Tally) -> str | None:
    """Our word for a record's phase; None for a profiling phase that was not asked for."""
    name = line.text(meta, "benchmark_phase")
    kind = export.kinds.get(name or "", name)
    if kind not in PHASES:
        raise line.fault(f"has the unknown benchmark_phase {name!r}")
    if PHASES[kind] == "measure":
        tally.phases.add(str(name))
        if facts.phase is not None and name != facts.phase:
            return None
    return PHASES[kind]


def _status(line: Line, meta: dict[str, Any], latency: int | None, output_tokens: int | None) -> str:
    """`ok`, or the error by its HTTP status or by its kind."""
    if line.data.get("error") is None:
        if meta.get("was_cancelled"):
            return "cancelled"
        return "ok" if latency is not None and output_tokens != 0 else "zero_tokens"
    error = line.part(line.data, "error")
    kind, code = line.text(error, "type") or "error", error.get("code")
    if meta.get("was_cancelled") or kind == CANCELLED:
        return "cancelled"
    if isinstance(code, int) and 400 <= code <= 599:
        return f"http_{code}"
    if "Timeout" in kind:
        return "timeout"
    if LOST.search(kind):
        return "disconnect"
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind)).lower()


def _metric(line: Line, metrics: dict[str, Any], key: str) -> dict[str, Any] | None:
    return line.part(metrics, key) if metrics.get(key) is not None else None


def _duration(line: Line, metrics: dict[str, Any], key: str) -> int | None:
    """A metric in ns, whatever its unit."""
    metric = _metric(line, metrics, key)
    if metric is None:
        return None
    unit = line.text(metric, "unit")
    if unit not in UNITS_NS:
        raise line.fault(f"{key} has the unknown unit {unit!r}")
    return line.nanoseconds({key: line.needed(metric.get("value"), key)}, key, UNITS_NS[unit])


def _tokens(line: Line, metrics: dict[str, Any], *keys: str) -> int | None:
    """The first of these metrics that is there: the server's own count goes before the client's."""
    for key in keys:
        metric = _metric(line, metrics, key)
        if metric is not None:
            return line.whole({key: line.needed(metric.get("value"), key)}, key)
    return None
