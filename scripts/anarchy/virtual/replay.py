"""Replays in virtual time: run by the serving environment's Python, which has the library.

A job is a line of JSON on stdin, its answer a line on stdout. It imports nothing of this project: the two may
have different Pythons. `replayer.py` is the other side.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

COLUMNS = {
    "arrival_time_ms": float,
    "first_token_ms": float,
    "last_token_ms": float,
    "terminal_time_ms": float,
    "turn_index": int,
    "output_length": int,
    "reused_input_tokens": int,
    "prefill_worker_idx": int,
    "decode_worker_idx": int,
}
"""What is kept of each request, as the library calls it; -1 and NaN where it does not tell."""
MISSING = {int: -1, float: float("nan")}


def main() -> int:
    """Answer jobs until stdin ends; exit status 3 where the library lacks the function."""
    # The library writes to the real stdout: answers go to a copy of it, everything else to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("DYN_LOG", "error")
    from dynamo import _core as core

    if not hasattr(core, "run_mocker_trace_replay"):
        print("this ai-dynamo-runtime has no run_mocker_trace_replay", file=sys.stderr)
        return 3
    for line in sys.stdin:
        try:
            answer = replay(core, json.loads(line))
        except Exception as error:  # noqa: BLE001 (the library raises it bare; it is the answer)
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


def replay(core: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Run one job, write the columns of its requests into `job["columns"]` (NPZ), and say what it took."""
    import numpy as np

    began, lag_ms = time.perf_counter(), job["kv_event_lag_ms"]
    result = core.run_mocker_trace_replay(
        [job["trace"]],
        prefill_engine_args=engine_arguments(core, job["prefill"]),
        decode_engine_args=engine_arguments(core, job["decode"]),
        router_config=core.KvRouterConfig(**job["router"]) if job["router"] is not None else None,
        router_mode="round_robin" if job["router"] is None else "kv_router",
        num_prefill_workers=job["prefill_workers"],
        num_decode_workers=job["decode_workers"],
        trace_block_size=job["trace_block_size"] or job["decode"]["block_size"],
        max_sim_time_ms=job["until_ms"],
        capture_per_request=True,
        capture_planner_details=False,
        **({"kv_event_lag_ms": lag_ms} if lag_ms else {}),
    )
    rows = result.per_request
    replayed = time.perf_counter()
    columns: dict[str, Any] = {
        name: np.array([MISSING[kind] if (value := row[name]) is None else value for row in rows], dtype=kind)
        for name, kind in COLUMNS.items()
    }
    columns["user"] = np.array([int(row["session_id"]) for row in rows], dtype=int)
    columns["completed"] = np.array([row["terminal_status"] == "completed" for row in rows], dtype=bool)
    with open(job["columns"], "wb") as file:
        np.savez(file, **columns)
    return {"requests": len(rows), "replay_s": replayed - began, "columns_s": time.perf_counter() - replayed}


def engine_arguments(core: Any, told: dict[str, Any]) -> Any:
    """Arguments of a worker as the library takes them; from 1.6 on they are a mapping with other words."""
    if hasattr(core, "MockEngineArgs"):
        return core.MockEngineArgs(**told)
    engine = dict(told)
    timing = {"path": engine.pop("planner_profile_data")}
    engine["timing_model"] = {"type": "external", "provider": "dynamo_profile", "config": timing}
    return {"engine": engine, "num_gpu_blocks_is_explicit": True}


if __name__ == "__main__":
    sys.exit(main())
