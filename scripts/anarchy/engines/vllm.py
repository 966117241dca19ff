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
from typing import ClassVar, Final, Literal

from anarchy.engines.devices import CPU as CPU_DEVICE
from anarchy.engines.devices import MIXED, PAPERS_DEVICE
from anarchy.engines.engine import Engine, PinnedStack, Ran, Served, ServedModel
from anarchy.engines.hosts import Node
from anarchy.engines.spec import HOLD_TOKENS, DeploymentSpec, EngineSettings, Role
from anarchy.engines.weights import find_weights
from anarchy.ground.layout import ENVS, VLLM_CPU_LOCK, VLLM_CPU_PYTHON

NAME: Final = "vllm"
MAX_MODEL_LEN = 32_768
"""Tokens of context, ours, where a model has more (Llama-3.1: 131,072): the study needs a few hundred, the
self-test 21,280, and a longer context only asks for more KV memory before vLLM starts at all."""
PROMPT_ROOM = 1280
"""Tokens of its context that a request that is to last leaves to its prompt."""
SHORT_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"NVIDIA B200": PAPERS_DEVICE, CPU_DEVICE: f"vLLM on {CPU_DEVICE}"}
)
"""Label of the engine by its device; another device is called by its own name."""
PACKAGES: Final[Mapping[str, str]] = MappingProxyType({"cuda": "vllm", "cpu": "vllm-cpu"})
"""Device -> package of the vLLM that computes on it; both are imported as `vllm`."""


@dataclass(frozen=True)
class VllmSettings(EngineSettings):
    """What the engine vllm is told beside what all engines are.

    `weights` is the folder that it loads, `context_length` the tokens of its context. `quantization` is
    applied at load; empty leaves the weights as they are. `on` is the kind of device.
    """

    engine: ClassVar[str] = NAME
    not_told: ClassVar[frozenset[str]] = frozenset({"num_gpu_blocks"})
    weights: Path
    context_length: int
    quantization: str = ""
    tensor_parallel: int = 1
    on: Literal["cuda", "cpu"] = "cuda"

    @property
    def device(self) -> str:
        """What it computes on."""
        return self.on

    @property
    def max_model_len(self) -> int:
        """Tokens of context that a worker serves."""
        return min(self.context_length, MAX_MODEL_LEN)

    @property
    def hold_tokens(self) -> int:
        """As of every engine, but a real one refuses more than its context has room for."""
        return min(HOLD_TOKENS, self.max_model_len - PROMPT_ROOM)

    @property
    def model_folder(self) -> Path:
        """The weights."""
        return self.weights


def label(device: str | None) -> str:
    """What figures, tables and verdicts call it: `B200`, `vLLM on CPU`, another GPU's name."""
    if device is None:
        return "vLLM on an unknown device"
    if device.startswith(MIXED):
        return "vLLM on mixed devices"
    return SHORT_NAMES.get(device, device)


def deviations(ran: Sequence[Ran]) -> list[str]:
    """How cells of this engine depart from the paper's."""
    versions = {
        tuple(str(of) for of in (one.versions.get("ai-dynamo"), _version(one.versions))) for one in ran
    }
    found = [
        f"Dynamo {stack}, vLLM {engine} (the paper: 0.9.0 and 0.14.1)" for stack, engine in sorted(versions)
    ]
    if any(one.device == CPU_DEVICE for one in ran):
        found.append(
            "vLLM on a CPU, without quantization or tensor parallelism: it proves the path, not speed"
        )
    return found


def _version(versions: Mapping[str, str | None]) -> str | None:
    return next((versions[name] for name in PACKAGES.values() if versions.get(name)), None)


def _cpu_python() -> Path:
    return VLLM_CPU_PYTHON


ENGINE: Final = Engine(
    name=NAME,
    simulated=False,
    served=True,
    label=label,
    deviations=deviations,
    loads_weights=True,
    ignores=frozenset({"profile", "kv_bytes_per_token", "dilation", "num_gpu_blocks", "kv_link_gb_s"}),
    packages=PACKAGES,
    stacks=(
        PinnedStack(VLLM_CPU_LOCK, ("ai-dynamo", PACKAGES["cpu"]), _cpu_python, ENVS / "vllm-cpu", "cpu"),
    ),
    # Loading the weights decides: a guess of ours, until a start of the model has been recorded.
    start_s=300.0,
)


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


def settings(model: ServedModel, _: Path | None) -> VllmSettings:
    """What vLLM is told for a planned model; raises UserError when the weights are not here or not whole."""
    found = find_weights(model.weights, where=model.named_by, key=f"models.{model.name}")
    return VllmSettings(
        weights=found.folder,
        context_length=found.context_length,
        quantization=model.quantization,
        tensor_parallel=model.tensor_parallel,
        on="cpu" if model.device == "cpu" else "cuda",
    )


def settings_of(spec: DeploymentSpec) -> VllmSettings:
    """The settings of a deployment of this engine."""
    if not isinstance(spec.settings, VllmSettings):
        raise TypeError(f"a deployment of engine {spec.engine} is none of {NAME}")
    return spec.settings


def command(spec: DeploymentSpec, role: Role, model_folder: Path, ports: Sequence[int]) -> tuple[str, ...]:
    """Command of one worker; `ports` holds its side channel's."""
    told = settings_of(spec)
    variant = VARIANTS[told.on]
    (side_channel,) = ports
    options = {
        "--model": str(model_folder),
        "--served-model-name": spec.model,
        "--disaggregation-mode": role,
        "--tensor-parallel-size": str(told.tensor_parallel),
        "--quantization": told.quantization,
        "--block-size": str(spec.block_size),
        "--max-model-len": str(told.max_model_len),
        "--max-num-seqs": str(spec.running(role)),
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
    given = [(name, value) for name, value in options.items() if value and name not in variant.without]
    return (
        *(str(spec.dynamo_python), "-m", "dynamo.vllm"),
        *(word for pair in given for word in pair),
        "--enable-prefix-caching",
        *variant.flags,
    )


def environment(spec: DeploymentSpec, node: Node, ports: Sequence[int]) -> dict[str, str]:
    """Variables of one worker on a node, beside Dynamo's own."""
    (side_channel,) = ports
    variant = VARIANTS[settings_of(spec).on]
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
    return dict(VARIANTS[settings_of(spec).on].everywhere)


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, separators=(",", ":"))


SERVED: Final = Served(
    settings=settings,
    command=command,
    environment=environment,
    everywhere=everywhere,
    ports=PORTS,
    answer_s=ANSWER_S,
    grace_s=GRACE_S,
)
