"""What the caller's environment may not bring into a run: another Python's modules, another job's words.

A module of the cluster sets PYTHONPATH, a notebook server JUPYTER_PATH, an allocation SLURM_* of its own; and
Slurm's commands read SBATCH_* and the like as options that nobody typed. None of it is this project's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from anarchy.ground.layout import PROJECT

PACKAGE_PATH = PROJECT / "scripts"
PYTHON_VARIABLES = frozenset(
    {
        *("PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "PYTHONUSERBASE"),
        *("PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONBREAKPOINT", "PYTHONWARNINGS"),
        *("PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "MPLBACKEND", "MATPLOTLIBRC"),
    }
)
"""Variables that bring modules and code into a Python, change what its code means or how figures look.

And PYTHONDONTWRITEBYTECODE, which many images of containers set: every process of a run would compile each
module that it imports, which is half of its start.
"""
PYTHON_PREFIXES = ("JUPYTER_", "IPYTHON", "JPY_")
SLURM_PREFIXES = (
    *("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SCONTROL_", "SCANCEL_"),
    *("SACCT_", "SSTAT_", "SPANK_", "PMI_", "PMI2_", "PMIX_"),
)
SINFO_VARIABLES = frozenset(
    {f"SINFO_{word}" for word in ("ALL", "FEDERATION", "FORMAT", "LOCAL", "PARTITION", "SORT")}
)
SLURM_CONNECTION = frozenset(
    {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_SOCKET", "SLURM_SACK_KEY"}
)
"""Variables that say where Slurm's controller is and how it knows the user: no command works without them."""
CARRIED_CONF = "ANARCHY_SLURM_CONF"
"""SLURM_CONF under another name: the executor's job step drops every SLURM_* but the job's number."""


def foreign_to_slurm(environment: Mapping[str, str]) -> list[str]:
    """Names of variables that Slurm's commands would take for options, or for a job that they run in."""
    return sorted(
        name
        for name in environment
        if name in SINFO_VARIABLES or (name.startswith(SLURM_PREFIXES) and name not in SLURM_CONNECTION)
    )


def outside_any_job(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for Slurm's commands, as if nothing ran around this process and nobody had defaults."""
    foreign = set(foreign_to_slurm(environment))
    return {name: value for name, value in environment.items() if name not in foreign}


def without_foreign_python(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what brings another Python's modules, kernels or start-up code."""
    return {
        name: value
        for name, value in environment.items()
        if name not in PYTHON_VARIABLES and not name.startswith(PYTHON_PREFIXES)
    }


def own_environment(environment: Mapping[str, str], *, in_job: bool) -> dict[str, str]:
    """The environment of this project's processes: its own Python, and of Slurm what a job of its own has.

    Outside a job (`in_job` false) nothing of Slurm but where its controller is.
    """
    own = without_foreign_python(environment) | {"PYTHONPATH": str(PACKAGE_PATH), "PYTHONNOUSERSITE": "1"}
    if not in_job:
        own = outside_any_job(own)
        return own | ({CARRIED_CONF: own["SLURM_CONF"]} if "SLURM_CONF" in own else {})
    return ({"SLURM_CONF": own[CARRIED_CONF]} if CARRIED_CONF in own else {}) | own


def keep_out(*, in_job: bool) -> None:
    """Give this process, and so all that it starts, its own environment; see `own_environment`."""
    _keep_out_modules()
    environment = own_environment(os.environ, in_job=in_job)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def _keep_out_modules() -> None:
    """Take PYTHONPATH's folders off the path, but those of this Python itself, and put the package first."""
    own = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    named = [Path(part).resolve() for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    foreign = [folder for folder in named if not any(folder.is_relative_to(prefix) for prefix in own)]
    kept = [entry for entry in sys.path if not entry or Path(entry).resolve() not in (*foreign, PACKAGE_PATH)]
    sys.path[:] = [str(PACKAGE_PATH), *kept]
