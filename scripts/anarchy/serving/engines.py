"""The command line of each engine's workers: what a deployment's words mean to Dynamo 1.5.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from anarchy.serving.spec import DeploymentSpec, Role, RoutingPolicy


def mocker_command(spec: DeploymentSpec, role: Role, model_folder: Path) -> tuple[str, ...]:
    """Command of one mock worker (one a process: with several, only the first gets a system port).

    `--speedup-ratio` slows prefill and decode steps but not the KV transfer (measured), so the bandwidth is
    divided by the dilation here.
    """
    return (
        str(spec.dynamo_python),
        "-m",
        "dynamo.mocker",
        "--model-path",
        str(model_folder),
        "--model-name",
        spec.model,
        "--disaggregation-mode",
        role,
        "--planner-profile-data",
        str(spec.profile.resolve()),
        "--speedup-ratio",
        repr(1.0 / spec.dilation),
        "--max-num-seqs",
        str(spec.max_num_seqs),
        "--max-num-batched-tokens",
        str(spec.max_num_batched_tokens),
        "--block-size",
        str(spec.block_size),
        "--num-gpu-blocks-override",
        str(spec.num_gpu_blocks),
        "--kv-transfer-bandwidth",
        repr(spec.kv_transfer_bandwidth / spec.dilation),
        "--kv-bytes-per-token",
        str(spec.kv_bytes_per_token),
    )


WORKER_COMMANDS: Mapping[str, Callable[[DeploymentSpec, Role, Path], tuple[str, ...]]] = MappingProxyType(
    {"mocker": mocker_command}
)
"""Engine's name in the config -> command of one of its workers."""


def frontend_command(spec: DeploymentSpec, policy: RoutingPolicy, port: int) -> tuple[str, ...]:
    """Command of the frontend that routes by `policy`.

    omega is `--router-prefill-load-scale`: 1.5.1 keeps `--router-kv-overlap-score-weight` as its deprecated
    alias. The router's cost of worker j is `omega * max(0, prefill blocks_j - overlap_j) + decode
    blocks_j`; on the decode choice of a disaggregated deployment the prefill term is 0 for every worker, so
    omega has nothing to act on there.
    """
    return (
        str(spec.dynamo_python),
        "-m",
        "dynamo.frontend",
        "--http-host",
        spec.host,
        "--http-port",
        str(port),
        "--router-mode",
        "kv",
        "--router-temperature",
        repr(policy.tau),
        "--router-prefill-load-scale",
        repr(policy.omega),
        "--router-replica-sync",
    )
