"""Dynamo's mock engine: vLLM's scheduler imitated, every step as long as the timing table says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anarchy.engines.hosts import Node
from anarchy.engines.spec import DeploymentSpec, Role


def command(spec: DeploymentSpec, role: Role, model_folder: Path, _: Sequence[int] = ()) -> tuple[str, ...]:
    """Command of one mock worker (one a process: with several, only the first gets a system port).

    `--speedup-ratio` slows prefill and decode steps but not the KV transfer (measured), so the bandwidth is
    divided by the dilation here.
    """
    assert spec.profile is not None
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


def everywhere(_: DeploymentSpec) -> dict[str, str]:
    """Variables of every process of a deployment beside Dynamo's own: none."""
    return {}


def environment(_: DeploymentSpec, __: Node, ___: Sequence[int] = ()) -> dict[str, str]:
    """Variables of a worker beside Dynamo's own: none."""
    return {}
