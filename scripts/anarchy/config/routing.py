"""Sets of policies: those that are measured on one deployment, named or as a grid of (tau, omega)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from anarchy.config.choices import EngineName, StackName
from anarchy.config.kinds import union
from anarchy.config.limits import Limits
from anarchy.config.policies import AdaptivePolicy, KvPolicy, Policy, Way
from anarchy.config.values import MOST_ENTRIES, DilationTimes, Name, Names, NonNegative, Strict, each_once
from anarchy.ground.plugins import parts


def policy_kinds() -> dict[str, type[Policy]]:
    """Every kind of policy by its word: Dynamo's, then the baselines."""
    baselines = (module.POLICY for module in parts("anarchy.routing.baselines").values())
    return {model.model_fields["kind"].default: model for model in (KvPolicy, AdaptivePolicy, *baselines)}


if TYPE_CHECKING:
    AnyPolicy: TypeAlias = Policy
else:
    AnyPolicy = union("kind", policy_kinds(), default="kv")
    """A policy of any kind, told by its key `kind`; without it, `kv`."""


Levels = Annotated[tuple[NonNegative, ...], Field(max_length=32), AfterValidator(each_once)]
"""Values of tau or omega, each once: 32 of each make 1024 policies, the paper has 16."""


class Grid(Strict):
    """Every pair of these tau and omega as a kv policy of its own."""

    tau: Levels
    omega: Levels
    way: Way
    assume_kv_reuse: bool | None = None
    """That of each policy; for way: pinned."""

    @model_validator(mode="after")
    def _names_are_plain(self) -> Grid:
        for symbol, levels in (("tau", self.tau), ("omega", self.omega)):
            if not levels:
                raise ValueError(f"the grid has no {symbol}; name at least one")
            for value in levels:
                if "e" in f"{value:g}" or float(f"{value:g}") != value:
                    raise ValueError(f"{symbol} {value!r} makes no plain name; give at most 6 digits of it")
        return self

    def policies(self) -> tuple[KvPolicy, ...]:
        """The pairs, tau changing slowest: ``kv-t0.7-w0.3`` builtin, ``pinned-t0.7-w0.3`` pinned.

        Where they say how shared blocks count, their names do too: ``unshared-t0.7-w0.3``.
        """
        stem = "kv" if self.way == "builtin" else "pinned"
        words = "" if stem == "kv" else ", pinned"
        if self.assume_kv_reuse is not None:
            stem = "shared" if self.assume_kv_reuse else "unshared"
            words += ", shared blocks count " + ("once" if self.assume_kv_reuse else "each time")
        return tuple(
            KvPolicy(
                name=f"{stem}-t{tau:g}-w{omega:g}",
                title=f"tau {tau:g}, omega {omega:g}{words}",
                way=self.way,
                tau=tau,
                omega=omega,
                assume_kv_reuse=self.assume_kv_reuse,
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
    engine: EngineName | None = None
    """What measures this set, whatever the run and the tier name: for sets that compare engines."""
    dilation_times: DilationTimes = 1.0
    """How many times the model's own dilation, where the engine can slow time: host noise weighs less. What a
    system says for itself comes before it."""
    stack: StackName | None = None
    """The version of Dynamo that serves this set, whatever the run and the tier name."""
    assume_kv_reuse: bool | None = None
    """Whether its routers count KV blocks that active requests share once; without it, as the stack does. A
    pinned policy of stack 1.5.1 says it itself."""
    limits: Limits | None = None
    """Of its workers; replaces the tier's, so that sets can compare limits."""
    workloads: Names = ()
    """Only these of the tier's workloads; empty = all."""

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
    static = [policy for policy in policies if policy.pair == (0.0, 1.0)]
    found = named or (list(policies) if len(policies) == 1 else static)
    return found[0] if found else None
