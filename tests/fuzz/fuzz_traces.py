"""Traces: manifests and tables of the public format, Dynamo's request trace, aiperf's export and settings."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from anarchy.advise.example import rows
from anarchy.advise.resampling import resampled, span_s
from anarchy.advise.workload import Reading, read_load
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.virtual.arrivals import write_arrivals
from tests.fuzz.fuzz_command import command
from tests.fuzz.mutate import bombs, documents, packed, spoiled, tables, write_json
from tests.helpers.ladder_samples import closed_loop
from tests.helpers.places import SAMPLES

MANIFEST: Final = {
    "cell": "c0008", "model": "toy", "topology": "1p2d", "policy": "static", "concurrency": 8, "launch": 1,
    "n_workers": {"prefill": 1, "decode": 2}, "workload": "unique", "engine": "vllm", "device": "NVIDIA B200",
    "dilation": 1.0, "started_at": "2026-06-14T12:00:00.000+00:00", "duration_s": 1000.0, "seed": 1,
    "workers": [{"role": "decode", "index": 0, "instance_id": "17", "node": "node01", "gpus": [0, 1]}],
    "versions": {"ai-dynamo": "1.5.1"}, "client": {"cpu": 0.5}, "routing_test": {"ok": True, "p_value": 0.01},
    "source": {"format": "other", "assumptions": ["a"], "notes": ["n"]},
    "gates": {"valid": True, "reasons": [], "measures": {"error_share": 0.0}},
}  # fmt: skip
FACTS: Final = (
    "--model",
    "toy",
    "--concurrency",
    8,
    "--assume-intended-is-sent",
    "--assume-ttft-is-first-token",
)


def table_inputs() -> st.SearchStrategy[bytes]:
    """Parquet files whose table was changed, and whose bytes were."""
    changed = tables(closed_loop(8, n=80))
    return st.one_of(changed, changed, spoiled(good_table()), bombs)


@cache
def good_table() -> bytes:
    file = io.BytesIO()
    closed_loop(8, n=80).to_parquet(file, index=False)
    return file.getvalue()


def _estimate(folder: Path) -> bool:
    few = ("-B", 20, "--jobs", 1)
    if not command("estimate", folder, *few):
        return False
    for further in (("--format", "json"), ("--format", "csv"), ("--explain", "c0008")):
        command("estimate", folder, *few, *further)
    return True


def read_manifest(path: Path) -> bool:
    """A manifest beside a good table."""
    (path.parent / TRACE_FILE).write_bytes(good_table())
    return _estimate(path.parent)


def read_table(path: Path) -> bool:
    """A table beside a good manifest."""
    (path.parent / MANIFEST_FILE).write_text(json.dumps(MANIFEST))
    return _estimate(path.parent)


@cache
def _known_lines(sample: Path) -> list[bytes]:
    """Lines of a sample whose requests Dynamo's sample tells of as well."""
    known = (SAMPLES / "dynamo_request_trace.jsonl").read_text(encoding="utf-8")
    lines = sample.read_bytes().splitlines(keepends=True)
    return [line for line in lines if _request_of(json.loads(line)) in known]


def foreign_lines(sample: Path, count: int) -> st.SearchStrategy[bytes]:
    """A few lines of a sample, one of them changed in its structure or all of them in their bytes."""
    return changed_lines(_known_lines(sample)[:count])


def changed_lines(lines: list[bytes]) -> st.SearchStrategy[bytes]:
    """Lines of JSON, one of them changed in its structure or all of them in their bytes, plain and packed."""
    changed = st.integers(0, len(lines) - 1).flatmap(
        lambda at: documents(json.loads(lines[at]), write_json).map(
            lambda line: b"".join([*lines[:at], line.replace(b"\n", b" ") + b"\n", *lines[at + 1 :]])
        )
    )
    plain = st.one_of(changed, changed, spoiled(b"".join(lines)), bombs)
    return st.one_of(plain, plain, plain.map(packed), spoiled(packed(b"".join(lines))))


def _request_of(record: Any) -> str:
    return str(
        record["metadata"]["x_request_id"]
        if "metadata" in record
        else record["event"]["request"]["request_id"]
    )


def _import(path: Path, *options: object) -> bool:
    folder = path.parent / "made"
    if not command("import", path, "-o", folder, *FACTS, *options):
        assert not folder.exists(), "a refused import has left something"
        return False
    command("estimate", folder, "-B", 20, "--jobs", 1)
    return True


def workload_lines(form: str, count: int) -> st.SearchStrategy[bytes]:
    """A few requests of an operator's trace, in Mooncake's format or in Dynamo's."""
    lines = []
    for number, row in enumerate(rows(count, seed=1)):
        replay = {
            "trace_block_size": 512,
            "input_length": row["input_length"],
            "input_sequence_hashes": row["hash_ids"],
        }
        request = {
            "request_id": str(number), "model": "m", "request_received_ms": row["timestamp"],
            "output_tokens": row["output_length"], "replay": replay,
        }  # fmt: skip
        event = {"schema": "dynamo.request.trace.v1", "event_type": "request_end", "request": request}
        record = row if form == "mooncake" else {"timestamp": number, "event": event}
        lines.append(json.dumps(record).encode() + b"\n")
    return changed_lines(lines)


def read_workload(path: Path) -> bool:
    """An operator's trace: read, drawn anew and written for a replay."""
    load = read_load([path], Reading())
    if span_s(load.arrivals) > 0.0:
        write_arrivals(path.parent / "replayed.jsonl", resampled(load.arrivals, 1), 16)
    read_load([path], Reading(unique=True))
    return True


def read_aiperf(path: Path) -> bool:
    """An export of aiperf, alone and with a good trace of Dynamo's."""
    command("import", path, "-o", path.parent / "alone", *FACTS)
    return _import(path, "--workers-from", SAMPLES / "dynamo_request_trace.jsonl")


def read_aiperf_settings(path: Path) -> bool:
    """The settings beside a good export."""
    export = path.parent / "profile_export.jsonl"
    export.write_bytes(b"".join(_known_lines(SAMPLES / "aiperf" / "profile_export.jsonl")))
    facts = ("--model", "toy", "--workers-from", SAMPLES / "dynamo_request_trace.jsonl")
    return command("import", export, "-o", path.parent / "made", *facts)


def read_dynamo(path: Path) -> bool:
    """Dynamo's request trace, alone and as the source of worker ids."""
    export = SAMPLES / "aiperf" / "profile_export.jsonl"
    command("import", export, "-o", path.parent / "joined", *FACTS, "--workers-from", path)
    return _import(path)
