"""A deployment of mock engines that is planned and never started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anarchy.engines.mocker import MockerSettings
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy


def mock_spec(folder: Path, *policies: RoutingPolicy, dilation: float = 1.0, **more: Any) -> DeploymentSpec:
    """One prefill and two decode workers under these policies, unless `more` says otherwise."""
    settings = MockerSettings(folder / "p.npz", dilation=dilation)
    usual: dict[str, Any] = {"prefill": 1, "decode": 2, "settings": settings, "dynamo_python": Path("python")}
    return DeploymentSpec(model="m", policies=policies, log_dir=folder / "logs", **{**usual, **more})
