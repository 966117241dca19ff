"""Engines by name: what a deployment's words mean to Dynamo 1.5.1, as commands and variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from anarchy.engines import mocker, vllm
from anarchy.engines.frontend import frontend_command
from anarchy.engines.hosts import Node
from anarchy.engines.spec import DeploymentSpec, Role

__all__ = ["ENGINES", "GRACE_S", "Engine", "frontend_command"]

GRACE_S = 3.0
"""How long a process may take to end by itself after SIGTERM (mock engines take 0.2 s)."""


@dataclass(frozen=True)
class Engine:
    """How one worker of an engine is started."""

    command: Callable[[DeploymentSpec, Role, Path, Sequence[int]], tuple[str, ...]]
    """Its command, given its role, the folder of the model, and its further ports."""
    environment: Callable[[DeploymentSpec, Node, Sequence[int]], dict[str, str]]
    """Its variables beside Dynamo's own, given its node and its further ports."""
    everywhere: Callable[[DeploymentSpec], dict[str, str]]
    """Variables of every process of the deployment beside Dynamo's own."""
    ports: int = 0
    """How many ports it takes beside its system port."""
    answer_s: float = 10.0
    """How long a request of the start-up and its self-test may take."""
    grace_s: float = GRACE_S
    """How long its processes may take to end by themselves; on other nodes Slurm gives them no time."""


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "mocker": Engine(mocker.command, mocker.environment, mocker.everywhere),
        "vllm": Engine(
            vllm.command, vllm.environment, vllm.everywhere, vllm.PORTS, vllm.ANSWER_S, vllm.GRACE_S
        ),
    }
)
"""Engine's name in the config -> how its workers are started."""
