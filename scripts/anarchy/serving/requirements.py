"""What a deployment needs before its first process starts: checks that pass silently or raise UserError."""

from __future__ import annotations

from collections.abc import Mapping

from anarchy.engines.dynamo import USUAL, described
from anarchy.engines.registry import engine_of
from anarchy.engines.spec import DeploymentSpec
from anarchy.ground.errors import UserError
from anarchy.ground.preflight import check_disk, check_open_files
from anarchy.serving.nats import check_nats_there
from anarchy.serving.ports import check_ports

LOG_BYTES = 200_000_000
"""Free disk that the logs of a long deployment may take: about 0.5 kB a request."""


def check_before_start(spec: DeploymentSpec, concurrency: int) -> None:
    """Raise UserError for ports, limits, disk or files that do not allow this many requests in flight."""
    check_ports(spec.host, spec.http_ports)
    check_nats_there(spec)
    if concurrency > spec.max_num_seqs:
        raise UserError(
            f"{concurrency} requests in flight, but max_num_seqs is {spec.max_num_seqs}: "
            "past it a deployment may end in 503 for every later request",
            where=f"deployment of {spec.model!r}",
            remedy="raise max_num_seqs above the highest concurrency",
        )
    check_open_files(concurrency)
    check_disk(spec.log_dir, LOG_BYTES)
    spec.settings.check_files()


def check_stack(spec: DeploymentSpec, versions: Mapping[str, str | None]) -> None:
    """Raise UserError where the serving environment has another stack than the one asked for.

    A version that has no description here is told what the usual one is, and its routing is proven like any.
    """
    found = described(versions)
    if found is spec.dynamo or (found is None and spec.stack == USUAL):
        return
    raise UserError(
        f"stack {spec.stack} was asked for, and this serving environment has Dynamo "
        f"{versions.get('ai-dynamo') or 'of no known version'}",
        where=spec.dynamo_python,
        remedy=f"{spec.dynamo.builds}; or ask for the stack that it has (key 'stack')",
    )


def check_engine(spec: DeploymentSpec, versions: Mapping[str, str | None]) -> None:
    """Raise UserError where the serving environment lacks the engine, or has the other device's.

    An engine computes on what it was built for, whatever it is told; the wrong one gives figures a false
    name.
    """
    packages, device = engine_of(spec.engine).packages, spec.settings.device
    wanted = packages.get(device)
    present = [name for name in packages.values() if versions.get(name)]
    if wanted is not None and wanted not in present:
        has = f"has {', '.join(present)}" if present else f"has no engine {spec.engine}"
        raise UserError(
            f"the serving environment {has}, and device {device} needs the package {wanted}",
            where=spec.dynamo_python,
            remedy="name one that has it (container or serving_python in the site file), or correct `device`",
        )
