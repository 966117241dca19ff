"""What a cluster differs in: the one file that a new cluster edits, `slurm/site.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from anarchy.config import PositiveInt, Strict
from anarchy.config_files import load_block
from anarchy.errors import UserError
from anarchy.layout import PROJECT

EXAMPLE = PROJECT / "slurm" / "site.example.yaml"


class Container(Strict):
    """How the serving stack is brought to the nodes."""

    runtime: Literal["none", "apptainer", "pyxis"] = "none"
    """`none`: a Python environment on a folder that all nodes see; `apptainer`: `apptainer exec --nv`;
    `pyxis`: srun's own `--container-image` (Enroot)."""
    image: str = ""
    """Image file or address; a digest (`...@sha256:...`) makes a run repeatable."""
    mounts: tuple[str, ...] = ()
    """Further folders to mount, `source:target`; the project, scratch and models are mounted anyway."""
    python: str = "python3"
    """Python inside the container."""
    etcd: str = ""
    """Program inside the container that serves discovery; empty = the site's `etcd`, outside."""

    @model_validator(mode="after")
    def _image_named(self) -> Container:
        if self.runtime != "none" and not self.image:
            raise ValueError(f"runtime {self.runtime} needs an image; name one, or set runtime: none")
        return self


class Site(Strict):
    """One Slurm cluster, as this project uses it."""

    partition: str
    account: str = ""
    qos: str = ""
    gres: str = "gpu"
    """Name of the GPUs in Slurm, with the type where it has one: `gpu:b200`; the number is appended."""
    gpus_per_node: PositiveInt = 8
    cpus_per_node: PositiveInt = 32
    """CPUs that the job asks for on each node."""
    memory_mb_per_node: Annotated[int, Field(strict=True, ge=0)] = 0
    """Memory that the job asks for on each node; 0 = all of it."""
    exclusive: bool = True
    """Nobody else's job on the nodes, which would be measured as well."""
    interface: str
    """Network interface that all nodes share, for discovery, requests, KV side channel and metrics: `ib0`."""
    container: Container = Container()
    serving_python: str = ""
    """Python of the serving stack where there is no container; empty = this project's own, which has engines
    for `mocker` (`.envs/dynamo`) and for `vllm` on device `cpu` (`.envs/vllm-cpu`) only."""
    etcd: str = "etcd"
    """Program that serves discovery; started on the first node of each job."""
    scratch: str = ""
    """Folder that all nodes see, for sockets' addresses and model configurations; empty = the results."""
    models: dict[str, str] = Field(default_factory=dict)
    """Model of the study -> folder of its weights, or its name on the hub (only from a local cache)."""
    device: Literal["cuda", "cpu"] = "cuda"
    """What engine vllm computes on; `cpu` is for tests and says nothing about speed."""
    extra_sbatch: tuple[str, ...] = ()
    """Further flags of sbatch, one an entry: `--reservation=paper`."""
    max_minutes: PositiveInt = 1440
    """Longest time limit that the partition allows."""
    start_minutes: PositiveInt = 30
    """How long a deployment may take to load its model and become healthy."""


def load_site(path: Path) -> Site:
    """Read the site file; raises UserError with the remedy when it is missing or does not hold."""
    if not path.is_file():
        raise UserError(
            "there is no site file",
            where=path,
            remedy=f"cp {EXAMPLE.relative_to(PROJECT)} slurm/site.yaml and fill it in (one page), "
            "then check it: anarchy doctor --site",
        )
    return load_block(path, Site)
