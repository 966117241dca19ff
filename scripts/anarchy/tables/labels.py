"""Where numbers come from, in the words that stand on every figure and with every table and verdict."""

from __future__ import annotations

from collections.abc import Sequence

from anarchy.engines.devices import is_simulated, labels_in


def engine_words(
    engines: Sequence[str], dilations: Sequence[float], tiers: Sequence[str], kinds: Sequence[str]
) -> str:
    """What numbers come from, in one line: engines, time dilation, timing table, tiers, kinds of interval."""
    engines = sorted({label for engine in engines for label in labels_in(engine)})
    dilations = sorted(set(dilations))
    parts = [_called(engine) for engine in engines]
    if dilations and dilations[-1] > 1:
        span = f"{dilations[0]:g}x" if len(dilations) == 1 else f"{dilations[0]:g}x to {dilations[-1]:g}x"
        parts.append(f"model time dilated {span}")
    if any(is_simulated(engine) for engine in engines):
        parts.append("predicted B200 timing table")
    parts += [f"tier {tier}" for tier in sorted(set(tiers))]
    return ", ".join(parts + [f"intervals: 95 % {kind}" for kind in kinds])


def _called(label: str) -> str:
    """A label that says what was done stands alone; a name is that of an engine."""
    return label if label.startswith(("vLLM", "simulated in", "simulated by")) else f"{label} engine"
