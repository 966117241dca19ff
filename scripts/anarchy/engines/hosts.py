"""Machines of a deployment, and which worker sits on which of their GPUs: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from anarchy.ground.errors import UserError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Node:
    """One machine: its alias in every file, its name for Slurm, and where its processes listen.

    An empty `slurm_name` means this machine, on which processes are started directly. `address` is that of
    `interface`; the default keeps everything on the loopback.
    """

    alias: str = "node01"
    slurm_name: str = ""
    address: str = LOOPBACK
    interface: str = "lo"


@dataclass(frozen=True)
class Seat:
    """Where one worker runs: a node, and the indices of its GPUs there; none for an engine without GPUs."""

    node: Node
    gpus: tuple[int, ...] = ()


HERE: Final = Seat(Node())
"""This machine, on the loopback."""


def seats(workers: int, gpus_per_worker: int, nodes: Sequence[Node], gpus_per_node: int) -> tuple[Seat, ...]:
    """Seats for workers in their order, node by node, GPUs ascending; a worker does not span nodes.

    So with 8 GPUs a node a TP = 8 worker takes a node and two TP = 4 workers share one, as in the paper.
    `gpus_per_worker` 0 seats everybody on the first node, without GPUs. Raises UserError for lack of room.
    """
    if gpus_per_worker == 0:
        return (Seat(nodes[0]),) * workers
    per_node = gpus_per_node // gpus_per_worker
    if workers > per_node * len(nodes):
        raise UserError(
            f"{workers} workers of {gpus_per_worker} GPUs do not fit {len(nodes)} nodes of {gpus_per_node}",
            where="allocation",
            remedy="ask for more nodes, or take a smaller topology",
        )
    return tuple(Seat(nodes[at // per_node], _gpus(at % per_node, gpus_per_worker)) for at in range(workers))


def nodes_needed(workers: int, gpus_per_worker: int, gpus_per_node: int) -> int:
    """How many nodes so many workers take; raises UserError when one worker is larger than a node."""
    per_node = gpus_per_node // gpus_per_worker
    if per_node == 0:
        raise UserError(
            f"a worker of {gpus_per_worker} GPUs does not fit a node of {gpus_per_node}",
            where="gpus_per_node",
            remedy="correct gpus_per_node of the site, or the model's tensor_parallel",
        )
    return -(-workers // per_node)


def _gpus(place: int, count: int) -> tuple[int, ...]:
    return tuple(range(place * count, (place + 1) * count))
