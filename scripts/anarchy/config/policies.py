"""Routing policies: what chooses the workers of a request, and the settings of the saturation controller.

A policy is routed in one of two ways. `builtin`: Dynamo's own router decides; a policy is a frontend with its
temperature and overlap weight. `pinned`: our policy decides and each request is sent to just those workers.
The baselines, which exist pinned only, are a file each in `routing.baselines`.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field, model_validator

from anarchy.config.values import (
    MOST_ENTRIES,
    Name,
    NonNegative,
    Positive,
    PositiveSeconds,
    Strict,
    refusal,
)
from anarchy.control.detector import CONFIRM, HYSTERESIS, WEIGHT, Detector, RouterParameters
from anarchy.control.thresholds import THETA1_TIMES, THETA2_TIMES, Multiples
from anarchy.ground.errors import UserError

Way = Literal["builtin", "pinned"]
"""Who decides: Dynamo's router, or our policy."""
Source = Literal["prometheus", "client"]
"""Where a controller reads TTFT P99: the frontends' histograms as in the paper, or the load client, exact."""


class Controller(Strict):
    """Settings of the saturation controller; docs/controller.md says what each does and whose it is."""

    source: Source = "prometheus"
    """Where it reads TTFT P99."""
    theta1_times: Positive | None = THETA1_TIMES
    """Lower threshold as a multiple of the baseline measured at the start; not with thresholds in seconds."""
    theta2_times: Positive | None = THETA2_TIMES
    """Upper threshold, likewise."""
    theta1_s: PositiveSeconds | None = None
    """Lower threshold, model seconds."""
    theta2_s: PositiveSeconds | None = None
    """Upper threshold, model seconds."""
    weight: NonNegative = WEIGHT
    """The newest poll's share in the average."""
    confirm: Annotated[int, Field(strict=True, ge=1, le=MOST_ENTRIES)] = CONFIRM
    """Polls that a switch takes."""
    hysteresis: NonNegative = HYSTERESIS
    """Share of a threshold by which the average must have fallen under it on the way down."""

    @property
    def in_seconds(self) -> bool:
        """Whether the thresholds are model seconds; otherwise they are multiples of a baseline."""
        return self.theta1_s is not None

    @property
    def thresholds(self) -> tuple[float, float]:
        """theta1 and theta2, model seconds or multiples."""
        pair = (self.theta1_s, self.theta2_s) if self.in_seconds else (self.theta1_times, self.theta2_times)
        theta1, theta2 = pair
        assert theta1 is not None, "a controller without it is refused"
        assert theta2 is not None, "a controller without it is refused"
        return theta1, theta2

    @model_validator(mode="before")
    @classmethod
    def _seconds_replace_the_default_multiples(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and any(given.get(key) is not None for key in ("theta1_s", "theta2_s")):
            return {"theta1_times": None, "theta2_times": None, **given}
        return given

    @model_validator(mode="after")
    def _thresholds_make_sense(self) -> Controller:
        seconds, multiples = (self.theta1_s, self.theta2_s), (self.theta1_times, self.theta2_times)
        if any(seconds) and any(multiples):
            raise ValueError("thresholds stand there in seconds and as multiples; keep one of the two")
        pair, unit = (seconds, "_s") if any(seconds) else (multiples, "_times")
        if None in pair:
            raise ValueError(f"a threshold is missing; give both theta1{unit} and theta2{unit}")
        try:
            if not self.in_seconds:
                Multiples(*self.thresholds)
            Detector(*self.thresholds, self.weight, self.confirm, self.hysteresis)
        except UserError as error:
            raise ValueError(f"{error.what}; {error.remedy}") from None
        return self


class Policy(Strict, ABC):
    """A routing policy: what chooses the workers of a request."""

    asks_dynamo: ClassVar[bool] = False
    """Whether Dynamo's cost function makes its choices, also where they are pinned."""

    name: Name
    title: str
    kind: str
    way: Way = "builtin"

    @property
    def pair(self) -> RouterParameters | None:
        """Tau and omega, of a policy that has fixed ones."""
        return None


class CostPolicy(Policy, ABC):
    """A policy whose choices Dynamo's cost function makes."""

    asks_dynamo: ClassVar[bool] = True

    assume_kv_reuse: bool | None = None
    """Whether KV blocks that active requests share count once, said in the override of each pinned request;
    without it, as the stack's selector does. Built-in routers are told by the set's key of this name."""

    @model_validator(mode="after")
    def _reuse_is_pinned(self) -> CostPolicy:
        if self.assume_kv_reuse is not None and self.way != "pinned":
            raise refusal(
                "assume_kv_reuse with way: builtin: a request over HTTP carries no override",
                "set way: pinned, or give it to the set of policies (key 'assume_kv_reuse' there)",
            )
        return self


class KvPolicy(CostPolicy):
    """Dynamo's cost with a fixed tau and omega."""

    kind: Literal["kv"] = "kv"
    tau: NonNegative
    """Router temperature: softmax over the workers' costs, 0 = always the cheapest."""
    omega: NonNegative
    """Overlap weight: what the prompt blocks that a worker lacks count in its cost."""
    decode_active_request_weight: NonNegative = 0.0
    """KV blocks that each active request adds to a decode worker's cost, beside those that it holds; Dynamo's
    word for it. With prompts of one length it changes no choice of a router that counts each in full."""

    kv_event_lag_s: NonNegative = 0.0
    """How late the router hears what a worker's cache stored and removed, model s. Engine virtual with stack
    1.6.1 only; live, it is what the event plane takes."""

    @model_validator(mode="after")
    def _lag_acts(self) -> KvPolicy:
        if self.kv_event_lag_s and self.way == "pinned":
            raise refusal(
                "kv_event_lag_s with way: pinned: the events of a live stack come when they come",
                "set way: builtin, or leave it out",
            )
        if self.kv_event_lag_s and not self.omega:
            raise refusal(
                "kv_event_lag_s with omega: 0: a router that looks for no cache hears of none",
                "give omega a number above 0, or leave it out",
            )
        return self

    @model_validator(mode="after")
    def _weight_is_built_in(self) -> KvPolicy:
        if self.decode_active_request_weight and self.way == "pinned":
            raise refusal(
                "decode_active_request_weight with way: pinned: it is an option of Dynamo's frontend, which "
                "pinned requests do not ask",
                "set way: builtin, or leave it out",
            )
        return self

    @property
    def pair(self) -> RouterParameters:
        """Tau and omega."""
        return RouterParameters(self.tau, self.omega)


class AdaptivePolicy(CostPolicy):
    """Dynamo's cost with the tau and omega of the controller's regime."""

    kind: Literal["adaptive"] = "adaptive"
    controller: Controller = Field(default_factory=Controller)
    """Settings of its controller; its regimes set tau and omega."""


class Baseline(Policy):
    """A policy of our own, held against Dynamo's: it knows how many requests each worker has in flight."""

    in_dynamo: ClassVar[bool] = False
    """Whether Dynamo's own router has it too."""

    @abstractmethod
    def choose(self, in_flight: Sequence[int], turn: int, rng: random.Random) -> int:
        """The worker of the turn-th request (from 0).

        ``in_flight``: requests on each worker that were sent and have not ended, by our own count. Ties are
        broken by ``rng``, and so by its seed.
        """

    @model_validator(mode="after")
    def _is_pinned(self) -> Baseline:
        if self.way != "pinned" and not self.in_dynamo:
            raise ValueError(f"Dynamo's router has no {self.kind}: it exists pinned only; set way: pinned")
        return self


class Memory(Protocol):
    """What a policy that looks at prompts remembers of one pool's workers."""

    def choose(self, request_id: str, prompt: Sequence[int]) -> int:
        """The worker of a request, which is counted on it from now on."""

    def prefilled(self, request_id: str) -> None:
        """Its first token is there."""

    def ended(self, request_id: str) -> None:
        """It has ended, however."""


class PromptPolicy(Policy):
    """A policy of our own that looks at the prompt and at what it has sent where before."""

    way: Literal["pinned"]

    @abstractmethod
    def remember(self, workers: int, rng: random.Random) -> Memory:
        """What it remembers of a pool of so many workers, nothing yet; ties are broken by ``rng``."""


class BatchedBaseline(Baseline):
    """A baseline that collects requests and assigns them all at once."""

    batch_s: PositiveSeconds
    """How long requests are collected before they are assigned, model seconds."""

    @abstractmethod
    def assign(self, in_flight: Sequence[int], requests: int, rng: random.Random) -> tuple[int, ...]:
        """The worker of each request of a batch; else as `choose`."""

    def choose(self, in_flight: Sequence[int], turn: int, rng: random.Random) -> int:  # noqa: ARG002
        """The worker of a batch of one."""
        return self.assign(in_flight, 1, rng)[0]
