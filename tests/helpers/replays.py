"""A library that replays by a rule of the test's own, in place of the real one's process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from anarchy.virtual.replay import COLUMNS
from anarchy.virtual.replayer import Job, Replayed


class Library:
    """A request of user u takes `takes_s * (1 + u / 100)`; its first token comes after a tenth of that."""

    def __init__(self, folder: Path, takes_s: float = 1.0, decode_workers: int = 2) -> None:
        self.folder = folder
        self.takes_s = takes_s
        self.decode_workers = decode_workers
        self.jobs: list[Job] = []

    def run(self, job: Job) -> Replayed:
        """Replay the sessions of a job, each user by itself; what is not over by the end is not told."""
        self.jobs.append(job)
        rows: list[dict[str, Any]] = []
        free: dict[int, float] = {}
        turns: dict[int, int] = {}
        for line in job.trace.read_text().splitlines():
            said = json.loads(line)
            user = int(said["session_id"])
            sent = said["timestamp"] / 1e3 if "timestamp" in said else free[user] + said["delay"] / 1e3
            takes = self.takes_s * (1 + user / 100)
            free[user] = sent + takes
            turns[user] = turns.get(user, -1) + 1
            if free[user] > job.until_s:
                continue
            rows.append(
                {
                    "user": user,
                    "turn_index": turns[user],
                    "arrival_time_ms": sent * 1e3,
                    "first_token_ms": (sent + takes / 10) * 1e3,
                    "last_token_ms": free[user] * 1e3,
                    "terminal_time_ms": free[user] * 1e3,
                    "output_length": said["output_length"],
                    "reused_input_tokens": 0,
                    "prefill_worker_idx": 0,
                    "decode_worker_idx": (user + turns[user]) % self.decode_workers,
                    "completed": True,
                }
            )
        kinds = {**COLUMNS, "user": int, "completed": bool}
        columns: dict[str, Any] = {
            name: np.array([row[name] for row in rows], dtype=kind) for name, kind in kinds.items()
        }
        return Replayed(columns, 0.1, 0.0)
