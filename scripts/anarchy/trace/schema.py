"""The raw trace: one row a request, and a manifest that says what was measured.

Both are a public format: the estimator reads any folder that holds them, whoever measured it. What this
project's own client writes is stricter (`TRACE_SCHEMA`) than what is read (`PUBLIC_SCHEMA`).

All times are model seconds on one monotonic clock whose zero is the start of the cell. A simulated
engine may run in dilated time; the dilation is divided out before a row is written and stands in the
manifest. A missing value is null, never zero.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Annotated, Any, ClassVar, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from anarchy.ground.bounded import MOST_WORKERS

SCHEMA_VERSION: Final = 1

PHASES: Final = ("warmup", "measure", "cooldown")


@dataclasses.dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as the load client saw it."""

    request_id: str
    """Unique within the cell."""
    user: int
    """Closed-loop user slot, 0-based."""
    template: int
    """Prompt template, -1 for a prompt of its own."""
    t_intended: float
    """When the user became free and meant to send, s."""
    t_sent: float
    """When the request was written to the socket, s."""
    t_first_token: float | None
    t_last_token: float | None
    t_end: float
    """When it was over, well or not, s: its worker is free of it from then on."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    """Prompt tokens that the prefill worker found in its KV cache."""
    prefill_worker: int
    """Index in the manifest's worker table, within the prefill pool; -1 when unknown."""
    decode_worker: int
    """Index in the manifest's worker table, within the decode pool; -1 when unknown."""
    policy: str
    tau: float | None
    omega: float | None
    """None for a policy that has none."""
    regime: str
    """Regime of the adaptive controller, empty for a static policy."""
    phase: str
    """One of PHASES: the phase in which the request was sent."""
    status: str
    """``ok`` or the error: ``http_503``, ``timeout``, ``disconnect``, ``truncated``, ``zero_tokens``,
    ``misrouted`` (served by another worker than it was pinned to)."""


@dataclasses.dataclass(frozen=True, slots=True)
class StageSpan:
    """One stage of a staged cell as it really happened; s on the clock of the trace.

    Its requests are those of phase `measure` with settled_s <= t_sent < end_s.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    concurrency: int
    """Users that were active."""
    start_s: float
    """When C was set: from here on the system settles."""
    settled_s: float
    """When measuring began."""
    end_s: float
    """When measuring ended."""


TRACE_SCHEMA: Final = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("user", pa.int32(), nullable=False),
        pa.field("template", pa.int32(), nullable=False),
        pa.field("t_intended", pa.float64(), nullable=False),
        pa.field("t_sent", pa.float64(), nullable=False),
        pa.field("t_first_token", pa.float64()),
        pa.field("t_last_token", pa.float64()),
        pa.field("t_end", pa.float64()),
        pa.field("input_tokens", pa.int32(), nullable=False),
        pa.field("output_tokens", pa.int32(), nullable=False),
        pa.field("cached_tokens", pa.int32()),
        pa.field("prefill_worker", pa.int32(), nullable=False),
        pa.field("decode_worker", pa.int32(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("tau", pa.float64()),
        pa.field("omega", pa.float64()),
        pa.field("regime", pa.string(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ],
    metadata={"anarchy.schema_version": str(SCHEMA_VERSION)},
)


NEVER_NULL: Final = ("request_id", "t_sent", "phase", "status", "prefill_worker", "decode_worker")
"""What every trace must tell; a worker that it does not know is -1."""

PUBLIC_SCHEMA: Final = pa.schema(
    [field.with_nullable(field.name not in NEVER_NULL) for field in TRACE_SCHEMA]
)
"""What the estimator reads: the same columns, null where a source does not know."""

ADDED_COLUMNS: Final = ("t_end",)
"""Columns that traces sealed by earlier releases lack; they read as null."""

OVERLAP_COLUMNS: Final = {"prefill": "prefill_overlap", "decode": "decode_overlap"}
"""Optional column by pool: a list with one entry a worker, the share in [0, 1] of the request's prompt blocks
that lay on this worker when the request was routed; null where nobody knows."""


class TraceRow(BaseModel):
    """One row of `trace.parquet`. Columns that are not required may be null or missing: nobody knows."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    request_id: str
    """Unique within the cell."""
    t_sent: float
    """When the request was sent, s on one monotonic clock whose zero is the start of the cell."""
    phase: Literal["warmup", "measure", "cooldown"]
    """Phase in which the request was sent; only `measure` is estimated, all put load on the workers."""
    status: str
    """`ok`, or the error's kind, such as `http_503`, `timeout`, `disconnect`, `truncated`, `zero_tokens`,
    `misrouted`."""
    prefill_worker: int = Field(ge=-1)
    """Index within the prefill pool, from 0; -1 when unknown."""
    decode_worker: int = Field(ge=-1)
    """Index within the decode pool, from 0; -1 when unknown."""
    user: int | None = None
    """Closed-loop user slot, from 0."""
    template: int | None = None
    """Prompt template, -1 for a prompt of its own."""
    t_intended: float | None = None
    """When the user became free and meant to send, s; not after `t_sent`."""
    t_first_token: float | None = None
    """First token at the client, s; there when `status` is `ok`."""
    t_last_token: float | None = None
    """Last token at the client, s; there when `status` is `ok`."""
    t_end: float | None = None
    """When the request was over, well or not, s: a cancelled, failed or timed-out request is load until then.
    Null where nobody knows: it is load until its last token, and without one until the end of the cell."""
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    cached_tokens: int | None = Field(default=None, ge=0)
    """Prompt tokens that the prefill worker found in its KV cache."""
    policy: str | None = None
    """What routed the request: the manifest's policy."""
    tau: float | None = None
    """Router temperature; null for a policy that has none."""
    omega: float | None = None
    """Weight of KV overlap in the router's cost; null for a policy that has none."""
    regime: str | None = None
    """Regime of an adaptive controller, empty for a static policy."""
    prefill_overlap: list[float] | None = None
    """Share in [0, 1] of the prompt's blocks that lay on each prefill worker when the request was routed."""
    decode_overlap: list[float] | None = None
    """The same for each decode worker."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class WorkerCount(_Strict):
    """How many workers each pool has."""

    prefill: int = Field(ge=1, le=MOST_WORKERS, strict=True)
    decode: int = Field(ge=1, le=MOST_WORKERS, strict=True)


class WorkerEntry(_Strict):
    """One row of the worker table: the small index of the trace and who it was."""

    role: Literal["prefill", "decode"]
    index: int = Field(ge=0)
    instance_id: str
    """The serving stack's own 64-bit identity, as text."""
    node: str = "node01"
    """Alias of the machine that it ran on."""
    gpus: tuple[int, ...] = ()
    """Indices of its GPUs there; none for an engine on one machine without GPUs."""


class Seal(_Strict):
    """Proof that the trace file is whole: its rows and its SHA-256."""

    file: str
    rows: int = Field(ge=0)
    sha256: str


class GateResult(_Strict):
    """The verdict on a cell: valid, or the names of the gates it failed and the numbers behind them."""

    valid: bool
    reasons: tuple[str, ...] = ()
    measures: dict[str, float | None] = Field(default_factory=dict)


class Manifest(BaseModel):
    """What one sealed cell measured. The first block is enough for an estimate of anybody's trace."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    schema_version: int = SCHEMA_VERSION
    cell: str
    model: str
    topology: str
    policy: str
    concurrency: int = Field(ge=1, le=10_000_000, strict=True)
    n_workers: WorkerCount
    launch: int = Field(ge=0, le=10_000_000, strict=True)

    experiment: str = ""
    tier: str = ""
    workload: str = ""
    load: str = ""
    """Name of the load where it was planned as a multiple of the knee."""
    repeat: int = Field(default=1, ge=1, strict=True)
    """Which of several measurements of one cell on one deployment; they show the noise."""
    loop: Literal["closed", "think", "open"] = "closed"
    """How requests came: `closed`, each of the C users sends when its last request has ended; `think`, the
    users pause in between; `open`, requests come by themselves, at most C at once unless `send_every_s`
    says otherwise."""
    think_s: float | None = Field(default=None, ge=0.0, le=1e9, strict=True)
    """Mean of the pause between an answer and its user's next request, model s; null where nobody knows."""
    send_every_s: float | None = Field(default=None, gt=0.0, le=1e9, strict=True)
    """Of an open loop: mean time between two requests of each of C users, who wait for no answer, model s, so
    that C bounds nothing. Null where C bounds the requests in flight."""
    way: Literal["", "builtin", "pinned"] = ""
    """Who chose the workers: the serving stack's own router, or the client; empty where nobody knows."""
    stages: tuple[StageSpan, ...] = ()
    """The stages of a staged cell in order; `concurrency` is then the largest C. Empty for a constant one."""
    engine: str = Field(default="unknown", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """What served, such as `mocker`, `vllm` or `virtual`; `unknown` where nobody knows."""
    device: str | None = None
    """What a real engine computed on: `CPU`, or the GPU's name by nvidia-smi, such as `NVIDIA B200`;
    `mixed: A, B` where they differ; null for a simulated engine, and where nobody knows."""
    dilation: float = Field(default=1.0, ge=1.0)
    """How many wall seconds one model second took; already divided out of the trace."""
    plan_hash: str = ""
    seed: int | None = None
    started_at: str = ""
    """Wall clock at the cell's zero, ISO 8601, UTC."""
    launched_at: str = ""
    """When the serving stack of this cell was started: cells of one start share placement and clocks."""
    duration_s: float | None = Field(default=None, ge=0.0, le=1e9, strict=True)
    """Length of the cell, model seconds: the time to which an unfinished request counts."""
    workers: tuple[WorkerEntry, ...] = ()
    versions: dict[str, str | None] = Field(default_factory=dict)
    departures: tuple[str, ...] = ()
    """How what served is known to depart from the engines that it stands for, beside what `engine` says."""
    client: dict[str, Any] = Field(default_factory=dict)
    """What the load client measured of itself."""
    routing_test: dict[str, Any] = Field(default_factory=dict)
    """The deployment's proof that its routing policy takes effect."""
    source: dict[str, Any] = Field(default_factory=dict)
    """Of an imported trace: format, file, SHA-256, assumptions made and notes."""
    gates: GateResult | None = None
    attempt: int = 1
    companions: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")], str] = Field(
        default_factory=dict
    )
    """Further raw files in the cell's folder, such as the router's decisions: name -> SHA-256."""
    seal: Seal | None = None

    @property
    def unbounded(self) -> bool:
        """Whether requests came however many were in flight: too many of them are a result, and no fault."""
        return self.send_every_s is not None

    @field_validator("stages")
    @classmethod
    def _one_after_the_other(cls, stages: tuple[StageSpan, ...]) -> tuple[StageSpan, ...]:
        if len({stage.name for stage in stages}) < len(stages):
            raise ValueError("two stages have one name")
        times = [t for stage in stages for t in (stage.start_s, stage.settled_s, stage.end_s)]
        if not all(map(math.isfinite, times)) or any(b < a for a, b in itertools.pairwise(times)):
            raise ValueError("the stages' times must be finite and follow one another")
        return stages
