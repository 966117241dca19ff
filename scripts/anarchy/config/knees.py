"""Knees that earlier runs measured, `workflow/config/knees.yaml`, and for whom they may stand in.

A knee belongs to what was measured: a system, a workload, an engine, a serving version, a timing table or a
device. So a recorded knee stands in for E1 only where all of these are the run's own.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from anarchy.config import KNEE_WORKLOAD, EngineName, Model, Name, Strict, SystemName, Topology
from anarchy.config.files import load_block
from anarchy.config.values import Positive, Users
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG

KNEES_FILE = CONFIG / "knees.yaml"


class KneeOrigin(Strict):
    """Where a knee comes from: enough to find the run that measured it, and to refuse it elsewhere."""

    interval: tuple[Positive, Positive]
    """95 % interval of the estimate, C."""
    engine: EngineName
    version: str = Field(min_length=1)
    """Serving stack: `ai-dynamo 1.5.1`, or what the site serves from."""
    served: str = Field(min_length=1)
    """What decides how fast it serves: the digest of the timing table (simulated), or device and weights."""
    workload: Name
    run: str = Field(min_length=1)
    """The run that measured it: digest of the frozen run, or tier and commit for one of before there were
    any."""
    date: datetime.date
    """When that run measured."""


class RecordedKnee(SystemName, KneeOrigin):
    """One knee, with its provenance."""

    value: Users
    """C, as loads are multiples of it."""

    @property
    def origin(self) -> KneeOrigin:
        """Where it comes from."""
        return KneeOrigin(**{key: getattr(self, key) for key in KneeOrigin.model_fields})

    @model_validator(mode="after")
    def _value_lies_in_its_interval(self) -> RecordedKnee:
        low, high = self.interval
        if not low <= self.value <= high:
            raise ValueError(f"value {self.value} lies outside its interval [{low:g}, {high:g}]")
        return self


class RecordedKnees(Strict):
    """Knees that may stand in for E1, where a run asks for `knees: recorded`."""

    knees: tuple[RecordedKnee, ...] = ()


def load_knees(file: Path, models: Mapping[str, Model], topologies: Mapping[str, Topology]) -> RecordedKnees:
    """Read the recorded knees; raises UserError for an unknown system, and for one that stands twice."""
    found = load_block(file, RecordedKnees)
    seen: set[tuple[Any, ...]] = set()
    for place, knee in enumerate(found.knees):
        for key, known in (("model", models), ("topology", topologies)):
            if getattr(knee, key) not in known:
                raise UserError(
                    f"key 'knees.{place}.{key}': there is no {key} {getattr(knee, key)!r}",
                    where=file,
                    remedy=f"known: {', '.join(sorted(known))}",
                )
        if knee.workload != KNEE_WORKLOAD:
            raise UserError(
                f"key 'knees.{place}.workload': a knee under {knee.workload} serves no run: loads are "
                "multiples "
                f"of the knee under {KNEE_WORKLOAD}",
                where=file,
                remedy="take this entry out",
            )
        facts = (knee.model, knee.topology, knee.engine, knee.version, knee.served)
        if facts in seen:
            raise UserError(
                f"key 'knees.{place}': a second knee of {knee.model} on {knee.topology}, same engine and "
                "version",
                where=file,
                remedy="keep one of the two",
            )
        seen.add(facts)
    return found


def standing_in(
    knees: Sequence[RecordedKnee], model: str, topology: str, engine: str, version: str, served: str
) -> RecordedKnee:
    """The recorded knee of a system that may stand in for a measured one.

    Raises UserError where there is none. The message says what each knee of that system was measured with
    instead.
    """
    of_system = [knee for knee in knees if (knee.model, knee.topology) == (model, topology)]
    wanted = {"engine": engine, "version": version, "served": served}
    differences = []
    for knee in of_system:
        differs = [
            f"{key} {_short(getattr(knee, key))}, here {_short(value)}"
            for key, value in wanted.items()
            if getattr(knee, key) != value
        ]
        if not differs:
            return knee
        differences.append(f"the knee {knee.value} of {knee.run} is of {'; '.join(differs)}")
    what = f"no recorded knee may stand in for {model} on {topology} (engine {engine})"
    raise UserError(
        what + (": " + "; ".join(differences) if differences else ": none is recorded"),
        where=KNEES_FILE,
        remedy="let E1 measure it (knees=measured, the default), or record one with its provenance there",
    )


def _short(word: str) -> str:
    """A digest is told by its first letters."""
    return word if len(word) < 60 else f"{word[:12]}..."
