"""A made-up nvidia-smi: realistic B200 output that nobody measured, and ways to be broken."""

from __future__ import annotations

import sys
from pathlib import Path

GPU_VALUES = {
    "name": "NVIDIA B200",
    "uuid": "GPU-00000000-1111-2222-3333-44444444444{index}",
    "driver_version": "570.124.06",
    "vbios_version": "97.00.88.00.0F",
    "pci.bus_id": "00000000:1{index}:00.0",
    "memory.total": "183359",
    "memory.used": "171820",
    "power.limit": "1000.00",
    "power.default_limit": "1000.00",
    "power.max_limit": "1000.00",
    "power.draw": "71{index}.25",
    "clocks.max.sm": "1965",
    "clocks.max.memory": "3996",
    "clocks.sm": "1965",
    "clocks.mem": "3996",
    "temperature.gpu": "55",
    "temperature.memory": "[N/A]",
    "mig.mode.current": "Disabled",
    "persistence_mode": "Enabled",
    "ecc.mode.current": "Enabled",
    "compute_mode": "Default",
    "pcie.link.gen.max": "5",
    "pcie.link.width.max": "16",
    "pstate": "P0",
    "utilization.gpu": "97",
    "utilization.memory": "61",
    "clocks_event_reasons.active": "0x0000000000000004",
    "clocks_throttle_reasons.active": "0x0000000000000004",
}

_FAKE = """#!{python}
import datetime, sys, time
VALUES, REFUSED, MODE, TAIL = {values!r}, {refused!r}, {mode!r}, {tail!r}
if MODE == "hang":
    time.sleep(600)
if MODE == "garbage":
    print("Unable to determine the device handle for GPU0000:1B:00.0: Unknown Error", TAIL)
    sys.exit(0)
if MODE == "fail":
    print("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", TAIL)
    sys.exit(9)
arguments = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
if "topo" in arguments:
    print("\\x1b[4m\\tGPU0\\tGPU1\\tNIC0\\x1b[0m\\nGPU0\\t X \\tNV18\\tPIX\\nGPU1\\tNV18\\t X \\tSYS")
    sys.exit(0)
if "query-gpu" not in arguments:
    print("| NVIDIA-SMI 570.124.06   Driver Version: 570.124.06   CUDA Version: 12.8 |")
    sys.exit(0)
fields = arguments["query-gpu"].split(",")
for field in fields:
    if field in REFUSED or field not in {{*VALUES, "index", "timestamp"}}:
        print(f'Field "{{field}}" is not a valid field to query.')
        sys.exit(2)
def cell(field, index):
    if field == "timestamp":
        return datetime.datetime.now().strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]
    return str(index) if field == "index" else VALUES[field].replace("{{index}}", str(index))
while True:
    for index in range(2):
        print(", ".join(cell(field, index) for field in fields), flush=True)
    if "loop-ms" not in arguments:
        break
    time.sleep(int(arguments["loop-ms"]) / 1000)
"""


def write_fake_nvidia_smi(
    folder: Path, *, mode: str = "works", refused: tuple[str, ...] = (), tail: str = ""
) -> Path:
    """A fake nvidia-smi with two GPUs; `mode` works, hang, garbage or fail; `tail` ends its complaints."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nvidia-smi"
    text = _FAKE.format(python=sys.executable, values=GPU_VALUES, refused=refused, mode=mode, tail=tail)
    path.write_text(text)
    path.chmod(0o755)
    return path
