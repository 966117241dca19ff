"""Every kind of file that is fuzzed: good ones to spoil, and what reads them.

A reader returns whether it took the file. Refusing is a UserError, or exit status 2 of a command with one
message; anything else that it raises is a fault. Names of the package stand in the modules `fuzz_*`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from tests.fuzz.fuzz_cluster import FINGERPRINT, read_fingerprint, read_sinfo, sinfo_inputs
from tests.fuzz.fuzz_config import (
    config_inputs,
    frozen,
    overrides_inputs,
    read_config,
    read_frozen,
    read_overrides,
    read_site,
    site_inputs,
)
from tests.fuzz.fuzz_pages import page_inputs, read_page
from tests.fuzz.fuzz_traces import (
    MANIFEST,
    foreign_lines,
    read_aiperf,
    read_aiperf_settings,
    read_dynamo,
    read_manifest,
    read_table,
    read_workload,
    table_inputs,
    workload_lines,
)
from tests.fuzz.mutate import bombs, documents, spoiled, write_json
from tests.helpers.places import SAMPLES


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str
    inputs: st.SearchStrategy[bytes]
    read: Callable[[Path], bool]
    """Takes the file; whether it was accepted."""
    examples: int
    """How many are tried in `make test`; a nightly run multiplies it."""
    file: str = "input"
    """Name that the file has to have."""


def all_targets() -> list[Target]:
    """Every kind of file."""
    aiperf, dynamo = SAMPLES / "aiperf", SAMPLES / "dynamo_request_trace.jsonl"
    settings = json.loads((aiperf / "profile_export_aiperf.json").read_text(encoding="utf-8"))
    export = foreign_lines(aiperf / "profile_export.jsonl", 20)
    return [
        Target("config", config_inputs(), read_config, 600, "input.yaml"),
        Target("overrides", overrides_inputs(), read_overrides, 300),
        Target("frozen run", _json(frozen()), read_frozen, 100, "run.json"),
        Target("site", site_inputs(), read_site, 300, "site.yaml"),
        Target("manifest", _json(MANIFEST), read_manifest, 350, MANIFEST_FILE),
        Target("table", table_inputs(), read_table, 350, TRACE_FILE),
        Target("aiperf", export, read_aiperf, 250, "profile_export.jsonl"),
        Target("aiperf settings", _json(settings), read_aiperf_settings, 150, "profile_export_aiperf.json"),
        Target("dynamo", foreign_lines(dynamo, 20), read_dynamo, 250, "trace.jsonl"),
        Target("mooncake workload", workload_lines("mooncake", 20), read_workload, 250, "load.jsonl"),
        Target("dynamo workload", workload_lines("dynamo", 20), read_workload, 250, "load.jsonl"),
        Target("metrics page", page_inputs(), read_page, 300),
        Target("sinfo", sinfo_inputs(), read_sinfo, 300),
        Target("fingerprint", _json(FINGERPRINT), read_fingerprint, 200, "fingerprint.json"),
    ]


def _json(seed: Any) -> st.SearchStrategy[bytes]:
    """JSON files from a good document."""
    changed = documents(seed, write_json)
    return st.one_of(changed, changed, spoiled(json.dumps(seed).encode()), bombs)
