"""The Jupyter kernel of this project: the Python that runs it, in an environment of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from anarchy.ground.surroundings import own_environment


class OwnKernel(AsyncKernelManager):
    """Starts the Python that runs this, wherever kernels of the notebook's name may lie.

    Jupyter's own starts the first that bears the name on JUPYTER_PATH, in the home or on the system.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of this Python; no folder is searched."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # as its base's
        """Start it without the caller's modules, start-up files and profile."""
        self._profile = tempfile.TemporaryDirectory(prefix="anarchy-kernel-")
        own = own_environment(os.environ, in_job=False)
        await super().start_kernel(**options, env=own | {"IPYTHONDIR": self._profile.name})

    async def cleanup_resources(self, restart: bool = False) -> None:  # type: ignore[override]
        """Remove the profile as well."""
        await super().cleanup_resources(restart=restart)
        self._profile.cleanup()
