"""What is recorded of a running deployment beside its cells: its fingerprint and its telemetry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anarchy.engines.hosts import Node
from anarchy.serving.stack import Deployment
from anarchy.telemetry.alias import anonymiser_of
from anarchy.telemetry.fingerprint import fingerprint, remote_node_facts, spec_words
from anarchy.telemetry.gpu import GpuNode
from anarchy.telemetry.node import node_facts
from anarchy.telemetry.recorder import Recorder, deployment_sources, recording_folder

STEP = ("srun", "--overlap", "--mem=0", "--cpu-bind=none", "--unbuffered", "--ntasks-per-node=1")


@contextmanager
def recorded(deployment: Deployment, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Write the deployment's fingerprint.json, and sample its metrics and GPUs while the block runs.

    The block is given the facts of the deployment's nodes.
    """
    nodes = facts_of(deployment.spec.nodes)
    made = fingerprint(nodes, deployment=spec_words(deployment.spec), versions=deployment.versions)
    recording = recording_folder(folder)
    made.write(folder)
    workers = {worker.name: (worker.seat.node.address, worker.system_port) for worker in deployment.workers}
    with Recorder(
        recording,
        deployment_sources(deployment.endpoints, workers),
        gpu_nodes=[GpuNode(node.alias, on_node(node)) for node in deployment.spec.nodes],
        anonymiser=anonymiser_of(nodes),
    ):
        yield nodes


def facts_of(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Facts of the nodes of a deployment, in their order; srun asks those of a Slurm job."""
    if not nodes[0].slurm_name:
        return [node_facts()]
    # A step for each: lines of several tasks may reach us mixed, and these are long.
    with ThreadPoolExecutor(len(nodes)) as pool:
        told = pool.map(lambda node: remote_node_facts([node.slurm_name], on_node(node)), nodes)
    return [facts for (facts,) in told]


def on_node(node: Node) -> tuple[str, ...]:
    """What a command is prefixed with to run on a node; nothing for this machine."""
    if not node.slurm_name:
        return ()
    return (*STEP, "--nodes=1", "--ntasks=1", f"--nodelist={node.slurm_name}")
