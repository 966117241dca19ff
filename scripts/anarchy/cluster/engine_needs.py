"""What a site has of what an engine needs: the Python that serves it, its packages, weights and device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anarchy.config.site import Site
from anarchy.engines.dynamo import USUAL, dynamo_of
from anarchy.engines.engine import ServedModel
from anarchy.engines.profiles import Profile
from anarchy.engines.registry import engine_of
from anarchy.ground.errors import UserError
from anarchy.ground.locks import check_environment
from anarchy.plan.launches import Launch
from anarchy.serving.versions import NEEDED


def serving_python(site: Site, engine: str) -> Path:
    """Python of the serving stack where there is no container.

    Raises UserError where the site names none and this project has no stack for the engine on its device.
    """
    if site.serving_python:
        return Path(site.serving_python)
    identity = engine_of(engine)
    stack = identity.stack_for(site.device)
    if stack is not None:
        return stack.python()
    where = "GPUs" if site.device == "cuda" else site.device.upper()
    package = identity.packages.get(site.device, engine)
    raise UserError(
        f"key 'serving_python': engine {engine} on {where} needs a serving stack with {package}, and this "
        "project installs none",
        where=site.where,
        remedy=f"name an image (container), or the Python of an environment with ai-dynamo and {package}",
    )


def check_serving(site: Site | None, engine: str, dynamo: str = USUAL) -> None:
    """Raise UserError where an engine is served by an environment of this project that is not whole.

    Without a site it is served as this project does by itself. Environments and images that others made are
    asked for their versions when the deployment starts.
    """
    if site is not None and (site.container.runtime != "none" or site.serving_python):
        return
    stack = engine_of(engine).stack_for(site.device if site else "", dynamo)
    if stack is not None and stack.python() == stack.environment / "bin" / "python":
        check_environment(stack.environment, stack.lock, remedy=dynamo_of(dynamo).builds)


def missing_packages(site: Site, versions: Mapping[str, str | None], engine: str) -> list[str]:
    """What a serving environment with these versions lacks for an engine."""
    own = engine_of(engine).packages.get(site.device)
    needed = (*NEEDED, *(() if own is None else (own,)))
    return [name for name in needed if versions.get(name) is None]


def served_model(site: Site | None, plan: Launch, table: Profile, named_by: str) -> ServedModel:
    """What an engine is asked to serve for a planned deployment; `named_by` names the site file."""
    return ServedModel(
        name=plan.model.name,
        tensor_parallel=plan.model.tensor_parallel,
        quantization=plan.model.quantization,
        kv_bytes_per_token=plan.model.kv_bytes_per_token,
        kv_link_gb_s=plan.limits.kv_link_gb_s,
        dilation=plan.model.dilation,
        table=table,
        weights=site.models.get(plan.model.name, "") if site else "",
        device=site.device if site else "",
        named_by=named_by,
    )
