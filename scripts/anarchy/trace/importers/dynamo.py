"""NVIDIA Dynamo's request trace: JSON Lines of schema `dynamo.request.trace.v1`, plain or in gzip segments.

Seen with Dynamo 1.5.1: one `request_end` record a request that began to stream, written by the frontend, on
the frontend's clock. A request that Dynamo refuses (404, 503) leaves no record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from anarchy.ground.errors import UserError
from anarchy.trace.importers.facts import Facts, Told
from anarchy.trace.importers.lines import MAX_NS, Line, Torn, json_lines
from anarchy.trace.importers.segments import all_files, trace_of
from anarchy.trace.importers.table import NS, Request, Requests, Worker, assemble
from anarchy.trace.reader import CellTrace

SCHEMA: Final = "dynamo.request.trace.v1"
MS: Final = 1_000_000
"""Nanoseconds in a millisecond."""
NO_REQUESTS: Final = frozenset({"tool_start", "tool_end", "tool_error", "request_payload"})
"""Record types that describe no request, and are passed over."""
GOOD_ENDS: Final = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})
MAX_ID: Final = 2**64 - 1

SESSION_HINT: Final = "aiperf with --session-header X-Dynamo-Session-ID"

SENT_NOTE: Final = (
    "t_sent is when the frontend received the request, to 1 ms; the way from the client is not known"
)
FIRST_NOTE: Final = (
    "t_first_token is null: Dynamo's ttft_ms is, with separate pools (seen with 1.5.1), the end of prefill, "
    "before the KV transfer and the first decode step; --assume-ttft-is-first-token takes it all the same"
)
TTFT_ASSUMPTION: Final = (
    "ttft_is_first_token: t_first_token is Dynamo's ttft_ms, with separate pools the end of prefill and so "
    "earlier than the client's first token"
)
LAST_NOTE: Final = "t_last_token is when the frontend's response stream ended"
CACHED_NOTE: Final = "cached_tokens is the overlap that the router expected, not what the worker found"
LOSS_NOTE: Final = (
    "the trace is best effort: Dynamo drops records when its sink falls behind, and writes none for a "
    "request that it refuses"
)


class Served(NamedTuple):
    """What the server knows of one request of a client."""

    prefill: Worker | None
    decode: Worker | None
    cached_tokens: int | None
    lasted: int
    """How long the frontend had it, ns."""


@dataclass
class Tally:
    """What was met beside whole requests, for the notes."""

    torn: Torn | None = None
    """Gathers what is not whole, where that is accepted."""
    last_ends: dict[Path, int] = field(default_factory=dict)
    """By file, when the last of its requests was over, ns."""
    models: set[str] = field(default_factory=set)
    passed_over: Counter[str] = field(default_factory=Counter)
    unended: int = 0
    """Requests without a finish reason that were taken for `ok`."""
    unplaced: int = 0


def import_dynamo(sources: Sequence[Path], facts: Facts) -> CellTrace:
    """Import request traces: each source a file, a folder with its segments, or the prefix of such segments.

    Several are merged: the frontends of one deployment, each of which records the requests that it served.
    Raises UserError for a record that cannot be, with file and line, and for a fact that nobody tells.
    """
    if facts.phase is not None:
        raise UserError(
            "is for exports of aiperf: Dynamo's trace knows no phases",
            where="--phase",
            remedy="leave it out; --warmup-s and --cooldown-s cut both ends off",
        )
    files, notes = all_files(sources, facts.accept_torn)
    requests, tally = Requests(), Tally(torn=Torn() if facts.accept_torn else None)
    for line, record in _records(files, tally):
        requests.append(line, _request(line, record, tally, facts))
    if len(tally.models) > 1:
        raise UserError(
            f"holds requests of several models: {', '.join(sorted(tally.models))}",
            where=sources[0],
            remedy="each model has its own workers: record them by frontends of their own",
        )
    assumptions = []
    if tally.unended:
        assumptions.append(
            f"ok_without_finish_reason: {tally.unended} requests came without a session header, so Dynamo "
            "recorded no finish reason; those with output tokens and an end count as ok, also if a client "
            "gave up"
        )
    unknown_first_token: tuple[str, ...] = (FIRST_NOTE,)
    if facts.assume_ttft_is_first_token:
        unknown_first_token = ()
        assumptions.append(TTFT_ASSUMPTION)
    told = Told(
        format=SCHEMA,
        cell=_name(files),
        files=files,
        model=next(iter(tally.models), None),
        lost_records=tally.torn.records if tally.torn else 0,
        whole_until=_whole_until(files, tally),
        assumptions=tuple(assumptions),
        notes=(
            *(SENT_NOTE, *unknown_first_token, LAST_NOTE, CACHED_NOTE, LOSS_NOTE),
            *(*notes, *_notes(tally)),
        ),
    )
    return assemble(sources, requests, told, facts)


@dataclass(frozen=True)
class ServedRequests:
    """What Dynamo's traces tell of the requests of a client, by `x-request-id`.

    An id that several requests carried has the value None.
    """

    requests: dict[str, Served | None]
    files: tuple[Path, ...]
    whole_until: int | None = None
    """As `Told.whole_until`, on the frontends' clock."""
    notes: tuple[str, ...] = ()


def served_requests(sources: Sequence[Path], accept_torn: bool = False) -> ServedRequests:
    """Workers of each request of a client; raises UserError when no record has an `x-request-id`."""
    files, notes = all_files(sources, accept_torn)
    tally = Tally(torn=Torn() if accept_torn else None)
    served: dict[str, Served | None] = {}
    for line, record in _records(files, tally):
        request = record["request"]
        name = line.text(request, "x_request_id")
        sent = line.needed(_wall_ns(line, request, "request_received_ms"), "request_received_ms")
        end = _end(line, record, sent)
        tally.last_ends[line.path] = max(tally.last_ends.get(line.path, 0), end)
        if name is not None:
            found = Served(*_workers(line, request), line.whole(request, "cached_tokens"), end - sent)
            served[name] = None if name in served else found
    if not served:
        raise UserError(
            "no request carries an x-request-id: Dynamo records it only for requests with a session header",
            where=sources[0],
            remedy=f"record again, {SESSION_HINT}",
        )
    return ServedRequests(
        served, files, _whole_until(files, tally), (*notes, *(tally.torn.notes() if tally.torn else ()))
    )


def _name(files: tuple[Path, ...]) -> str:
    """Name of the cell: that of the file without its endings."""
    name = re.sub(r"(\.\d{6})?\.jsonl(\.gz)?$", "", files[0].name)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _records(files: tuple[Path, ...], tally: Tally) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Every record of a request, out of the envelope `{"timestamp", "event"}` of the file sink."""
    for path in files:
        for line in json_lines(path, tally.torn):
            record = line.data["event"] if isinstance(line.data.get("event"), dict) else line.data
            schema = record.get("schema")
            if schema != SCHEMA:
                raise line.fault(
                    f"has schema {schema!r}, this program reads {SCHEMA!r}",
                    "name the request trace itself; for another version of it, use the release that reads it",
                )
            kind = line.text(record, "event_type")
            if kind in NO_REQUESTS:
                tally.passed_over[kind] += 1
            elif kind != "request_end":
                raise line.fault(f"has the unknown event type {kind!r}")
            elif _is_routing_query(line.part(record, "request")):
                tally.passed_over["routing query"] += 1
            else:
                yield line, record


def _is_routing_query(request: dict[str, Any]) -> bool:
    """Whether only the routing was asked for (`query_instance_id`): no worker ever saw this request.

    Dynamo then names one worker as both, starts no prefill, ends no stream and counts no token.
    """
    worker = request.get("worker")
    return (
        isinstance(worker, dict)
        and worker.get("prefill_worker_id") is not None
        and worker["prefill_worker_id"] == worker.get("decode_worker_id")
        and not request.get("output_tokens")
        and not {"prefill_wait_time_ms", "ttft_ms", "total_time_ms"} & request.keys()
    )


def _request(line: Line, record: dict[str, Any], tally: Tally, facts: Facts) -> Request:
    request = record["request"]
    sent = line.needed(_wall_ns(line, request, "request_received_ms"), "request_received_ms")
    ttft = line.nanoseconds(request, "ttft_ms", MS)
    output_tokens = line.whole(request, "output_tokens")
    end = _end(line, record, sent)
    told = request.get("total_time_ms") is not None or end > sent
    tally.last_ends[line.path] = max(tally.last_ends.get(line.path, 0), end)
    if told and ttft is not None and end < sent + ttft:
        raise line.fault(f"ended {(sent + ttft - end) / NS:g} s before its prefill did")
    status = _status(line, record, told, output_tokens, tally)
    prefill, decode = _workers(line, request)
    tally.unplaced += decode is None
    model = line.text(request, "model")
    if model is not None:
        tally.models.add(model)
    return Request(
        request_id=line.needed(line.text(request, "request_id"), "request_id"),
        sent=sent,
        intended=None,
        first=sent + ttft if facts.assume_ttft_is_first_token and ttft is not None else None,
        last=end if output_tokens and told else None,
        input_tokens=_input_tokens(line, request),
        output_tokens=output_tokens,
        cached_tokens=line.whole(request, "cached_tokens"),
        prefill=prefill,
        decode=decode,
        phase="measure",
        status=status,
        ended=max(sent + (ttft or 0), end),
    )


def _wall_ns(line: Line, data: dict[str, Any], key: str) -> int | None:
    milliseconds = line.whole(data, key, MAX_NS // MS)
    return None if milliseconds is None else milliseconds * MS


def _end(line: Line, record: dict[str, Any], sent: int) -> int:
    """When the response stream ended, ns; from the record's own time (to 1 ms) in rows that tell no more."""
    total = line.nanoseconds(record["request"], "total_time_ms", MS)
    if total is not None:
        return sent + total
    written = line.needed(_wall_ns(line, record, "event_time_unix_ms"), "event_time_unix_ms")
    if written < sent:
        raise line.fault("ended before it was received")
    return int(written)


def _status(line: Line, record: dict[str, Any], told: bool, output_tokens: int | None, tally: Tally) -> str:
    """`ok` or the error. Only requests with a session header have a finish reason.

    Of those, one without any was broken off: the client gave up or a worker was lost.
    """
    reasons = record["request"].get("finish_reason_metadata")
    if isinstance(reasons, dict) and reasons:
        backend = line.text(reasons, "backend_finish_reason") or ""
        if backend.startswith(("error", "cancelled")):
            return backend.partition(":")[0]
        reason = line.text(reasons, "finish_reason") or backend
        if reason not in GOOD_ENDS and reason != "eos":
            return reason or "truncated"
        return "ok" if output_tokens else "zero_tokens"
    if "agent_context" in record or not told:
        return "truncated"
    if not output_tokens:
        return "zero_tokens"
    tally.unended += 1
    return "ok"


def _input_tokens(line: Line, request: dict[str, Any]) -> int | None:
    tokens = line.whole(request, "input_tokens")
    if tokens is None and "replay" in request:
        return line.whole(line.part(request, "replay"), "input_length")
    return tokens


def _workers(line: Line, request: dict[str, Any]) -> tuple[Worker | None, Worker | None]:
    if request.get("worker") is None:
        return None, None
    worker = line.part(request, "worker")
    return _worker(line, worker, "prefill"), _worker(line, worker, "decode")


def _worker(line: Line, worker: dict[str, Any], role: str) -> Worker | None:
    identity = line.whole(worker, f"{role}_worker_id", MAX_ID)
    return None if identity is None else (identity, line.whole(worker, f"{role}_dp_rank") or 0)


def _whole_until(files: Sequence[Path], tally: Tally) -> int | None:
    """When the first of the traces whose end is torn ends, ns; None where all ends are whole.

    A torn segment in the middle of a trace is a hole, which the gate on requests in flight sees.
    """
    if tally.torn is None:
        return None
    last = {trace_of(path): path for path in files}
    torn_ends = [tally.last_ends.get(path, 0) for path in last.values() if path in tally.torn.ends]
    return min(torn_ends, default=None)


def _notes(tally: Tally) -> list[str]:
    notes = [
        f"{count} records of type {kind} are no requests and were left out"
        for kind, count in sorted(tally.passed_over.items())
    ]
    if tally.unplaced:
        notes.append(f"{tally.unplaced} requests name no decode worker")
    return notes + (tally.torn.notes() if tally.torn else [])
