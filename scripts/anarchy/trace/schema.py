"""The raw trace: one row a request, and a manifest that says what was measured.

All times are model seconds on one monotonic clock whose zero is the start of the cell. A simulated
engine may run in dilated time; the dilation is divided out before a row is written and stands in the
manifest. A missing value is null, never zero.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

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
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    """Prompt tokens that the prefill worker found in its KV cache."""
    prefill_worker: int
    """Index in the manifest's worker table, within the prefill pool; -1 when unknown."""
    decode_worker: int
    """Index in the manifest's worker table, within the decode pool; -1 when unknown."""
    policy: str
    tau: float
    omega: float
    regime: str
    """Regime of the adaptive controller, empty for a static policy."""
    phase: str
    """One of PHASES: the phase in which the request was sent."""
    status: str
    """``ok`` or the error: ``http_503``, ``timeout``, ``disconnect``, ``truncated``, ``zero_tokens``."""


TRACE_SCHEMA: Final = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("user", pa.int32(), nullable=False),
        pa.field("template", pa.int32(), nullable=False),
        pa.field("t_intended", pa.float64(), nullable=False),
        pa.field("t_sent", pa.float64(), nullable=False),
        pa.field("t_first_token", pa.float64()),
        pa.field("t_last_token", pa.float64()),
        pa.field("input_tokens", pa.int32(), nullable=False),
        pa.field("output_tokens", pa.int32(), nullable=False),
        pa.field("cached_tokens", pa.int32()),
        pa.field("prefill_worker", pa.int32(), nullable=False),
        pa.field("decode_worker", pa.int32(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("tau", pa.float64(), nullable=False),
        pa.field("omega", pa.float64(), nullable=False),
        pa.field("regime", pa.string(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ],
    metadata={"anarchy.schema_version": str(SCHEMA_VERSION)},
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class WorkerCount(_Strict):
    """How many workers each pool has."""

    prefill: int = Field(ge=1)
    decode: int = Field(ge=1)


class WorkerEntry(_Strict):
    """One row of the worker table: the small index of the trace and who it was."""

    role: Literal["prefill", "decode"]
    index: int = Field(ge=0)
    instance_id: str
    """The serving stack's own 64-bit identity, as text."""


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
    concurrency: int = Field(ge=1)
    n_workers: WorkerCount
    launch: int = Field(ge=0)

    experiment: str = ""
    tier: str = ""
    workload: str = ""
    engine: Literal["mocker", "vllm", "virtual", "unknown"] = "unknown"
    dilation: float = Field(default=1.0, ge=1.0)
    """How many wall seconds one model second took; already divided out of the trace."""
    plan_hash: str = ""
    seed: int | None = None
    started_at: str = ""
    """Wall clock at the cell's zero, ISO 8601, UTC."""
    launched_at: str = ""
    """When the serving stack of this cell was started: cells of one start share placement and clocks."""
    duration_s: float | None = None
    """Length of the cell, model seconds: the time to which an unfinished request counts."""
    workers: tuple[WorkerEntry, ...] = ()
    versions: dict[str, str | None] = Field(default_factory=dict)
    client: dict[str, Any] = Field(default_factory=dict)
    """What the load client measured of itself."""
    routing_test: dict[str, Any] = Field(default_factory=dict)
    """The deployment's proof that its routing policy takes effect."""
    gates: GateResult | None = None
    attempt: int = 1
    seal: Seal | None = None
