"""The study: everything under ``workflow/config``, which travels unchanged between clusters.

All durations are model seconds. An unknown key is an error.
"""

from __future__ import annotations

from typing import Any

from anarchy.config.choices import Choices
from anarchy.config.experiments import Experiment
from anarchy.config.routing import AnyPolicy
from anarchy.config.systems import Cluster, Model, Topology
from anarchy.config.values import Strict
from anarchy.config.workloads import Workload


class Study(Strict):
    """The whole configuration, with every cross-reference resolved."""

    cluster: Cluster
    models: dict[str, Model]
    topologies: dict[str, Topology]
    policies: dict[str, AnyPolicy]
    workloads: dict[str, Workload]
    experiments: dict[str, Experiment]


BLOCKS: dict[str, Any] = {
    "run": Choices,
    "cluster": Cluster,
    "model": Model,
    "topology": Topology,
    "policy": AnyPolicy,
    "workload": Workload,
    "experiment": Experiment,
}
"""One kind of configuration file each; their JSON Schemas are in workflow/schemas."""
