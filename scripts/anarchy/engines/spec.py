"""What a deployment is made of: the words that its caller decides, checked before anything starts."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from anarchy.engines.dynamo import USUAL, Dynamo, dynamo_of
from anarchy.engines.hosts import HERE, Node, Seat, seats
from anarchy.engines.image import ServingImage
from anarchy.ground.errors import UserError
from anarchy.ground.layout import DYNAMO_PYTHON

Role = Literal["prefill", "decode"]

DYNAMO_PYTHON_VARIABLE = "ANARCHY_DYNAMO_PYTHON"
"""Environment variable that names the serving environment's Python where it is not `.envs/dynamo`."""
MAX_NUM_SEQS = 1024
"""Requests that a worker runs at once, unless there are more users: vLLM's default on such GPUs."""
MAX_NUM_BATCHED_TOKENS = 8192
"""New tokens of one step of a worker."""
BLOCK_SIZE = 16
"""Tokens of a KV block: vLLM's default, and so the paper's."""
NUM_GPU_BLOCKS = 65_536
"""KV blocks of a worker of a simulated engine: more than any load of the study fills."""
KV_LINK_GB_S = 64.0
"""Bandwidth from a prefill to a decode worker of a simulated engine: ours."""
HOLD_TOKENS = 20_000
"""Output tokens of a request that outlasts every self-test."""


def slots(users: int) -> int:
    """Requests that a worker runs at once where no limit is set: nobody waits for a slot.

    Past this the live engine answers 503 to everything that follows.
    """
    return max(MAX_NUM_SEQS, 2 * users)


def default_dynamo_python() -> Path:
    """Python of the serving environment: the variable's, else the one that `make setup` builds."""
    named = os.environ.get(DYNAMO_PYTHON_VARIABLE)
    if named:
        return Path(named)
    return DYNAMO_PYTHON


def refuse_below_one(where: str, **numbers: int) -> None:
    """Raise UserError for the first of these that is below 1."""
    for what, number in numbers.items():
        if number < 1:
            raise UserError(f"{what} is {number}", where=where, remedy="give a positive whole number")


@dataclass(frozen=True)
class RoutingPolicy:
    """A policy of Dynamo's built-in KV router: softmax temperature tau, overlap score weight omega.

    All numbers are finite and not negative. omega is inert on the decode choice of the built-in router;
    `decode_active_request_weight` is what each active request adds to a decode worker's cost, KV blocks.
    """

    name: str
    tau: float
    omega: float
    decode_active_request_weight: float = 0.0

    def __post_init__(self) -> None:
        for symbol in ("tau", "omega", "decode_active_request_weight"):
            value = getattr(self, symbol)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(
                    f"{symbol} is {value}",
                    where=f"policy {self.name!r}",
                    remedy=f"give {symbol} a finite number that is not negative",
                )


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is told beside what all engines are: each engine has a kind of its own."""

    engine: ClassVar[str]
    """Name of the engine whose settings these are."""
    not_told: ClassVar[frozenset[str]] = frozenset()
    """Fields of the deployment's spec that this engine is not told."""

    @property
    def device(self) -> str:
        """What it computes on, `cuda` or `cpu`; empty where it computes on nothing."""
        return ""

    @property
    def hold_tokens(self) -> int:
        """Output tokens of a request that is to last until it is cancelled."""
        return HOLD_TOKENS

    @property
    def model_folder(self) -> Path | None:
        """Where the engine finds the model; None where a folder without any weights is to be written."""
        return None

    def check_files(self) -> None:
        """Raise UserError where a file that these settings name is not there."""


@dataclass(frozen=True)
class DeploymentSpec:
    """One disaggregated deployment: its worker pools, engine, and one frontend a routing policy.

    `settings` are the engine's own, and say which engine it is. `block_size` is the KV block in tokens,
    `num_gpu_blocks` the KV capacity of a worker in blocks. `max_num_seqs` requests run at once on a worker;
    on one that decodes `decode_max_num_seqs`, where it is given. `http_ports` are taken in the order of the
    policies; empty means any free ones.

    `nodes` are the machines: frontends run on the first, which is this one; workers take their seats in
    order, `gpus_per_worker` of the `gpus_per_node` each (0: all on the first, no GPUs). `discovery` is a
    folder that all processes see, or etcd (program `etcd`, started on the first node). `scratch` is a folder
    that all nodes see; None is the system's temporary one. With a `container` the launcher runs every process
    inside that image, and `dynamo_python` is a Python there. `selector` adds the process that policies of
    pinned routing ask; it does not run in a container.

    `stack` is the version of Dynamo that `dynamo_python` has. `assume_kv_reuse`: whether its decode choice
    counts blocks that active requests share once; None is what the version does by itself.
    """

    model: str
    prefill: int
    decode: int
    policies: tuple[RoutingPolicy, ...]
    log_dir: Path
    settings: EngineSettings
    max_num_seqs: int = MAX_NUM_SEQS
    decode_max_num_seqs: int | None = None
    max_num_batched_tokens: int = MAX_NUM_BATCHED_TOKENS
    block_size: int = BLOCK_SIZE
    num_gpu_blocks: int = NUM_GPU_BLOCKS
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
    stack: str = USUAL
    assume_kv_reuse: bool | None = None

    def __post_init__(self) -> None:
        where = f"deployment of {self.model!r}"
        self._check_stack(where)
        for what, value in (("prefill", self.prefill), ("decode", self.decode)):
            if value < 1:
                raise UserError(f"{value} {what} workers", where=where, remedy="ask for at least one of each")
        if self.selector and self.container is not None:
            raise UserError(
                "pinned routing with a container: the selector was never run inside one",
                where=where,
                remedy="serve with container.runtime none, or leave out the experiments' pinned policies",
            )
        refuse_below_one(
            where,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            block_size=self.block_size,
            num_gpu_blocks=self.num_gpu_blocks,
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

    def _check_stack(self, where: str) -> None:
        """Refuse what this version of Dynamo cannot do."""
        dynamo = self.dynamo
        dynamo.check_reuse(self.assume_kv_reuse, where=where)
        several = len(self.nodes) > 1 or self.discovery != "file" or self.container is not None
        if several and not dynamo.several_nodes:
            raise UserError(
                f"stack {self.stack} with several nodes, etcd or a container: it was run on one machine only",
                where=where,
                remedy=f"take launcher local, or stack {USUAL}",
            )

    @property
    def dynamo(self) -> Dynamo:
        """What the version of Dynamo that serves is told and tells."""
        return dynamo_of(self.stack)

    def model_name(self, model_folder: Path) -> str:
        """What requests call the model, given the folder that the engine takes for it."""
        return str(model_folder) if self.dynamo.named_by_folder else self.model

    @property
    def engine(self) -> str:
        """Name of the engine that serves."""
        return self.settings.engine

    @property
    def hold_tokens(self) -> int:
        """Output tokens of a request that is to last until it is cancelled."""
        return self.settings.hold_tokens

    def running(self, role: Role) -> int:
        """Requests that a worker of a role runs at once."""
        if role == "decode" and self.decode_max_num_seqs is not None:
            return self.decode_max_num_seqs
        return self.max_num_seqs

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
