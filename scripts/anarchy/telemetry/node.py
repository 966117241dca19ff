"""Everything about one node, collected on that node: `python -m anarchy.telemetry.node` prints one JSON line.

Needs the standard library only, so that it is quick and runs wherever a Python does. Under `srun` it is run
once a node. Its facts hold no address and no name of host or user; these stand apart under `identity`, for
`anarchy.telemetry.alias` to search for, and `anarchy.telemetry.fingerprint` never writes them.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import platform
import re
import socket
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from anarchy.telemetry import gpu, hardware
from anarchy.telemetry.alias import scrubber
from anarchy.telemetry.container import container
from anarchy.telemetry.probes import ProbeError, ProbeFunction, ask, ask_all, run_tool

NODE_SCHEMA = 1
TIMEOUT_S = 10.0
"""Seconds for all probes, which run side by side: nvidia-smi takes that long with persistence mode off."""
NAME_TIMEOUT_S = 1.0
"""Seconds for the resolver to tell the full host name."""
OMITTED_TOOL_S = 0.5
"""Seconds by which a tool's own limit is shorter than its probe's, so that the better reason is recorded."""


def node_facts(timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Facts of this node (`{"value": ...}` or null with the reason) and, apart, the names it goes by.

    Never raises; takes well under a second, at worst `timeout_s` and `NAME_TIMEOUT_S`.
    """
    tool_s = max(0.1, timeout_s - OMITTED_TOOL_S)
    probes: dict[str, ProbeFunction] = {
        "cpu": hardware.cpu,
        "cpu_governor": hardware.cpu_governor,
        "numa": hardware.numa,
        "memory": hardware.memory,
        "kernel": hardware.kernel,
        "operating_system": hardware.operating_system,
        "network": hardware.network,
        "infiniband": hardware.infiniband,
        "gpus": partial(gpu.gpus, tool_s),
        "gpu_state": partial(gpu.gpu_state, tool_s),
        "cuda_driver": partial(gpu.cuda_driver, tool_s),
        "gpu_topology": partial(gpu.topology, tool_s),
        "container": container,
        "slurm_task": slurm_task,
        "python": platform.python_version,
    }
    facts = ask_all(probes, timeout_s)
    cleaned: dict[str, Any] = scrubber().document(facts)
    return {"schema_version": NODE_SCHEMA, "identity": identity(), "facts": cleaned}


def identity() -> dict[str, Any]:
    """Names by which this node, its user and the user's home may show up in text; not for publication."""
    full = ask_all({"name": socket.getfqdn}, NAME_TIMEOUT_S)["name"]["value"]
    names = (socket.gethostname(), os.environ.get("SLURMD_NODENAME"), os.environ.get("HOSTNAME"), full)
    users = (ask(getpass.getuser)["value"], os.environ.get("SLURM_JOB_USER"), os.environ.get("SUDO_USER"))
    return {
        "host_names": sorted({name for name in names if name}),
        "user_names": sorted({name for name in users if name}),
        "homes": sorted({str(home) for home in (ask(Path.home)["value"],) if home}),
    }


def slurm_task(environment: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """The node's name and the job as Slurm told this task; raises `ProbeError` outside a job."""
    if "SLURM_JOB_ID" not in environment:
        raise ProbeError("not in a Slurm job (SLURM_JOB_ID is not set)")
    return {"job_id": environment["SLURM_JOB_ID"], "node": environment.get("SLURMD_NODENAME")}


SLURM_FIELDS = {
    "Partition": "partition",
    "NumNodes": "nodes",
    "NumCPUs": "cpus",
    "NumTasks": "tasks",
    "TimeLimit": "time_limit",
    "TresPerNode": "gres",
    "Gres": "gres",
    "ReqTRES": "requested",
    "TRES": "allocated",
    "AllocTRES": "allocated",
    "Features": "features",
    "Reservation": "reservation",
    "OverSubscribe": "shared",
}
"""What is taken from `scontrol show job`; account, user, paths, name and comment of the job are not."""


def slurm_job(environment: Mapping[str, str] = os.environ, timeout_s: float = 5.0) -> dict[str, str]:
    """The Slurm job that this process runs in; raises `ProbeError` outside one."""
    job = slurm_task(environment)["job_id"]
    assert job is not None
    text = run_tool(["scontrol", "show", "job", job, "--oneliner"], timeout_s)
    found = dict(re.findall(r"(\w+)=(\S*)", text))
    told = {ours: found[theirs] for theirs, ours in SLURM_FIELDS.items() if found.get(theirs)}
    return {"job_id": job, **{name: value for name, value in told.items() if value != "(null)"}}


def main() -> int:
    """Print the facts of this node as one line of JSON."""
    parser = argparse.ArgumentParser(description="Print this node's facts as one line of JSON.")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="S", help="for all probes")
    print(json.dumps(node_facts(parser.parse_args().timeout)), flush=True)
    os._exit(0)  # a probe that hangs in the kernel must not keep the task


if __name__ == "__main__":
    sys.exit(main())
