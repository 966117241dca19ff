"""Free TCP ports, and the refusal of one that is taken."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from anarchy.ground.errors import UserError

MODEL_EXPRESS_PORT = 8001
"""Default port of ModelExpress: a frontend found there is asked for model files, and start-up may fail."""
LOWEST_PORT = 20_000
HIGHEST_PORT = 32_767
"""Dynamo reads DYN_SYSTEM_PORT as a signed 16-bit number."""
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ephemeral_floor() -> int:
    """Lowest port that the kernel gives out by itself; 32768 where it does not tell."""
    if not _EPHEMERAL_RANGE.is_file():
        return 32_768
    return int(_EPHEMERAL_RANGE.read_text().split()[0])


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host:port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def check_ports(host: str, ports: Iterable[int]) -> None:
    """Raise `UserError` for a port that is out of range, reserved, given twice, or in use."""
    seen: set[int] = set()
    for port in ports:
        where = f"{host}:{port}"
        if not 1024 <= port <= 65_535:
            raise UserError("not a usable port", where=where, remedy="choose one from 1024 to 65535")
        if port == MODEL_EXPRESS_PORT:
            raise UserError(
                "this is ModelExpress's default port: Dynamo would ask the frontend there for model files",
                where=where,
                remedy="choose another port",
            )
        if port in seen:
            raise UserError("the port is asked for twice", where=where, remedy="give each frontend its own")
        if not port_is_free(host, port):
            raise UserError(
                "the port is in use", where=where, remedy="choose another, or leave it out to get a free one"
            )
        seen.add(port)


def free_ports(host: str, count: int, *, avoid: Sequence[int] = ()) -> tuple[int, ...]:
    """`count` different free ports on `host`, none of them in `avoid`.

    They lie below the kernel's ephemeral range, so that no outgoing connection can take one between now and
    its use. Raises `UserError` when there are not enough.
    """
    low, high = LOWEST_PORT, min(ephemeral_floor(), HIGHEST_PORT + 1)
    if high - low < 1000:  # an unusual range: take what the kernel gives
        low, high = 1024, HIGHEST_PORT + 1
    taken = {MODEL_EXPRESS_PORT, *avoid}
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(low, high), high - low):
            if len(found) == count:
                break
            if port in taken:
                continue
            probe = held.enter_context(socket.socket())
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found.append(port)
    if len(found) < count:
        raise UserError(
            f"only {len(found)} of {count} ports are free",
            where=f"{host}, ports {low} to {high}",
            remedy="end what holds them (`ss -ltnp` lists it)",
        )
    return tuple(found)
