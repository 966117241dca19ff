"""The real engine: `python -m dynamo.vllm` of Dynamo 1.5.1, KV moved from prefill to decode by NIXL.

docs/engines.md says where each flag was read. What differs on a machine without GPUs stands in `CPU`, and
nowhere else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from anarchy.engines.hosts import Node
from anarchy.engines.spec import DeploymentSpec, Role, VllmSettings

PORTS = 1
"""Ports of a worker beside its system port: NIXL's side channel."""
ANSWER_S = 120.0
"""The first requests through a worker compile and connect, 2 s on idle cores and 50 on busy ones; one that is
given up early leaves work behind that keeps the next ones waiting."""
GRACE_S = 15.0
"""Workers free memory that processes of one worker share, which is left behind on a node after SIGKILL."""
KV_ROLES: Mapping[Role, str] = MappingProxyType({"prefill": "kv_producer", "decode": "kv_consumer"})
"""vLLM 0.28 calls `kv_both` deprecated for this connector."""


CACHE = Path("/tmp") / f"anarchy-cache-{os.getuid()}"  # noqa: S108  on every node, and not a job's own TMPDIR
CACHES: Mapping[str, str] = MappingProxyType(
    {
        "VLLM_CACHE_ROOT": "vllm",
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    }
)
"""Variables of the compilers that vLLM uses -> folder of their results."""


@dataclass(frozen=True)
class Variant:
    """What one kind of device adds to a worker's command and environment, and leaves out of it."""

    flags: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    """Flags that are left out, with their value."""
    kv_transfer: Mapping[str, str] = field(default_factory=dict)
    """Further keys of `--kv-transfer-config`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables; `{interface}` is the network interface of the worker's node."""
    everywhere: Mapping[str, str] = field(default_factory=dict)
    """Variables of every process of the deployment, frontends too."""


CUDA = Variant()
CPU = Variant(
    # Compiling takes minutes on few cores and is not what is tested. A quarter GiB of KV cache: left alone,
    # each worker takes half of the machine's memory.
    flags=("--enforce-eager", "--kv-cache-memory-bytes", str(2**28)),
    # One process a worker, and vLLM has no FP8 for CPUs.
    without=frozenset({"--tensor-parallel-size", "--quantization"}),
    # KV lies in main memory; the default is `cuda`.
    kv_transfer={"kv_buffer_device": "cpu"},
    environment={
        # Workers of one machine share its cores: none is bound to its own, and each computes on one thread,
        # in the engine's own process (0 allows that). A process apart spins while it waits for work.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # The sampler compiles itself whatever --enforce-eager says: half a minute within the first request.
        "TORCHDYNAMO_DISABLE": "1",
        # UCX would listen on every interface. With InfiniBand it is not told: devices have other names there.
        "UCX_NET_DEVICES": "{interface}",
    },
    # Dynamo's own is 10 s, in which on two full cores one process or another does not get to renew its lease.
    everywhere={"ETCD_LEASE_TTL": "60"},
)
"""All that a CPU worker differs in from a GPU worker."""

VARIANTS: Mapping[str, Variant] = MappingProxyType({"cuda": CUDA, "cpu": CPU})


def command(spec: DeploymentSpec, role: Role, model_folder: Path, ports: Sequence[int]) -> tuple[str, ...]:
    """Command of one worker; `ports` holds its side channel's."""
    settings = settings_of(spec)
    variant = VARIANTS[settings.device]
    (side_channel,) = ports
    options = {
        "--model": str(model_folder),
        "--served-model-name": spec.model,
        "--disaggregation-mode": role,
        "--tensor-parallel-size": str(settings.tensor_parallel),
        "--quantization": settings.quantization,
        "--block-size": str(spec.block_size),
        "--max-model-len": str(settings.max_model_len),
        "--max-num-seqs": str(spec.max_num_seqs),
        "--max-num-batched-tokens": str(spec.max_num_batched_tokens),
        "--seed": str(spec.seed % 2**32),
        "--kv-transfer-config": _json(
            {"kv_connector": "NixlConnector", "kv_role": KV_ROLES[role], **variant.kv_transfer}
        ),
        # Off by default. Only the worker itself listens, so no port is needed: vLLM binds what begins with ipc://
        # (of TCP only `*`, every interface), and `@` is Linux's namespace without files.
        "--kv-events-config": _json(
            {
                "publisher": "zmq",
                "topic": "kv-events",
                "endpoint": f"ipc://@anarchy-kv-{side_channel}",
                "enable_kv_cache_events": True,
            }
        ),
    }
    told = [(name, value) for name, value in options.items() if value and name not in variant.without]
    return (
        *(str(spec.dynamo_python), "-m", "dynamo.vllm"),
        *(word for pair in told for word in pair),
        "--enable-prefix-caching",
        *variant.flags,
    )


def environment(spec: DeploymentSpec, node: Node, ports: Sequence[int]) -> dict[str, str]:
    """Variables of one worker on a node, beside Dynamo's own."""
    (side_channel,) = ports
    variant = VARIANTS[settings_of(spec).device]
    return {
        "VLLM_HOST_IP": node.address,
        "VLLM_NIXL_SIDE_CHANNEL_HOST": node.address,
        "VLLM_NIXL_SIDE_CHANNEL_PORT": str(side_channel),
        "VLLM_NO_USAGE_STATS": "1",
        # Left alone a worker waits 5 s after SIGTERM before it begins to end.
        "DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS": "0",
        # What compilers make is kept on the node's own disk from launch to launch: HOME is this launch's,
        # shared by all nodes and removed at its end.
        **{name: str(CACHE / folder) for name, folder in CACHES.items()},
        **{name: value.format(interface=node.interface) for name, value in variant.environment.items()},
    }


def everywhere(spec: DeploymentSpec) -> dict[str, str]:
    """Variables of every process of a deployment beside Dynamo's own."""
    return dict(VARIANTS[settings_of(spec).device].everywhere)


def settings_of(spec: DeploymentSpec) -> VllmSettings:
    """The deployment's vLLM settings, which a spec with this engine always has."""
    assert spec.vllm is not None
    return spec.vllm


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, separators=(",", ":"))
