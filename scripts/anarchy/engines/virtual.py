"""Dynamo's mock engine and KV router on a virtual clock: what `mocker` runs, without a serving stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from anarchy.engines.engine import Engine, PinnedStack, Ran
from anarchy.engines.spec import BLOCK_SIZE, Role, default_dynamo_python, slots
from anarchy.ground.layout import DYNAMO_1_6_1, DYNAMO_1_6_1_LOCK, DYNAMO_LOCK, ENVS

NAME: Final = "virtual"
LIBRARY: Final = "ai-dynamo-runtime"
LABEL: Final = "simulated in virtual time"
SHORT_TRANSFERS: Final = "short transfers left out"


def label(_: str | None) -> str:
    """What figures, tables and verdicts call it; no device names an engine that computes on nothing."""
    return LABEL


def deviations(ran: Sequence[Ran]) -> list[str]:
    """How cells of this engine depart from the paper's."""
    versions = sorted({version for one in ran if (version := one.versions.get(LIBRARY))})
    return [
        f"{LABEL}; no serving stack and no GPU was used",
        f"mock engine and router of {LIBRARY} {', '.join(versions) or '(unknown)'} (the paper: Dynamo 0.9.0)",
        "no frontend and no network; each cell starts with empty caches",
        "a KV transfer of less than half a decode step is left out: the library would charge a whole step",
        "ties between workers are broken at random, without a seed",
    ]


def routes(kind: str, way: str) -> bool:
    """What it can run: static policies of Dynamo's own router, and its round robin."""
    return way == "builtin" and kind in ("kv", "round_robin")


def worker(
    role: Role, table: Path, limits: Mapping[str, Any], kv_bytes_per_token: int, users: int
) -> dict[str, Any]:
    """Arguments of one pool's workers, in the words of 1.5.1 (`virtual.replay` knows those of others)."""
    running = limits["decode_max_num_seqs"] if role == "decode" else None
    return {
        "worker_type": role,
        "planner_profile_data": str(table),
        "max_num_seqs": slots(users) if running is None else running,
        "max_num_batched_tokens": limits["max_num_batched_tokens"],
        "block_size": BLOCK_SIZE,
        "num_gpu_blocks": limits["num_gpu_blocks"],
        "kv_bytes_per_token": kv_bytes_per_token,
        "kv_transfer_bandwidth": limits["kv_link_gb_s"],
    }


def link_gb_s(link: float, tokens: int, kv_bytes_per_token: int, step_s: float) -> float:
    """The KV link that the library is told, GB/s; 0, no transfer, for a prompt that takes under half a step.

    It lets a request start at the pass of the decode worker after the one in which its transfer ended: a
    fraction of a step costs a whole one, none costs nothing (seen; on the live stack a transfer costs its
    time). So the time is rounded to the nearer of the two. `step_s`: the shortest decode step.
    """
    if link <= 0.0:
        return 0.0
    return link if tokens * kv_bytes_per_token / (link * 1e9) >= 0.5 * step_s else 0.0


def router(pair: tuple[float, float] | None) -> dict[str, Any] | None:
    """Arguments of the library's `KvRouterConfig` for (tau, omega), as of live frontends; None for none.

    omega is called `prefill_load_scale` there (`engines.frontend`).
    """
    if pair is None:
        return None
    tau, omega = pair
    return {"router_temperature": tau, "prefill_load_scale": omega}


ENGINE: Final = Engine(
    name=NAME,
    simulated=True,
    served=False,
    label=label,
    deviations=deviations,
    replayed=True,
    routes=routes,
    stages=False,
    open_loop=True,
    # Its router has the option, and the start's proof does not tell whether it acts.
    ignores=frozenset({"decode_active_request_weight"}),
    requests_per_s=8_000.0,  # with our own share (tier quick: 3.6 million in 445 s of one core)
    follows_table=True,
    stacks=(
        PinnedStack(
            DYNAMO_LOCK,
            (LIBRARY,),
            default_dynamo_python,
            ENVS / "dynamo",
            behaviour=SHORT_TRANSFERS,
        ),
        PinnedStack(
            DYNAMO_1_6_1_LOCK,
            (LIBRARY,),
            lambda: DYNAMO_1_6_1 / "bin" / "python",
            DYNAMO_1_6_1,
            dynamo="1.6.1",
            behaviour=SHORT_TRANSFERS,
        ),
    ),
    start_s=1.0,
)
