"""Where workers sit: the paper's placement, and what does not fit."""

from __future__ import annotations

import pytest

from anarchy.engines.hosts import HERE, Node, nodes_needed, seats
from anarchy.ground.errors import UserError

NODES = tuple(Node(f"node{n:02d}", f"slurm{n}", f"198.51.100.{n}", "ib0") for n in (1, 2, 3))


def seated(workers: int, gpus: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(seat.node.alias, seat.gpus) for seat in seats(workers, gpus, NODES, 8)]


def test_a_worker_of_eight_gpus_takes_a_node() -> None:
    assert seated(3, 8) == [(f"node0{n}", tuple(range(8))) for n in (1, 2, 3)]


def test_two_workers_of_four_gpus_share_a_node() -> None:
    assert seated(6, 4) == [
        ("node01", (0, 1, 2, 3)), ("node01", (4, 5, 6, 7)),
        ("node02", (0, 1, 2, 3)), ("node02", (4, 5, 6, 7)),
        ("node03", (0, 1, 2, 3)), ("node03", (4, 5, 6, 7)),
    ]  # fmt: skip


def test_no_two_workers_share_a_gpu() -> None:
    for gpus in (1, 2, 3, 4, 8):
        for workers in range(1, 3 * (8 // gpus) + 1):
            taken = [(node, gpu) for node, held in seated(workers, gpus) for gpu in held]
            assert len(set(taken)) == len(taken) == workers * gpus
            used = {node for node, _ in taken}
            assert len(used) == nodes_needed(workers, gpus, 8)


def test_without_gpus_all_sit_here() -> None:
    assert seats(3, 0, (HERE.node,), 0) == (HERE,) * 3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="7 workers of 4 GPUs do not fit 3 nodes of 8"):
        seats(7, 4, NODES, 8)
    with pytest.raises(UserError, match="does not fit a node of 8"):
        nodes_needed(1, 16, 8)
