"""What can go wrong with a deployment once it is up, and every error that one raises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from anarchy.serving.frontend_api import RefusedError
from anarchy.serving.health import UnhealthyError
from anarchy.serving.supervisor import ProcessDiedError

FaultKind = Literal["process_died", "discovery_lost", "port_taken"]


@dataclass(frozen=True)
class Fault:
    """Something that makes every later measurement of this deployment worthless."""

    kind: FaultKind
    process: str
    detail: str


class DeploymentFaultError(RuntimeError):
    """The deployment cannot serve any more; `faults` says why."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.kind} {fault.process}: {fault.detail}" for fault in self.faults))


DEPLOYMENT_ERRORS = (DeploymentFaultError, UnhealthyError, ProcessDiedError, RefusedError, TimeoutError)
"""What a deployment raises when it fails; a note of the error (PEP 678) says where its logs lie."""
