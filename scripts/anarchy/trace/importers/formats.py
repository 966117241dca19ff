"""Which format a file holds, told apart by the keys at its beginning: what is read here, and what is not.

A file of another program is called by its name, with what is read instead; nothing is called damaged that is
whole. Only the first bytes are looked at, so a result of any size answers at once.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from anarchy.ground.errors import UserError
from anarchy.trace.importers.lines import ANY_GZIP, GZIP_MAGIC

Format = Literal["dynamo", "aiperf"]

READ: Final = (
    "read are Dynamo's request trace (dynamo.request.trace.v1, JSON Lines), aiperf's profile_export.jsonl "
    "(one record a request) and trace folders (docs/traces.md)"
)
HEAD: Final = 1 << 20
"""Bytes that are looked at: the keys of every format below stand in them."""
RECORD_AGAIN: Final = (
    "it does not tell which worker served which request and when, so it cannot be estimated; record Dynamo's "
    f"request trace (DYN_REQUEST_TRACE=1) or use aiperf: {READ}"
)


class OtherFormatError(UserError):
    """A file is of a format that is known and not read."""


class Other(NamedTuple):
    """A format that is known and not read: the keys that tell it, its name, and what to do."""

    keys: frozenset[str]
    name: str
    remedy: str = RECORD_AGAIN


def _other(keys: str, name: str, remedy: str = RECORD_AGAIN) -> Other:
    return Other(frozenset(keys.split()), name, remedy)


BESIDE: Final = "name profile_export.jsonl beside it, which has one record a request"
OTHERS: Final = (
    _other("metadata metadata.x_request_id payload", "aiperf's raw payloads", BESIDE),
    _other("metadata responses payload", "aiperf's raw payloads", BESIDE),
    _other("metadata requests responses", "aiperf's raw payloads", BESIDE),
    _other("endpoint_url timestamp_ns metrics", "aiperf's export of the server's metrics", BESIDE),
    _other("dcgm_url timestamp_ns", "aiperf's export of GPU telemetry", BESIDE),
    _other(
        "aiperf_version input_config",
        "aiperf's summary of a run, without its requests",
        f"{BESIDE}; where there is none the export level was summary: run aiperf again with "
        "--export-level records",
    ),
    _other("data data.session_id", "aiperf's inputs, the prompts of a run", BESIDE),
    _other("data data.payloads", "aiperf's inputs, the prompts of a run", BESIDE),
    _other("experiments service_kind", "a profile export of genai-perf or perf_analyzer"),
    _other("experiments experiments.requests", "a profile export of genai-perf or perf_analyzer"),
    _other("input_config request_throughput", "a summary of genai-perf or of an early aiperf"),
    _other("benchmarks args", "a report of guidellm"),
    _other("benchmarks metadata", "a report of guidellm"),
    _other("benchmarks benchmarks.config", "a report of guidellm"),
    _other("benchmarks benchmarks.args", "a report of guidellm"),
    _other("model_id num_prompts request_rate", "a result of vLLM's benchmark (vllm bench serve)"),
    _other("endpoint_type num_prompts request_rate", "a result of vLLM's benchmark (vllm bench serve)"),
    _other("backend model_id num_prompts", "a result of vLLM's benchmark"),
    _other("tokenizer_id num_prompts", "a result of vLLM's benchmark"),
    _other("num_requests elapsed_time tokens_per_second", "a result of vLLM's throughput benchmark"),
    _other("avg_latency latencies percentiles", "a result of vLLM's latency benchmark"),
    _other("backend dataset_name request_rate", "a result of SGLang's benchmark (bench_serving)"),
    _other("backend dataset_name max_concurrency", "a result of SGLang's benchmark (bench_serving)"),
    _other("load_summary successes", "a summary of inference-perf"),
    _other("start_time end_time request response", "the request records of inference-perf"),
    _other("ttft_s end_to_end_latency_s", "the records of llmperf"),
    _other(
        "timestamp input_length output_length",
        "a workload trace (as Mooncake's): what is to be sent, not what was measured",
    ),
    _other("timestamp input_tokens output_tokens", "a workload trace: what is to be sent"),
    _other("conversations id", "a data set of conversations: what is to be sent"),
    _other("session_id input_length", "a workload trace: what is to be sent"),
    _other("custom_id response", "a batch of answers, without times"),
    _other("custom_id body", "a batch of requests: what is to be sent"),
    _other(
        "n_workers concurrency cell", "a manifest of this project", "name the folder that holds it"
    ),
    _other(
        "request_id t_sent t_intended status",
        "rows of this project's client that were never sealed: the cell was cut off",
        "run again: the cell is measured from its beginning",
    ),
    _other("resourceSpans", "an export of OpenTelemetry spans"),
    _other("traceEvents", "a trace of a profiler"),
)  # fmt: skip
AIPERF_OLDER: Final = frozenset({"metadata.timestamp_ns", "metadata.credit_phase"})
BINARY: Final = (
    (b"PAR1", "a Parquet file", "name the folder that holds it as trace.parquet, with its manifest.json"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first: zstd -d"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it first: xz -d"),
    (b"BZh", "compressed by bzip2", "unpack it first: bzip2 -d"),
    (b"PK\3\4", "a zip archive", "unpack it first, and name the file inside"),
    (b"SQLite format 3", "an SQLite database", READ),
    (b"%PDF", "a PDF document", READ),
)
TEXTS: Final = (
    (re.compile(r"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "a web page or XML", READ),
    (re.compile(r"# (HELP|TYPE|UNIT) \w"), "a page of metrics", f"use anarchy control for it; {READ}"),
    (re.compile(r"[^\n{\[]*,[^\n{\[]*,[^\n{\[]*\n"), "a table of comma-separated values", RECORD_AGAIN),
)
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"\s*(:?)|([\[{])|([\]}])', re.DOTALL)


def recognise(path: Path) -> Format:
    """The format of a file that is read.

    Raises OtherFormatError naming the format that is known and not read, and UserError for anything else.
    """
    head = _head(path)
    if not head.strip():
        raise UserError("is empty", where=path, remedy=READ)
    for magic, name, remedy in BINARY:
        if head.startswith(magic):
            raise _refused(path, name, remedy)
    if head[257:262] == b"ustar":
        raise _refused(path, "a tar archive", "unpack it first, and name the file inside")
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        return _of_json(path, text)
    for pattern, name, remedy in TEXTS:
        if pattern.match(text):
            raise _refused(path, name, remedy)
    raise UserError("is of no format known here, and is not JSON", where=path, remedy=READ)


def _of_json(path: Path, text: str) -> Format:
    keys = frozenset(_keys(text))
    if "schema" in keys or "event.schema" in keys:
        found = re.search(r'"schema"\s*:\s*"(dynamo\.[^"]*)"', text)
        if found is not None:
            return _by_lines(path, text, "dynamo")
    if {"metadata", "metrics"} <= keys:
        if "metadata.request_start_ns" not in keys and keys & AIPERF_OLDER:
            raise _refused(
                path,
                "aiperf's export in the form of 2025 (timestamp_ns, credit_phase)",
                "its records tell neither the start nor the end of a request as those that are read do "
                "(request_start_ns, request_end_ns; seen with aiperf 0.13): record again with such a version",
            )
        return _by_lines(path, text, "aiperf")
    for other in OTHERS:
        if other.keys <= keys:
            raise _refused(path, other.name, other.remedy)
    some = ", ".join(sorted(key for key in keys if "." not in key)[:6])
    raise UserError(
        f"is JSON, but of no format known here (it has {some or 'no keys'})", where=path, remedy=READ
    )


def _by_lines(path: Path, text: str, form: Format) -> Format:
    """The format, unless its records do not stand one a line."""
    start = text.lstrip()
    if start.startswith("["):
        raise _refused(path, "one list of records", "write one record a line: jq -c '.[]' FILE > lines.jsonl")
    if start.partition("\n")[0].strip() == "{":
        raise _refused(
            path, "spread over several lines a record", "write one record a line: jq -c . FILE > lines.jsonl"
        )
    return form


def _refused(path: Path, name: str, remedy: str) -> OtherFormatError:
    return OtherFormatError(f"is {name}; that is not read", where=path, remedy=remedy)


def _head(path: Path) -> bytes:
    """The first bytes of a file, unpacked where it is gzip; raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="check the path and its permissions"
        ) from None
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(ANY_GZIP).decompress(head, HEAD)
    except zlib.error as error:
        raise UserError(f"is a damaged gzip file: {error}", where=path, remedy="take a whole copy") from None


def _keys(text: str) -> Iterator[str]:
    """Keys of the first record or document, those one level down as `key.inner`; lists count as no level.

    The text may break off anywhere. Of JSON Lines only the first line is looked at.
    """
    stack: list[str] = []
    lists = 0
    pending = ""
    for token in _TOKEN.finditer(text):
        name, colon, opening, closing = token.groups()
        if opening == "{":
            stack.append(pending)
        elif opening == "[":
            lists += 1
        elif closing == "}":
            if stack:
                stack.pop()
            if not stack and not lists:
                return
        elif closing == "]":
            lists -= 1
        elif colon:
            pending = name
            if len(stack) == 1:
                yield name
            elif len(stack) == 2:
                yield f"{stack[1]}.{name}"
