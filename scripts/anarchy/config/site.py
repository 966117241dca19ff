"""What a cluster differs in: the one file that a new cluster edits, `slurm/site.yaml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from anarchy.config.files import load_block
from anarchy.config.site_values import Entries, Flags, Gres, Limit, Megabytes, Minutes, Partition, Whole
from anarchy.config.values import Strict, refusal
from anarchy.ground.errors import UserError
from anarchy.ground.layout import PROJECT

EXAMPLE = PROJECT / "slurm" / "site.example.yaml"
FLAG = re.compile(r"(--[a-z][a-z-]*)(?:=(\S+))?")
"""A flag of sbatch in its long form, in one word."""
OWN_KEYS = {
    **{f"--{key}": key for key in ("partition", "account", "qos", "constraint", "exclusive", "gres")},
    "--mem": "memory_mb_per_node",
    "--mem-per-cpu": "memory_mb_per_cpu",
    "--time": "max_minutes",
}
"""Flags that are not for `extra_sbatch`, and the key that takes their value."""
OTHERS_FLAGS = {
    "--mem-per-gpu": "ask for memory by memory_mb_per_node or memory_mb_per_cpu",
    **dict.fromkeys(("--cpus-per-task", "--cpus-per-gpu"), "cpus_per_node holds what a node's job asks for"),
    **dict.fromkeys(
        ("--gpus", "--gpus-per-node", "--gpus-per-task", "--gpus-per-socket"),
        "set gpu_flag: gpus-per-node; gres and gpus_per_node hold type and number",
    ),
    **dict.fromkeys(
        ("--nodes", "--ntasks", "--ntasks-per-node", "--ntasks-per-gpu", "--clusters"),
        "no key: follows from the study",
    ),
    **dict.fromkeys(
        ("--job-name", "--output", "--error", "--parsable", "--export", "--comment", "--workdir", "--chdir"),
        "no key: Snakemake's executor sets it",
    ),
}
"""Further flags that are not, and what to do instead; the executor refuses most of them."""
TYPE_OF_EXECUTOR = re.compile(r"[A-Za-z0-9_.]*")
"""Types of GPUs that Snakemake's executor takes in a `gres`."""
SLURM_KEYS = {
    "partition": "`sinfo -o %R` lists the partitions",
    "interface": "`ip -4 -br address` on a node lists the interfaces",
}
"""Keys that launcher slurm needs, and how to find what they are."""


class _Block(Strict):
    """A block of the site file: a key that is left empty takes its default."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        return {key: value for key, value in document.items() if value is not None}


class Container(_Block):
    """How the serving stack is brought to the nodes."""

    runtime: Literal["none", "apptainer", "pyxis"] = "none"
    """`none`: a Python environment on a folder that all nodes see; `apptainer`: `apptainer exec --nv`;
    `pyxis`: srun's own `--container-image` (Enroot)."""
    image: str = ""
    """Image file or address; a digest (`...@sha256:...`) makes a run repeatable."""
    mounts: Entries = ()
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


class Site(_Block):
    """One Slurm cluster, as this project uses it; or one machine with GPUs, where engine vllm runs on it."""

    partition: Partition = ""
    """Needed for launcher slurm only; several with commas, of which Slurm takes the first that is free."""
    cpu_partition: Partition = ""
    """Where deployments on a virtual clock run, a CPU each; empty = the same partition, without its GPUs."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    """Features that the nodes must have, as `sbatch --constraint` takes them."""
    gres: Gres = "gpu"
    """Name of the GPUs in Slurm, with the type where it has one: `gpu:b200`; without, any type. The number is
    appended."""
    gpus_per_node: Whole = 8
    """GPUs of a node; a job takes all of them."""
    gpu_flag: Literal["gres", "gpus-per-node"] = "gres"
    """Flag by which jobs ask for them: `--gres=gpu:b200:8`, or `--gpus-per-node=b200:8` on sites that refuse
    the first."""
    cpus_per_node: Whole = 32
    """CPUs that the job asks for on each node."""
    memory_mb_per_node: Megabytes = 0
    """Memory that the job asks for on each node; 0 = all of it (`--mem=0`)."""
    memory_mb_per_cpu: Megabytes = 0
    """Memory for each of the CPUs (`--mem-per-cpu`), on sites that want it so; 0 = asked for by node."""
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
    extra_sbatch: Flags = ()
    """Further flags of sbatch, one an entry: `--reservation=paper`."""
    max_minutes: Limit = 1440
    """Longest time limit that the partition allows, in minutes or Slurm's words; None = `unlimited`."""
    start_minutes: Minutes = 30
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

    @property
    def memory_of_node_mb(self) -> int:
        """Memory that the job asks for on each node, whichever way; 0 = all of it."""
        return self.memory_mb_per_cpu * self.cpus_per_node or self.memory_mb_per_node

    @property
    def gpu_type(self) -> str:
        """Type of the GPUs; empty for any."""
        return self.gres.partition(":")[2]

    @field_validator("extra_sbatch")
    @classmethod
    def _flags_that_may_be_added(cls, flags: tuple[str, ...]) -> tuple[str, ...]:
        for flag in flags:
            found = FLAG.fullmatch(flag)
            if found is None:
                raise refusal(
                    f"{flag!r} is no flag in its long form",
                    "write each flag of extra_sbatch as one entry, --name or --name=value",
                )
            if (key := OWN_KEYS.get(found[1])) is not None:
                instead = f"set {key}: {'true' if key == 'exclusive' else found[2] or '...'}"
            else:
                instead = OTHERS_FLAGS.get(found[1], "")
            if instead:
                what = f"{found[1]} is not for extra_sbatch"
                raise refusal(what, f"leave {flag} out of extra_sbatch; {instead}")
        return flags

    @model_validator(mode="after")
    def _one_way_of_asking(self) -> Site:
        if self.memory_mb_per_node and self.memory_mb_per_cpu:
            raise refusal(
                "memory_mb_per_node and memory_mb_per_cpu exclude each other, as --mem and --mem-per-cpu do",
                "keep the one that the site wants",
            )
        name = self.gres.partition(":")[0]
        if self.gpu_flag == "gpus-per-node" and name != "gpu":
            raise refusal(
                f"gpu_flag: gpus-per-node asks for gres gpu, not for {name}",
                "set gres to gpu or gpu:TYPE, or leave gpu_flag out",
            )
        if self.gpu_flag == "gres" and not TYPE_OF_EXECUTOR.fullmatch(self.gpu_type):
            raise refusal(
                f"key 'gres': Snakemake's executor takes letters, digits, _ and . in a type, and not "
                f"{self.gpu_type!r}",
                "set gpu_flag: gpus-per-node, which takes it",
            )
        return self


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
    site = load_block(path, Site, as_written=True).read_from(path)
    for key, help_text in SLURM_KEYS.items():
        if launcher == "slurm" and not getattr(site, key):
            raise UserError(
                f"key {key!r} is missing: launcher slurm needs it",
                where=path,
                remedy=f"add {key}: ({help_text})",
            )
    return site
