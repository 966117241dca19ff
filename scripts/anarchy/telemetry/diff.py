"""`anarchy fingerprint diff A B`: what differs between what two deployments ran on.

Exit status: 0 the same, 1 they differ, 2 one cannot be read.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError

FINGERPRINT_FILE = "fingerprint.json"
VOLATILE = (
    "made_at",
    "slurm.value.job_id",
    "nodes.*.slurm_task",
    "nodes.*.gpu_state",
    "deployment.seed",
    "deployment.http_ports",
)
"""Paths, `*` for one step, that differ between any two runs: times, job ids, clocks of the moment, chance."""
SAME, DIFFERENT = 0, 1
ABSENT = "(absent)"
VALUE_WIDTH = 72
_FACT = frozenset({"value", "reason"})


@dataclass(frozen=True)
class Difference:
    """One value that differs: its path, e.g. ("nodes", "node01", "gpus", "[0]", "power.limit")."""

    path: tuple[str, ...]
    a: str
    b: str

    @property
    def section(self) -> str:
        """The part of the fingerprint that it belongs to."""
        return " ".join(self.path[:2]) if self.path[0] == "nodes" else self.path[0]

    @property
    def name(self) -> str:
        """The rest of its path, for people."""
        rest = self.path[2:] if self.path[0] == "nodes" else self.path[1:]
        return ".".join(rest).replace(".[", "[") or self.path[-1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anarchy fingerprint`; `run` is its command."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    comparing = actions.add_parser(
        "diff",
        help="what differs between what two deployments ran on",
        description="Print what differs between two fingerprints. Exit status: 0 the same, 1 they differ, 2 "
        "one cannot be read. Times, job ids and the clocks of the moment are left out.",
    )
    comparing.add_argument("a", type=Path, metavar="A", help="fingerprint.json, or a deployment's folder")
    comparing.add_argument("b", type=Path, metavar="B")
    comparing.add_argument("--all", action="store_true", help="also what differs between any two runs")


def run(options: argparse.Namespace) -> int:
    """Print the differences and return the exit status; raises `UserError` for what cannot be read."""
    a, b = read_fingerprint(options.a), read_fingerprint(options.b)
    differences = diff(a, b, volatile=options.all)
    print(render(differences), end="")
    return DIFFERENT if differences else SAME


def read_fingerprint(path: Path) -> dict[str, Any]:
    """The document of a fingerprint or of the deployment's folder that holds one; raises `UserError`."""
    file = path / FINGERPRINT_FILE if path.is_dir() else path
    remedy = "name a fingerprint.json or the folder of a deployment (results/<tier>/raw/...)"
    document = load_json(file, remedy=remedy, missing=remedy)
    if not {"schema_version", "nodes"} <= document.keys():
        raise UserError("is not a fingerprint", where=file, remedy=remedy)
    return document


def diff(a: Mapping[str, Any], b: Mapping[str, Any], *, volatile: bool = False) -> list[Difference]:
    """Values that differ between two fingerprints, in order of their paths; volatile ones when asked for.

    A fact that is unknown on one side differs from one that is known; two unknown ones are the same whatever
    their reasons.
    """
    left, right = dict(_leaves(a)), dict(_leaves(b))
    found = [
        Difference(path, _shown(left, path), _shown(right, path))
        for path in sorted({*left, *right})
        if left.get(path, ABSENT) != right.get(path, ABSENT)
    ]
    return [one for one in found if volatile or not is_volatile(one.path)]


def is_volatile(path: Sequence[str]) -> bool:
    """Whether a path, or one above it, is among those that differ between any two runs."""
    return any(
        len(path) >= len(steps) and all(step in {"*", name} for step, name in zip(steps, path, strict=False))
        for steps in (tuple(pattern.replace(".value.", ".").split(".")) for pattern in VOLATILE)
    )


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every plain value with its path; a fact stands for its value, an unknown one for `unknown`."""
    if isinstance(value, Mapping) and "value" in value and value.keys() <= _FACT:
        if value["value"] is None:
            yield path, _Unknown(value.get("reason", ""))
        else:
            yield from _leaves(value["value"], path)
    elif isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from _leaves(entry, (*path, name))
    elif isinstance(value, list) and value:
        for index, entry in enumerate(value):
            yield from _leaves(entry, (*path, f"[{index}]"))
    else:
        yield path, value


@dataclass(frozen=True)
class _Unknown:
    """A fact that could not be read; equal to any other such."""

    reason: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unknown)

    def __hash__(self) -> int:
        return 0


def _shown(leaves: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> str:
    if path not in leaves:
        return ABSENT
    value = leaves[path]
    text = f"unknown: {value.reason}" if isinstance(value, _Unknown) else json.dumps(value)
    text = text.strip('"')
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 1] + "…"


def render(differences: Sequence[Difference]) -> str:
    """The differences under their sections: one line where both values are short, else one line each."""
    if not differences:
        return "the same\n"
    lines: list[str] = []
    for section, members in groupby(differences, key=lambda one: one.section):
        lines.append(section)
        for one in members:
            lines += [f"  {one.name}", f"    A  {one.a}", f"    B  {one.b}"]
    count = len(differences)
    lines.append(f"{count} difference{'s' if count != 1 else ''}")
    return "\n".join(lines) + "\n"
