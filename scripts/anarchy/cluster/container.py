"""How a command is run inside the site's image: pure, but that `folders_of` looks which folders there are.

Read in the runtimes' own documentation and source, run with stand-ins alone (tests/slurm):

- Apptainer: user guide, "Environment and Metadata" and "Bind Paths and Mounts", and the words of `apptainer
  exec` (`cmd/internal/cli/action_flags.go`). It passes the caller's environment on, except HOME, PATH and
  LD_LIBRARY_PATH, which it sets; what the image sets itself wins. Without a terminal it forwards every signal
  to the command, and the kernel kills the command when Apptainer dies (`checkSignalPropagation` and
  `MonitorContainer` of its engine; PR_SET_PDEATHSIG in `cmd/starter/c/starter.c`).
- Pyxis 0.24: README, "Usage", and `pyxis_slurmstepd.c`. The job's environment is passed on as well, without
  PATH and LD_LIBRARY_PATH; what the image sets wins, but for names in `--container-env`.

Both let the image win, so what a process must have is set by `env` inside the image, after everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from anarchy.config.site import Site
from anarchy.engines.image import image_path
from anarchy.engines.weights import cache_folder
from anarchy.ground.errors import UserError
from anarchy.ground.layout import PROJECT

HOST_PYTHON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""The host's Python is not the image's: these would bring its modules in (Apptainer's guide warns of
PYTHONPATH)."""
CACHE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE")
"""Hugging Face's cache, which holds the models that a site names by their hub name."""


def image_of(site: Site) -> str:
    """The image as the runtime is told it; a file's name is taken from the project's folder."""
    path = image_path(site.container.image)
    return site.container.image if path is None else str(PROJECT / path)


def folders_of(site: Site, model: str, environment: Mapping[str, str], *folders: Path) -> tuple[str, ...]:
    """Folders that a deployment's processes need inside the image, at the path that they have outside.

    The project (event broker), `folders` (scratch, logs, timing table), the weights of `model` where the site
    names a folder, and Hugging Face's cache where it names them by their hub name. What this node does not
    have is left out: simulated engines need no weights, and Apptainer does not start where a folder is
    missing.
    """
    named = site.models.get(model, "")
    wanted = [
        *folders,
        # A snapshot in the cache is links to the files beside it, so the cache is mounted, not the snapshot.
        *_weights(named, environment),
        *(Path(environment[name]).expanduser() for name in CACHE_VARIABLES if environment.get(name)),
    ]
    # Outer folders first: a folder that is mounted later would hide what lies under it.
    return tuple(sorted({str(PROJECT), *(str(folder) for folder in wanted if folder.is_dir())}))


def _weights(named: str, environment: Mapping[str, str]) -> set[Path]:
    """Folders of a model's weights: its own, and those that its files are links into; or the hub's cache."""
    folder = Path(named)
    if not named or not folder.is_absolute():
        return {cache_folder(environment)} if named else set()
    return {folder, *(file.resolve().parent for file in folder.glob("*"))}


def mounts(site: Site, folders: Iterable[str]) -> str:
    """Folders and the site's own mounts in the words that both runtimes take: `source:target,...`.

    Raises UserError for a folder whose name has a comma or a colon, which neither runtime can be told.
    """
    for folder in folders:
        if {",", ":"} & set(folder):
            raise UserError(
                "a folder with a comma or a colon in its name cannot be mounted into a container",
                where=folder,
                remedy="move it, or rename it",
            )
    return ",".join((*(f"{folder}:{folder}" for folder in folders), *site.container.mounts))


def without_host_python(command: Sequence[str]) -> tuple[str, ...]:
    """The command without the variables of the host's Python; `env` becomes it, so its pid stays."""
    return ("env", *(f"--unset={name}" for name in HOST_PYTHON), *command)


def pyxis_flags(site: Site, chdir: str, folders: Sequence[str]) -> tuple[str, ...]:
    """Flags of srun that start its command in the image; none where the runtime is another.

    Without `--container-workdir` the command would begin in the image's folder. The user's home is not
    mounted (some sites do so by default): its Python packages and dot files are no part of the image.
    """
    if site.container.runtime != "pyxis":
        return ()
    return (
        f"--container-image={image_of(site)}",
        f"--container-mounts={mounts(site, folders)}",
        f"--container-workdir={chdir}",
        "--no-container-mount-home",
    )


def inside(
    site: Site, command: Sequence[str], environment: Mapping[str, str], chdir: str, folders: Sequence[str]
) -> tuple[str, ...]:
    """The command as it is given to srun, or run here: in the image, with these variables.

    Apptainer: `exec` runs no entry point; `--nv` brings the driver's libraries and warns where there are
    none; `--no-home` for the reason that `pyxis_flags` tells; `--writable-tmpfs` because an image is
    read-only and FlashInfer makes links inside its own package; `--pwd` is the older name of `--cwd`, which
    every version has. Its `--env` splits at commas, which some of our values hold, hence `env`. Where
    Pyxis starts the container the command itself is all.
    """
    words = ("env", *(f"{name}={value}" for name, value in environment.items()), *command)
    if site.container.runtime != "apptainer":
        return words
    return (
        *("apptainer", "exec", "--nv", "--no-home", "--writable-tmpfs", "--pwd", chdir),
        *("--bind", mounts(site, folders), image_of(site), *words),
    )
