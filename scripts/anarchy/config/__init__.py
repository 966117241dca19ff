"""What is studied, as models of its files: systems, policies, workloads, experiments and their tiers."""

from anarchy.config.choices import ALL, AS_PLANNED, Choices, EngineName, KneeSource, StackName
from anarchy.config.experiments import Experiment
from anarchy.config.limits import Limits
from anarchy.config.loads import Level, Load, StagePlan
from anarchy.config.policies import (
    AdaptivePolicy,
    Baseline,
    BatchedBaseline,
    Controller,
    CostPolicy,
    KvPolicy,
    Policy,
    PromptPolicy,
    Source,
    Way,
)
from anarchy.config.routing import AnyPolicy, Grid, Routing, RoutingSet, reference_of
from anarchy.config.study import BLOCKS, Study
from anarchy.config.systems import Cluster, MeasuredSystem, Model, SystemName, Topology
from anarchy.config.tiers import AnyTier, Condition, Tier, Timing
from anarchy.config.values import Name, Strict
from anarchy.config.workloads import KNEE_WORKLOAD, Workload

__all__ = [
    "ALL",
    "AS_PLANNED",
    "BLOCKS",
    "KNEE_WORKLOAD",
    "AdaptivePolicy",
    "AnyPolicy",
    "AnyTier",
    "Baseline",
    "BatchedBaseline",
    "Choices",
    "Cluster",
    "Condition",
    "Controller",
    "CostPolicy",
    "EngineName",
    "Experiment",
    "Grid",
    "KneeSource",
    "KvPolicy",
    "Level",
    "Limits",
    "Load",
    "MeasuredSystem",
    "Model",
    "Name",
    "Policy",
    "PromptPolicy",
    "Routing",
    "RoutingSet",
    "Source",
    "StackName",
    "StagePlan",
    "Strict",
    "Study",
    "SystemName",
    "Tier",
    "Timing",
    "Topology",
    "Way",
    "Workload",
    "reference_of",
]
