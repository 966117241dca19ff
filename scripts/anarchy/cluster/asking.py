"""Asking Slurm from outside any job, as if nothing ran around this process."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from anarchy.ground.surroundings import outside_any_job

ASK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What a command printed, and in `error` why there is no answer; empty where it succeeded."""

    output: str = ""
    error: str = ""


def ask(*command: str, timeout_s: float = ASK_TIMEOUT_S) -> Answer:
    """Run one command of Slurm's without what the caller's environment has of Slurm; never raises."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
            env=outside_any_job(os.environ),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Answer(error=f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Answer(error=str(error))
    if done.returncode == 0:
        return Answer(done.stdout.strip())
    return Answer(done.stdout.strip(), reason_of(done.stderr) or f"{command[0]} ended with {done.returncode}")


def reason_of(said: str, most: int = 3) -> str:
    """Why a command of Slurm's refused: its lines of errors, or else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if ": error:" in line or ": fatal:" in line]
    return "; ".join(dict.fromkeys(errors[:most])) or (lines[-1] if lines else "")
