"""What a deployment ran on: versions of the serving stack, and the machine."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

from anarchy.errors import UserError

_QUERY = """
import json, platform
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
names = ("ai-dynamo", "ai-dynamo-runtime", "vllm", "pyzmq", "tokenizers", "transformers")
print(json.dumps({"serving-python": platform.python_version(), **{name: version(name) for name in names}}))
"""


def serving_versions(dynamo_python: Path) -> dict[str, str | None]:
    """Versions in the serving environment; None for a package that it lacks.

    Raises `UserError` when the environment is missing or half built.
    """
    remedy = "run `make setup`, or name the environment's Python in ANARCHY_DYNAMO_PYTHON"
    if not dynamo_python.is_file():
        raise UserError("the serving environment is missing", where=dynamo_python, remedy=remedy)
    asked = subprocess.run(
        [str(dynamo_python), "-c", _QUERY], capture_output=True, text=True, check=False, timeout=60
    )
    if asked.returncode != 0:
        raise UserError(
            f"the serving environment does not work: {asked.stderr.strip()[-300:]}",
            where=dynamo_python,
            remedy=remedy,
        )
    found: dict[str, str | None] = json.loads(asked.stdout)
    missing = [name for name in ("ai-dynamo", "ai-dynamo-runtime", "pyzmq") if found[name] is None]
    if missing:
        raise UserError(
            f"the serving environment lacks {', '.join(missing)}", where=dynamo_python, remedy=remedy
        )
    return found


def cpu_model() -> str | None:
    """Model name of the first CPU as the kernel tells it; None where it does not."""
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return None
    for line in information.read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def machine_versions() -> dict[str, str | None]:
    """Python of the driver, kernel and CPU model; no host or user name."""
    return {"python": platform.python_version(), "kernel": platform.release(), "cpu": cpu_model()}
