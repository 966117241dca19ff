"""Dynamo's mock engine: vLLM's scheduler imitated, every step as long as the timing table says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from anarchy.engines.dynamo import STACKS, USUAL, described
from anarchy.engines.engine import Engine, PinnedStack, Ran, Served, ServedModel, simulated
from anarchy.engines.hosts import Node
from anarchy.engines.spec import (
    KV_LINK_GB_S,
    DeploymentSpec,
    EngineSettings,
    Role,
    default_dynamo_python,
    refuse_below_one,
)
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder
from anarchy.ground.layout import DYNAMO_0_9_0, DYNAMO_0_9_0_LOCK, DYNAMO_LOCK, ENVS

NAME: Final = "mocker"


@dataclass(frozen=True)
class MockerSettings(EngineSettings):
    """What a mock engine is told beside what all engines are.

    `profile` is its timing table (NPZ). `dilation` slows all model time by that factor (>= 1).
    `kv_transfer_bandwidth` is in GB/s and `kv_bytes_per_token` in bytes, both in model time; 0 GB/s means no
    delay.
    """

    engine: ClassVar[str] = NAME
    profile: Path
    dilation: float = 1.0
    kv_transfer_bandwidth: float = KV_LINK_GB_S
    kv_bytes_per_token: int = 163_840

    def __post_init__(self) -> None:
        where = f"engine {NAME}"
        if not (math.isfinite(self.dilation) and self.dilation >= 1):
            raise UserError(f"dilation is {self.dilation}", where=where, remedy="give a number of at least 1")
        refuse_below_one(where, kv_bytes_per_token=self.kv_bytes_per_token)
        if not (math.isfinite(self.kv_transfer_bandwidth) and self.kv_transfer_bandwidth >= 0):
            raise UserError(
                f"kv_transfer_bandwidth is {self.kv_transfer_bandwidth}",
                where=where,
                remedy="give GB/s, or 0 for no delay",
            )

    def check_files(self) -> None:
        """The timing table is there."""
        if not self.profile.is_file():
            raise UserError(
                "no such timing table", where=self.profile, remedy="convert a profile with `write_npz` first"
            )


def deviations(ran: Sequence[Ran]) -> list[str]:
    """How cells of this engine depart from the paper's."""
    by_version = {str(one.versions.get("ai-dynamo")): described(one.versions) or STACKS[USUAL] for one in ran}
    found = ["simulated engines follow a predicted timing table; no GPU was used"]
    for plane in sorted({dynamo.event_plane for dynamo in by_version.values()}, reverse=True):
        of_plane = sorted(version for version, one in by_version.items() if one.event_plane == plane)
        found.append(
            f"Dynamo {', '.join(of_plane)}, mock engine, files, {plane.upper()} "
            "(the paper: 0.9.0, vLLM, etcd, NATS)"
        )
    if any(dynamo.mock_transfers for dynamo in by_version.values()):
        found.append(f"KV transfer modelled at {MockerSettings.kv_transfer_bandwidth:g} GB/s, ours")
    departures = (said for dynamo in by_version.values() for said in dynamo.departures)
    return [*found, *dict.fromkeys(departures)]


ENGINE: Final = Engine(
    name=NAME,
    simulated=True,
    served=True,
    label=simulated,
    deviations=deviations,
    dilates=True,
    follows_table=True,
    stacks=(
        PinnedStack(DYNAMO_LOCK, ("ai-dynamo",), default_dynamo_python, ENVS / "dynamo"),
        PinnedStack(
            DYNAMO_0_9_0_LOCK,
            ("ai-dynamo",),
            lambda: DYNAMO_0_9_0 / "bin" / "python",
            DYNAMO_0_9_0,
            dynamo="0.9.0",
        ),
    ),
    start_s=6.0,  # on one host (tier quick: 4.1 to 5.8)
)


def settings(model: ServedModel, folder: Path | None) -> MockerSettings:
    """The timing table as a file in ``folder``, and how time passes."""
    timing = (folder or Path()) / "timing.npz"
    if folder is not None:
        from anarchy.engines.profiles import write_npz

        make_folder(folder)
        with disk_errors(folder):
            write_npz(model.table, timing)
    return MockerSettings(
        timing,
        dilation=model.dilation,
        kv_transfer_bandwidth=model.kv_link_gb_s,
        kv_bytes_per_token=model.kv_bytes_per_token,
    )


def settings_of(spec: DeploymentSpec) -> MockerSettings:
    """The settings of a deployment of this engine."""
    if not isinstance(spec.settings, MockerSettings):
        raise TypeError(f"a deployment of engine {spec.engine} is none of {NAME}")
    return spec.settings


def command(spec: DeploymentSpec, role: Role, model_folder: Path, _: Sequence[int] = ()) -> tuple[str, ...]:
    """Command of one mock worker (one a process: with several, only the first gets a system port).

    `--speedup-ratio` slows prefill and decode steps but not the KV transfer (measured), so the bandwidth is
    divided by the dilation here.
    """
    told, dynamo = settings_of(spec), spec.dynamo
    speed = dynamo.mock_prefill_speed if role == "prefill" else 1.0
    options = {
        "--model-path": str(model_folder),
        **({} if dynamo.named_by_folder else {"--model-name": spec.model}),
        "--planner-profile-data": str(told.profile.resolve()),
        "--speedup-ratio": repr(speed / told.dilation),
        "--max-num-seqs": str(spec.running(role)),
        "--max-num-batched-tokens": str(spec.max_num_batched_tokens),
        "--block-size": str(spec.block_size),
        "--num-gpu-blocks-override": str(spec.num_gpu_blocks),
    }
    if dynamo.mock_transfers:
        options |= {
            "--kv-transfer-bandwidth": repr(told.kv_transfer_bandwidth / told.dilation),
            "--kv-bytes-per-token": str(told.kv_bytes_per_token),
        }
    words = (word for pair in options.items() for word in pair)
    flags = (*dynamo.mock_role[role], *dynamo.mock_flags)
    return (str(spec.dynamo_python), "-m", "dynamo.mocker", *words, *flags)


def everywhere(_: DeploymentSpec) -> dict[str, str]:
    """Variables of every process of a deployment beside Dynamo's own: none."""
    return {}


def environment(_: DeploymentSpec, __: Node, ___: Sequence[int] = ()) -> dict[str, str]:
    """Variables of a worker beside Dynamo's own: none."""
    return {}


SERVED: Final = Served(settings=settings, command=command, environment=environment, everywhere=everywhere)
