"""What Slurm's commands print, and what deployments ran on."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Final
from unittest import mock

from hypothesis import strategies as st

from anarchy.cluster import partition_check, site_check
from anarchy.config.site import load_site
from tests.fuzz.fuzz_command import command
from tests.fuzz.mutate import bombs, spoiled

SINFO: Final = """\
node1|gpu:b200:8(S:0-1)|1-00:00:00|idle|128|2000000
node2|gpu:b200:8(S:0-1)|1-00:00:00|mixed|128|2000000
node3|gpu:b200:8(S:0-1)|infinite|allocated|128|2000000
node4|gpu:b200:8(S:0-1)|infinite|maint|128|2000000
node5|gpu:a100:2,gpu:b200:6,fs:1|30:00|drained*|64|500000+
"""
SITE: Final = "partition: gpu\ninterface: eth0\ngres: gpu:b200\ngpus_per_node: 8\nmax_minutes: 30\n"
STUB: Final = '#!/bin/sh\nexec cat "$(dirname "$0")/answer"\n'


def read_sinfo(path: Path) -> bool:
    """What sinfo prints: whether the partition is fit for the study."""
    site = path.parent / "site.yaml"
    site.write_text(SITE)
    programs = path.parent / "bin"
    programs.mkdir()
    (programs / "answer").write_bytes(path.read_bytes())
    for name in site_check.COMMANDS:
        (programs / name).write_text(STUB)
        (programs / name).chmod(stat.S_IRWXU)
    with mock.patch.dict(os.environ, {"PATH": f"{programs}:{os.environ['PATH']}"}):
        findings = partition_check.partition(load_site(site), 3)
    return all(finding.ok for finding in findings)


def read_site(path: Path) -> bool:
    """A site file."""
    load_site(path)
    return True


def sinfo_inputs() -> st.SearchStrategy[bytes]:
    """Output of sinfo whose bytes were changed, and none of its."""
    return st.one_of(spoiled(SINFO.encode()), spoiled(SINFO.encode()), st.binary(max_size=100), bombs)


FINGERPRINT: Final[dict[str, Any]] = {
    "schema_version": 1,
    "made_at": "2026-06-14T12:00:00+00:00",
    "versions": {"ai-dynamo": "1.5.1"},
    "git": {"value": {"commit": "c" * 40, "dirty": False, "diff_sha256": None}},
    "locks": {
        "driver": {"value": {"sha256": "d" * 64}},
        "serving": {"value": None, "reason": "no such file"},
    },
    "slurm": {"value": None, "reason": "no job"},
    "deployment": {"engine": "mocker", "http_ports": [8000, 8001]},
    "nodes": {
        "node01": {"gpus": {"value": [{"name": "NVIDIA B200", "power.limit": 1000.0}]}, "cpu": {"value": "x"}}
    },
}


def read_fingerprint(path: Path) -> bool:
    """A fingerprint against a good one."""
    good = path.parent / "good.json"
    good.write_text(json.dumps(FINGERPRINT))
    return command("fingerprint", "diff", path, good, taken=(0, 1))
