"""What a deployment is made of: the words that its caller decides, checked before anything starts."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anarchy.engines.hosts import HERE, Node, Seat, seats
from anarchy.engines.image import ServingImage
from anarchy.ground.errors import UserError
from anarchy.ground.layout import DYNAMO_PYTHON

Role = Literal["prefill", "decode"]

DYNAMO_PYTHON_VARIABLE = "ANARCHY_DYNAMO_PYTHON"
"""Environment variable that names the serving environment's Python where it is not `.envs/dynamo`."""
MAX_MODEL_LEN = 32_768
"""Tokens of context, ours, where a model has more (Llama-3.1: 131,072): the study needs a few hundred, the
self-test 21,280, and a longer context only asks for more KV memory before vLLM starts at all."""
HOLD_TOKENS = 20_000
"""Output tokens of a request that outlasts every self-test."""


def default_dynamo_python() -> Path:
    """Python of the serving environment: the variable's, else the one that `make setup` builds."""
    named = os.environ.get(DYNAMO_PYTHON_VARIABLE)
    if named:
        return Path(named)
    return DYNAMO_PYTHON


@dataclass(frozen=True)
class RoutingPolicy:
    """A policy of Dynamo's built-in KV router: softmax temperature tau, overlap score weight omega.

    tau and omega are finite and not negative. omega is inert on the decode choice of the built-in router.
    """

    name: str
    tau: float
    omega: float

    def __post_init__(self) -> None:
        for symbol, value in (("tau", self.tau), ("omega", self.omega)):
            if not (math.isfinite(value) and value >= 0):
                raise UserError(
                    f"{symbol} is {value}",
                    where=f"policy {self.name!r}",
                    remedy=f"give {symbol} a finite number that is not negative",
                )


@dataclass(frozen=True)
class VllmSettings:
    """What the engine vllm is told beside what all engines are.

    `weights` is the folder that it loads, `context_length` the tokens of its context. `quantization` is
    applied at load; empty leaves the weights as they are.
    """

    weights: Path
    context_length: int
    quantization: str = ""
    tensor_parallel: int = 1
    device: Literal["cuda", "cpu"] = "cuda"

    @property
    def max_model_len(self) -> int:
        """Tokens of context that a worker serves."""
        return min(self.context_length, MAX_MODEL_LEN)


@dataclass(frozen=True)
class DeploymentSpec:
    """One disaggregated deployment: its worker pools, engine, timing, and one frontend a routing policy.

    `profile` is the timing table (NPZ) of the engine mocker, `vllm` what the engine vllm needs; each has the
    one and not the other. `dilation` slows all model time of simulated engines by that factor (>= 1).
    `kv_transfer_bandwidth` is in GB/s and `kv_bytes_per_token` in bytes, both in model time; 0 GB/s means
    no delay. `block_size` is the KV block in tokens (16 is vLLM's default, and so the paper's);
    `num_gpu_blocks` is the KV capacity of a worker in blocks. `http_ports` are taken in the order of the
    policies; empty means any free ones.

    `nodes` are the machines: frontends run on the first, which is this one; workers take their seats in
    order, `gpus_per_worker` of the `gpus_per_node` each (0: all on the first, no GPUs). `discovery` is a
    folder that all processes see, or etcd (program `etcd`, started on the first node). `scratch` is a folder
    that all nodes see; None is the system's temporary one. With a `container` the launcher runs every process
    inside that image, and `dynamo_python` is a Python there. `selector` adds the process that policies of
    pinned routing ask; it does not run in a container.
    """

    model: str
    prefill: int
    decode: int
    policies: tuple[RoutingPolicy, ...]
    log_dir: Path
    engine: Literal["mocker", "vllm"] = "mocker"
    profile: Path | None = None
    vllm: VllmSettings | None = None
    dilation: float = 1.0
    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 8192
    block_size: int = 16
    num_gpu_blocks: int = 65_536
    kv_transfer_bandwidth: float = 64.0
    kv_bytes_per_token: int = 163_840
    seed: int = 0
    nodes: tuple[Node, ...] = (HERE.node,)
    gpus_per_worker: int = 0
    gpus_per_node: int = 0
    discovery: Literal["file", "etcd"] = "file"
    etcd: str = "etcd"
    scratch: Path | None = None
    http_ports: tuple[int, ...] = ()
    start_timeout_s: float = 60.0
    dynamo_python: Path = field(default_factory=default_dynamo_python)
    container: ServingImage | None = None
    selector: bool = False

    def __post_init__(self) -> None:
        where = f"deployment of {self.model!r}"
        for what, value in (("prefill", self.prefill), ("decode", self.decode)):
            if value < 1:
                raise UserError(f"{value} {what} workers", where=where, remedy="ask for at least one of each")
        if not (math.isfinite(self.dilation) and self.dilation >= 1):
            raise UserError(f"dilation is {self.dilation}", where=where, remedy="give a number of at least 1")
        self._check_engine(where)
        if self.selector and self.container is not None:
            raise UserError(
                "pinned routing with a container: the selector was never run inside one",
                where=where,
                remedy="serve with container.runtime none, or leave out the experiments' pinned policies",
            )
        for what, number in (
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("block_size", self.block_size),
            ("num_gpu_blocks", self.num_gpu_blocks),
            ("kv_bytes_per_token", self.kv_bytes_per_token),
        ):
            if number < 1:
                raise UserError(f"{what} is {number}", where=where, remedy="give a positive whole number")
        if not (math.isfinite(self.kv_transfer_bandwidth) and self.kv_transfer_bandwidth >= 0):
            raise UserError(
                f"kv_transfer_bandwidth is {self.kv_transfer_bandwidth}",
                where=where,
                remedy="give GB/s, or 0 for no delay",
            )
        names = [policy.name for policy in self.policies]
        if not names or len(set(names)) != len(names):
            raise UserError(
                f"routing policies are {names}",
                where=where,
                remedy="give at least one, each with its own name",
            )
        if self.http_ports and len(self.http_ports) != len(self.policies):
            raise UserError(
                f"{len(self.http_ports)} ports for {len(self.policies)} policies",
                where=where,
                remedy="give one port a policy, or none",
            )

    def _check_engine(self, where: str) -> None:
        simulated = self.engine == "mocker"
        if (self.profile is None) is simulated or (self.vllm is None) is not simulated:
            raise UserError(
                f"engine {self.engine} with {'no' if self.profile is None else 'a'} timing table and "
                f"{'no' if self.vllm is None else ''} vLLM settings",
                where=where,
                remedy="give `profile` to the engine mocker and `vllm` to the engine vllm",
            )
        if not simulated and self.dilation != 1:
            raise UserError(
                f"dilation is {self.dilation:g}, but engine {self.engine} keeps its own time",
                where=where,
                remedy="leave it at 1",
            )

    @property
    def hold_tokens(self) -> int:
        """Output tokens of a request that is to last until it is cancelled.

        A real engine refuses more than its context has room for; 1,280 tokens of it are left to the prompt.
        """
        return HOLD_TOKENS if self.vllm is None else min(HOLD_TOKENS, self.vllm.max_model_len - 1280)

    @property
    def host(self) -> str:
        """Address of the first node, where frontends, discovery and the event broker listen."""
        return self.nodes[0].address

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Seat of each worker, prefill 0..P-1, then decode 0..D-1."""
        return seats(self.prefill + self.decode, self.gpus_per_worker, self.nodes, self.gpus_per_node)


@dataclass(frozen=True)
class Worker:
    """One running worker; `index` counts from 0 within its role, `instance_id` is Dynamo's 64-bit name.

    `pid` is that of the process here: the worker's own, or of the `srun` that stands for it.
    """

    index: int
    role: Role
    instance_id: int
    pid: int
    system_port: int
    log_path: Path
    seat: Seat = HERE

    @property
    def name(self) -> str:
        """Name of its process and of its log."""
        return f"{self.role}-{self.index}"
