"""What a deployment is given to run on: this machine, or the nodes of the Slurm job that it runs in."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anarchy.cluster.container import folders_of, image_of, inside, without_host_python
from anarchy.cluster.engine_needs import serving_python
from anarchy.cluster.job import nodes_of
from anarchy.cluster.slurm import check_nodes, current_job, prove_nodes, step_command
from anarchy.config.site import Site
from anarchy.engines.hosts import HERE, Node
from anarchy.engines.image import ServingImage, serving_image
from anarchy.engines.registry import engine_of
from anarchy.engines.spec import default_dynamo_python
from anarchy.ground.layout import ENVS
from anarchy.plan.launches import Launch
from anarchy.serving.placement import ProcessPlan
from anarchy.serving.stack import Launcher, here

KNOWN_IMAGES = ENVS / "images.json"
"""Digests of image files, so that each is hashed once."""


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
    container: ServingImage | None = None
    start_timeout_s: float = 60.0
    launcher: Launcher = here

    @property
    def spec_fields(self) -> dict[str, Any]:
        """Everything but the launcher, by the names of `DeploymentSpec`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "launcher"}


def allocate(
    plan: Launch, site: Site, folder: Path, tell: Callable[[str], None] = lambda _: None
) -> Allocation:
    """What this process may use for a deployment: the nodes of its Slurm job.

    `folder` is the deployment's, which all nodes see. Raises AllocationError where the job lacks a node, and
    UserError where there is no such image.
    """
    wanted = nodes_of(site, plan)
    job = current_job()
    check_nodes(job, wanted)
    image = _image(site, tell)
    tell(f"job {job.number}: asking {wanted} node(s) who they are")
    on_gpus = not engine_of(plan.engine).simulated and site.device == "cuda"
    proven = prove_nodes(job, site, site.gpus_per_node, driver_needed=on_gpus)
    for one in proven:
        tell(f"{one.node.alias}: {one.facts['gpus']} GPUs, driver {one.facts['driver'] or 'none'}")
    nodes = tuple(one.node for one in proven)
    scratch = Path(site.scratch) if site.scratch else folder.resolve()
    return Allocation(
        nodes=nodes,
        gpus_per_worker=plan.model.tensor_parallel,
        gpus_per_node=site.gpus_per_node,
        discovery="etcd",
        etcd=site.container.etcd if _etcd_inside(site) else site.etcd,
        scratch=scratch,
        dynamo_python=_serving_python(site, plan.engine),
        container=image,
        start_timeout_s=60.0 * site.start_minutes,
        launcher=site_launcher(
            site, nodes[0], folders_of(site, plan.model.name, os.environ, scratch, folder.resolve())
        ),
    )


def site_launcher(site: Site, first: Node, folders: Sequence[str]) -> Launcher:
    """How a site's processes are started: workers by `srun` at their seats, everything else on `first`, here.

    In a container all of them run inside the image, but etcd where the site has one outside. Slurm starts the
    containers of Pyxis, so there what runs on the first node takes a step as well.
    """
    runtime = site.container.runtime

    def launcher(process: ProcessPlan, chdir: Path) -> tuple[str, ...]:
        outside = runtime == "none" or (process.name == "etcd" and not _etcd_inside(site))
        if outside and not process.seat.gpus:
            return process.command
        if runtime == "apptainer" and not process.seat.gpus:
            return without_host_python(
                inside(site, process.command, process.environment, str(chdir), folders)
            )
        return step_command(
            process.seat.node if process.seat.gpus else first,
            process.command,
            site,
            job_gpus=site.gpus_per_node,
            gpus=process.seat.gpus,
            chdir=str(chdir),
            environment=process.environment,
            folders=folders,
        )

    return launcher


def _image(site: Site, tell: Callable[[str], None]) -> ServingImage | None:
    if site.container.runtime == "none":
        return None
    tell(f"serving from {site.container.image} ({site.container.runtime}); a new image file is hashed first")
    return serving_image(site.container.runtime, image_of(site), KNOWN_IMAGES)


def _etcd_inside(site: Site) -> bool:
    return site.container.runtime != "none" and bool(site.container.etcd)


def _serving_python(site: Site, engine: str) -> Path:
    if site.container.runtime != "none":
        return Path(site.container.python)
    return serving_python(site, engine)
