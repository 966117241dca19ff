"""Routing as configuration: policies, the controller's settings, grids of (tau, omega), and sets of policies.

A policy is routed in one of two ways. `builtin`: Dynamo's own router decides; a policy is a frontend with its
temperature and overlap weight. `pinned`: our policy decides and each request is sent to just those workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from anarchy.config.values import (
    MOST_ENTRIES,
    Name,
    Names,
    NonNegative,
    Positive,
    PositiveSeconds,
    Strict,
    each_once,
)
from anarchy.control.detector import CONFIRM, HYSTERESIS, WEIGHT, Detector
from anarchy.control.thresholds import THETA1_TIMES, THETA2_TIMES, Multiples
from anarchy.ground.errors import UserError

PolicyKind = Literal[
    "kv", "adaptive", "round_robin", "random", "least_loaded", "power_of_two", "batched_optimal"
]
"""`kv`: Dynamo's cost with a fixed (tau, omega); `adaptive`: with the controller's; the others: baselines."""
Way = Literal["builtin", "pinned"]
"""Who decides: Dynamo's router, or our policy."""
Source = Literal["prometheus", "client"]
"""Where a controller reads TTFT P99: the frontends' histograms as in the paper, or the load client, exact."""

BATCH_S = 0.005
"""Ours: how long `batched_optimal` collects requests, model s."""


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


class Policy(Strict):
    """A routing policy: what chooses the workers of a request."""

    name: Name
    title: str
    kind: PolicyKind = "kv"
    way: Way = "builtin"
    tau: NonNegative | None = None
    """kv only. Router temperature: softmax over the workers' costs, 0 = always the cheapest."""
    omega: NonNegative | None = None
    """kv only. Overlap weight: what the prompt blocks that a worker lacks count in its cost."""
    controller: Controller | None = None
    """adaptive only: settings of its controller; its regimes set tau and omega."""
    batch_s: PositiveSeconds | None = None
    """batched_optimal only: how long requests are collected before they are assigned, model seconds."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        filled = dict(given)
        if filled.get("kind") == "adaptive" and filled.get("controller") is None:
            filled["controller"] = {}
        if filled.get("kind") == "batched_optimal" and filled.get("batch_s") is None:
            filled["batch_s"] = BATCH_S
        return filled

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Policy:
        owners = {"tau": "kv", "omega": "kv", "controller": "adaptive", "batch_s": "batched_optimal"}
        for key, kind in owners.items():
            if getattr(self, key) is not None and self.kind != kind:
                raise ValueError(f"{key} belongs to kind {kind}, this policy is {self.kind}; take {key} out")
        if self.kind == "kv" and (self.tau is None or self.omega is None):
            raise ValueError(f"a kv policy needs both; add {'tau' if self.tau is None else 'omega'}: to it")
        if self.kind not in ("kv", "adaptive") and self.way != "pinned":
            raise ValueError(f"Dynamo's router has no {self.kind}: it exists pinned only; set way: pinned")
        return self


Levels = Annotated[tuple[NonNegative, ...], Field(max_length=32), AfterValidator(each_once)]
"""Values of tau or omega, each once: 32 of each make 1024 policies, the paper has 16."""


class Grid(Strict):
    """Every pair of these tau and omega as a kv policy of its own."""

    tau: Levels
    omega: Levels
    way: Way

    @model_validator(mode="after")
    def _names_are_plain(self) -> Grid:
        for symbol, levels in (("tau", self.tau), ("omega", self.omega)):
            if not levels:
                raise ValueError(f"the grid has no {symbol}; name at least one")
            for value in levels:
                if "e" in f"{value:g}" or float(f"{value:g}") != value:
                    raise ValueError(f"{symbol} {value!r} makes no plain name; give at most 6 digits of it")
        return self

    def policies(self) -> tuple[Policy, ...]:
        """The pairs, tau changing slowest: ``kv-t0.7-w0.3`` builtin, ``pinned-t0.7-w0.3`` pinned."""
        stem = "kv" if self.way == "builtin" else "pinned"
        return tuple(
            Policy(
                name=f"{stem}-t{tau:g}-w{omega:g}",
                title=f"tau {tau:g}, omega {omega:g}{'' if stem == 'kv' else ', pinned'}",
                way=self.way,
                tau=tau,
                omega=omega,
            )
            for tau in self.tau
            for omega in self.omega
        )


class RoutingSet(Strict):
    """Policies that are measured on one deployment, whose workers stay up from the first to the last."""

    policies: Names = ()
    """Names of policies."""
    grid: Grid | None = None
    """Pairs of (tau, omega) beside them."""

    @model_validator(mode="after")
    def _holds_something(self) -> RoutingSet:
        if not self.policies and self.grid is None:
            raise ValueError("this set holds no policy; name some in policies, or give a grid")
        return self

    def resolve(self, known: Mapping[str, Policy]) -> tuple[Policy, ...]:
        """Its policies in order; KeyError for one that is not known."""
        return (*(known[name] for name in self.policies), *(self.grid.policies() if self.grid else ()))


class _ShortForm:
    """A list of names is short for a set of one policy each, named as the policy."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        names = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
        return {"anyOf": [handler(core_schema), names]}


def _sets_of_one(given: Any) -> Any:
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        return given
    each_once(tuple(given))
    return {name: {"policies": [name]} for name in given}


def _some_set(sets: dict[str, RoutingSet]) -> dict[str, RoutingSet]:
    if not sets:
        raise ValueError("there is no routing; name at least one policy")
    return sets


Routing = Annotated[
    dict[Name, RoutingSet],
    Field(max_length=MOST_ENTRIES),
    BeforeValidator(_sets_of_one),
    AfterValidator(_some_set),
    _ShortForm(),
]
"""Sets of policies by name, each a deployment of its own; or a list of policies, each a set of its own."""


def reference_of(policies: Sequence[Policy], wanted: str | None) -> Policy | None:
    """The policy of a set whose cells the latency curves are fitted to; None where nothing says which.

    It is the one `wanted`, the only one, or the static default: kv with tau 0 and omega 1.
    """
    named = [policy for policy in policies if policy.name == wanted]
    static = [policy for policy in policies if (policy.tau, policy.omega) == (0.0, 1.0)]
    found = named or (list(policies) if len(policies) == 1 else static)
    return found[0] if found else None
