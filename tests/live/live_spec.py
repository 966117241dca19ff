"""The deployment that live tests share: Llama-3.1-70B as 1P/2D on this machine, simulated engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from anarchy.engines.mocker import MockerSettings
from anarchy.engines.profiles import load_profile, write_npz
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from tests.helpers.places import PROFILE

MODEL = "llama-3.1-70b"
START_TIMEOUT_S = 300.0
"""Patience for a busy machine; a start takes 5 s on a quiet one."""
DILATION = 4.0
STATIC = (RoutingPolicy("static", 0.0, 1.0),)


def one_prefill_two_decode(
    folder: Path, policies: tuple[RoutingPolicy, ...] = STATIC, *, dilation: float = 1.0, **more: Any
) -> DeploymentSpec:
    """Its spec, with timing table and logs in a folder of the test's own."""
    write_npz(load_profile(PROFILE), folder / "profile.npz")
    return DeploymentSpec(
        model=MODEL,
        prefill=1,
        decode=2,
        settings=MockerSettings(folder / "profile.npz", dilation=dilation),
        policies=policies,
        log_dir=folder / "logs",
        **{"start_timeout_s": START_TIMEOUT_S, **more},
    )


def two_policies(folder: Path, **changes: Any) -> DeploymentSpec:
    """A deployment of the policies argmin and soft, four times slower than the hardware."""
    npz = folder / "profile.npz"
    write_npz(load_profile(PROFILE), npz)
    spec = DeploymentSpec(
        model="llama-3.1-70b",
        prefill=1,
        decode=2,
        settings=MockerSettings(npz, dilation=DILATION),
        policies=(RoutingPolicy("argmin", 0.0, 1.0), RoutingPolicy("soft", 0.7, 1.0)),
        log_dir=folder / "logs",
        start_timeout_s=START_TIMEOUT_S,
    )
    return replace(spec, **changes)
