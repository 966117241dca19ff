"""The study, as configuration: models, topologies, policies, workloads, experiments and their tiers.

Everything under ``workflow/config`` travels unchanged between clusters. What a cluster differs in is not
here. All durations are model seconds. An unknown key is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")]
"""A name that is also a wildcard and a folder: lower case letters, digits, dots and dashes."""

PositiveInt = Annotated[int, Field(strict=True, ge=1)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Seconds = NonNegative


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse a list that names something twice: it would be measured twice under one name."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!s} stands there twice; name each once")
    return values


def _split(value: Any) -> Any:
    """Accept ``a,b`` from a command line as well as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


EngineName = Literal["mocker", "vllm"]
"""What serves: Dynamo's mock engine, or vLLM."""

Names = Annotated[tuple[Name, ...], AfterValidator(_each_once)]
"""A list of names, each once."""

NameList = Annotated[
    Names,
    BeforeValidator(_split),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, {"type": "string"}]}
    ),
]
"""Names as a list, or as one text ``a,b``."""


class Strict(BaseModel):
    """Base of every block: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Cluster(Strict):
    """The machine that the study is about (stated by the paper: 3 nodes of 8 B200)."""

    nodes: PositiveInt = 3
    gpus_per_node: PositiveInt = 8


class Model(Strict):
    """A served model and how one of its workers is laid out."""

    name: Name
    title: str
    tensor_parallel: PositiveInt
    """GPUs of one worker; a worker does not span nodes."""
    quantization: str
    profile: Name
    """Timing table in data/profiles that the simulated engine follows."""
    kv_bytes_per_token: PositiveInt
    """KV cache bytes of one token, for the simulated transfer from prefill to decode."""
    dilation: Annotated[float, Field(strict=True, ge=1, le=100)] = 1.0
    """Simulated engines only: wall seconds for one model second."""


class Topology(Strict):
    """How many prefill and decode workers."""

    name: Name
    title: str
    prefill: PositiveInt
    decode: PositiveInt


class Policy(Strict):
    """A routing policy: Dynamo's KV router with a temperature and an overlap weight."""

    name: Name
    title: str
    kind: Literal["kv"] = "kv"
    tau: NonNegative
    """Router temperature: softmax over the workers' costs, 0 = always the cheapest."""
    omega: NonNegative
    """Overlap weight: what the prompt blocks that a worker lacks count in its cost."""


class Workload(Strict):
    """What one request looks like."""

    name: Name
    title: str
    input_tokens: PositiveInt
    output_tokens: PositiveInt
    """Mean output length."""
    output_jitter: Annotated[float, Field(strict=True, ge=0, lt=1)]
    """Output lengths are uniform within this share of the mean, so that users do not march in step."""
    templates: Annotated[int, Field(strict=True, ge=0)]
    """Number of distinct prompts; 0 makes every prompt unique."""


class Timing(Strict):
    """How long a cell warms up and measures, model seconds and requests."""

    warmup_s: Seconds
    """Warm-up lasts at least this long and until every user has finished a request."""
    measure_s: Seconds
    """The measure phase lasts at least this long."""
    min_windows: Annotated[int, Field(strict=True, ge=0)] = 30
    """Measuring goes on until this many windows of the routing game are in, within measure_max_s."""
    measure_max_s: Seconds
    """The measure phase lasts at most this long."""
    deadline_s: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 60.0
    """A request that takes longer is ended and recorded as `timeout`."""

    @model_validator(mode="after")
    def _ordered(self) -> Timing:
        if self.measure_s <= 0:
            raise ValueError("measure_s must be above 0")
        if self.measure_max_s < self.measure_s:
            raise ValueError("measure_max_s must not be below measure_s")
        return self


class Tier(Strict):
    """One size of an experiment."""

    concurrency: Annotated[
        tuple[PositiveInt, ...], Field(json_schema_extra={"minItems": 1, "uniqueItems": True})
    ]
    """The grid of C, rising."""
    launches: PositiveInt
    """Fresh launches of every deployment; three or more give intervals over launches."""
    workloads: Names
    timing: Timing

    @field_validator("concurrency")
    @classmethod
    def _grid(cls, grid: tuple[int, ...]) -> tuple[int, ...]:
        if not grid:
            raise ValueError("the concurrency grid is empty; name at least one C")
        if list(grid) != sorted(set(grid)):
            raise ValueError("the concurrency grid must be rising, each C once")
        return grid

    @field_validator("workloads")
    @classmethod
    def _some_workload(cls, workloads: tuple[str, ...]) -> tuple[str, ...]:
        if not workloads:
            raise ValueError("name at least one workload")
        return workloads


class System(Strict):
    """A model on a topology."""

    model: Name
    topology: Name


class Experiment(Strict):
    """One experiment of the paper: which systems, under which routing, at which sizes."""

    name: Name
    id: str
    title: str
    systems: Annotated[tuple[System, ...], Field(min_length=1), AfterValidator(_each_once)]
    routing: Annotated[Names, Field(min_length=1)]
    """Names of the policies."""
    c_ref: PositiveInt = 64
    """Concurrency up to which the affine latency curve is fitted: a point below the knee."""
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    attempts: PositiveInt = 2
    """How often a cell is measured when a gate that speaks of the machine, not of the result, fails."""
    tiers: dict[Name, Tier] = Field(min_length=1)


class Run(Strict):
    """What one call reproduces: the keys of ``workflow/config/run.yaml`` and of ``--config``."""

    tier: Name = "quick"
    engine: EngineName = "mocker"
    """`mocker` is simulated; `vllm` is real and needs the site file, for the weights and what they run on."""
    experiments: NameList = ("equilibrium",)
    models: NameList = ()
    """Only these models; empty = all."""
    seed: Annotated[int, Field(strict=True, ge=0)] | None = None
    """Replaces the experiments' own seeds."""
    launcher: Literal["local", "slurm"] = "local"
    """Where deployments run: on this machine, or each in a Slurm job of its own (`--profile slurm`)."""
    site: str = "slurm/site.yaml"
    """The cluster's own file, for launcher slurm and engine vllm; relative to the project unless absolute."""
    results: str = "results"
    """Folder of the results, relative to the project unless absolute."""


class Study(Strict):
    """The whole configuration, with every cross-reference resolved."""

    cluster: Cluster
    models: dict[str, Model]
    topologies: dict[str, Topology]
    policies: dict[str, Policy]
    workloads: dict[str, Workload]
    experiments: dict[str, Experiment]


BLOCKS: dict[str, type[Strict]] = {
    "run": Run,
    "cluster": Cluster,
    "model": Model,
    "topology": Topology,
    "policy": Policy,
    "workload": Workload,
    "experiment": Experiment,
}
"""One kind of configuration file each; their JSON Schemas are in workflow/schemas."""
