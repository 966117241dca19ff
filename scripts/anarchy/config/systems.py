"""What serves: the cluster of the study, models, topologies, and systems, which are a model on a topology."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from anarchy.config.values import MOST_ENTRIES, DilationTimes, Name, PositiveInt, Strict, Workers, each_once


class Cluster(Strict):
    """The machine that the study is about (stated by the paper: 3 nodes of 8 B200)."""

    nodes: Workers = 3
    gpus_per_node: Workers = 8


class Model(Strict):
    """A served model and how one of its workers is laid out."""

    name: Name
    title: str
    tensor_parallel: Workers
    """GPUs of one worker; a worker does not span nodes."""
    quantization: str
    profile: Name
    """Timing table in data/profiles that the simulated engine follows."""
    kv_bytes_per_token: PositiveInt
    """KV cache bytes of one token, for the simulated transfer from prefill to decode."""
    dilation: Annotated[float, Field(strict=True, ge=1, le=100)] = 1.0
    """Simulated engines only: wall seconds for one model second."""


class Topology(Strict):
    """How many prefill and decode workers."""

    name: Name
    title: str
    prefill: Workers
    decode: Workers


class SystemName(Strict):
    """A system: a model on a topology."""

    model: Name
    topology: Name


class MeasuredSystem(SystemName):
    """A system as an experiment measures it."""

    dilation_times: DilationTimes | None = None
    """Of this system, whatever its sets of policies say: a system that loads the host more may be slower."""

    def times(self, of_set: float) -> float:
        """How many times its model's own dilation it runs at, where its set of policies says ``of_set``."""
        return of_set if self.dilation_times is None else self.dilation_times


def _each_once(systems: tuple[MeasuredSystem, ...]) -> tuple[MeasuredSystem, ...]:
    each_once(tuple(f"{system.model} on {system.topology}" for system in systems))
    return systems


Systems = Annotated[tuple[MeasuredSystem, ...], Field(max_length=MOST_ENTRIES), AfterValidator(_each_once)]
"""A list of systems, each once."""
