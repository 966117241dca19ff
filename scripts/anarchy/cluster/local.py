"""What a deployment is given on this machine alone, without Slurm."""

from __future__ import annotations

from anarchy.cluster.allocation import Allocation
from anarchy.cluster.engine_needs import serving_python
from anarchy.config.site import Site
from anarchy.engines.registry import engine_of
from anarchy.ground.errors import UserError
from anarchy.plan.launches import Launch


def this_machine(plan: Launch, site: Site | None) -> Allocation:
    """Give simulated engines (no site) the machine as it is, a real one the site's GPUs and Python.

    Raises UserError for a site that serves from a container: those are started by Slurm's launcher only.
    """
    if site is None:
        stack = engine_of(plan.engine).stack_for("", plan.stack.dynamo)
        return Allocation() if stack is None else Allocation(dynamo_python=stack.python())
    if site.container.runtime != "none":
        raise UserError(
            f"key 'container.runtime': {site.container.runtime}, but launcher local starts no containers",
            where=site.where,
            remedy="set runtime: none and serving_python, or run with launcher slurm",
        )
    on_gpus = site.device == "cuda"
    return Allocation(
        gpus_per_worker=plan.model.tensor_parallel if on_gpus else 0,
        gpus_per_node=site.gpus_per_node if on_gpus else 0,
        dynamo_python=serving_python(site, plan.engine),
        start_timeout_s=60.0 * site.start_minutes,
    )
