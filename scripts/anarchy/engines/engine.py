"""What an engine is: facts that plans, estimates and figures need, and how it is started where it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anarchy.engines.dynamo import USUAL
from anarchy.engines.hosts import Node
from anarchy.engines.spec import DeploymentSpec, EngineSettings, Role
from anarchy.ground.locks import pinned_version

if TYPE_CHECKING:
    from anarchy.engines.profiles import Profile

GRACE_S = 3.0
"""How long a process may take to end by itself after SIGTERM (mock engines take 0.2 s)."""
SIMULATED = "simulated"
"""Label of mock engines behind a live serving stack."""


def simulated(_: str | None) -> str:
    """The label of an engine that computes on nothing, so that no device names it."""
    return SIMULATED


@dataclass(frozen=True)
class PinnedStack:
    """A serving stack that this project pins and installs."""

    lock: Path
    packages: tuple[str, ...]
    """Those whose versions name it in a plan."""
    python: Callable[[], Path]
    """Its Python, as the environment of this process says."""
    environment: Path
    """The folder that `envs/build` makes from the lock."""
    device: str = ""
    """The one kind of device that it computes on; empty where that does not matter."""
    dynamo: str = USUAL
    """Its version of Dynamo, by which a run asks for it: the word of `stack`."""
    behaviour: str = ""
    """What it is told that decides a measurement and stands in no key: a change makes other cells."""

    @property
    def words(self) -> str:
        """Packages and versions, as plans and hashes of cells know them."""
        versions = (f"{name} {pinned_version(self.lock, name)}" for name in self.packages)
        return ", ".join([*versions, *filter(None, [self.behaviour])])


@dataclass(frozen=True)
class Ran:
    """What one cell was really measured with."""

    versions: Mapping[str, str | None]
    device: str | None


def routes_when_served(kind: str, way: str) -> bool:
    """What a serving stack here runs: every policy but Dynamo's own round robin, which has no frontend."""
    return (kind, way) != ("round_robin", "builtin")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Who an engine is; a module of this room with an `ENGINE` of this type makes one known.

    One that is served has a `SERVED` beside it, of the type below.
    """

    name: str
    """Its word in choices, plans and traces."""
    simulated: bool
    """Whether it computes nothing, so that it needs no device and its figures are labelled so."""
    served: bool
    """Whether a serving stack is started for it."""
    label: Callable[[str | None], str]
    """What figures, tables and verdicts call it, given the device of a manifest."""
    deviations: Callable[[Sequence[Ran]], list[str]]
    """How its measurements depart from the paper's, as sentences, given what it ran on; never none."""
    dilates: bool = False
    """Whether it can slow time down: wall seconds for one model second."""
    replayed: bool = False
    """Whether its cells are replayed on a virtual clock, without a serving stack. With neither this nor
    `served` nothing here measures with it, and its traces are read."""
    routes: Callable[[str, str], bool] = routes_when_served
    """Whether it can run a policy, given its kind and its router."""
    stages: bool = True
    """Whether C can change within a cell."""
    open_loop: bool = False
    """Whether requests can come by themselves, whether or not others were answered."""
    requests_per_s: float = 0.0
    """Requests a wall second on one core, of one that is replayed: for plans."""
    follows_table: bool = False
    """Whether a timing table decides how fast it is; else its device and the weights do."""
    loads_weights: bool = False
    """Whether it loads a model's weights, which a site file names, with the device."""
    ignores: frozenset[str] = frozenset()
    """Keys of a model, of limits and of policies that decide nothing for it."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Device -> package that it is, on that device, beside the serving stack's own."""
    stacks: tuple[PinnedStack, ...] = ()
    """Serving stacks of this project that hold it, the usual one first."""
    start_s: float = 0.0
    """Predicted wall seconds to start, prove and stop a deployment, until one has been recorded."""

    def stack_for(self, device: str, dynamo: str = USUAL) -> PinnedStack | None:
        """The project's own stack that serves it on a device with a version of Dynamo, if there is one."""
        found = (one for one in self.stacks if one.device in ("", device) and one.dynamo == dynamo)
        return next(found, None)

    def has(self, dynamo: str) -> bool:
        """Whether it can be served with a version of Dynamo: the usual one may be anybody's."""
        return dynamo == USUAL or any(one.dynamo == dynamo for one in self.stacks)


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What a deployment is to serve, as an engine turns it into its settings."""

    name: str
    tensor_parallel: int
    quantization: str
    kv_bytes_per_token: int
    kv_link_gb_s: float
    dilation: float
    table: Profile
    weights: str
    """As the site names them; empty where it names none."""
    device: str
    """The site's; empty without one."""
    named_by: str
    """The site file, for messages."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """How an engine is started: its workers' commands, variables and times."""

    settings: Callable[[ServedModel, Path | None], EngineSettings]
    """From a planned model to what the deployment is told. It may write files into the folder given; without
    one it only checks. Raises UserError for what is not there."""
    command: Callable[[DeploymentSpec, Role, Path, Sequence[int]], tuple[str, ...]]
    """Command of one worker, given its role, the folder of the model, and its further ports."""
    environment: Callable[[DeploymentSpec, Node, Sequence[int]], dict[str, str]]
    """Variables of a worker beside Dynamo's own, given its node and its further ports."""
    everywhere: Callable[[DeploymentSpec], dict[str, str]]
    """Variables of every process of the deployment beside Dynamo's own."""
    ports: int = 0
    """How many ports a worker takes beside its system port."""
    answer_s: float = 10.0
    """How long a request of the start-up and its self-test may take."""
    grace_s: float = GRACE_S
    """How long its processes may take to end by themselves; on other nodes Slurm gives them no time."""
