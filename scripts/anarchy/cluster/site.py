"""What a cluster differs in: the one file that a new cluster edits, `slurm/site.yaml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from anarchy.config_files import load_block
from anarchy.config_values import PositiveInt, Strict
from anarchy.errors import UserError
from anarchy.layout import PROJECT

EXAMPLE = PROJECT / "slurm" / "site.example.yaml"
FLAG = re.compile(r"(--[a-z][a-z-]*)(?:=(\S+))?")
"""A flag of sbatch in its long form, in one word."""
OTHERS_FLAGS = {
    **dict.fromkeys(
        ("--partition", "--account", "--qos", "--constraint", "--exclusive"), "the key of its name"
    ),
    **dict.fromkeys(("--mem", "--mem-per-cpu", "--mem-per-gpu"), "memory_mb_per_node"),
    **dict.fromkeys(("--cpus-per-task", "--cpus-per-gpu"), "cpus_per_node"),
    **dict.fromkeys(("--gres", "--gpus", "--gpus-per-node", "--gpus-per-task"), "gres and gpus_per_node"),
    **dict.fromkeys(("--time",), "start_minutes and max_minutes"),
    **dict.fromkeys(
        ("--nodes", "--ntasks", "--ntasks-per-node", "--ntasks-per-gpu", "--clusters"),
        "none: follows from the study",
    ),
    **dict.fromkeys(
        ("--job-name", "--output", "--error", "--parsable", "--export", "--comment", "--workdir", "--chdir"),
        "none: Snakemake's executor sets it",
    ),
}
"""Flags that are not for `extra_sbatch`, and the key that sets each; the executor refuses most of them."""
SLURM_KEYS = {
    "partition": "`sinfo -o %R` lists the partitions",
    "interface": "`ip -4 -br address` on a node lists the interfaces",
}
"""Keys that launcher slurm needs, and how to find what they are."""


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
    """One Slurm cluster, as this project uses it; or one machine with GPUs, where engine vllm runs on it."""

    partition: str = ""
    """Needed for launcher slurm only."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    """Features that the nodes must have, as `sbatch --constraint` takes them."""
    gres: str = "gpu"
    """Name of the GPUs in Slurm, with the type where it has one: `gpu:b200`; the number is appended."""
    gpus_per_node: PositiveInt = 8
    """GPUs of a node; a job takes all of them."""
    cpus_per_node: PositiveInt = 32
    """CPUs that the job asks for on each node."""
    memory_mb_per_node: Annotated[int, Field(strict=True, ge=0)] = 0
    """Memory that the job asks for on each node; 0 = all of it (`--mem=0`)."""
    exclusive: bool = True
    """Nobody else's job on the nodes, which would be measured as well."""
    interface: Annotated[str, Field(max_length=15)] = ""
    """Network interface that all nodes share, for discovery, requests, KV side channel and metrics: `ib0`.
    Needed for launcher slurm only. Linux allows 15 characters."""
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

    _path: Path | None = PrivateAttr(default=None)

    def read_from(self, path: Path) -> Site:
        """Keep the file that this was read from, and return this."""
        self._path = path
        return self

    @property
    def where(self) -> str:
        """The file that says all this, for messages."""
        if self._path is None:
            return "site file"
        inside = self._path.is_relative_to(PROJECT)
        return str(self._path.relative_to(PROJECT) if inside else self._path)

    @field_validator("extra_sbatch")
    @classmethod
    def _flags_that_may_be_added(cls, flags: tuple[str, ...]) -> tuple[str, ...]:
        for flag in flags:
            found = FLAG.fullmatch(flag)
            if found is None:
                raise ValueError(
                    f"{flag!r} is no flag in its long form; write each as one entry, --name or --name=value"
                )
            if (key := OTHERS_FLAGS.get(found[1])) is not None:
                raise ValueError(f"{found[1]} is not for extra_sbatch; the key for it: {key}")
        return flags


def load_site(path: Path, *, launcher: str = "slurm") -> Site:
    """Read the site file; raises UserError with the remedy when it is missing or does not hold.

    Launcher `local` needs no partition and no interface.
    """
    if not path.is_file():
        raise UserError(
            "there is no site file",
            where=path,
            remedy=f"cp {EXAMPLE.relative_to(PROJECT)} slurm/site.yaml and fill it in (one page), "
            "then check it: anarchy doctor --site",
        )
    site = load_block(path, Site).read_from(path)
    for key, help_text in SLURM_KEYS.items():
        if launcher == "slurm" and not getattr(site, key):
            raise UserError(
                f"key {key!r} is missing: launcher slurm needs it",
                where=path,
                remedy=f"add {key}: ({help_text})",
            )
    return site
