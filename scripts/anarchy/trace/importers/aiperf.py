"""aiperf's export of single requests: `profile_export.jsonl`, with its settings in the JSON file beside it.

Seen with aiperf 0.13: one record a request, all times on the client's clock. aiperf does not know which
workers served a request; Dynamo's request trace of the same run does, and `x-request-id` joins the two.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from anarchy.bounded import load_json
from anarchy.errors import UserError
from anarchy.trace.importers.dynamo import CACHED_NOTE as ROUTER_CACHED_NOTE
from anarchy.trace.importers.dynamo import SESSION_HINT, Served, served_requests
from anarchy.trace.importers.facts import Facts, Told
from anarchy.trace.importers.lines import MAX_NS, Line, json_lines
from anarchy.trace.importers.table import Request, Requests, assemble
from anarchy.trace.reader import CellTrace

FORMAT: Final = "aiperf.profile_export"
EXPORT: Final = "profile_export.jsonl"
PHASES: Final = {"warmup": "warmup", "profiling": "measure"}
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
CANCELLED_NOTE: Final = (
    "requests that were cancelled: aiperf 0.13 stamps their start and end later than they were, by the time "
    "after which it cancelled them"
)
UNKNOWN_NOTE: Final = "user and template are not recorded"


def import_aiperf(source: Path, facts: Facts, workers_from: Path | None = None) -> CellTrace:
    """Import an export: the file or the folder that holds it; `workers_from` is Dynamo's trace of that run.

    Raises UserError for a record that cannot be, with file and line, for two runs that do not belong
    together, and for a fact that nobody tells.
    """
    path = export_file(source)
    served, files = served_requests(workers_from) if workers_from is not None else ({}, ())
    requests, joined = Requests(), 0
    for line in json_lines(path):
        request = _request(line)
        if facts.assume_intended_is_sent:
            request = request._replace(intended=None)
        found = _served(line, served)
        if found is not None:
            joined += 1
            request = request._replace(**found._asdict())
        requests.append(line, request)
    told = replace(_told(path, facts), workers_from=files)
    notes = [*told.notes, INTENDED_NOTE, SENT_NOTE, UNKNOWN_NOTE]
    if workers_from is None:
        notes.append(CACHED_NOTE)
    else:
        notes += [_joined_note(workers_from, joined, len(requests)), ROUTER_CACHED_NOTE]
    if "cancelled" in requests.status:
        notes.append(CANCELLED_NOTE)
    return assemble(source, requests, replace(told, notes=tuple(notes)), facts)


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
    if rows and not joined:
        raise UserError(
            "holds none of these requests: no x-request-id is in both",
            where=workers_from,
            remedy=f"name the request trace of the same run, recorded under {SESSION_HINT}",
        )
    return f"{joined} of {rows} requests are in the Dynamo trace; of the others the workers are not known"


def _served(line: Line, served: dict[str, Served | None]) -> Served | None:
    name = line.data["metadata"].get("x_request_id")
    if name not in served:
        return None
    found = served[name]
    if found is None:
        raise line.fault(
            f"the x-request-id {name!r} is in the Dynamo trace more than once",
            "name the request trace of this run alone",
        )
    return found


def _request(line: Line) -> Request:
    meta, metrics = line.part(line.data, "metadata"), line.part(line.data, "metrics")
    sent = line.needed(line.whole(meta, "request_start_ns", MAX_NS), "request_start_ns")
    end = line.needed(line.whole(meta, "request_end_ns", MAX_NS), "request_end_ns")
    if end < sent:
        raise line.fault(f"ended {(sent - end) / 1e9:g} s before it started")
    ttft = _duration(line, metrics, "time_to_first_token")
    latency = _duration(line, metrics, "request_latency")
    output_tokens = _tokens(line, metrics, "usage_completion_tokens", "output_sequence_length")
    return Request(
        request_id=_identity(line, meta),
        sent=sent,
        intended=line.whole(meta, "credit_issued_ns", MAX_NS),
        first=None if ttft is None else sent + ttft,
        last=None if latency is None else sent + latency,
        input_tokens=_tokens(line, metrics, "usage_prompt_tokens", "input_sequence_length", "error_isl"),
        output_tokens=output_tokens,
        cached_tokens=None,
        prefill=None,
        decode=None,
        phase=_phase(line, meta),
        status=_status(line, meta, latency, output_tokens),
        ended=max(end, sent + (latency or 0)),
    )


def _identity(line: Line, meta: dict[str, Any]) -> str:
    """The x-request-id, or what tells requests apart where there is none."""
    name = line.text(meta, "x_request_id")
    if name is not None:
        return name
    number = line.needed(line.whole(meta, "session_num"), "x_request_id or session_num")
    return f"{meta.get('benchmark_phase')}-{number}-{meta.get('turn_index') or 0}"


def _phase(line: Line, meta: dict[str, Any]) -> str:
    name = line.text(meta, "benchmark_phase")
    if name not in PHASES:
        raise line.fault(f"has the unknown benchmark_phase {name!r}")
    return PHASES[name]


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


def _told(path: Path, facts: Facts) -> Told:
    """What the settings beside the export tell; nothing when they are not there."""
    stem = re.sub(r"\.jsonl(\.gz)?$", "", path.name)
    name = path.resolve().parent.name if stem == "profile_export" else stem
    told = Told(FORMAT, re.sub(r"[^A-Za-z0-9._-]+", "-", name) or stem, (path,))
    for beside in (path.with_name(f"{stem}_aiperf.json"), path.with_name(f"{stem}.json")):
        if beside.is_file():
            return _settings(told, beside, facts)
    note = f"the settings ({stem}_aiperf.json) do not lie beside the export"
    return replace(told, notes=(note,))


def _settings(told: Told, path: Path, facts: Facts) -> Told:
    document = load_json(path, remedy="take a whole copy, or move it away and name the facts by options")
    settings = document.get("input_config")
    if not isinstance(settings, dict):
        settings = {}
    version = document.get("aiperf_version")
    notes = ["aiperf says that the run was cancelled"] if document.get("was_cancelled") else []
    return replace(
        told,
        model=_only("model", _models(settings), facts.model, path),
        concurrency=_only("concurrency", _concurrencies(settings), facts.concurrency, path),
        versions={"aiperf": version} if isinstance(version, str) else {},
        notes=(*told.notes, *notes),
    )


def _only(name: str, found: set[Any], given: Any, path: Path) -> Any:
    """The one value that the settings name; several are refused unless the caller decides."""
    if len(found) > 1 and given is None:
        raise UserError(
            f"names several values of {name}: {', '.join(map(str, sorted(found)))}",
            where=path,
            remedy=f"a trace has one: import each run by itself, or name it: --{name} {min(found)}",
        )
    return next(iter(found)) if len(found) == 1 else None


def _models(settings: dict[str, Any]) -> set[Any]:
    models = settings.get("models")
    items = models.get("items", []) if isinstance(models, dict) else []
    return {item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)}


def _concurrencies(settings: dict[str, Any]) -> set[Any]:
    """Concurrencies of the profiling phases; a phase that is no closed loop has none."""
    phases = settings.get("phases")
    profiling = [
        phase
        for phase in (phases if isinstance(phases, list) else [])
        if isinstance(phase, dict) and phase.get("kind") == "profiling" and phase.get("type") == "concurrency"
    ]
    return {phase["concurrency"] for phase in profiling if type(phase.get("concurrency")) is int}
