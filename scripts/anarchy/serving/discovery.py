"""Who has registered in a discovery folder: instances, and the cards of the models that they serve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anarchy.engines.spec import DeploymentSpec, Role
from anarchy.ground.errors import UserError

COMPONENTS: Final[Mapping[Role, str]] = {"prefill": "prefill", "decode": "backend"}
"""Role -> Dynamo's component name."""


@dataclass(frozen=True)
class Registered:
    """A worker that has registered: its instance id, and the limits that it says that it has."""

    instance_id: int
    limits: Mapping[str, Any]


def registered_at(folder: Path, role: Role, request_port: int) -> Registered | None:
    """The worker of a role that takes requests at a port; None until its card lies there whole.

    Files are written in place, so that one may be read half written: it is not there yet.
    """
    for instance in _documents(folder / "v1" / "instances"):
        transport = str((instance.get("transport") or {}).get("tcp", "")).partition("/")[0]
        if instance.get("component") != COMPONENTS[role] or transport.rpartition(":")[2] != str(request_port):
            continue
        for card in _documents(folder / "v1" / "mdc"):
            if card.get("instance_id") == instance.get("instance_id"):
                limits = (card.get("card_json") or {}).get("runtime_config") or {}
                return Registered(int(instance["instance_id"]), limits)
    return None


def check_limits(spec: DeploymentSpec, role: Role, worker: str, found: Registered) -> None:
    """Raise UserError where a worker has registered with other limits than it was given."""
    asked = {
        "max_num_seqs": spec.running(role),
        "max_num_batched_tokens": spec.max_num_batched_tokens,
        "total_kv_blocks": spec.num_gpu_blocks,
    }
    for name, wanted in asked.items():
        if (has := found.limits.get(name)) != wanted:
            raise UserError(
                f"{worker} was told {name} {wanted} and has {has}: stack {spec.stack} does not honour it",
                where=f"deployment of {spec.model!r}",
                remedy=f"take the limit out (key 'limits'), or build the stack again ({spec.dynamo.builds})",
            )


def _documents(folder: Path) -> list[dict[str, Any]]:
    """Every document below a folder that can be read."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            document = json.loads(path.read_bytes()) if path.is_file() else None
        except (OSError, ValueError):
            continue  # on its way, or gone meanwhile
        if isinstance(document, dict):
            found.append(document)
    return found
