"""A stand-in for `apptainer`, which no test machine has: checks its words, marks the environment, runs.

It does as Apptainer's documentation says, as far as a deployment can tell: two processes, signals forwarded
to the inner one, which dies with the outer one; HOME, PATH and LD_LIBRARY_PATH set anew, the rest passed on.
It mounts nothing and has no image: what it cannot show is whether a real image holds what is asked of it.
Words that it does not know are refused, as are mounts of folders that are not there.

Each call is a line of JSON in the file that STAND_IN_RECORD names.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import signal
import sys
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
SWITCHES = ("--nv", "--no-home", "--writable-tmpfs")
VALUES = ("--pwd", "--bind")
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MARK = ("INSIDE_IMAGE", "1")


def main(words: list[str]) -> NoReturn:
    """Run the command of `apptainer exec [words] IMAGE COMMAND...`."""
    flags, image, command = parsed(words)
    for mount in flags["--bind"].split(","):
        source, target = mount.split(":")[:2]
        if not Path(source).exists() or not Path(target).is_absolute():
            refuse(f"mount {mount}")
    if not Path(image).is_file():
        refuse(f"no image {image}")
    told = {
        "mounts": flags["--bind"].split(","),
        "image": image,
        "command": command,
        "pythonpath": os.environ.get("PYTHONPATH"),
    }
    with Path(os.environ["STAND_IN_RECORD"]).open("a") as record:
        record.write(json.dumps(told) + "\n")
    inner = os.fork()
    if inner == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(flags["--pwd"])
        os.execvpe(command[0], command, environment(image))
    for number in FORWARDED:
        signal.signal(number, lambda received, _: os.kill(inner, received))
    _, status = os.waitpid(inner, 0)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def parsed(words: list[str]) -> tuple[dict[str, str], str, list[str]]:
    """Flags, image and command."""
    if words[:1] != ["exec"]:
        refuse(f"only exec, not {words[:1]}")
    rest, flags = words[1:], {}
    while rest and rest[0].startswith("-"):
        flag = rest.pop(0)
        if flag not in (*SWITCHES, *VALUES):
            refuse(f"unknown flag {flag}")
        flags[flag] = rest.pop(0) if flag in VALUES else ""
    if set(flags) != {*SWITCHES, *VALUES} or len(rest) < 2:
        refuse(f"flags {sorted(flags)}, then {rest[:2]}")
    return flags, rest[0], rest[1:]


def environment(image: str) -> dict[str, str]:
    """What the command finds in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APPTAINER_")}
    return {
        **kept,
        "HOME": pwd.getpwuid(os.getuid()).pw_dir,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LD_LIBRARY_PATH": "/.singularity.d/libs",
        "APPTAINER_CONTAINER": image,
        MARK[0]: MARK[1],
    }


def refuse(why: str) -> NoReturn:
    """End as Apptainer does for words that it does not take."""
    sys.exit(f"FATAL: stand-in: {why}")


if __name__ == "__main__":
    main(sys.argv[1:])
