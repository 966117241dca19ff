"""What a deployment is given to run on: this machine, or the nodes of the Slurm job that it runs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anarchy.cluster.job import nodes_of
from anarchy.cluster.site import Site
from anarchy.cluster.slurm import check_nodes, current_job, prove_nodes, step_command
from anarchy.errors import UserError
from anarchy.plan import DeploymentPlan
from anarchy.serving.hosts import HERE, Node
from anarchy.serving.placement import ProcessPlan
from anarchy.serving.spec import default_dynamo_python
from anarchy.serving.stack import Launcher, here


@dataclass(frozen=True)
class Allocation:
    """Nodes and how to start processes on them; the fields are those of a `DeploymentSpec`, see there."""

    nodes: tuple[Node, ...] = (HERE.node,)
    gpus_per_worker: int = 0
    gpus_per_node: int = 0
    discovery: Literal["file", "etcd"] = "file"
    etcd: str = "etcd"
    scratch: Path | None = None
    dynamo_python: Path = field(default_factory=default_dynamo_python)
    start_timeout_s: float = 60.0
    launcher: Launcher = here

    @property
    def spec_fields(self) -> dict[str, Any]:
        """Everything but the launcher, by the names of `DeploymentSpec`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "launcher"}


def allocate(
    plan: DeploymentPlan, site: Site | None, folder: Path, tell: Callable[[str], None] = lambda _: None
) -> Allocation:
    """What this process may use for a deployment: this machine, or with a site the nodes of its Slurm job.

    `folder` is the deployment's, which all nodes see. Raises AllocationError where the job lacks a node.
    """
    if site is None:
        return Allocation()
    if site.container.runtime != "none":
        raise UserError(
            f"key 'container.runtime': {site.container.runtime} is not built yet: frontends and versions "
            "would run outside the image",
            where="slurm/site.yaml",
            remedy="set runtime: none and serving_python to an environment on a folder that all nodes see",
        )
    wanted = nodes_of(site, plan)
    job = current_job()
    check_nodes(job, wanted)
    tell(f"job {job.number}: asking {wanted} node(s) who they are")
    proven = prove_nodes(job, site, site.gpus_per_node)
    scratch = Path(site.scratch) if site.scratch else folder.resolve()

    def launcher(process: ProcessPlan, chdir: Path) -> tuple[str, ...]:
        """Start workers by `srun` at their seats, everything else here."""
        if not process.seat.gpus:
            return process.command
        return step_command(
            process.seat.node,
            process.command,
            site,
            job_gpus=site.gpus_per_node,
            gpus=process.seat.gpus,
            chdir=str(chdir),
        )

    return Allocation(
        nodes=tuple(node.node for node in proven),
        gpus_per_worker=plan.model.tensor_parallel,
        gpus_per_node=site.gpus_per_node,
        discovery="etcd",
        etcd=site.etcd,
        scratch=scratch,
        dynamo_python=_serving_python(site),
        start_timeout_s=60.0 * site.start_minutes,
        launcher=launcher,
    )


def _serving_python(site: Site) -> Path:
    return Path(site.serving_python) if site.serving_python else default_dynamo_python()
