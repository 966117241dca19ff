"""The part of `anarchy doctor --site` that reads Slurm's own settings: pure."""

from __future__ import annotations

import re

from anarchy.ground.findings import Finding

MIN_JOB_AGE_S = 120
"""Seconds for which squeue must know how a job ended: the executor looks every 40 s, and a controller that
starts again is away for a minute."""
OLDEST_SLURM = (20, 11)
"""The first with `srun --overlap`."""
LOOSE_TRACKING = ("proctrack/pgid",)
"""How Slurm finds a job's processes where one that makes a group of its own is lost to it."""


def slurm_settings(config: str) -> list[Finding]:
    """Slurm's own settings that a run relies on, from what `scontrol show config` says."""
    told = dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", config, re.MULTILINE))
    version, age, tracking = (told.get(name, "") for name in ("SLURM_VERSION", "MinJobAge", "ProctrackType"))
    known_s = int(found[0]) if (found := re.match(r"\d+", age)) else -1  # 0: never forgotten (man slurm.conf)
    return [
        Finding(
            "Slurm's version",
            tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST_SLURM,
            version or "not told",
            remedy="steps side by side (`srun --overlap`) need Slurm 20.11 or newer",
        ),
        Finding(
            "MinJobAge",
            known_s == 0 or known_s >= MIN_JOB_AGE_S,
            f"Slurm forgets an ended job after {age or '?'}; {MIN_JOB_AGE_S} s are needed",
            remedy="ask for MinJobAge=300 in slurm.conf: snakemake asks squeue how a job ended, and takes "
            "one that is forgotten by then for failed; or, with accounting, delete anarchy-status-command "
            "from slurm/config.yaml",
        ),
        Finding(
            "ProctrackType",
            tracking not in LOOSE_TRACKING,
            tracking or "not told",
            remedy="ask for proctrack/cgroup: with this one a process that leaves its group outlives its job",
            required=False,
        ),
    ]
