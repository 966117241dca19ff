"""What a command lacks where not every extra, or no checkout of the project, is there: one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG

MODULES: Final = {
    "figures": (
        "IPython",
        "ipykernel",
        "itables",
        "jinja2",
        "jupyter_client",
        "matplotlib",
        "nbconvert",
        "papermill",
        "seaborn",
    ),
    "serving": ("httptools", "psutil", "uvloop", "zmq"),
    "workflow": ("snakemake", "snakemake_executor_plugin_slurm", "snakemake_interface_executor_plugins"),
}
"""Modules that each extra of the package brings (pyproject.toml)."""


@contextmanager
def extras_named() -> Iterator[None]:
    """Turn the import of a package that is not installed into a UserError that names its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = next((extra for extra, modules in MODULES.items() if missing in modules), None)
        if extra is None:
            raise
        raise UserError(
            f"{missing} is not installed, and this command needs it",
            where="this Python",
            remedy=f"pip install 'anarchy[{extra}]', or for the whole study make setup in a checkout",
        ) from error


def check_checkout() -> None:
    """Raise UserError where the package was installed alone: the study lies beside it, in a checkout."""
    if not CONFIG.is_dir():
        raise UserError(
            "there is no study here: the package was installed without the project around it",
            where=CONFIG,
            remedy="clone the project, and run this command of its own environment (make setup)",
        )
