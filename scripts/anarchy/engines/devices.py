"""What a deployment's engines really computed on, and what figures and tables call an engine for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from anarchy.engines.registry import UNKNOWN, engine_of, engines

CPU: Final = "CPU"
MIXED: Final = "mixed: "
"""What a device begins with where the nodes have different GPUs."""
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


def engine_label(engine: str, device: str | None) -> str:
    """What figures, tables and verdicts call an engine: `simulated`, `B200`, `vLLM on CPU`, a GPU's name.

    A trace may tell of an engine that is none of this project's: that is `unknown`, with the word it has.
    """
    if engine in engines():
        return engines()[engine].label(device)
    return UNKNOWN if engine == UNKNOWN else f"{UNKNOWN} ({engine})"


def common_label(labels: Sequence[str]) -> str:
    """One label for what was measured together: theirs when they agree, else all, said to be mixed."""
    different = sorted(set(labels))
    return different[0] if len(different) == 1 else "mixed: " + " and ".join(different)
