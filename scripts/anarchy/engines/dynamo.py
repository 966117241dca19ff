"""The versions of Dynamo that this project starts: a description each, and no version asked for elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from anarchy.ground.errors import UserError

if TYPE_CHECKING:
    from anarchy.engines.spec import Role

EventPlane = Literal["zmq", "nats"]


@dataclass(frozen=True, kw_only=True)
class Dynamo:
    """What one version of Dynamo is told, and what it tells, where versions differ."""

    version: str
    """Of the package ai-dynamo, or of ai-dynamo-runtime where that alone is here; the word of `stack`."""
    event_plane: EventPlane
    """How routers and workers hear of each other: a ZMQ broker, or a NATS server; either one is our own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of every process beside those of all versions."""
    omega_flag: str
    """The frontend's option for omega."""
    active_request_flag: str | None = None
    """The frontend's option for `decode_active_request_weight`; None where it has none."""
    frontend_flags: tuple[str, ...] = ()
    """Further options of a frontend."""
    mock_flags: tuple[str, ...] = ()
    """Further options of a mock worker."""
    mock_role: Mapping[Role, tuple[str, ...]]
    """Options that say what a mock worker does."""
    mock_prefill_speed: float = 1.0
    """How many times faster than the timing table its mock prefill workers are told to be."""
    mock_transfers: bool = True
    """Whether its mock engine models the transfer of the KV cache."""
    named_by_folder: bool = False
    """Whether a model is called by the path of its folder; else by the name that it is given."""
    frontends_follow: bool = False
    """Whether frontends are started when every worker has registered; else all start together."""
    tells_instance: bool = True
    """Whether a worker's system port tells its instance id; else it is known by the port that it takes
    requests at."""
    tells_loads: bool = True
    """Whether a frontend's metrics tell the load that it believes each worker to have."""
    frees_cancelled: bool = True
    """Whether the load of a request that its client leaves is forgotten at once."""
    shares_blocks: bool = False
    """Whether its decode choice counts blocks that active requests share once, unless it is told not to."""
    unshared_flags: tuple[str, ...] | None = None
    """Options of a frontend for each request to count in full; None where it does so in any case."""
    selector_core: str
    """What our own policies let choose: the file in `serving` that speaks with this version's router."""
    reuse_per_request: bool = True
    """Whether a request's override may say whether shared blocks count once; else a router is made so."""
    late_kv_events: bool = False
    """Whether a replay can hold back what its router hears of the workers' caches."""
    serves: bool = True
    """Whether it is installed whole; else its compiled part alone, which replays."""
    several_nodes: bool = True
    """Whether it may run on several machines, in containers and with etcd."""
    label: str = ""
    """What figures add to an engine's label; empty for the usual one."""
    departures: tuple[str, ...] = ()
    """How mock engines of this version depart from the paper's engines, as sentences."""
    more_start_s: float = 0.0
    """Wall seconds that a start takes beside the engine's own, because its self-tests take longer."""
    builds: str = "make setup"
    """The command that builds its environment."""

    def shares(self, assume_kv_reuse: bool | None) -> bool:
        """Whether shared blocks count once where a user asks for this; None: what the version does."""
        return self.shares_blocks if assume_kv_reuse is None else assume_kv_reuse

    def reuse_flags(self, assume_kv_reuse: bool | None) -> tuple[str, ...]:
        """Options of a frontend that make it count as asked; errors as `check_reuse`."""
        self.check_reuse(assume_kv_reuse, where=f"stack {self.version}")
        return self.unshared_flags or () if assume_kv_reuse is False else ()

    def active_request_flags(self, weight: float) -> tuple[str, ...]:
        """Options of a frontend that weigh active requests; errors as `check_active_requests`."""
        self.check_active_requests(weight, where=f"stack {self.version}")
        return (self.active_request_flag, repr(weight)) if weight and self.active_request_flag else ()

    def check_active_requests(self, weight: float, *, where: str) -> None:
        """Raise UserError where this version cannot weigh active requests as asked."""
        if weight and self.active_request_flag is None:
            served = [one for one in STACKS.values() if one.serves and one.active_request_flag is not None]
            able = ", ".join(one.version for one in served)
            raise UserError(
                f"stack {self.version} has no decode_active_request_weight",
                where=f"{where}, key 'decode_active_request_weight'",
                remedy=f"a stack that has it: {able} (key 'stack'); or leave the policy out",
            )

    def check_late_events(self, lag_s: float, *, where: str) -> None:
        """Raise UserError where this version cannot hold KV events back as asked."""
        if lag_s and not self.late_kv_events:
            able = ", ".join(one.version for one in STACKS.values() if one.late_kv_events)
            raise UserError(
                f"stack {self.version} cannot hold KV events back",
                where=f"{where}, key 'kv_event_lag_s'",
                remedy=f"a stack that can, in virtual time: {able} (key 'stack'); or leave the policy out",
            )

    def check_pinned_reuse(self, policy: bool | None, routers: bool | None, *, where: str) -> None:
        """Raise UserError where pinned policies that ask Dynamo could not count as asked.

        `policy` is the policy's own `assume_kv_reuse`, `routers` that of its set.
        """
        if policy is not None and not self.reuse_per_request:
            raise UserError(
                f"stack {self.version} would ignore assume_kv_reuse in the override of a request",
                where=f"{where}, key 'assume_kv_reuse'",
                remedy="give it to the set of policies (key 'assume_kv_reuse' there), or take another stack",
            )
        if routers is not None and self.reuse_per_request:
            raise UserError(
                f"assume_kv_reuse of a set does nothing for its pinned policies with stack {self.version}",
                where=f"{where}, key 'assume_kv_reuse'",
                remedy="give it to the policies (key 'assume_kv_reuse' there): each request says it",
            )

    def check_reuse(self, assume_kv_reuse: bool | None, *, where: str) -> None:
        """Raise UserError where this version cannot count as asked."""
        if self.shares(assume_kv_reuse) and not self.shares_blocks:
            able = ", ".join(one.version for one in STACKS.values() if one.shares_blocks)
            raise UserError(
                f"stack {self.version} cannot assume KV reuse: its decode choice counts each request in full",
                where=f"{where}, key 'assume_kv_reuse'",
                remedy=f"a stack that can: {able} (key 'stack'); or leave assume_kv_reuse out",
            )


DYNAMO_1_5_1: Final = Dynamo(
    version="1.5.1",
    event_plane="zmq",
    # 1.5.1 keeps `--router-kv-overlap-score-weight` as its deprecated alias.
    omega_flag="--router-prefill-load-scale",
    active_request_flag="--router-decode-active-request-weight",
    mock_role={role: ("--disaggregation-mode", role) for role in ("prefill", "decode")},
    selector_core="selection_core",
)

PREFILL_SPEED_0_9_0: Final = 30.0
"""Its mock prefill takes requests one after the other, 60 a second at 128 tokens whatever is batched: as slow
as that it would be all that a cell measures. Seen with 30: it is no bottleneck at any load of the study."""

DYNAMO_0_9_0: Final = Dynamo(
    version="0.9.0",
    event_plane="nats",
    environment={
        "DYN_STORE_KV": "file",
        # Left alone, a frontend that was told to end waits five seconds for requests.
        "DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "0",
    },
    omega_flag="--kv-overlap-score-weight",
    # Without the last, a frontend that does not know its prefill worker yet has decode workers prefill.
    frontend_flags=(
        "--store-kv",
        "file",
        "--request-plane",
        "tcp",
        "--event-plane",
        "nats",
        "--enforce-disagg",
    ),
    mock_flags=("--store-kv", "file", "--request-plane", "tcp"),
    mock_role={
        "prefill": ("--is-prefill-worker",),
        # With prefix caching its decode step takes as long as the distinct blocks: the same at any load.
        "decode": ("--is-decode-worker", "--no-enable-prefix-caching"),
    },
    mock_prefill_speed=PREFILL_SPEED_0_9_0,
    mock_transfers=False,
    named_by_folder=True,
    frontends_follow=True,
    tells_instance=False,
    tells_loads=False,
    frees_cancelled=False,
    shares_blocks=True,
    unshared_flags=("--no-assume-kv-reuse",),
    selector_core="push_router_core",
    reuse_per_request=False,
    several_nodes=False,
    label=" by Dynamo 0.9.0 (serial mock prefill sped up 30 times; no KV transfer)",
    departures=(
        f"mock prefill of 0.9.0 is serial and told to be {PREFILL_SPEED_0_9_0:g} times as fast as the table",
        "its mock decode workers cache no prefixes: else a step takes as long as its distinct blocks do",
        "its mock engine models no KV transfer",
        "its router keeps the load of a request that its client left: a timeout loads a worker for good",
        "latencies are not comparable with those of another version; how requests are shared out is",
    ),
    more_start_s=9.0,
    builds="envs/build dynamo-0.9.0",
)

DYNAMO_1_6_1: Final = replace(
    DYNAMO_1_5_1,
    version="1.6.1",
    late_kv_events=True,
    serves=False,
    several_nodes=False,
    label=" by Dynamo 1.6.1",
    builds="envs/build dynamo-1.6.1",
)

STACKS: Final[Mapping[str, Dynamo]] = {one.version: one for one in (DYNAMO_1_5_1, DYNAMO_0_9_0, DYNAMO_1_6_1)}
"""Every description by its version, the usual one first."""
USUAL: Final = DYNAMO_1_5_1.version


def dynamo_of(version: str) -> Dynamo:
    """The description of a version; raises UserError, with the known ones, where there is none."""
    if version not in STACKS:
        raise UserError(
            f"there is no stack {version!r}", where="stack", remedy=f"known stacks: {', '.join(STACKS)}"
        )
    return STACKS[version]


def described(versions: Mapping[str, str | None]) -> Dynamo | None:
    """The description of what a cell was measured with; None for a version that has none here.

    A version of which the library alone is here is known by the library.
    """
    whole = versions.get("ai-dynamo")
    found = STACKS.get(whole or versions.get("ai-dynamo-runtime") or "")
    return found if found is not None and found.serves == bool(whole) else None
