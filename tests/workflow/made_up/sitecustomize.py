"""Runs first in the Python that `make_python.py` makes: its sweeps then make their cells up."""

from pathlib import Path

if {"anarchy.cli.main", "sweep"} <= set(Path("/proc/self/cmdline").read_text().split("\0")):
    import made_up_sweep  # type: ignore[import-not-found]  # noqa: F401 (it puts itself in the place of the real one)
