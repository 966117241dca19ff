"""What a deployment's engines really computed on, and what figures and tables call an engine for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from anarchy.engines.dynamo import STACKS, described
from anarchy.engines.engine import Engine
from anarchy.engines.registry import UNKNOWN, engine_of, engines

CPU: Final = "CPU"
MIXED: Final = "mixed: "
"""What a device, or a label, begins with where there are different ones."""
_AND: Final = " and "
PAPERS_DEVICE: Final = "B200"
"""Label of the hardware that the published claims are about."""


def device_seen(engine: str, on: str, nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """Device that a deployment ran on, for its manifests; None where engines are simulated or nobody knows.

    `on` is the site's device (`cuda` or `cpu`), `nodes` are the facts of each node (`telemetry.node`), whose
    GPUs are named by nvidia-smi. Different names together are `mixed: A, B`.
    """
    if engine_of(engine).simulated:
        return None
    if on == "cpu":
        return CPU
    names: set[str] = set()
    for node in nodes:
        gpus = (node["facts"].get("gpus") or {}).get("value")
        if not gpus or not all(gpu.get("name") for gpu in gpus):
            return None
        names |= {str(gpu["name"]) for gpu in gpus}
    if not names:
        return None
    return names.pop() if len(names) == 1 else MIXED + ", ".join(sorted(names))


def engine_label(engine: str, device: str | None, versions: Mapping[str, str | None] | None = None) -> str:
    """What figures, tables and verdicts call an engine: `simulated`, `simulated in virtual time`, `B200`, ...

    `versions` of the serving stack add what its mock engines cannot do, where that matters. A trace may tell
    of an engine that is none of this project's: that is `unknown`, with the word it has.
    """
    if engine in engines():
        of, dynamo = engines()[engine], described(versions or {})
        return of.label(device) + (dynamo.label if dynamo is not None and of.simulated else "")
    return UNKNOWN if engine == UNKNOWN else f"{UNKNOWN} ({engine})"


def common_label(labels: Sequence[str]) -> str:
    """One label for what was measured together: theirs when they agree, else all, said to be mixed."""
    different = sorted({label for one in labels for label in labels_in(one)})
    return different[0] if len(different) == 1 else MIXED + _AND.join(different)


def labels_in(label: str) -> list[str]:
    """The labels that a common one is made of."""
    return label.removeprefix(MIXED).split(_AND) if label.startswith(MIXED) else [label]


def is_simulated(label: str) -> bool:
    """Whether everything that a label names is simulated: it follows predicted times, on no hardware."""
    return all(_named(one) for one in labels_in(label))


def is_virtual(label: str) -> bool:
    """Whether a label names, perhaps among others, an engine on a virtual clock."""
    return any(engine.replayed for one in labels_in(label) for engine in _named(one))


def is_live(label: str) -> bool:
    """Whether a label names, perhaps among others, an engine that is not on a virtual clock."""
    return any(not any(engine.replayed for engine in _named(one)) for one in labels_in(label))


def _named(label: str) -> list[Engine]:
    """The simulated engines of a label."""
    simulated = [engine for engine in engines().values() if engine.simulated]
    added = {dynamo.label for dynamo in STACKS.values()}
    return [engine for engine in simulated if any(engine.label(None) + more == label for more in added)]
