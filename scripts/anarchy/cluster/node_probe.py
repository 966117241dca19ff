"""One node of an allocation tells who and what it is; run once on every node by `srun`.

`python -m anarchy.cluster.node_probe INTERFACE [PROGRAM [IMAGE]]` prints one JSON line: the node's name for
Slurm, its host name, the address of the interface, how many GPUs the job has there, the driver, and where the
container's PROGRAM is and whether the file IMAGE can be read. What cannot be read is null, with the reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SIOCGIFADDR = 0x8915
"""Linux: ask for the IPv4 address of an interface."""
NVIDIA_SMI_TIMEOUT_S = 20.0


def main(arguments: Sequence[str]) -> None:
    """Print the facts as one line."""
    print(json.dumps(facts(*arguments)), flush=True)


def facts(interface: str, program: str = "", image: str = "") -> dict[str, Any]:
    """What this node says of itself, and of a container's program and image file."""
    address, why = interface_address(interface)
    driver, no_driver = nvidia_driver()
    return {
        "slurm_name": os.environ.get("SLURMD_NODENAME", ""),
        "hostname": socket.gethostname(),
        "address": address,
        "address_reason": why,
        "gpus": allocated_gpus(os.environ),
        "driver": driver,
        "driver_reason": no_driver,
        "program": shutil.which(program) if program else None,
        "image_readable": os.access(image, os.R_OK) if image else None,
    }


def answers(output: str) -> list[dict[str, Any]]:
    """What nodes said, from the lines that srun printed; what is no whole answer is left out."""
    found = []
    for line in output.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            answer = json.loads(line)
            if isinstance(answer, dict) and "slurm_name" in answer:
                found.append(answer)
    return found


def interface_address(interface: str) -> tuple[str | None, str]:
    """IPv4 address of a network interface, or None with the reason."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
        except OSError as error:
            known = ", ".join(name for _, name in socket.if_nameindex())
            return None, f"interface {interface}: {error.strerror}; this node has {known}"
    return socket.inet_ntoa(answer[20:24]), ""


def allocated_gpus(environment: os._Environ[str] | dict[str, str]) -> int:
    """How many GPUs Slurm gave this job on this node."""
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"):
        listed = environment.get(name, "")
        if listed and listed != "NoDevFiles":
            return len(listed.split(","))
    return 0


def nvidia_driver() -> tuple[str | None, str]:
    """Version of the GPU driver, or None with the reason."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"nvidia-smi: {error}"
    lines = sorted(set(done.stdout.split()))
    return (lines[0], "") if done.returncode == 0 and lines else (None, f"nvidia-smi: {done.stderr.strip()}")


if __name__ == "__main__":
    main(sys.argv[1:])
