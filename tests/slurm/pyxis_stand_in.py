"""A stand-in for an `srun` that has Pyxis: takes the container's flags away, marks the environment, and runs.

Everything else is the real srun's. It does as Pyxis's documentation says, as far as a deployment can tell:
the working folder is `--container-workdir`, HOME and PATH are the image's, the rest is passed on. It mounts
nothing and has no image. A container flag that it does not know goes to the real srun, which refuses it.

Each call with a container is a line of JSON in the file that STAND_IN_RECORD names.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

SWITCH = "--no-container-mount-home"
VALUES = ("--container-image", "--container-mounts", "--container-workdir")
IMAGE = ("INSIDE_IMAGE=1", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def main(words: list[str]) -> NoReturn:
    """Run what srun is given, in the container where it is told of one."""
    mine = Path(sys.argv[0]).resolve().parent
    others = [folder for folder in os.environ["PATH"].split(":") if Path(folder).resolve() != mine]
    real = shutil.which("srun", path=":".join(others))
    assert real is not None
    if "--help" in words:
        print("      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH", flush=True)
    flags = dict(word.split("=", 1) for word in words if word.split("=", 1)[0] in VALUES)
    if flags:
        words = contained(words, flags)
    os.execv(real, ["srun", *words])


def contained(words: list[str], flags: dict[str, str]) -> list[str]:
    """The words of srun without the container's, and the command in its environment."""
    if set(flags) != set(VALUES) or SWITCH not in words:
        sys.exit(f"srun: error: stand-in: {sorted(flags)}")
    start = next(place for place, word in enumerate(words) if not word.startswith("-"))
    step, command = words[:start], words[start:]
    for mount in flags["--container-mounts"].split(","):
        if not Path(mount.split(":")[0]).exists():
            sys.exit(f"srun: error: stand-in: mount {mount}")
    told = {
        "mounts": flags["--container-mounts"].split(","),
        "image": flags["--container-image"],
        "command": command,
        "step": step,
        "pythonpath": os.environ.get("PYTHONPATH"),
    }
    with Path(os.environ["STAND_IN_RECORD"]).open("a") as record:
        record.write(json.dumps(told) + "\n")
    kept = [word for word in step if word != SWITCH and word.split("=", 1)[0] not in VALUES]
    return [*kept, "env", f"--chdir={flags['--container-workdir']}", *IMAGE, *command]


if __name__ == "__main__":
    main(sys.argv[1:])
