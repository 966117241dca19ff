"""What a user chooses: the one place where a choice is written down."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from anarchy.config.values import Name, NameList, Seed, Strict, Where, refusal
from anarchy.engines.dynamo import STACKS
from anarchy.engines.registry import engine_names

AS_PLANNED: Final = "tier"
"""In place of the name of an engine or stack: the one that each tier names."""


def _known(name: str) -> str:
    if name not in engine_names():
        raise refusal(f"there is no engine {name!r}", f"known engines: {', '.join(engine_names())}")
    return name


class _Enumerated:
    """In schemas the names that there are; they are looked up late, since that loads every engine."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core_schema), "enum": list(engine_names())}


EngineName = Annotated[str, AfterValidator(_known), _Enumerated()]
"""What serves: an engine that a module of `anarchy.engines` defines."""


def _known_or_planned(name: str) -> str:
    return name if name == AS_PLANNED else _known(name)


class _EnumeratedOrPlanned:
    """The same, and the word for each tier's own."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core_schema), "enum": [AS_PLANNED, *engine_names()]}


EngineChoice = Annotated[str, AfterValidator(_known_or_planned), _EnumeratedOrPlanned()]
"""An engine for everything, or `tier`."""


def _known_stack(name: str) -> str:
    if name not in STACKS:
        raise refusal(f"there is no stack {name!r}", f"known stacks: {', '.join(STACKS)}")
    return name


StackName = Annotated[str, AfterValidator(_known_stack), Field(json_schema_extra={"enum": list(STACKS)})]
"""A version of Dynamo that `anarchy.engines.dynamo` describes."""


def _known_stack_or_planned(name: str) -> str:
    return name if name == AS_PLANNED else _known_stack(name)


StackChoice = Annotated[
    str,
    AfterValidator(_known_stack_or_planned),
    Field(json_schema_extra={"enum": [AS_PLANNED, *STACKS]}),
]
"""A stack for everything, or `tier`."""

KneeSource = Literal["measured", "recorded"]
"""Where a knee comes from: E1 of the same run, or an entry of ``workflow/config/knees.yaml``."""

ALL = "all"
"""In place of names of experiments: every one that has the tier asked for."""


class Choices(Strict):
    """What one call asks for: the keys of ``run.yaml``, of ``--config`` and of the command line.

    This is the one place where a choice is written down: options of `anarchy`, the JSON Schema and the frozen
    run (`run.Run`) come from it.
    """

    tier: Name = "quick"
    """Size of the experiments: `quick`, `repeats`, `full`."""
    engine: EngineChoice = AS_PLANNED
    """`tier`: what each tier names, `virtual` or `mocker`, both simulated; or one engine for everything.
    `vllm` is real and needs the site file, for the weights and what they run on."""
    stack: StackChoice = AS_PLANNED
    """`tier`: what each tier names, the engine's usual one without that; or one version of Dynamo for
    everything: `0.9.0`, the paper's (engine `mocker`, built-in policies, one machine), `1.6.1` (engine
    `virtual`, one machine), or `1.5.1`."""
    experiments: NameList = ("equilibrium",)
    """Names of experiments, or `all`: each that has this tier."""
    models: NameList = ()
    """Only these models; empty = all."""
    topologies: NameList = ()
    """Only these topologies; empty = all."""
    sets: NameList = ()
    """Only these sets of policies, such as `builtin`; empty = all."""
    seed: Seed | None = None
    """Replaces the experiments' own seeds."""
    knees: KneeSource = "measured"
    """Whose knee E2 to E4 load multiples of: `measured` by E1 in this run, or `recorded` in
    workflow/config/knees.yaml."""
    launcher: Literal["local", "slurm"] = "local"
    """Where deployments run: on this machine, or each in a Slurm job of its own (`--profile slurm`)."""
    site: Where = "slurm/site.yaml"
    """The cluster's own file, for launcher slurm and engine vllm; relative to the project unless absolute."""
    results: Where = "results"
    """Folder of the results, relative to the project unless absolute."""

    def changed(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values; lists as ``a,b``."""
        return {
            key: ",".join(value) if isinstance(value, list) else value
            for key, value in self.model_dump(mode="json", exclude_defaults=True).items()
        }
