"""Runs a command and writes down the CPU of its process tree: `process_tree.py COST.json COMMAND...`."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the command, adopt and await whatever it leaves behind; CPU and wall in seconds."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    status = subprocess.call(sys.argv[2:])
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.monotonic() - started}
    Path(sys.argv[1]).write_text(json.dumps(cost))
    return status


if __name__ == "__main__":
    sys.exit(main())
