"""Execute a notebook with this project's own kernel: `python -m anarchy.notebooks SOURCE EXECUTED NAME=VALUE ...`.

Jupyter starts whatever kernel is called `python3` first on JUPYTER_PATH, in the user's home or on the system, and
that kernel runs the start-up files of the user's IPython. Neither can draw these figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from anarchy.surroundings import keep_out, own_environment

KERNEL = "python3"
"""Name that the notebooks bear; it says nothing of what is started."""


class OwnKernel(AsyncKernelManager):
    """Starts the Python that runs this, wherever kernels of the notebook's name may lie."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """This Python's kernel; no folder is searched."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")

    async def start_kernel(self, **options: Any) -> None:
        """Start it without the caller's modules, start-up files and profile."""
        self._profile = tempfile.TemporaryDirectory(prefix="anarchy-kernel-")
        own = own_environment(os.environ, in_job=False)
        await super().start_kernel(**options, env=own | {"IPYTHONDIR": self._profile.name})

    async def cleanup_resources(self, restart: bool = False) -> None:
        """Remove the profile as well."""
        await super().cleanup_resources(restart=restart)
        self._profile.cleanup()


def execute(source: Path, executed: Path, parameters: Mapping[str, str]) -> None:
    """Execute a notebook and write it with its outputs, also when a cell fails.

    Raises papermill's error of the cell that failed.
    """
    papermill.execute_notebook(
        str(source),
        str(executed),
        dict(parameters),
        kernel_name=KERNEL,
        progress_bar=False,
        kernel_manager_class=OwnKernel,
    )


def main() -> None:
    """The command line of one notebook."""
    parser = argparse.ArgumentParser(description="Execute a notebook with this project's own kernel.")
    parser.add_argument("source", type=Path)
    parser.add_argument("executed", type=Path)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_args()
    keep_out(in_job=False)
    execute(options.source, options.executed, dict(word.split("=", 1) for word in options.parameters))


if __name__ == "__main__":
    main()
