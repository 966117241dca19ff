"""What `system.json` holds of a system: the document between the estimates and everything that shows them.

Each design adds its own keys (`document.py` in its folder of `designs`). A number that is not known is null.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Real: TypeAlias = float | None
"""A number, or null where it is not known."""


class Document(BaseModel):
    """Base of every part: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Ends(Document):
    """A number with the ends of its 95 % interval."""

    value: Real
    lo: Real
    hi: Real


class Quality(Document):
    """How well a latency curve fits."""

    r2: Real
    r2_within: Real
    """Of the variance inside cells alone."""
    rmse: Real
    """s"""
    n_rows: int
    n_cells: int


class Affine(Document):
    """l_A(x) = alpha + beta x, s; kappa is what a block found in a cache saves."""

    alpha: float
    beta: float
    kappa: float
    quality: Quality | None


class Full(Document):
    """l_F(x) = c0 + sum_k b_k max(0, x - k), s; `slopes` are the b_k above 0 by their knot."""

    c0: float
    slopes: dict[str, float]
    quality: Quality | None


class Curves(Document):
    """The latency curves of one launch."""

    affine: Affine
    full: Full


class KneeFacts(Document):
    """The knee, and what stands beside it (docs/estimator.md)."""

    exists: bool
    knee: Real
    lo: Real
    hi: Real
    first_post_knee: int | None
    slope_before: Real
    slope_after: Real
    growth: Real
    improvement: Real
    p_value: Real
    level: float
    replicates: int
    note: str
    kneedle: Real
    slo_crossing: int | None


class KneeAtDepth(Document):
    """The knee of the cells up to one C; null where they have none."""

    deepest: int
    knee: Real
    lo: Real
    hi: Real


class Plateau(Document):
    """PoA-hat of the plateau: the geometric mean of its cells, each weighing the same."""

    poa_hat: Real
    lo: Real
    hi: Real
    cells_lo: Real
    cells_hi: Real
    c_from: int
    c_to: int
    n_cells: int


class Deepest(Document):
    """The cell of the largest C."""

    concurrency: int
    poa_hat: Real
    lo: Real
    hi: Real
    n_launches: int | None = None
    """Launches that count in it; left out in documents of before it was told."""
    interval_kind: str | None = None
    """across-launches or within-run; left out likewise."""


class RiseTo(Ends):
    """PoA-hat of one cell over the plateau's."""

    concurrency: int


class Growth(Document):
    """How median TTFT and mean ITL grow from the plateau's last cell to the deepest."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: int = Field(alias="from")
    to: int
    ttft: Ends
    itl: Ends


class LadderWorkload(Document):
    """One workload of a ladder."""

    title: str
    knee: KneeFacts
    knee_by_depth: list[KneeAtDepth] = Field(default_factory=list)
    """The knee had the grid ended sooner, by its deepest C."""
    plateau: Plateau | None
    rise: Ends | None
    """PoA-hat of the deepest cell over the plateau's."""
    rises: list[RiseTo] = Field(default_factory=list)
    """The same of the plateau's last cell and every deeper one, by C; without a plateau empty."""
    deepest: Deepest | None
    regimes: list[tuple[int, str]]
    """By C."""
    curves: dict[str, Curves]
    """By launch."""
    notes: list[str]
    growth: Growth | None


class Rise(Document):
    """From one condition to another: ratios to over from, and the factors' shares of the logarithm."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: str = Field(alias="from")
    to: str
    poa_hat: Real
    poa_hat_lo: Real
    poa_hat_hi: Real
    dynamics: Real
    dynamics_lo: Real
    dynamics_hi: Real
    dynamics_share: Real
    dynamics_share_lo: Real
    dynamics_share_hi: Real
    routing: Real
    routing_lo: Real
    routing_hi: Real
    routing_share: Real
    routing_share_lo: Real
    routing_share_hi: Real
    freezing: Real
    freezing_lo: Real
    freezing_hi: Real
    freezing_share: Real
    freezing_share_lo: Real
    freezing_share_hi: Real


class PolicyFacts(Document):
    """A policy as it was measured."""

    name: str
    title: str
    kind: str
    way: str
    tau: Real
    omega: Real


class PolicySet(Document):
    """A set of policies, measured on one deployment."""

    reference: str | None
    """The policy that the latency curves were fitted to."""
    policies: list[PolicyFacts]


class KneeOrigin(Document):
    """The knee that loads are multiples of, and whose it is."""

    used: int | None
    """C; null where none was found."""
    reason: str
    """Why there is none."""
    source: str | None = None
    """measured (by E1 of the same run) or recorded."""
    value: float | None = None
    """The knee as it was estimated, C."""
    interval: tuple[Real, Real] | None = None
    engine: str | None = None
    version: str | None = None
    served: str | None = None
    """Digest of what served."""
    workload: str | None = None
    experiment: str | None = None
    """The experiment of this run that measured it."""
    tier: str | None = None
    label: str | None = None
    """Label of its engine."""
    run: str | None = None
    """Of a recorded one: the run that measured it."""
    date: str | None = None


class RunningOn(Document):
    """What was recorded of the machines of a deployment while its cells were measured."""

    gpus: int
    samples: dict[str, tuple[float, float, float]]
    """Name with its unit -> least, median and largest, over all GPUs and seconds."""
    held_back_share: Real
    """Of the GPUs' samples: slower than their work asked, for power or heat; null without GPUs."""
    answer_p99_s: Real
    """How long the processes took to tell their metrics."""
    unanswered_share: Real
    """Of these questions."""


class DeploymentFacts(Document):
    """What one deployment took, wall seconds, and the proof that its routing takes effect."""

    routing_set: str
    trial: int
    """Number of the launch, from 1."""
    engine: str | None = None
    """Label of its engine; left out in documents of before a system could have two."""
    measuring_s: float
    """Spent in measure phases that count."""
    gpus: int
    predicted_s: float
    routing_test: dict[str, Any]
    sittings: int
    """Starts of the serving stack."""
    start_s: float
    cells_s: float
    stop_s: float
    wall_s: float
    running_on: RunningOn | None = None
    """Left out where nothing was recorded."""


class SystemDocument(Document):
    """What holds for one model on one topology, whatever its design."""

    experiment: str
    tier: str
    design: str
    model: str
    model_title: str
    topology: str
    topology_title: str
    engine: str
    """Label of the engine, for figures."""
    dilation: float
    """Wall s a model s."""
    pool: int
    """m: workers of the decode pool, which the routing game is about."""
    versions: dict[str, str | None]
    deployments: list[DeploymentFacts]
    deviations: list[str]
    """What a reader must know before comparing."""


class ConditionsDocument(SystemDocument):
    """A system whose loads are multiples of a knee, measured under sets of policies."""

    knee: int | None
    """C that loads are multiples of."""
    knee_from: KneeOrigin | None
    c_ref: int
    """C up to which the affine curve is fitted."""
    routing: dict[str, PolicySet]


class ConditionsWorkload(Document):
    """One workload of such a system, by sets of policies, and these by launches or policies."""

    title: str
    curves: dict[str, dict[str, Curves]]
    notes: list[str]
    rise: dict[str, dict[str, Rise | None]]
    """From the condition of the least C to that of the most."""


class StageFacts(Document):
    """A stage as it was planned, and when it came, model s from a cell's start (medians of the cells)."""

    name: str
    concurrency: int
    knee_times: Real
    direction: Literal["up", "down"]
    settle_s: float
    seconds: float
    start_s: float
    settled_s: float
    """From then on its requests are measured; later than planned where users that left took long to end."""
    end_s: float


class Bend(Document):
    """Where the mean TTFT of a policy bends most on the way up, s a user squared."""

    concurrency: int
    value: Real
    lo: Real
    hi: Real


class StagedWorkload(ConditionsWorkload):
    """One workload of a system measured in stages."""

    curvature: dict[str, dict[str, Bend | None]]


class RegimeParameters(Document):
    """What a regime of the controller sets."""

    tau: float
    omega: float


class StagedDocument(ConditionsDocument):
    """A system measured in stages."""

    stages: list[StageFacts]
    workloads: dict[str, StagedWorkload]
    controllers: dict[str, RegimeParameters]
    """By regime."""
